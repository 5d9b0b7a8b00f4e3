"""Models: their status, and what is known about them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Self
from uuid import UUID

from mistudio_models.domain.weights import LoadSettings


class ModelStatus(StrEnum):
    """Where a model is in its life; mirrors `mistudio.models.v2.ModelStatus`."""

    DOWNLOADING = "DOWNLOADING"
    READY = "READY"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"


class WeightFiles(StrEnum):
    """What a repository's weights are kept in; mirrors `mistudio.models.v2.WeightFiles`."""

    SAFETENSORS = "SAFETENSORS"
    PICKLE = "PICKLE"
    OTHER = "OTHER"
    NONE = "NONE"


@dataclass(frozen=True)
class ModelFacts:
    """What a model is, from its configuration and weight headers; 0 and empty stand for "not said".

    Attributes:
        architecture: architecture class, for example `LlamaForCausalLM`.
        model_type: model type of its configuration, for example `llama`.
        parameters_by_dtype: exact parameters by the dtype they are stored in, in the notation of safetensors (`BF16`).
            Tied weights are stored, and counted, once. Where the files are quantized, every code counts, however many
            share a stored number, and scales do not.
        layers: transformer layers.
        hidden_size: width of the residual stream.
        attention_heads: attention heads.
        key_value_heads: key and value heads; as many as attention heads unless they are shared.
        context_length: longest context, tokens.
        vocabulary_size: entries of the vocabulary.
        has_tokenizer: whether the repository carries a tokenizer.
        has_chat_template: whether its tokenizer has a chat template.
        needs_remote_code: whether loading it needs code from the repository.
        head_size: width of an attention head.
        intermediate_size: width inside the MLP; of one expert where experts have a width of their own.
        experts: of each mixture of experts; 0 where there are none.
        quantization: how the files' own weights are quantized, for example `gptq`; empty where they are not.
        weight_files: what the weights are kept in.
    """

    architecture: str = ""
    model_type: str = ""
    parameters_by_dtype: Mapping[str, int] = field(default_factory=dict)
    layers: int = 0
    hidden_size: int = 0
    attention_heads: int = 0
    key_value_heads: int = 0
    context_length: int = 0
    vocabulary_size: int = 0
    has_tokenizer: bool = False
    has_chat_template: bool = False
    needs_remote_code: bool = False
    head_size: int = 0
    intermediate_size: int = 0
    experts: int = 0
    quantization: str = ""
    weight_files: WeightFiles = WeightFiles.NONE

    @property
    def parameters(self) -> int:
        """Exact parameters of all dtypes; 0 where the repository has no safetensors."""
        return sum(self.parameters_by_dtype.values())

    def to_json(self) -> dict[str, Any]:
        """These facts as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The facts that `to_json` described, also by a version that knew fewer of them."""
        return cls(**{**value, "weight_files": WeightFiles(value.get("weight_files", WeightFiles.SAFETENSORS))})


@dataclass(frozen=True)
class Model:
    """A model that was brought in from the Hub.

    Attributes:
        id: its UUID.
        name: for people.
        status: where it is in its life.
        repo_id: Hub repository, `owner/name`.
        revision: what was asked for, for example `main`.
        commit: what the revision was pinned to.
        facts: what the model is; known since before the download.
        epoch: job attempt whose folder counts; 0 until READY.
        size_bytes: bytes of its files in the store; 0 until READY.
        error: why its status is ERROR, as `MistudioError.to_record` gives it.
        labels: for people and filters.
        allow_patterns: globs that chose its files; empty chose all that are needed.
        deny_patterns: globs that left files out.
        default_settings: how it is loaded where a request does not say.
        job_id: the job that brings or brought it in.
        version: grows with every change.
    """

    id: UUID
    name: str
    status: ModelStatus
    repo_id: str
    revision: str
    commit: str
    facts: ModelFacts
    epoch: int
    size_bytes: int
    error: Mapping[str, Any] | None
    job_id: UUID
    create_time: datetime
    update_time: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    allow_patterns: tuple[str, ...] = ()
    deny_patterns: tuple[str, ...] = ()
    default_settings: LoadSettings = field(default_factory=LoadSettings)
    version: int = 1

    @property
    def selection(self) -> str:
        """Which of the commit's files it has, see `selection_of`."""
        return selection_of(self.allow_patterns, self.deny_patterns)


def selection_of(allow_patterns: Sequence[str], deny_patterns: Sequence[str]) -> str:
    """Which of a commit's files these patterns choose: empty for all that are needed, otherwise a digest of them."""
    patterns = [sorted(set(allow_patterns)), sorted(set(deny_patterns))]
    return sha256(json.dumps(patterns).encode()).hexdigest() if any(patterns) else ""
