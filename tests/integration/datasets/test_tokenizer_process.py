"""The process that tokenizes for the service."""

import asyncio
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from tokenizers import Tokenizer

from mistudio_datasets.data.incoming.layout_file import write_layout
from mistudio_datasets.data.incoming.schema import columns_of
from mistudio_datasets.domain.conversations import ChatSettings, ConversationFormat
from mistudio_datasets.domain.datasets import DataFormat, Layout, SplitInfo
from mistudio_datasets.domain.previews import PreviewInput
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from mistudio_datasets.service.tokenizer_process import TokenizerProcess
from mistudio_servicekit.errors import MistudioError, OutOfMemory, TimedOut, Unavailable
from tests.chat_models import ENDLESS, HEADERS, chat_tokenizer, write_chat_model

from .service_client import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = TokenizationSettings("train", "", ChatSettings(ConversationFormat.OPENAI, "messages"))


@pytest.fixture(scope="module")
def own(texts: list[str]) -> Tokenizer:
    return chat_tokenizer(texts[:300])


@pytest.fixture
def model(tmp_path: Path, own: Tokenizer) -> Path:
    return write_chat_model(tmp_path / "model" / "1", own)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process() -> AsyncIterator[TokenizerProcess]:
    """One for most tests: it takes seconds to start."""
    async with TokenizerProcess("WARNING") as started:
        yield started


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children() if "mistudio_jobs.child" in " ".join(child.cmdline())}


def dataset(folder: Path, messages: int = 1) -> Path:
    """The epoch folder of a dataset with one conversation."""
    table = pa.table({"messages": [[{"role": "user", "content": "hello"}] * messages]})
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "train.parquet")
    split = SplitInfo("train", 1, 1, ("train.parquet",), (1,))
    write_layout(folder, Layout("", DataFormat.PARQUET, (split,), columns_of(table.schema)))
    return folder


def wanted(dataset_folder: Path, model: Path) -> PreviewInput:
    return PreviewInput(dataset_folder, model, CHAT, offset=0, rows=1, max_tokens=10)


async def test_nothing_runs_before_the_first_request_and_after_the_end(model: Path, own: Tokenizer) -> None:
    before = children()
    async with TokenizerProcess("WARNING") as process:
        assert children() == before
        assert await process.encode(model, "hello list") == own.encode("hello list", add_special_tokens=False).ids
        (child,) = children() - before
    await eventually(lambda: not psutil.pid_exists(child))


async def test_a_tokenizer_is_loaded_once_and_later_answers_are_quick(
    tmp_path: Path, process: TokenizerProcess, own: Tokenizer
) -> None:
    model = write_chat_model(tmp_path / "model" / "1", own, HEADERS)
    asked = wanted(dataset(tmp_path / "dataset" / "1"), model)
    first = await process.preview(asked)
    loaded_in = children()
    took = []
    for number in range(20):
        started = time.perf_counter()
        assert await process.preview(asked) == first
        await process.encode(model, f"text {number}")
        took.append(time.perf_counter() - started)
    assert statistics.median(took) < 2, "a start and a load take several times that"
    assert children() == loaded_in


async def test_requests_at_once_get_their_own_answers(process: TokenizerProcess, model: Path, own: Tokenizer) -> None:
    asked = [f"text number {number}" for number in range(30)]
    answers = await asyncio.gather(*(process.encode(model, text) for text in asked))
    assert answers == [own.encode(text, add_special_tokens=False).ids for text in asked]


async def test_a_killed_process_is_replaced(process: TokenizerProcess, model: Path) -> None:
    await process.encode(model, "a")
    (child,) = children()
    os.kill(child, signal.SIGKILL)
    try:
        await process.encode(model, "a")
    except Unavailable as error:  # noticed in the middle of the request
        assert "Repeat the call" in error.message
    assert await process.encode(model, "a")
    assert children() != {child}


