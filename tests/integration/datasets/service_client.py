"""The running datasets service as its clients see it, and the models service that it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
from tokenizers import Tokenizer

from mistudio.datasets.v1 import (
    dataset_pb2,
    datasets_service_pb2,
    datasets_service_pb2_grpc,
    exports_service_pb2_grpc,
    tokenization_pb2,
    tokenizations_service_pb2,
    tokenizations_service_pb2_grpc,
)
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from mistudio.models.v2 import model_pb2, models_service_pb2, models_service_pb2_grpc
from mistudio_local.testing import Database
from mistudio_servicekit.backend import BackendConfig
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import ModelNotFound
from mistudio_servicekit.storage import Area, Store
from tests.chat_models import write_chat_model
from tests.refusals import refusal

TERMINAL = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


@dataclass
class ModelShelf(models_service_pb2_grpc.ModelsServiceServicer):
    """A models service that knows what a test puts into it."""

    store: Store
    known: dict[str, model_pb2.Model] = field(default_factory=dict)

    async def GetModel(
        self, request: models_service_pb2.GetModelRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> models_service_pb2.GetModelResponse:
        if request.id not in self.known:
            raise ModelNotFound.of(request.id)
        return models_service_pb2.GetModelResponse(model=self.known[request.id])

    def put(self, tokenizer: Tokenizer | None, status: str = "READY", chat_template: str | None = None) -> str:
        """A model in the store with this tokenizer, and with a chat template if there is one; its id."""
        model_id = new_id()
        folder = self.store.epoch(Area.MODELS, model_id, 1)
        folder.mkdir(parents=True)
        if tokenizer is not None and chat_template is not None:
            write_chat_model(folder, tokenizer, chat_template)
        elif tokenizer is not None:
            tokenizer.save(str(folder / "tokenizer.json"))
        self.known[str(model_id)] = model_pb2.Model(
            id=str(model_id),
            name="tiny",
            status=model_pb2.ModelStatus.Value(f"MODEL_STATUS_{status}"),
            facts=model_pb2.ModelFacts(
                has_tokenizer=tokenizer is not None, has_chat_template=chat_template is not None
            ),
            epoch=1,
        )
        return str(model_id)


@dataclass
class Service:
    """The running service, as its clients see it, and means to look behind it."""

    datasets: datasets_service_pb2_grpc.DatasetsServiceAsyncStub
    tokenizations: tokenizations_service_pb2_grpc.TokenizationsServiceAsyncStub
    exports: exports_service_pb2_grpc.ExportsServiceAsyncStub
    jobs: jobs_service_pb2_grpc.JobsServiceAsyncStub
    backend: BackendConfig
    database: Database
    models: ModelShelf
    models_target: str
    stop_models: Callable[[], Awaitable[None]]
    start_worker: Callable[[], Awaitable[None]]
    target: str

    async def download(self, repo_id: str, **fields: Any) -> datasets_service_pb2.DownloadDatasetResponse:
        request = datasets_service_pb2.DownloadDatasetRequest(repo_id=repo_id, **fields)
        return await self.datasets.DownloadDataset(request)

    async def upload(
        self, file_name: str, content: bytes, chunk_bytes: int = 1 << 16, **header: Any
    ) -> datasets_service_pb2.UploadDatasetResponse:
        chunks = [content[at : at + chunk_bytes] for at in range(0, len(content), chunk_bytes)]
        return await self.send(datasets_service_pb2.UploadHeader(file_name=file_name, **header), chunks)

    async def send(
        self, header: datasets_service_pb2.UploadHeader | None, chunks: Iterable[bytes]
    ) -> datasets_service_pb2.UploadDatasetResponse:
        first = [] if header is None else [datasets_service_pb2.UploadDatasetRequest(header=header)]
        parts = [*first, *(datasets_service_pb2.UploadDatasetRequest(chunk=chunk) for chunk in chunks)]
        return await self.datasets.UploadDataset(iter(parts))

    async def dataset(self, dataset_id: str) -> dataset_pb2.Dataset:
        return (await self.datasets.GetDataset(datasets_service_pb2.GetDatasetRequest(id=dataset_id))).dataset

    async def tokenize(
        self, dataset_id: str, model_id: str, request_id: str = "", **settings: Any
    ) -> tokenizations_service_pb2.CreateTokenizationResponse:
        request = tokenizations_service_pb2.CreateTokenizationRequest(
            dataset_id=dataset_id,
            model_id=model_id,
            settings=tokenization_pb2.TokenizationSettings(**settings),
            request_id=request_id,
        )
        return await self.tokenizations.CreateTokenization(request)

    async def tokenization(self, tokenization_id: str) -> tokenization_pb2.Tokenization:
        request = tokenizations_service_pb2.GetTokenizationRequest(id=tokenization_id)
        return (await self.tokenizations.GetTokenization(request)).tokenization

    async def job(self, job_id: str) -> job_pb2.Job:
        return (await self.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=job_id))).job

    async def until(self, job_id: str, reached: Callable[[job_pb2.Job], bool]) -> job_pb2.Job:
        """The job, once it is as wanted."""
        async with asyncio.timeout(100):
            while True:
                job = await self.job(job_id)
                if reached(job):
                    return job
                await asyncio.sleep(0.02)

    async def ended(self, job_id: str) -> job_pb2.Job:
        """The job, once it has ended."""
        return await self.until(job_id, lambda job: job.state in TERMINAL)

    async def succeeded(self, job_id: str) -> job_pb2.Job:
        """The job, once it has succeeded."""
        job = await self.ended(job_id)
        assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job
        return job

    async def ready(self, repo_id: str, **fields: Any) -> dataset_pb2.Dataset:
        """A dataset of the Hub, brought in."""
        answer = await self.download(repo_id, **fields)
        await self.succeeded(answer.job.id)
        return await self.dataset(answer.dataset.id)

    refusal = staticmethod(refusal)

    def folder(self, area: Area, resource_id: str) -> Path:
        """The folder in the store that holds all of a resource."""
        return self.backend.store.resource(area, UUID(resource_id))


async def eventually(is_so: Callable[[], bool]) -> None:
    """Return once `is_so`; files have no events to wait for."""
    async with asyncio.timeout(100):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.02)
