"""Rows as they would be tokenized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from mistudio_datasets.domain.cleaning import CleaningStep
from mistudio_datasets.domain.tokenizations import TokenizationSettings


@dataclass(frozen=True)
class PreviewInput:
    """What is previewed.

    Attributes:
        dataset_folder: the dataset's epoch folder.
        model_folder: the model's epoch folder.
        settings: with every default filled in.
        offset: first row, from 0.
        rows: most rows.
        max_tokens: most tokens of a row that are shown.
    """

    dataset_folder: Path
    model_folder: Path
    settings: TokenizationSettings
    offset: int
    rows: int
    max_tokens: int

    def to_json(self) -> dict[str, Any]:
        """This as JSON-ready values."""
        folders = {"dataset_folder": str(self.dataset_folder), "model_folder": str(self.model_folder)}
        return vars(self) | folders | {"settings": self.settings.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` described."""
        folders = {name: Path(value[name]) for name in ("dataset_folder", "model_folder")}
        return cls(**dict(value) | folders | {"settings": TokenizationSettings.from_json(value["settings"])})


@dataclass(frozen=True)
class PreviewedRow:
    """A row as it would be tokenized.

    Attributes:
        row: its number in the split, from 0.
        original_text: as it is in the dataset; of conversations, as JSON.
        text: what is tokenized.
        token_ids: the first of them.
        tokens: the text of each.
        total_tokens: of the whole row.
        changed_by: the cleaning steps that changed it.
        problem: why it would be an empty document; empty otherwise.
    """

    row: int
    original_text: str
    text: str
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    total_tokens: int
    changed_by: tuple[CleaningStep, ...]
    problem: str

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The row that `dataclasses.asdict` described."""
        lists = {"token_ids": tuple(value["token_ids"]), "tokens": tuple(value["tokens"])}
        return cls(**dict(value) | lists | {"changed_by": tuple(map(CleaningStep, value["changed_by"]))})


@dataclass(frozen=True)
class Preview:
    """Previewed rows, and the chat template that rendered them; empty for text."""

    rows: tuple[PreviewedRow, ...]
    chat_template: str

    def to_json(self) -> dict[str, Any]:
        """This preview as JSON-ready values."""
        return {"rows": [asdict(row) for row in self.rows], "chat_template": self.chat_template}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The preview that `to_json` described."""
        return cls(tuple(map(PreviewedRow.from_json, value["rows"])), value["chat_template"])
