"""How long the map of a model takes: its layers and hook points."""

from __future__ import annotations

import asyncio

from benchmarks.examined import answer_row
from benchmarks.model_shapes import LLAMA_8B, LLAMA_70B, MOE_30B
from benchmarks.report import Row, show
from mistudio_models.service.examiner import Examiner

LIMIT_SECONDS = 2.0
SHAPES = {
    "8B, 32 layers": LLAMA_8B,
    "70B, 80 layers": LLAMA_70B,
    "30B, 48 layers of 128 experts": MOE_30B,
}


def main() -> None:
    show("model-architectures", measure())


def measure() -> list[Row]:
    """Seconds of the map of every shape."""
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    async with Examiner("ERROR") as examiner:
        return [
            await answer_row(f"architecture, {name}", config, examiner.architecture, LIMIT_SECONDS)
            for name, config in SHAPES.items()
        ]


if __name__ == "__main__":
    main()
