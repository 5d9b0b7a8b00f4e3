"""What SAELens writes beside a dataset that it has pretokenized: `sae_lens.json`, read when SAEs are trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_datasets.domain.exports import ExportSettings
from mistudio_datasets.domain.views import SpecialTokenPolicy, ViewMode

SAELENS_FILE = "sae_lens.json"
_FORM = "6.54.12"
"""The release of SAELens whose `PretokenizedDatasetMetadata` the file is."""


def saelens_metadata(settings: ExportSettings, tokenization: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """The fields of `sae_lens.pretokenize_runner.PretokenizedDatasetMetadata`.

    SAELens knows a token that begins every sequence (`begin_batch_token`), one that begins every document
    (`begin_sequence_token`), and one between documents (`sequence_separator_token`), and documents that are not put
    together (`disable_concat_sequences`). What else a view may do is in the export's `manifest.json` alone.

    Args:
        settings: the view and the order.
        tokenization: manifest of the tokenization.
        dataset: what the dataset is called.
    """
    view, source = settings.view, tokenization["settings"]
    packed = view.mode is ViewMode.PACKED
    return {
        "sae_lens_version": _FORM,
        "tokenizer_name": tokenization["tokenizer"].get("repo_id", ""),
        "original_dataset": dataset,
        "original_dataset_name": tokenization["dataset"]["config"] or None,
        "original_split": source["split"],
        "original_data_files": None,
        "original_column_name": source["text_column"] or None,
        "context_size": view.context_length,
        "shuffled": settings.shuffle_seed is not None,
        "seed": settings.shuffle_seed,
        "begin_batch_token": _token("bos", view.bos is SpecialTokenPolicy.SEQUENCE),
        "begin_sequence_token": _token("bos", view.bos is SpecialTokenPolicy.DOCUMENT),
        "sequence_separator_token": _token("eos", packed and view.eos is SpecialTokenPolicy.DOCUMENT),
        "disable_concat_sequences": not packed,
        "use_chat_formatting": bool(source.get("chat")),
    }


def _token(name: str, is_put: bool) -> str | None:
    return name if is_put else None
