"""`python -m mistudio_models.server`: the service process, with all its wiring."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mistudio.jobs.v1 import jobs_service_pb2, jobs_service_pb2_grpc
from mistudio.models.v2 import models_service_pb2, models_service_pb2_grpc
from mistudio_jobs.engine import JobEngine
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.servicer import JobsServicer
from mistudio_models.api.servicer import ModelsServicer
from mistudio_models.config import SERVICE, ServiceConfig
from mistudio_models.jobs.kinds import job_kinds
from mistudio_models.service.hub_source import HubLookup
from mistudio_models.service.tools import Tools
from mistudio_models.store import SCHEMA
from mistudio_models.store.models import named_folders
from mistudio_servicekit.config import Environment
from mistudio_servicekit.database import Database
from mistudio_servicekit.errors import Unavailable
from mistudio_servicekit.logging import setup_logging
from mistudio_servicekit.server import Server, until_stopped

SERVICES = (
    models_service_pb2.DESCRIPTOR.services_by_name["ModelsService"].full_name,
    jobs_service_pb2.DESCRIPTOR.services_by_name["JobsService"].full_name,
)


@asynccontextmanager
async def serving(config: ServiceConfig) -> AsyncIterator[Server]:
    """The service, which answers until the block is left."""
    backend = config.backend
    kinds = job_kinds()
    database = Database(backend.database_url, SCHEMA)
    keys = SecretKeys(*backend.keys)
    engine = JobEngine(database, backend.nats_url, SERVICE, kinds.all(), keys, backend.store, named_folders)
    tools = Tools(database, engine, kinds, backend.store, HubLookup(backend.hub_endpoint))

    async def jobs_are_dispatched() -> None:
        if not engine.healthy:
            raise Unavailable("The job engine is not connected", next_step="Start NATS, or wait")

    server = Server(config.server, SERVICES, {"database": database.ping, "jobs": jobs_are_dispatched})
    models_service_pb2_grpc.add_ModelsServiceServicer_to_server(ModelsServicer(tools), server.grpc)
    jobs_service_pb2_grpc.add_JobsServiceServicer_to_server(JobsServicer(engine), server.grpc)
    try:
        await engine.start()
        await server.start()
        yield server
    finally:
        await server.stop()
        await engine.stop()
        await database.close()


async def serve(config: ServiceConfig) -> None:
    """Serve until SIGTERM or SIGINT."""
    async with serving(config):
        await until_stopped()


def main() -> None:
    """Serve as the environment says."""
    config = ServiceConfig.read(Environment(os.environ))
    setup_logging("models", config.backend.log_level)
    asyncio.run(serve(config))


if __name__ == "__main__":
    main()
