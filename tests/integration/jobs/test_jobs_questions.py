"""A process that answers a service's questions: renewed when it had to be killed, with errors worded for a request."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mistudio_jobs.questions import QuestionProcess, QuestionSettings, Wording
from mistudio_servicekit.errors import MistudioError, OutOfMemory, ResourceInUse, TimedOut, Unavailable

SETTINGS = QuestionSettings(
    module="mistudio_jobs.testing_handlers",
    wording=Wording("counting process", "Counting", "beans", when_slow="Count fewer", when_large="Count smaller ones"),
    process="test-counting",
    log_level="WARNING",
)
IN_USE = ResourceInUse("The beans are being cooked", next_step="Wait").to_record()


@pytest.fixture
async def process() -> AsyncIterator[QuestionProcess]:
    """With production's limits."""
    async with QuestionProcess(SETTINGS) as process:
        yield process


async def ask(process: QuestionProcess, *steps: Sequence[Any], secrets: Mapping[str, str] | None = None) -> Any:
    """What the steps noted."""
    return await process.ask("scripted", {"steps": steps}, secrets)


async def test_one_child_answers_all_questions_and_opens_their_secrets(process: QuestionProcess) -> None:
    answers = await asyncio.gather(*(ask(process) for _ in range(10)))
    assert len({answer["pid"] for answer in answers}) == 1
    assert (await ask(process, ["use_secret", "hub_token"], secrets={"hub_token": "12345"}))["secret_length"] == 5


async def test_a_question_that_takes_too_long_is_given_up_and_the_next_is_answered() -> None:
    async with QuestionProcess(replace(SETTINGS, seconds=2.0)) as process:
        with pytest.raises(TimedOut, match=r"Counting took longer than 2 seconds\. Count fewer"):
            await ask(process, ["wait_deaf", "/never"])
        assert (await ask(process))["attempt"] == 1


async def test_a_question_that_needs_too_much_memory_is_stopped_and_the_next_is_answered() -> None:
    async with QuestionProcess(replace(SETTINGS, memory_bytes=300 << 20)) as process:
        with pytest.raises(OutOfMemory, match=r"The beans need more .* the counting process has \(300 MiB\)\. Count s"):
            await ask(process, ["allocate", 600 << 20])
        assert (await ask(process))["attempt"] == 1


async def test_a_process_that_ends_in_the_middle_is_told_and_replaced(process: QuestionProcess) -> None:
    with pytest.raises(Unavailable, match=r"The counting process ended in the middle\. Repeat the call"):
        await ask(process, ["die", int(signal.SIGKILL)])
    assert (await ask(process))["attempt"] == 1


async def test_typed_errors_come_as_they_are_and_faults_with_an_incident(process: QuestionProcess) -> None:
    with pytest.raises(MistudioError) as typed:
        await ask(process, ["fail", IN_USE])
    assert typed.value.to_record() == IN_USE
    with pytest.raises(MistudioError, match="stopped the counting process") as fault:
        await ask(process, ["fault", "secret detail"])
    assert fault.value.metadata["incident"] in fault.value.message and "secret" not in fault.value.message


async def test_a_process_that_does_not_start_is_unavailable() -> None:
    async with QuestionProcess(replace(SETTINGS, module="mistudio_jobs.no_such_module")) as process:
        with pytest.raises(Unavailable, match="The counting process does not start"):
            await ask(process)
