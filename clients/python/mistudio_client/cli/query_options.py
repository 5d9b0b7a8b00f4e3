"""Options that say which rows of a dataset are wanted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import click

from mistudio.datasets.v1 import sample_pb2

_SEARCHES = ("contains", "regex", "words")


def query_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command's parameter `query`, a `SampleQuery` that is empty where every row is wanted."""

    @click.option("--filter", "filter_text", default="", help="""For example: 'lang = "en" AND score >= 0.5'.""")
    @click.option("--contains", default="", metavar="TEXT", help="Rows that hold this text.")
    @click.option("--regex", default="", help="Rows that match this regular expression (RE2).")
    @click.option("--words", default="", help="Rows that hold these words, best matches first.")
    @click.option("--ignore-case", is_flag=True, help="Search in any case of letters, as --words always does.")
    @click.option("--column", "columns", multiple=True, help="Column to search in, may be repeated; by default all.")
    @click.option("--tokenization", default="", metavar="ID", help="What --min-tokens and --max-tokens count in.")
    @click.option("--min-tokens", type=click.IntRange(min=0), help="Rows of at least so many tokens.")
    @click.option("--max-tokens", type=click.IntRange(min=1), help="Rows of at most so many tokens.")
    @functools.wraps(command)
    def run(
        filter_text: str,
        ignore_case: bool,
        columns: Sequence[str],
        tokenization: str,
        min_tokens: int | None,
        max_tokens: int | None,
        **options: Any,
    ) -> None:
        searches = {name: options.pop(name) for name in _SEARCHES}
        query = sample_pb2.SampleQuery(filter=filter_text, ignore_case=ignore_case, search_columns=columns)
        for name, text in _search(searches).items():
            setattr(query, name, text)
        if length := _token_length(tokenization, min_tokens, max_tokens):
            query.token_length.CopyFrom(length)
        command(query=query, **options)

    return run


def _search(searches: dict[str, str]) -> dict[str, str]:
    """The one search that was asked for, or none; raises `click.UsageError` for several."""
    asked = {name: text for name, text in searches.items() if text}
    if len(asked) > 1:
        raise click.UsageError(f"--{' and --'.join(asked)} exclude one another. Give one of them.")
    return asked


def _token_length(
    tokenization: str, min_tokens: int | None, max_tokens: int | None
) -> sample_pb2.TokenLengthCondition | None:
    bounded = min_tokens is not None or max_tokens is not None
    if bounded != bool(tokenization):
        raise click.UsageError("A length in tokens is --tokenization with --min-tokens or --max-tokens. Give both.")
    if not bounded:
        return None
    return sample_pb2.TokenLengthCondition(
        tokenization_id=tokenization, min_tokens=min_tokens or 0, max_tokens=max_tokens or 0
    )
