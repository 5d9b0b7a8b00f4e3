"""The whole product as separate processes, with a Hub mirror that tests can disturb."""

from __future__ import annotations

import io
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio_local.config import StackOptions, StackPorts
from mistudio_local.hub_mirror import Faults, HubMirror
from mistudio_local.hub_mirror.background import mirror_in_background
from mistudio_local.hub_mirror.shelf import MODEL_ID, fill
from mistudio_local.stack import Stack
from mistudio_servicekit.storage import Store
from tests.e2e.research import write_research
from tests.e2e.support import (
    BIG_DATASET,
    GATED_DATASET,
    GATED_TOKEN,
    SLOW_DATASET,
    SLOW_MODEL,
    TOKENLESS_MODEL,
    Product,
)


@pytest.fixture(scope="session")
def hub_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mirror's folder: the shelf, a big dataset, an incompressible one, a gated one, models without tokenizer.

    Beside them what a researcher uses.
    """
    root = tmp_path_factory.mktemp("hub")
    fill(root)
    table = pq.read_table(next((root / "datasets").rglob("train.parquet")))
    topics = [str(text) for text in table["text"].to_pylist()]
    # Without spaces no word comes twice, so that no engine is quick with it.
    spaceless = ["-".join(text.split()) for text in topics]
    _write_dataset(root, BIG_DATASET, [f"{number}-{text}" for number in range(24) for text in spaceless])
    _write_dataset(root, SLOW_DATASET, [text.encode().hex() for text in topics[:300]], padding_bytes=48 * 2**20)
    _write_dataset(root, GATED_DATASET, topics[:50])
    (root / "datasets" / GATED_DATASET / ".mirror.json").write_text(json.dumps({"gated": "auto", "readers": ["ada"]}))
    (root / "users.json").write_text(json.dumps({GATED_TOKEN: "ada"}))
    for model in (SLOW_MODEL, TOKENLESS_MODEL):
        _write_model_without_tokenizer(root, model)
    write_research(root)
    return root


def _write_dataset(root: Path, repo_id: str, texts: list[str], padding_bytes: int = 0) -> None:
    folder = root / "datasets" / repo_id
    folder.mkdir(parents=True)
    table = pa.table({"text": texts})
    if padding_bytes:
        step = padding_bytes // len(texts)
        noise = _noise(padding_bytes)
        table = table.append_column("noise", pa.array([noise[n * step : (n + 1) * step] for n in range(len(texts))]))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=5_000, compression="zstd")
    (folder / "train.parquet").write_bytes(buffer.getvalue())


def _noise(length: int) -> bytes:
    """Bytes that no compression makes smaller, the same each time."""
    return random.Random(7).randbytes(length)  # test data, not a key


def _write_model_without_tokenizer(root: Path, repo_id: str) -> None:
    source, target = root / "models" / MODEL_ID, root / "models" / repo_id
    target.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (target / name).hardlink_to(source / name)


@pytest.fixture(scope="session")
def mirror(hub_root: Path) -> Iterator[HubMirror]:
    """The mirror, served by a thread of its own so that it outlives each test's event loop."""
    with mirror_in_background(hub_root) as mirror:
        yield mirror


@pytest.fixture
def faults(mirror: HubMirror) -> Iterator[Faults]:
    """The mirror's disturbances and records, clean before and after the test."""
    mirror.faults.clear()
    mirror.faults.requests.clear()
    yield mirror.faults
    mirror.faults.clear()


@pytest.fixture(scope="session")
def stack(mirror: HubMirror, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything that `make up` starts, with two datasets workers and two gateways, on free ports."""
    options = StackOptions(
        data_dir=tmp_path_factory.mktemp("stack"),
        ports=StackPorts.free(),
        datasets_workers=2,
        gateways=2,
        variables={"MISTUDIO_HUB_ENDPOINT": mirror.url},
    )
    with Stack(options) as stack:
        yield stack


@pytest.fixture
async def product(stack: Stack, faults: Faults) -> AsyncIterator[Product]:
    """Generated clients of the first gateway."""
    async with grpc.aio.insecure_channel(stack.gateway_target) as channel:
        yield Product(channel, Store(stack.folder.store))


@pytest.fixture
def superuser(stack: Stack) -> Iterator[psycopg.Connection]:
    """A connection that sees every table."""
    assert stack.postgres is not None
    with stack.postgres.superuser.connect("mistudio") as connection:
        yield connection
