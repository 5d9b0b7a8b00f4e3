"""`python -m mistudio_datasets.server`: the service process, with all its wiring."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mistudio.datasets.v1 import (
    datasets_service_pb2,
    datasets_service_pb2_grpc,
    tokenizations_service_pb2,
    tokenizations_service_pb2_grpc,
)
from mistudio.jobs.v1 import jobs_service_pb2, jobs_service_pb2_grpc
from mistudio_datasets.api.datasets import DatasetsServicer
from mistudio_datasets.api.models_client import ModelsClient
from mistudio_datasets.api.tokenizations import TokenizationsServicer
from mistudio_datasets.config import SERVICE, ServiceConfig
from mistudio_datasets.jobs.kinds import job_kinds
from mistudio_datasets.service.hub_source import HubLookup
from mistudio_datasets.service.tools import Tools
from mistudio_datasets.store import SCHEMA
from mistudio_datasets.store.folders import named_folders
from mistudio_jobs.engine import JobEngine
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.servicer import JobsServicer
from mistudio_servicekit.config import Environment
from mistudio_servicekit.database import Database
from mistudio_servicekit.errors import Unavailable
from mistudio_servicekit.logging import setup_logging
from mistudio_servicekit.server import Server, until_stopped

SERVICES = (
    datasets_service_pb2.DESCRIPTOR.services_by_name["DatasetsService"].full_name,
    tokenizations_service_pb2.DESCRIPTOR.services_by_name["TokenizationsService"].full_name,
    jobs_service_pb2.DESCRIPTOR.services_by_name["JobsService"].full_name,
)


@asynccontextmanager
async def serving(config: ServiceConfig) -> AsyncIterator[Server]:
    """The service, which answers until the block is left."""
    backend = config.backend
    keys = SecretKeys(*backend.keys)
    kinds = job_kinds(backend.store, keys)
    database = Database(backend.database_url, SCHEMA)
    engine = JobEngine(database, backend.nats_url, SERVICE, kinds.all(), keys, backend.store, named_folders)
    models = ModelsClient(config.models_target)
    tools = Tools(database, engine, kinds, backend.store, HubLookup(backend.hub_endpoint), models)

    async def jobs_are_dispatched() -> None:
        if not engine.healthy:
            raise Unavailable("The job engine is not connected", next_step="Start NATS, or wait")

    server = Server(config.server, SERVICES, {"database": database.ping, "jobs": jobs_are_dispatched})
    _add_services(server, tools)
    try:
        await engine.start()
        await server.start()
        yield server
    finally:
        await server.stop()
        await engine.stop()
        await models.close()
        await database.close()


def _add_services(server: Server, tools: Tools) -> None:
    datasets_service_pb2_grpc.add_DatasetsServiceServicer_to_server(DatasetsServicer(tools), server.grpc)
    tokenizations_service_pb2_grpc.add_TokenizationsServiceServicer_to_server(TokenizationsServicer(tools), server.grpc)
    jobs_service_pb2_grpc.add_JobsServiceServicer_to_server(JobsServicer(tools.engine), server.grpc)


async def serve(config: ServiceConfig) -> None:
    """Serve until SIGTERM or SIGINT."""
    async with serving(config):
        await until_stopped()


def main() -> None:
    """Serve as the environment says."""
    config = ServiceConfig.read(Environment(os.environ))
    setup_logging(SERVICE, config.backend.log_level)
    asyncio.run(serve(config))


if __name__ == "__main__":
    main()
