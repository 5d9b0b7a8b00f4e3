"""A model without its weights: its configuration, and its tensors' names, dtypes and shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from mistudio_models.engine.headers import StoredTensor, stored_tensors
from mistudio_models.engine.prequantized import parameters_by_dtype, quantization
from mistudio_models.engine.source import ModelSource, read_json

_BITS = re.compile(r"\d+")
_BITS_OF_BOOL = 8


@dataclass(frozen=True)
class Outline:
    """What can be known of a model from a few kilobytes of its files.

    Attributes:
        config: its `config.json`; empty where it has none.
        tensors: every stored tensor by its name; empty where there are no safetensors.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    def to_json(self) -> dict[str, Any]:
        """This outline as JSON-ready values."""
        return {"config": dict(self.config), "tensors": dict(self.tensors)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The outline that `to_json` described."""
        tensors = {name: StoredTensor(dtype, tuple(shape)) for name, (dtype, shape) in value["tensors"].items()}
        return cls(value["config"], tensors)

    @property
    def parameters_by_dtype(self) -> Mapping[str, int]:
        """Parameters by the dtype that they are stored in, in the notation of safetensors (`BF16`)."""
        return parameters_by_dtype(self.tensors, self.config)

    @property
    def quantization(self) -> str:
        """How the files' own weights are quantized, for example `gptq`; empty where they are not."""
        return quantization(self.config)

    @property
    def model_type(self) -> str:
        """Model type of the configuration, for example `llama`; empty where it says none."""
        said = self.config.get("model_type")
        return said if isinstance(said, str) else ""

    @property
    def architecture(self) -> str:
        """Class that the weights were saved from, for example `LlamaForCausalLM`; empty where it is not said."""
        match self.config.get("architectures"):
            case [str(name), *_]:
                return name
        return ""


def read_outline(source: ModelSource) -> Outline:
    """The outline of the model in `source`; no weights are read.

    Raises:
        MalformedFile: its configuration or weight headers do not parse.
    """
    return Outline(read_json(source, "config.json"), stored_tensors(source))


def value_bits(dtype: str) -> int:
    """Bits that a value takes in a dtype, in the notation of safetensors: 16 in `BF16`, 8 in `F8_E4M3`."""
    said = _BITS.search(dtype)
    return int(said.group()) if said else _BITS_OF_BOOL


def stored_bytes(tensor: StoredTensor) -> int:
    """Bytes of a tensor as its file holds it."""
    return math.ceil(tensor.size * value_bits(tensor.dtype) / 8)
