"""The datasets service in this process, with real Postgres, NATS and workers, a hub mirror, and a models service."""

from __future__ import annotations

import os
import pydoc_data.topics
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest
import pytest_asyncio
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from mistudio.datasets.v1 import (
    datasets_service_pb2_grpc,
    exports_service_pb2_grpc,
    tokenizations_service_pb2_grpc,
)
from mistudio.jobs.v1 import jobs_service_pb2_grpc
from mistudio.models.v2 import models_service_pb2_grpc
from mistudio_datasets.config import ServiceConfig
from mistudio_datasets.migrate import FOLDERS
from mistudio_datasets.server import serving
from mistudio_datasets.store import SCHEMA
from mistudio_datasets.worker import working
from mistudio_jobs.testing import PROMPT
from mistudio_local.guard import Guard
from mistudio_local.hub_mirror.background import mirror_in_background
from mistudio_local.nats import NatsServer
from mistudio_local.postgres import PostgresServer
from mistudio_local.testing import Database, cloned_database
from mistudio_servicekit.backend import BackendConfig, WorkerProcessConfig
from mistudio_servicekit.channel import channel_options
from mistudio_servicekit.config import ServerConfig
from mistudio_servicekit.database import migrate
from mistudio_servicekit.server import Server
from mistudio_servicekit.storage import Store

from .served_hub import Hub, fill
from .service_client import ModelShelf, Service


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Some thousand paragraphs of English."""
    pages = pydoc_data.topics.topics.values()
    return [paragraph for page in pages for paragraph in page.split("\n\n") if paragraph.strip()]


@pytest.fixture(scope="session")
def hub_files(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """What every test's mirror serves."""
    root = tmp_path_factory.mktemp("hub")
    fill(root, Hub, texts)
    return root


@contextmanager
def _hub(root: Path, hub_files: Path) -> Iterator[Hub]:
    shutil.copytree(hub_files, root, copy_function=os.link)
    with mirror_in_background(root) as mirror:
        yield Hub(mirror, root)


@pytest.fixture
def hub(tmp_path: Path, hub_files: Path) -> Iterator[Hub]:
    """The Hub, as far as the service knows."""
    with _hub(tmp_path / "hub", hub_files) as hub:
        yield hub


@pytest.fixture(scope="session")
def tokenizer(texts: list[str]) -> Tokenizer:
    """A byte-level BPE tokenizer of 500 entries."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts[:500], trainer)
    return tokenizer


@pytest.fixture(scope="session")
def slow_tokenizer(texts: list[str]) -> Tokenizer:
    """A WordPiece tokenizer, of a kind that no faster engine takes: it needs seconds for the dataset `big`."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    splits = [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(texts[:500], trainer)
    return tokenizer


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> Iterator[Database]:
    """A database with the service's tables, to be copied."""
    with cloned_database(postgres) as database:
        migrate(database.url(SCHEMA), SCHEMA, FOLDERS)
        yield database


@pytest.fixture
def tables(postgres: PostgresServer, migrated: Database) -> Iterator[Database]:
    """A database of the test's own, with the service's tables."""
    with cloned_database(postgres, migrated.name) as database:
        yield database


def _backend(tables: Database, nats_url: str, hub: Hub, store: Path) -> BackendConfig:
    return BackendConfig(
        database_url=tables.url(SCHEMA),
        nats_url=nats_url,
        store=Store(store),
        keys=(bytes(range(32)),),
        hub_endpoint=hub.mirror.url,
    )


@pytest.fixture
def backend(tables: Database, nats_url: str, hub: Hub, tmp_path: Path) -> BackendConfig:
    """What service and workers of this test share."""
    return _backend(tables, nats_url, hub, tmp_path / "store")


@asynccontextmanager
async def _models_service(store: Store) -> AsyncIterator[tuple[ModelShelf, Server]]:
    shelf = ModelShelf(store)
    server = Server(ServerConfig("127.0.0.1:0", "127.0.0.1:0", drain_seconds=1), (), {})
    models_service_pb2_grpc.add_ModelsServiceServicer_to_server(shelf, server.grpc)
    await server.start()
    try:
        yield shelf, server
    finally:
        await server.stop()


@asynccontextmanager
async def _service(backend: BackendConfig, tables: Database) -> AsyncIterator[Service]:
    async with AsyncExitStack() as stack:
        shelf, models_server = await stack.enter_async_context(_models_service(backend.store))
        listen = ServerConfig("127.0.0.1:0", "127.0.0.1:0", drain_seconds=1)
        config = ServiceConfig(backend, listen, f"127.0.0.1:{models_server.port}")
        server = await stack.enter_async_context(serving(config))
        target = f"127.0.0.1:{server.port}"
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(target, channel_options()))

        async def start_worker() -> None:
            config = WorkerProcessConfig(backend, "tester", "cpu", "127.0.0.1:0")
            await stack.enter_async_context(working(config, PROMPT))

        yield Service(
            datasets=datasets_service_pb2_grpc.DatasetsServiceStub(channel),
            tokenizations=tokenizations_service_pb2_grpc.TokenizationsServiceStub(channel),
            exports=exports_service_pb2_grpc.ExportsServiceStub(channel),
            jobs=jobs_service_pb2_grpc.JobsServiceStub(channel),
            backend=backend,
            database=tables,
            models=shelf,
            models_target=config.models_target,
            stop_models=models_server.stop,
            start_worker=start_worker,
            target=target,
        )


@pytest.fixture
async def service(backend: BackendConfig, tables: Database) -> AsyncIterator[Service]:
    """The service and a client; no worker runs until it is started."""
    async with _service(backend, tables) as service:
        yield service


@pytest.fixture
async def working_service(service: Service) -> Service:
    """The service with a worker."""
    await service.start_worker()
    return service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_service(
    guard: Guard,
    postgres: PostgresServer,
    migrated: Database,
    hub_files: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Service]:
    """The service with a worker for all tests of a module that leave alone what other tests made, and the Hub."""
    root = tmp_path_factory.mktemp("shared")
    with (
        TemporaryDirectory() as nats_folder,
        NatsServer(Path(nats_folder), guard, durable=False) as nats,
        cloned_database(postgres, migrated.name) as tables,
        _hub(root / "hub", hub_files) as hub,
    ):
        async with _service(_backend(tables, nats.url, hub, root / "store"), tables) as service:
            await service.start_worker()
            yield service
