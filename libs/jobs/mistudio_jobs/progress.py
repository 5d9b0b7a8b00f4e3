"""From a handler's reports to what watchers see: fraction, rate and time left, and which points become history."""

from __future__ import annotations

from collections import deque
from typing import Any

from mistudio_jobs.pipe import Report

KEEP_STEP = 0.05
KEEP_SECONDS = 60.0


class ProgressMeter:
    """Measures one attempt's rate over a sliding window.

    Args:
        window: span of the window in seconds.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._samples: deque[tuple[float, int]] = deque()
        self._counted = ("", "")
        self._fraction = 0.0

    def take(self, report: Report, now: float) -> dict[str, Any]:
        """`report`, made at `now` (seconds), as the fields of `pb.Progress`; its fraction never decreases."""
        rate = self._rate(report, now)
        self._fraction = max(self._fraction, min(1.0, report.done / report.total if report.total > 0 else 0.0))
        progress: dict[str, Any] = {
            "done": report.done,
            "total": report.total,
            "unit": report.unit,
            "stage": report.stage,
            "fraction": self._fraction,
            "rate": rate,
            "metrics": report.metrics,
            "position": report.position,
        }
        if rate > 0 and report.total > 0:
            progress["eta_seconds"] = max(0, report.total - report.done) / rate
        return progress

    def _rate(self, report: Report, now: float) -> float:
        if (report.unit, report.stage) != self._counted:
            self._counted = (report.unit, report.stage)
            self._samples.clear()
        self._samples.append((now, report.done))
        while len(self._samples) > 2 and now - self._samples[0][0] > self._window:
            self._samples.popleft()
        began, done = self._samples[0]
        return max(0.0, (report.done - done) / (now - began)) if now > began else 0.0


class HistoryRule:
    """Which points of an attempt's progress are kept: the first, then one per 5 % or per minute, whichever is rarer."""

    def __init__(self) -> None:
        self._kept: tuple[float, float] | None = None

    def due(self, progress: dict[str, Any], now: float) -> bool:
        """Whether to keep `progress`, seen at `now` (seconds). Where no total is known, the minute alone decides."""
        if self._kept is None:
            return True
        fraction, at = self._kept
        moved = progress["total"] <= 0 or progress["fraction"] - fraction >= KEEP_STEP
        return moved and now - at >= KEEP_SECONDS

    def kept(self, progress: dict[str, Any], now: float) -> None:
        """Note that `progress` has been kept."""
        self._kept = (progress["fraction"], now)
