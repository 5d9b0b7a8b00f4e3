"""Files sent while what takes them is killed: they arrive whole, and what had arrived is not sent again."""

import asyncio
import io
import random
from collections.abc import Callable
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio.jobs.v1 import job_pb2
from mistudio_client import Client
from mistudio_local.process import SupervisedProcess
from mistudio_local.stack import Stack
from mistudio_servicekit.storage import Area
from tests.e2e.support import Product, until

MIB = 2**20
SIZE = 160 * MIB


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file that no byte may be missing of."""
    noise = random.Random(11)  # test data, no key
    buffer = io.BytesIO()
    table = pa.table({"noise": [noise.randbytes(MIB) for _ in range(SIZE // MIB)]})
    pq.write_table(table, buffer, compression="none", use_dictionary=False)
    path = tmp_path_factory.mktemp("files") / "large.parquet"
    path.write_bytes(buffer.getvalue())
    return path


class Disturbance:
    """Kills a process each time so much more of a file has been sent."""

    def __init__(self, process: SupervisedProcess, times: int) -> None:
        self._process = process
        self._at = [SIZE * number // (times + 1) for number in range(1, times + 1)]
        self.told: list[int] = []

    def on_progress(self, sent: int, total: int) -> None:
        self.told.append(sent)
        if self._at and sent > self._at[0]:
            self._at.pop(0)
            self._process.kill()

    @property
    def is_over(self) -> bool:
        return not self._at


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "targets"),
    [("datasets", lambda stack: stack.gateway_targets), ("gateway-1", lambda stack: stack.gateway_target)],
)
async def test_an_upload_goes_on_after_a_kill_and_arrives_whole(
    stack: Stack,
    product: Product,
    superuser: psycopg.Connection,
    large_file: Path,
    name: str,
    targets: Callable[[Stack], str | list[str]],
) -> None:
    disturbance, process = Disturbance(stack.process(name), times=2), stack.process(name)
    async with Client(targets(stack)) as client:
        answer = await client.upload(large_file, request_id=f"cut-{name}", on_progress=disturbance.on_progress)
    assert disturbance.is_over
    assert disturbance.told == sorted(set(disturbance.told))
    assert disturbance.told[-1] == answer.size_bytes == large_file.stat().st_size
    pieces = superuser.execute(
        "SELECT segments FROM datasets.uploads WHERE complete AND request_id = %s", [f"cut-{name}"]
    ).fetchone()
    assert pieces is not None
    sizes = [size for _, size in pieces[0]]
    assert len(sizes) > 1, "it was sent anew from the beginning"
    assert sum(sizes) == answer.size_bytes

    await asyncio.to_thread(process.wait_ready)
    job = await product.ended(answer.job.id)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job
    (kept,) = product.folder(Area.DATASETS, answer.dataset.id).rglob("upload.parquet")
    assert kept.read_bytes() == large_file.read_bytes()
    await until(lambda: "0" not in product.epochs(Area.DATASETS, answer.dataset.id))
    await product.delete_dataset(answer.dataset.id)
