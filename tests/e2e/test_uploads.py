"""Files sent through the gateway: large ones, cut ones, and cancelled ones."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import grpc
import psutil
import pytest

from mistudio.datasets.v1 import datasets_service_pb2
from mistudio_local.stack import Stack
from mistudio_servicekit.storage import Area
from tests.e2e.support import Product, until, until_gone

MIB = 2**20
LINE = json.dumps({"text": "A line of some length, " * 40}).encode() + b"\n"
CHUNK = LINE * (MIB // 2 // len(LINE))
LINES_A_CHUNK = CHUNK.count(b"\n")


class Memory:
    """The memory of processes of the stack, as it grows."""

    def __init__(self, stack: Stack, *names: str) -> None:
        self._processes = {name: psutil.Process(stack.process(name).pid) for name in names}
        self._first = self._resident()
        self.grown = dict.fromkeys(names, 0)

    def _resident(self) -> dict[str, int]:
        return {name: process.memory_info().rss for name, process in self._processes.items()}

    def watched(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same chunks; looks at the memory before each."""
        for chunk in chunks:
            for name, resident in self._resident().items():
                self.grown[name] = max(self.grown[name], resident - self._first[name])
            yield chunk


def chunks(megabytes: int) -> Iterator[bytes]:
    return (CHUNK for _ in range(2 * megabytes))


async def test_a_large_file_passes_gateway_and_service_in_little_memory(product: Product, stack: Stack) -> None:
    memory = Memory(stack, "gateway-1", "datasets")
    answer = await product.upload("large.jsonl", memory.watched(chunks(128)))
    assert answer.size_bytes == 256 * len(CHUNK)
    assert max(memory.grown.values()) < 64 * MIB, memory.grown
    await product.succeeded(answer.job.id)
    assert (await product.dataset(answer.dataset.id)).rows == 256 * LINES_A_CHUNK
    await product.delete_dataset(answer.dataset.id)


async def test_an_upload_is_cancelled_while_it_is_read(product: Product) -> None:
    answer = await product.upload("large.jsonl", chunks(64))
    await product.until(answer.job.id, lambda progress: progress.done > 0)
    await product.cancelled_soon(answer.job.id)
    await until_gone(product.folder(Area.DATASETS, answer.dataset.id))


async def test_a_cut_upload_leaves_no_row_and_no_file(product: Product) -> None:
    def stored() -> set[str]:
        return {path.name for path in (product.store.root / Area.DATASETS).glob("*")}

    async def total() -> int:
        return (await product.datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest())).total_size

    async def parts() -> AsyncIterator[datasets_service_pb2.UploadDatasetRequest]:
        header = datasets_service_pb2.UploadHeader(file_name="cut.jsonl")
        yield datasets_service_pb2.UploadDatasetRequest(header=header)
        for chunk in chunks(8):
            yield datasets_service_pb2.UploadDatasetRequest(chunk=chunk)
        await asyncio.Event().wait()

    before, rows = stored(), await total()
    call = product.datasets.UploadDataset(parts())
    await until(lambda: stored() - before)
    call.cancel()
    with pytest.raises((asyncio.CancelledError, grpc.RpcError)):
        await call
    await until(lambda: not stored() - before)
    assert await total() == rows
