"""What is predicted of models' memory against what they take and `accelerate estimate-memory`, and how soon."""

from __future__ import annotations

import asyncio

from benchmarks.examined import answer_row
from benchmarks.model_shapes import LLAMA_8B, LLAMA_70B, SETTINGS
from benchmarks.own_process import in_own_process
from benchmarks.report import Row, show
from mistudio_models.service.examiner import Examiner, Needs, Subject, Workload
from tests.model_families import FAMILIES

MOST_PERCENT, LIMIT_SECONDS = 2.0, 1.0
PEER = "accelerate estimate-memory"
SHAPES = {"8B": LLAMA_8B, "70B": LLAMA_70B}


def main() -> None:
    show("model-estimates", measure())


def measure() -> list[Row]:
    """Errors of predictions, and seconds that they take."""
    return [
        _error_row(f"weights, worst of {len(FAMILIES)} families × {len(SETTINGS)} formats", "families"),
        _error_row("weights, 8B in NF4, against one layer loaded, × 32", "8b"),
        *asyncio.run(_timed()),
    ]


def _error_row(work: str, models: str) -> Row:
    ours, peer = in_own_process("benchmarks.model_weights", models)
    return Row(f"{work}, error", ours, "%", PEER, peer, "≤ 2 %", abs(ours) <= MOST_PERCENT)


async def _timed() -> list[Row]:
    async with Examiner("ERROR") as examiner:

        async def estimate(subject: Subject) -> Needs:
            return await examiner.needs(subject, SETTINGS, [Workload(1, 2048)], ["cuda"])

        return [
            await answer_row(f"estimate, {name} in {len(SETTINGS)} formats", config, estimate, LIMIT_SECONDS)
            for name, config in SHAPES.items()
        ]


if __name__ == "__main__":
    main()
