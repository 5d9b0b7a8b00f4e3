"""Options that several commands have."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

DEFAULT_LIMIT = 50

limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="Most rows to print."
)
filter_option = click.option("--filter", "filter_text", default="", help="For example: 'status = READY'.")
order_option = click.option("--order-by", default="", help="A field, with ' desc' if wished: 'created_at desc'.")
search_option = click.option("--search", default="", help="Part of the name or repository.")
detach_option = click.option("--detach", is_flag=True, help="Return at once; the job goes on.")
offset_option = click.option(
    "--offset", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the first one, from 0."
)


def hub_token_options(command: AnyFunction) -> AnyFunction:
    """`--hub-token-env` and `--hub-token-prompt`: a token never stands on a command line, where others could see it."""
    command = click.option("--hub-token-prompt", is_flag=True, help="Ask for the Hub token; it is not shown.")(command)
    return click.option(
        "--hub-token-env", metavar="NAME", default="", help="Environment variable with the Hub token, such as HF_TOKEN."
    )(command)


def hub_token(variable: str, prompt: bool) -> str:
    """The Hub token that the user wants to be used, or nothing.

    Raises:
        click.UsageError: the variable is not set.
    """
    if prompt:
        return str(click.prompt("Hub token", hide_input=True, err=True))
    if not variable:
        return ""
    token = os.environ.get(variable, "")
    if not token:
        raise click.UsageError(f"The environment variable {variable} is empty. Set it to a Hub token.")
    return token
