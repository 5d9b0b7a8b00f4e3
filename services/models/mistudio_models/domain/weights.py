"""How a model's weights are held in memory, and how much memory that takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self


class WeightFormat(StrEnum):
    """How a model's weights are held; mirrors `mistudio.models.v2.WeightFormat`. Empty: not said."""

    UNSPECIFIED = ""
    FP32 = "FP32"
    FP16 = "FP16"
    BF16 = "BF16"
    INT8 = "INT8"
    FP4 = "FP4"
    NF4 = "NF4"

    @property
    def is_quantized(self) -> bool:
        """Whether linear layers hold integers or 4-bit codes instead of floats."""
        return self in (WeightFormat.INT8, WeightFormat.FP4, WeightFormat.NF4)

    @property
    def is_four_bit(self) -> bool:
        """Whether linear layers hold 4 bits a parameter."""
        return self in (WeightFormat.FP4, WeightFormat.NF4)


class ComputeDtype(StrEnum):
    """What a model computes in; mirrors `mistudio.models.v2.ComputeDtype`. Empty: not said."""

    UNSPECIFIED = ""
    FP32 = "FP32"
    FP16 = "FP16"
    BF16 = "BF16"


_OF_SAFETENSORS = {"F32": WeightFormat.FP32, "F16": WeightFormat.FP16, "BF16": WeightFormat.BF16}


@dataclass(frozen=True)
class LoadSettings:
    """How a model is held and computed with.

    Attributes:
        format: how its weights are held.
        double_quantization: whether the constants of a 4-bit quantization are quantized as well.
        compute_dtype: what it computes in, and what modules are held in that stay unquantized.
    """

    format: WeightFormat = WeightFormat.UNSPECIFIED
    double_quantization: bool = False
    compute_dtype: ComputeDtype = ComputeDtype.UNSPECIFIED

    def or_else(self, default: LoadSettings) -> LoadSettings:
        """These settings; those of `default` if no format is said here."""
        return self if self.format else replace(default, compute_dtype=self.compute_dtype or default.compute_dtype)

    def settled(self, parameters_by_dtype: Mapping[str, int]) -> LoadSettings:
        """These settings with every default filled in: the format of most of the model's parameters as its files have
        them, BF16 where that is none of ours; plain weights compute in their own format, quantized ones in BF16.
        """
        format_ = self.format or _main_format(parameters_by_dtype)
        compute = self.compute_dtype or ComputeDtype.BF16 if format_.is_quantized else ComputeDtype(format_.value)
        return LoadSettings(format_, self.double_quantization and format_.is_four_bit, compute)

    def to_json(self) -> dict[str, Any]:
        """These settings as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The settings that `to_json` described."""
        return cls(
            WeightFormat(value.get("format", "")),
            bool(value.get("double_quantization", False)),
            ComputeDtype(value.get("compute_dtype", "")),
        )

    def __str__(self) -> str:
        double = " with double quantization" if self.double_quantization else ""
        computing = f" computing in {self.compute_dtype}" if self.format.is_quantized and self.compute_dtype else ""
        return f"{self.format or 'the format of its files'}{double}{computing}"


def _main_format(parameters_by_dtype: Mapping[str, int]) -> WeightFormat:
    if not parameters_by_dtype:
        return WeightFormat.BF16
    most = max(parameters_by_dtype, key=lambda dtype: parameters_by_dtype[dtype])
    return _OF_SAFETENSORS.get(most, WeightFormat.BF16)


EVERY_FORMAT = tuple(
    LoadSettings(format_, double)
    for format_ in (
        WeightFormat.FP32, WeightFormat.FP16, WeightFormat.BF16, WeightFormat.INT8, WeightFormat.NF4, WeightFormat.FP4,
    )
    for double in ((False, True) if format_.is_four_bit else (False,))
)  # fmt: skip
"""Every format, best quality first; the 4-bit ones with and without double quantization."""


@dataclass(frozen=True)
class UnquantizedModules:
    """Modules that a quantization leaves as they are, for one reason.

    Attributes:
        path: of the modules, with `*` in place of the layer's number.
        modules: how many.
        parameters: of them all.
        bytes: that they take.
        reason: why they stay.
    """

    path: str
    modules: int
    parameters: int
    bytes: int
    reason: str


BY_MODULES = "modules"
BY_HEADERS = "headers"
"""How a need was computed, see `Need.basis`."""


@dataclass(frozen=True)
class Need:
    """The memory that a model needs under one setting; all sizes in bytes.

    Attributes:
        settings: with every default filled in.
        weights_bytes: of the loaded weights and buffers.
        load_peak_bytes: highest while it is loaded.
        key_value_bytes: of keys and values of one batch.
        activation_bytes: of activations and logits of one batch, at their highest.
        quantized_parameters: how many are quantized.
        unquantized: modules that stay as they are.
        basis: `BY_MODULES`, or `BY_HEADERS` where no installed code knows the architecture.
    """

    settings: LoadSettings
    weights_bytes: int
    load_peak_bytes: int
    key_value_bytes: int
    activation_bytes: int
    quantized_parameters: int
    unquantized: tuple[UnquantizedModules, ...]
    basis: str

    @property
    def is_of_known_code(self) -> bool:
        """Whether installed code knows the architecture."""
        return self.basis == BY_MODULES

    @property
    def run_peak_bytes(self) -> int:
        """Highest while it runs one batch."""
        return self.weights_bytes + self.key_value_bytes + self.activation_bytes

    @property
    def peak_bytes(self) -> int:
        """Highest, be it while it is loaded or while it runs."""
        return max(self.load_peak_bytes, self.run_peak_bytes)

    def to_json(self) -> dict[str, Any]:
        """This need as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The need that `to_json` described."""
        unquantized = tuple(UnquantizedModules(**modules) for modules in value["unquantized"])
        settings = LoadSettings.from_json(value["settings"])
        return cls(**{**value, "settings": settings, "unquantized": unquantized})
