"""The models service in this process, with real Postgres, NATS and workers, and a hub mirror with tiny real models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import numpy as np
import pytest
from safetensors.numpy import save_file

from mistudio.jobs.v1 import jobs_service_pb2_grpc
from mistudio.models.v2 import model_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio.models.v2 import models_service_pb2_grpc as pb_grpc
from mistudio_jobs.migrations import MIGRATIONS as JOBS_MIGRATIONS
from mistudio_jobs.testing import PROMPT
from mistudio_local.hub_mirror import HubMirror
from mistudio_local.hub_mirror.background import mirror_in_background
from mistudio_local.postgres import PostgresServer
from mistudio_local.testing import Database, cloned_database
from mistudio_models.config import ServiceConfig, WorkerConfig
from mistudio_models.domain.policy import Policy
from mistudio_models.server import serving
from mistudio_models.store import MIGRATIONS, SCHEMA
from mistudio_models.worker import working
from mistudio_servicekit.backend import BackendConfig, WorkerProcessConfig
from mistudio_servicekit.config import ServerConfig
from mistudio_servicekit.database import migrate
from mistudio_servicekit.storage import Area, Store
from tests.refusals import refusal

from .made_models import MadeModels
from .tokenization_shelf import TokenizationShelf, datasets_service
from .told_workers import ToldWorkers

_CONFIG = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "n_layer": 2,
    "n_embd": 8,
    "n_head": 2,
    "n_positions": 32,
    "vocab_size": 100,
}


@dataclass(frozen=True)
class Hub:
    """The mirror and what it serves.

    `gpt` has all there can be, `sharded` and `bare` have no tokenizer, `gated` and `private` open for `ada_token`
    only, `damaged` has no weights behind its name, and `empty` has nothing.
    """

    mirror: HubMirror
    root: Path
    gpt: str = "tiny/gpt"
    sharded: str = "tiny/sharded"
    bare: str = "tiny/bare"
    gated: str = "tiny/gated"
    private: str = "tiny/private"
    damaged: str = "tiny/damaged"
    empty: str = "tiny/empty"
    ada_token: str = "hf_AdaMayReadGatedModels0123456789"
    bob_token: str = "hf_BobMayReadOpenModelsOnly9876543"

    def folder(self, repo_id: str) -> Path:
        """The served files of a repository."""
        return self.root / "models" / repo_id


def _write(folder: Path, files: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


def _weights(path: Path, **shapes: tuple[int, ...]) -> None:
    noise = np.random.default_rng(7)
    save_file({name: noise.random(shape, np.float32) for name, shape in shapes.items()}, path)


def _fill(hub: Hub) -> None:
    chat = {"chat_template": "{{ messages }}"}
    gpt = _write(
        hub.folder(hub.gpt),
        {"config.json": _CONFIG, "tokenizer.json": {}, "tokenizer_config.json": chat, "pytorch_model.bin": "pickle"},
    )
    _weights(gpt / "model.safetensors", embeddings=(100, 8), head=(8, 100))
    _write(gpt / ".revisions" / "v1", {"config.json": {**_CONFIG, "n_layer": 1}})
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    sharded = _write(
        hub.folder(hub.sharded), {"config.json": _CONFIG, "model.safetensors.index.json": {"weight_map": names}}
    )
    _weights(sharded / names["a"], a=(300, 1000))
    _weights(sharded / names["b"], b=(500, 1000))
    _weights(_write(hub.folder(hub.bare), {"config.json": _CONFIG}) / "model.safetensors", a=(3, 5))
    gate = {"gated": "manual", "readers": ["ada"]}
    _weights(
        _write(hub.folder(hub.gated), {"config.json": _CONFIG, ".mirror.json": gate}) / "model.safetensors", a=(2, 2)
    )
    hidden = {"private": True, "readers": ["ada"]}
    _write(hub.folder(hub.private), {"config.json": _CONFIG, ".mirror.json": hidden})
    _write(hub.folder(hub.damaged), {"config.json": _CONFIG, "model.safetensors": "<html>not found</html>"})
    _write(hub.folder(hub.empty), {".mirror.json": {}})
    _write(hub.root, {"users.json": {hub.ada_token: "ada", hub.bob_token: "bob"}})


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """The Hub, as far as the service knows, with tiny models in every shape that matters."""
    with mirror_in_background(tmp_path / "hub") as mirror:
        hub = Hub(mirror, tmp_path / "hub")
        _fill(hub)
        yield hub


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> Iterator[Database]:
    """A database with the service's tables, to be copied."""
    with cloned_database(postgres) as database:
        migrate(database.url(SCHEMA), SCHEMA, [JOBS_MIGRATIONS, MIGRATIONS])
        yield database


