"""Values of the protos' enums as they are written on a command line: `unicode-nfc`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from mistudio.datasets.v1 import tokenization_pb2, view_pb2
from mistudio.models.v2 import loading_pb2, weights_pb2

Value = TypeVar("Value", bound=int)


def _choices(values: Iterable[tuple[str, Value]], prefix: str) -> dict[str, Value]:
    """The values of an enum but the one that says nothing."""
    return {name.removeprefix(prefix).lower().replace("_", "-"): value for name, value in values if value}


CLEANING_STEPS = _choices(tokenization_pb2.CleaningStep.items(), "CLEANING_STEP_")
CONVERSATION_FORMATS = _choices(tokenization_pb2.ConversationFormat.items(), "CONVERSATION_FORMAT_")
VIEW_MODES = _choices(view_pb2.ViewMode.items(), "VIEW_MODE_")
SPECIAL_TOKEN_POLICIES = _choices(view_pb2.SpecialTokenPolicy.items(), "SPECIAL_TOKEN_POLICY_")

WEIGHT_FORMATS = _choices(weights_pb2.WeightFormat.items(), "WEIGHT_FORMAT_")
COMPUTE_DTYPES = _choices(weights_pb2.ComputeDtype.items(), "COMPUTE_DTYPE_")
DEVICE_PREFERENCES = _choices(loading_pb2.DevicePreference.items(), "DEVICE_PREFERENCE_")


def written(choices: Mapping[str, int], value: int) -> str:
    """How a value is written; its number where this version does not know it, empty where it says nothing."""
    return next((name for name, each in choices.items() if each == value), str(value) if value else "")
