"""Options that say how documents become sequences."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from mistudio.datasets.v1 import view_pb2
from mistudio_client.cli.choices import SPECIAL_TOKEN_POLICIES, VIEW_MODES

_FIELDS = ("context_length", "stride", "first_window_only", "min_tokens")
_POLICY = click.Choice(list(SPECIAL_TOKEN_POLICIES))


def view_options(*, required: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The command's parameter `view`, None unless it was asked for, from an option for each field of a `View`."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        @click.option(
            "--view",
            "mode",
            type=click.Choice(list(VIEW_MODES)),
            required=required,
            help="How documents become sequences: one stream that is cut, or windows of each document.",
        )
        @click.option(
            "--context-length", type=click.IntRange(min=2), required=required, help="Most tokens of a sequence."
        )
        @click.option("--stride", type=click.IntRange(min=1), help="Tokens between beginnings of windows.")
        @click.option("--bos", type=_POLICY, help="Where the token that begins a text is put; by default nowhere.")
        @click.option("--eos", type=_POLICY, help="Where the token that ends a text is put; by default nowhere.")
        @click.option("--first-window-only", is_flag=True, help="Keep only the first window of every document.")
        @click.option("--min-tokens", type=click.IntRange(min=1), help="Drop windows with fewer tokens.")
        @functools.wraps(command)
        def run(mode: str | None, bos: str | None, eos: str | None, **options: Any) -> None:
            fields = {name: options.pop(name) for name in _FIELDS}
            command(view=_view(mode, bos, eos, fields), **options)

        return run

    return add


def _view(mode: str | None, bos: str | None, eos: str | None, given: dict[str, Any]) -> view_pb2.View | None:
    """The view that the options say.

    Raises:
        click.UsageError: it lacks what every view must say.
    """
    fields = {name: value for name, value in given.items() if value}
    if not mode and not (fields or bos or eos):
        return None
    if not mode:
        raise click.UsageError(f"A view needs --view. Add --view {' or --view '.join(VIEW_MODES)}.")
    if "context_length" not in fields:
        raise click.UsageError("A view needs --context-length. Add, for example, --context-length 1024.")
    return view_pb2.View(mode=VIEW_MODES[mode], bos=_policy(bos), eos=_policy(eos), **fields)


def _policy(name: str | None) -> view_pb2.SpecialTokenPolicy.ValueType:
    return SPECIAL_TOKEN_POLICIES[name] if name else view_pb2.SPECIAL_TOKEN_POLICY_UNSPECIFIED