@pytest.fixture
def tables(postgres: PostgresServer, migrated: Database) -> Iterator[Database]:
    """A database of the test's own, with the service's tables."""
    with cloned_database(postgres, migrated.name) as database:
        yield database


@pytest.fixture
def backend(tables: Database, nats_url: str, hub: Hub, tmp_path: Path) -> BackendConfig:
    """What service and workers of this test share."""
    return BackendConfig(
        database_url=tables.url(SCHEMA),
        nats_url=nats_url,
        store=Store(tmp_path / "store"),
        keys=(bytes(range(32)),),
        hub_endpoint=hub.mirror.url,
    )


@dataclass
class Service:
    """The running service, as its clients see it, and means to look behind it."""

    stub: pb_grpc.ModelsServiceAsyncStub
    jobs: jobs_service_pb2_grpc.JobsServiceAsyncStub
    backend: BackendConfig
    database: Database
    start_worker: Callable[[], Awaitable[None]]
    tokenizations: TokenizationShelf
    stop_datasets: Callable[[], Awaitable[None]]
    target: str

    async def download(self, repo_id: str, **fields: Any) -> pb.DownloadModelResponse:
        return await self.stub.DownloadModel(pb.DownloadModelRequest(repo_id=repo_id, **fields))

    async def get(self, model_id: str) -> model_pb2.Model:
        return (await self.stub.GetModel(pb.GetModelRequest(id=model_id))).model

    async def ended(self, model_id: str) -> model_pb2.Model:
        """The model, once it is no longer on its way."""
        while True:
            model = await self.get(model_id)
            if model.status != model_pb2.MODEL_STATUS_DOWNLOADING:
                return model
            await asyncio.sleep(0.02)

    refusal = staticmethod(refusal)

    def folder(self, model_id: str) -> Path:
        """The folder in the store that holds all of a model."""
        return self.backend.store.resource(Area.MODELS, UUID(model_id))

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the database holds."""
        return self.database.execute(SCHEMA, query, values)


@pytest.fixture
def policy() -> Policy:
    """What the operator allows; tests parametrize it."""
    return Policy()


@pytest.fixture
async def service(backend: BackendConfig, tables: Database, policy: Policy) -> AsyncIterator[Service]:
    """The service and a client; no worker runs until it is started."""
    async with AsyncExitStack() as stack:
        shelf, datasets_server = await stack.enter_async_context(datasets_service())
        listen = ServerConfig("127.0.0.1:0", "127.0.0.1:0", drain_seconds=1)
        config = ServiceConfig(backend, listen, f"127.0.0.1:{datasets_server.port}", policy)
        server = await stack.enter_async_context(serving(config))
        target = f"127.0.0.1:{server.port}"
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(target))

        async def start_worker() -> None:
            process = WorkerProcessConfig(backend, "tester", "cpu", "127.0.0.1:0")
            await stack.enter_async_context(working(WorkerConfig(process, policy), PROMPT))

        stubs = pb_grpc.ModelsServiceStub(channel), jobs_service_pb2_grpc.JobsServiceStub(channel)
        yield Service(*stubs, backend, tables, start_worker, shelf, datasets_server.stop, target)


@pytest.fixture
def made(service: Service) -> MadeModels:
    """Models that are made by hand."""
    return MadeModels(service.database)


@pytest.fixture
async def workers(made: MadeModels, nats_url: str) -> AsyncIterator[ToldWorkers]:
    """Workers that are only told of."""
    told = ToldWorkers(made)
    async with told.heard(nats_url):
        yield told
