"""How long answers about published models take in the child process of the models service, once that is warm."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter

from benchmarks.model_shapes import Config, outline_of
from benchmarks.report import Row, median
from mistudio_models.service.examiner import Subject
from mistudio_servicekit.database import new_id

ROUNDS = 5


async def answer_row(work: str, config: Config, ask: Callable[[Subject], Awaitable[object]], limit: float) -> Row:
    """Seconds of the median answer to `ask` about the model with this configuration."""
    where = {"outline": outline_of(config).to_json()}
    seconds = []
    for _ in range(ROUNDS + 1):
        subject = Subject((str(new_id()),), where)  # another one each time: answers are remembered
        begun = perf_counter()
        await ask(subject)
        seconds.append(perf_counter() - begun)
    warm = seconds[1:]
    middle, spread = median(warm), max(warm) - min(warm)
    return Row(f"{work}, warm", middle, "s", "limit", limit, f"≤ {limit:g} s", middle <= limit, spread)
