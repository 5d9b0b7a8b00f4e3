"""Which ways of holding a model there are: checked alike wherever a request names one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from mistudio_models.domain.weights import LoadSettings
from mistudio_servicekit.errors import InvalidArgument


class Files(Protocol):
    """What counts of a model's files, wherever it is known."""

    @property
    def parameters_by_dtype(self) -> Mapping[str, int]:
        """Parameters by the dtype that they are stored in."""

    @property
    def quantization(self) -> str:
        """How the weights are quantized, such as `gptq`; empty where they are not."""


def check_settings(field: str, settings: LoadSettings) -> LoadSettings:
    """`settings`, whose parts must go together; a compute dtype without a format counts where that is quantized.

    Args:
        field: the request's field with the settings, for example `default_settings`.
        settings: as they were asked for.

    Raises:
        InvalidArgument: double quantization without a 4-bit format, or plain weights that compute in another format.
    """
    if settings.double_quantization and not settings.format.is_four_bit:
        raise InvalidArgument(
            f"{field} asks for double quantization, which {settings.format or 'the format of the files'} does not have",
            next_step="Set format to FP4 or NF4, or leave double_quantization out",
            field=f"{field}.double_quantization",
        )
    plain = settings.format and not settings.format.is_quantized
    if plain and settings.compute_dtype and settings.compute_dtype.value != settings.format.value:
        raise InvalidArgument(
            f"{field} asks for {settings.format} computing in {settings.compute_dtype}, which plain weights do not",
            next_step=f"Set format to {settings.compute_dtype}, or leave compute_dtype out",
            field=f"{field}.compute_dtype",
        )
    return settings


def check_for_files(field: str, settings: LoadSettings, quantization: str) -> LoadSettings:
    """`settings`, which must be right (see `check_settings`) for a model whose files are quantized so, if they are.

    Args:
        field: see `check_settings`.
        settings: as they were asked for.
        quantization: of the files, such as `gptq`; empty where they are not quantized.

    Raises:
        InvalidArgument: as `check_settings`, or they quantize what is quantized already.
    """
    check_settings(field, settings)
    if quantization and settings.format.is_quantized:
        raise InvalidArgument(
            f"{field} asks for {settings}, but the model's files are quantized already, as {quantization}",
            next_step="Leave format out: the weights are held as their files have them",
            field=f"{field}.format",
        )
    return settings


def settle(field: str, asked: LoadSettings, default: LoadSettings, files: Files) -> LoadSettings:
    """`asked` with every default filled in: those of the model, then those of its files.

    Weights that are quantized in their files already stay so: only the rest of the model has a format then, and a
    default that quantizes, which an earlier release may have taken, counts for nothing.

    Raises:
        InvalidArgument: its parts do not go together (see `check_settings`), or it quantizes what is quantized already.
    """
    check_for_files(field, asked, files.quantization)
    if files.quantization:
        plain = LoadSettings() if default.format.is_quantized else default
        return asked.or_else(plain).settled({})
    return asked.or_else(default).settled(files.parameters_by_dtype)
