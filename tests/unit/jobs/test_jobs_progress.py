"""Rate, time left and history of progress."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio_jobs.pipe import Report
from mistudio_jobs.progress import HistoryRule, ProgressMeter


def report(done: int, total: int = 100, stage: str = "counting", position: int = 1) -> Report:
    """A report in rows."""
    return Report(done, total, "rows", stage, {}, position)


def test_rate_and_time_left_follow_the_last_seconds() -> None:
    meter = ProgressMeter(window=5.0)
    assert meter.take(report(0), 0.0)["rate"] == 0.0
    for second in range(1, 11):
        slow = meter.take(report(second), float(second))
    assert slow["rate"] == pytest.approx(1.0) and slow["eta_seconds"] == pytest.approx(90.0)
    for second in range(11, 17):
        quick = meter.take(report(10 + 10 * (second - 10)), float(second))
    assert quick["rate"] == pytest.approx(10.0)


def test_time_left_is_unknown_without_a_total_or_a_rate() -> None:
    meter = ProgressMeter(window=5.0)
    assert "eta_seconds" not in meter.take(report(1), 0.0)
    assert "eta_seconds" not in meter.take(report(2, total=0), 1.0)


def test_a_new_stage_is_measured_afresh() -> None:
    meter = ProgressMeter(window=5.0)
    meter.take(report(50), 0.0)
    meter.take(report(100), 1.0)
    assert meter.take(report(1, stage="writing"), 2.0)["rate"] == 0.0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50))))
def test_the_fraction_never_decreases_nor_leaves_its_range(reports: list[tuple[int, int]]) -> None:
    meter = ProgressMeter(window=5.0)
    fractions = [meter.take(report(done, total), float(at))["fraction"] for at, (done, total) in enumerate(reports)]
    assert fractions == sorted(fractions)
    assert all(0.0 <= fraction <= 1.0 for fraction in fractions)


def kept(points: list[tuple[float, float]], total: int = 100) -> list[float]:
    """Times of those `points` (time, fraction) that the rule keeps."""
    rule, times = HistoryRule(), []
    for at, fraction in points:
        progress = {"fraction": fraction, "total": total}
        if rule.due(progress, at):
            rule.kept(progress, at)
            times.append(at)
    return times


def test_history_keeps_a_point_per_minute_of_a_quick_job() -> None:
    assert kept([(second, second / 180) for second in range(181)]) == [0, 60, 120, 180]


def test_history_keeps_a_point_per_five_percent_of_a_slow_job() -> None:
    hours = [(60.0 * minute, minute / 1000) for minute in range(1001)]
    assert len(kept(hours)) in (20, 21)


def test_history_keeps_a_point_per_minute_where_no_total_is_known() -> None:
    assert kept([(second, 0.0) for second in range(121)], total=0) == [0, 60, 120]
