"""Token ids on a command line."""

from __future__ import annotations

from typing import Any

import click

from mistudio.datasets.v1 import tokenizations_service_pb2


class TokenIdsType(click.ParamType[tokenizations_service_pb2.TokenIds]):
    """Token ids separated by commas or blanks, as a `TokenIds`."""

    name = "N,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tokenizations_service_pb2.TokenIds:
        """The ids; fails unless each is a number that an id can be."""
        try:
            return tokenizations_service_pb2.TokenIds(values=map(int, str(value).replace(",", " ").split()))
        except ValueError:
            self.fail(f"{value!r} is no list of token ids. Write it like 464,3290.", param, ctx)
