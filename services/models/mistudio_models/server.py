"""`python -m mistudio_models.server`: the service process, with all its wiring."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from mistudio.models.v1 import models_service_pb2 as v1_service_pb2
from mistudio.models.v1 import models_service_pb2_grpc as v1_service_pb2_grpc
from mistudio.models.v2 import models_service_pb2, models_service_pb2_grpc
from mistudio_hub.lookup import HubLookup
from mistudio_jobs import process
from mistudio_jobs.engine import JobEngine
from mistudio_jobs.secrets import SecretKeys
from mistudio_models.api.datasets_client import DatasetsClient
from mistudio_models.api.servicer import ModelsServicer
from mistudio_models.api.v1.servicer import V1ModelsServicer
from mistudio_models.config import SERVICE, ServiceConfig
from mistudio_models.jobs.kinds import job_kinds
from mistudio_models.service.examiner import Examiner
from mistudio_models.service.hub_outline import outline_on_hub
from mistudio_models.service.hub_source import find_on_hub
from mistudio_models.service.tools import Tools
from mistudio_models.service.unloading_deleted import unloading_deleted
from mistudio_models.store import SCHEMA
from mistudio_models.store.models import named_folders
from mistudio_servicekit.config import Environment
from mistudio_servicekit.database import Database
from mistudio_servicekit.logging import setup_logging
from mistudio_servicekit.server import Server, run, serve

SERVICES = tuple(
    str(module.DESCRIPTOR.services_by_name["ModelsService"].full_name)
    for module in (models_service_pb2, v1_service_pb2)
)


@asynccontextmanager
async def serving(config: ServiceConfig) -> AsyncIterator[Server]:
    """The service, which answers until the block is left."""
    backend = config.backend
    kinds = job_kinds()
    database = Database(backend.database_url, SCHEMA)
    keys = SecretKeys(*backend.keys)
    engine = JobEngine(database, backend.nats_url, SERVICE, kinds.all(), keys, backend.store, named_folders)
    hub = HubLookup(backend.hub_endpoint, find_on_hub)
    tokenizations = DatasetsClient(config.datasets_target)
    outlines = HubLookup(backend.hub_endpoint, outline_on_hub)
    examiner = Examiner(backend.log_level)
    tools = Tools(database, engine, kinds, backend.store, hub, tokenizations, config.policy, outlines, examiner)

    def add_services(server: grpc.aio.Server) -> None:
        models_service_pb2_grpc.add_ModelsServiceServicer_to_server(ModelsServicer(tools), server)
        v1_service_pb2_grpc.add_ModelsServiceServicer_to_server(V1ModelsServicer(tools), server)

    serving_calls = process.serving(config.server, engine, SERVICES, add_services)
    async with hub, outlines, examiner, tokenizations, serving_calls as server, unloading_deleted(tools):
        yield server


def main() -> None:
    """Serve as the environment says."""
    config = ServiceConfig.read(Environment(os.environ))
    setup_logging(SERVICE, config.backend.log_level)
    run(serve(serving(config)))


if __name__ == "__main__":
    main()
