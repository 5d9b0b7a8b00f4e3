"""Ways to have a model that take less memory, those first that cost least quality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mistudio_models.domain.weights import ComputeDtype, LoadSettings, WeightFormat
from mistudio_models.service.examiner import Workload

_SHORTEST_SEQUENCE = 64

_QUALITY = {
    WeightFormat.FP32: 0,
    WeightFormat.FP16: 1,
    WeightFormat.BF16: 1,
    WeightFormat.INT8: 2,
    WeightFormat.FP4: 3,
    WeightFormat.NF4: 3,
}
_DOUBLE = 1
"""How much less it is with double quantization."""

SMALLER_FORMATS = (
    LoadSettings(WeightFormat.BF16, compute_dtype=ComputeDtype.BF16),
    LoadSettings(WeightFormat.INT8, compute_dtype=ComputeDtype.BF16),
    LoadSettings(WeightFormat.NF4, compute_dtype=ComputeDtype.BF16),
    LoadSettings(WeightFormat.NF4, double_quantization=True, compute_dtype=ComputeDtype.BF16),
)
"""Formats that make a model smaller, best quality first; of those with equal size the better one."""


def smaller_formats(settings: LoadSettings) -> Sequence[LoadSettings]:
    """The formats below that of `settings`, best quality first."""
    return [each for each in SMALLER_FORMATS if _rank(each) > _rank(settings)]


def smaller_workloads(workload: Workload) -> Sequence[Workload]:
    """What else could run at once: ever smaller batches, then ever shorter sequences one by one."""
    return list(_smaller_workloads(workload))


def format_change(settings: LoadSettings) -> str:
    """What to do for another format, as the beginning of a sentence."""
    return f"Load it in {replace(settings, compute_dtype=ComputeDtype.UNSPECIFIED)}"


def workload_change(workload: Workload, instead_of: Workload) -> str:
    """What to do for a smaller workload, as the beginning of a sentence."""
    if workload.sequence_length == instead_of.sequence_length:
        return f"Run batches of {workload.batch_size:,} instead of {instead_of.batch_size:,}"
    shorter = f"sequences of at most {workload.sequence_length:,} tokens"
    one_by_one = ", one at a time" if instead_of.batch_size > 1 else ""
    return f"Run {shorter}{one_by_one}"


def _rank(settings: LoadSettings) -> int:
    return _QUALITY[settings.format] + (_DOUBLE if settings.double_quantization else 0)


def _smaller_workloads(workload: Workload) -> Iterator[Workload]:
    while workload.batch_size > 1:
        workload = replace(workload, batch_size=workload.batch_size // 2)
        yield workload
    while workload.sequence_length >= 2 * _SHORTEST_SEQUENCE:
        workload = replace(workload, sequence_length=workload.sequence_length // 2)
        yield workload