async def test_a_template_without_an_end_is_given_up_and_the_next_request_is_answered(
    tmp_path: Path, model: Path, own: Tokenizer
) -> None:
    endless = write_chat_model(tmp_path / "endless" / "1", own, ENDLESS)
    async with TokenizerProcess("WARNING", seconds=5) as process:
        with pytest.raises(TimedOut, match="longer than 5 seconds"):
            await process.preview(wanted(dataset(tmp_path / "dataset" / "1"), endless))
        assert await process.encode(model, "a")


async def test_a_caller_that_gives_up_leaves_no_answer_to_the_next(
    tmp_path: Path, process: TokenizerProcess, model: Path, own: Tokenizer
) -> None:
    endless = write_chat_model(tmp_path / "endless" / "1", own, ENDLESS)
    await process.encode(model, "warm")
    asked = asyncio.create_task(process.preview(wanted(dataset(tmp_path / "dataset" / "1"), endless)))
    (child,) = children()
    busy = psutil.Process(child)
    idle = busy.cpu_times().user
    await eventually(lambda: busy.cpu_times().user > idle + 0.2)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await process.encode(model, "a b") == own.encode("a b", add_special_tokens=False).ids


async def test_a_template_that_eats_memory_is_stopped(tmp_path: Path, own: Tokenizer) -> None:
    greedy = "{% set n = namespace(t='x' * 1000000) %}{% for i in range(99) %}{% set n.t = n.t ~ n.t %}{% endfor %}"
    model = write_chat_model(tmp_path / "greedy" / "1", own, greedy)
    async with TokenizerProcess("WARNING", memory_bytes=1 << 30) as process:
        with pytest.raises(OutOfMemory, match="1,024 MiB"):
            await process.preview(wanted(dataset(tmp_path / "dataset" / "1"), model))


async def test_what_is_gone_or_broken_is_told_as_it_is(tmp_path: Path, process: TokenizerProcess, model: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "tokenizer.json").write_text("{}")
    data = dataset(tmp_path / "dataset" / "1")
    for call, reason in (
        (process.encode(tmp_path / "0197-gone" / "1", "a"), "MODEL_NOT_FOUND"),
        (process.encode(broken, "a"), "TOKENIZER_INVALID"),
        (process.preview(wanted(tmp_path / "gone" / "1", model)), "CHAT_TEMPLATE_MISSING"),
        (process.preview(wanted(data, model)), "CHAT_TEMPLATE_MISSING"),
    ):
        with pytest.raises(MistudioError) as caught:
            await call
        assert caught.value.reason == reason


async def test_an_unexpected_fault_is_told_with_its_incident_and_no_word_of_jobs(
    tmp_path: Path, process: TokenizerProcess, model: Path
) -> None:
    data = dataset(tmp_path / "dataset" / "1")
    (data / "layout.json").write_text("{}")
    text = TokenizationSettings("train", "messages")
    with pytest.raises(MistudioError) as caught:
        await process.preview(PreviewInput(data, model, text, 0, 1, 10))
    assert caught.value.reason == "INTERNAL"
    assert caught.value.metadata["incident"] in caught.value.message
    assert "job" not in caught.value.message


_SERVICE = """
import asyncio, sys
from pathlib import Path
from mistudio_datasets.service.tokenizer_process import TokenizerProcess

async def main():
    async with TokenizerProcess("WARNING") as process:
        await process.encode(Path(sys.argv[1]), "a")
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_it_dies_with_a_service_that_is_killed(model: Path) -> None:
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SERVICE, str(model), stdout=asyncio.subprocess.PIPE
    )
    assert service.stdout is not None
    assert await service.stdout.readline() == b"ready\n"
    (child,) = psutil.Process(service.pid).children()
    service.kill()
    await service.wait()
    await eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_the_service_itself_imports_no_transformers() -> None:
    code = "import json, sys, mistudio_datasets.server; print(json.dumps(sorted(sys.modules)))"
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    modules = json.loads((await service.communicate())[0])
    assert "mistudio_datasets.service.tokenizer_process" in modules
    assert not {"transformers", "torch"} & set(modules)
