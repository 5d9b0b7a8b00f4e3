"""A model's layers and the places where activations are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self


class HookPointKind(StrEnum):
    """Places in a transformer layer; mirrors `mistudio.models.v2.HookPointKind`."""

    RESID_PRE = "RESID_PRE"
    RESID_MID = "RESID_MID"
    RESID_POST = "RESID_POST"
    ATTN_OUT = "ATTN_OUT"
    MLP_OUT = "MLP_OUT"


class HookSide(StrEnum):
    """Which side of a module is read; mirrors `mistudio.models.v2.HookSide`."""

    INPUT = "INPUT"
    OUTPUT = "OUTPUT"


@dataclass(frozen=True)
class HookPoint:
    """A place where activations are read.

    They are [batch, tokens, width]; some architectures (OPT, Llama 4) hand modules [batch × tokens, width] instead, and
    the reasons of `Architecture.extraction` say which.

    Attributes:
        kind: which place it is.
        module_path: path of the module.
        side: the module's first argument, or its result (or that one's first part).
        width: of the activations.
    """

    kind: HookPointKind
    module_path: str
    side: HookSide
    width: int


@dataclass(frozen=True)
class Layer:
    """A transformer layer.

    Attributes:
        index: number, from 0.
        module_path: path of its module.
        module_class: class of its module.
        parameters: in it.
        hook_points: places where activations are read, those that it has.
        experts: of its MLP; 0 where it has none.
    """

    index: int
    module_path: str
    module_class: str
    parameters: int
    hook_points: tuple[HookPoint, ...]
    experts: int


@dataclass(frozen=True)
class Suitability:
    """Whether a model can serve a purpose, and why not or what to know."""

    suitable: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Architecture:
    """A model's architecture; see `mistudio.models.v2.ModelArchitecture` for its fields."""

    architecture: str
    model_type: str
    hidden_size: int
    vocabulary_size: int
    parameters: int
    parallel_layers: bool
    tied_embeddings: bool
    embedding_path: str
    final_norm_path: str
    unembedding_path: str
    layers: tuple[Layer, ...]
    extraction: Suitability
    sae_training: Suitability

    def to_json(self) -> dict[str, Any]:
        """This architecture as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The architecture that `to_json` described."""
        typed = {
            "layers": tuple(_layer(layer) for layer in value["layers"]),
            "extraction": _suitability(value["extraction"]),
            "sae_training": _suitability(value["sae_training"]),
        }
        return cls(**{**value, **typed})


def _layer(value: Mapping[str, Any]) -> Layer:
    return Layer(**{**value, "hook_points": tuple(_hook_point(point) for point in value["hook_points"])})


def _hook_point(value: Mapping[str, Any]) -> HookPoint:
    return HookPoint(**{**value, "kind": HookPointKind(value["kind"]), "side": HookSide(value["side"])})


def _suitability(value: Mapping[str, Any]) -> Suitability:
    return Suitability(value["suitable"], tuple(value["reasons"]))
