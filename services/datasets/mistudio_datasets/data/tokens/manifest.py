"""What a tokenization's `manifest.json` says of its model's special tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mistudio_datasets.domain.views import SpecialTokenPolicy, View
from mistudio_servicekit.errors import InvalidArgument

MANIFEST_FILE = "manifest.json"
_NAMES = {"bos": "begins a text (BOS)", "eos": "ends a text (EOS)"}


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the tokens that a view puts in; None where it puts none."""

    bos: int | None
    eos: int | None


def special_ids(folder: Path, view: View) -> SpecialIds:
    """The special tokens that `view` of the tokenization in `folder` puts in.

    Raises:
        InvalidArgument: it asks for one that the model does not have; names `view.bos` or `view.eos`.
        FileNotFoundError: the folder is gone.
    """
    return SpecialIds(_id_of(folder, "bos", view.bos), _id_of(folder, "eos", view.eos))


def _id_of(folder: Path, name: str, policy: SpecialTokenPolicy) -> int | None:
    if policy is SpecialTokenPolicy.NOWHERE:
        return None
    known = _special_tokens(folder)
    if known is None:
        raise InvalidArgument(
            f"view.{name} is {policy}, but the tokenization was made before special tokens were recorded",
            next_step=f"Make the tokenization again, or leave view.{name} out",
            field=f"view.{name}",
        )
    if known.get(name) is None:
        raise InvalidArgument(
            f"view.{name} is {policy}, but the model has no token that {_NAMES[name]}",
            next_step=f"Leave view.{name} out for this model",
            field=f"view.{name}",
        )
    return int(known[name]["id"])


@lru_cache(maxsize=256)
def _special_tokens(folder: Path) -> Mapping[str, Any] | None:
    """By name (bos, eos, pad): id and text, or None if the model has no such token; None if it is not recorded.

    A complete tokenization never changes, so it is read once.
    """
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    known: Mapping[str, Any] | None = manifest["tokenizer"].get("special_tokens")
    return known
