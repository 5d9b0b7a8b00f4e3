"""`python -m mistudio_datasets.server`: the service process, with all its wiring."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from mistudio.datasets.v1 import (
    datasets_service_pb2,
    datasets_service_pb2_grpc,
    exports_service_pb2,
    exports_service_pb2_grpc,
    tokenizations_service_pb2,
    tokenizations_service_pb2_grpc,
)
from mistudio_datasets.api.datasets import DatasetsServicer
from mistudio_datasets.api.exports import ExportsServicer
from mistudio_datasets.api.models_client import ModelsClient
from mistudio_datasets.api.tokenizations import TokenizationsServicer
from mistudio_datasets.config import MODELS, SERVICE, ServiceConfig
from mistudio_datasets.jobs.kinds import job_kinds
from mistudio_datasets.service.deleted_models import DeletedModels
from mistudio_datasets.service.hub_source import find_on_hub
from mistudio_datasets.service.inspection import inspect_on_hub
from mistudio_datasets.service.scans import Scans
from mistudio_datasets.service.tokenizer_process import TokenizerProcess
from mistudio_datasets.service.tools import Tools
from mistudio_datasets.service.upload_expiry import sweeping_uploads
from mistudio_datasets.store import SCHEMA
from mistudio_datasets.store.folders import named_folders
from mistudio_hub.lookup import HubLookup
from mistudio_jobs import process
from mistudio_jobs.deletions import hearing_deletions
from mistudio_jobs.engine import JobEngine
from mistudio_jobs.secrets import SecretKeys
from mistudio_servicekit.config import Environment
from mistudio_servicekit.database import Database
from mistudio_servicekit.logging import setup_logging
from mistudio_servicekit.server import Server, run, serve

SERVICES = (
    datasets_service_pb2.DESCRIPTOR.services_by_name["DatasetsService"].full_name,
    tokenizations_service_pb2.DESCRIPTOR.services_by_name["TokenizationsService"].full_name,
    exports_service_pb2.DESCRIPTOR.services_by_name["ExportsService"].full_name,
)


@asynccontextmanager
async def serving(config: ServiceConfig) -> AsyncIterator[Server]:
    """The service, which answers until the block is left."""
    backend = config.backend
    keys = SecretKeys(*backend.keys)
    kinds = job_kinds(backend.store, keys)
    database = Database(backend.database_url, SCHEMA)
    engine = JobEngine(database, backend.nats_url, SERVICE, kinds.all(), keys, backend.store, named_folders)
    hub = HubLookup(backend.hub_endpoint, find_on_hub)
    inspections = HubLookup(backend.hub_endpoint, inspect_on_hub)
    models = ModelsClient(config.models_target)
    tokenizers = TokenizerProcess(backend.log_level)
    scans = Scans(backend.store.root)
    lifetime = config.upload_lifetime
    tools = Tools(database, engine, kinds, backend.store, hub, inspections, models, tokenizers, lifetime, scans)

    def add_services(server: grpc.aio.Server) -> None:
        datasets_service_pb2_grpc.add_DatasetsServiceServicer_to_server(DatasetsServicer(tools), server)
        tokenizations_service_pb2_grpc.add_TokenizationsServiceServicer_to_server(TokenizationsServicer(tools), server)
        exports_service_pb2_grpc.add_ExportsServiceServicer_to_server(ExportsServicer(tools), server)

    serving_calls = process.serving(config.server, engine, SERVICES, add_services)
    expiry = sweeping_uploads(database, backend.store)
    hearing = hearing_deletions(backend.nats_url, SERVICE, MODELS, DeletedModels(database, models))
    async with hub, inspections, models, tokenizers, scans, serving_calls as server, expiry, hearing:
        yield server


def main() -> None:
    """Serve as the environment says."""
    config = ServiceConfig.read(Environment(os.environ))
    setup_logging(SERVICE, config.backend.log_level)
    run(serve(serving(config)))


if __name__ == "__main__":
    main()
