"""How a model is held in memory: between the domain and messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from mistudio.models.v2 import weights_pb2 as pb
from mistudio_models.domain.weights import ComputeDtype, LoadSettings, WeightFormat
from mistudio_servicekit.errors import InvalidArgument

_FORMATS = {format_: pb.WeightFormat.Value(f"WEIGHT_FORMAT_{format_.name}") for format_ in WeightFormat}
_DTYPES = {dtype: pb.ComputeDtype.Value(f"COMPUTE_DTYPE_{dtype.name}") for dtype in ComputeDtype}

_Choice = TypeVar("_Choice", WeightFormat, ComputeDtype)


def load_settings(field: str, message: pb.LoadSettings) -> LoadSettings:
    """The settings that a client gives in `field`; `service.load_settings` tells whether they go together.

    Raises:
        InvalidArgument: a number stands for no format or dtype.
    """
    return LoadSettings(
        _chosen(f"{field}.format", message.format, _FORMATS),
        message.double_quantization,
        _chosen(f"{field}.compute_dtype", message.compute_dtype, _DTYPES),
    )


def settings_message(settings: LoadSettings) -> pb.LoadSettings:
    """The settings as clients see them."""
    return pb.LoadSettings(
        format=_FORMATS[settings.format],
        double_quantization=settings.double_quantization,
        compute_dtype=_DTYPES[settings.compute_dtype],
    )


def _chosen(field: str, number: int, numbers: Mapping[_Choice, int]) -> _Choice:
    for choice, known in numbers.items():
        if known == number:
            return choice
    named = ", ".join(choice for choice in numbers if choice)
    raise InvalidArgument(f"{field} is {number}, which stands for nothing", next_step=f"Use {named}", field=field)
