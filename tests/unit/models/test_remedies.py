"""Ways to have a model that take less memory."""

from __future__ import annotations

from mistudio_models.domain.weights import EVERY_FORMAT, ComputeDtype, LoadSettings, WeightFormat
from mistudio_models.service.examiner import Workload
from mistudio_models.service.remedies import format_change, smaller_formats, smaller_workloads, workload_change


def _told(format_: WeightFormat, *, double: bool = False) -> list[str]:
    return [format_change(each) for each in smaller_formats(LoadSettings(format_, double))]


def test_formats_are_offered_by_quality_and_never_one_that_is_no_smaller():
    four_bit = ["Load it in NF4", "Load it in NF4 with double quantization"]
    assert _told(WeightFormat.FP32) == ["Load it in BF16", "Load it in INT8", *four_bit]
    assert _told(WeightFormat.FP16) == _told(WeightFormat.BF16) == ["Load it in INT8", *four_bit]
    assert _told(WeightFormat.INT8) == four_bit
    assert _told(WeightFormat.FP4) == _told(WeightFormat.NF4) == four_bit[1:]
    assert _told(WeightFormat.NF4, double=True) == []


def test_every_format_has_its_place():
    assert all(len(smaller_formats(each.settled({}))) < len(EVERY_FORMAT) for each in EVERY_FORMAT)


def test_what_it_computes_in_is_no_part_of_a_change():
    settings = LoadSettings(WeightFormat.NF4, compute_dtype=ComputeDtype.FP32)
    assert format_change(settings) == "Load it in NF4"


def test_batches_shrink_before_sequences():
    offered = smaller_workloads(Workload(4, 256))
    assert offered == [Workload(2, 256), Workload(1, 256), Workload(1, 128), Workload(1, 64)]
    assert smaller_workloads(Workload(1, 64)) == []


def test_a_smaller_workload_is_told_in_words():
    whole = Workload(4, 2048)
    assert workload_change(Workload(2, 2048), whole) == "Run batches of 2 instead of 4"
    assert workload_change(Workload(1, 1024), whole) == "Run sequences of at most 1,024 tokens, one at a time"
    assert workload_change(Workload(1, 1024), Workload(1, 2048)) == "Run sequences of at most 1,024 tokens"
