"""Options that several commands have."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

DEFAULT_LIMIT = 50

revision_option = click.option("--revision", default="", help="Branch, tag or commit; by default main.")
name_option = click.option("--name", default="", help="Name for people; by default the repository's.")
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="Most rows to print."
)
filter_option = click.option("--filter", "filter_text", default="", help="For example: 'status = READY'.")
order_option = click.option("--order-by", default="", help="A field, with ' desc' if wished: 'created_at desc'.")
search_option = click.option("--search", default="", help="Part of the name or repository.")
detach_option = click.option("--detach", is_flag=True, help="Return at once; the job goes on.")
split_option = click.option("--split", default="", help="By default the only one, or train.")
offset_option = click.option(
    "--offset", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the first one, from 0."
)


def list_options(command: AnyFunction) -> AnyFunction:
    """`--filter`, `--order-by` and `--limit`, in this order."""
    return filter_option(order_option(limit_option(command)))


def hub_token_option(command: Callable[..., None]) -> Callable[..., None]:
    """The command's parameter `hub_token`, empty without one, from `--hub-token-env` or `--hub-token-prompt`.

    A token never stands on a command line, where others could see it.
    """

    @click.option(
        "--hub-token-env", metavar="NAME", default="", help="Environment variable with the Hub token, such as HF_TOKEN."
    )
    @click.option("--hub-token-prompt", is_flag=True, help="Ask for the Hub token; it is not shown.")
    @functools.wraps(command)
    def run(hub_token_env: str, hub_token_prompt: bool, **options: Any) -> None:
        command(hub_token=_hub_token(hub_token_env, hub_token_prompt), **options)

    return run


def _hub_token(variable: str, prompt: bool) -> str:
    if prompt:
        return str(click.prompt("Hub token", hide_input=True, err=True))
    if not variable:
        return ""
    token = os.environ.get(variable, "")
    if not token:
        raise click.UsageError(f"The environment variable {variable} is empty. Set it to a Hub token.")
    return token
