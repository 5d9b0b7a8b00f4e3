"""What end-to-end tests share: generated clients with the few steps that every test takes."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc

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
from mistudio_local.hub_mirror.shelf import DATASET_ID, MODEL_ID
from mistudio_servicekit.storage import Area, Store

BIG_DATASET = "tests/big"
SLOW_DATASET = "tests/slow"
GATED_DATASET = "tests/gated"
SLOW_MODEL = "tests/slow"
TOKENLESS_MODEL = "tests/tokenless"
GATED_TOKEN = "hf_SecretTokenOfAda1234567890"

TERMINAL = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


@dataclass
class Product:
    """The product as a client sees it, through one gateway."""

    channel: grpc.aio.Channel
    store: Store

    def __post_init__(self) -> None:
        self.datasets = datasets_service_pb2_grpc.DatasetsServiceStub(self.channel)
        self.tokenizations = tokenizations_service_pb2_grpc.TokenizationsServiceStub(self.channel)
        self.exports = exports_service_pb2_grpc.ExportsServiceStub(self.channel)
        self.models = models_service_pb2_grpc.ModelsServiceStub(self.channel)
        self.jobs = jobs_service_pb2_grpc.JobsServiceStub(self.channel)

    async def job(self, job_id: str) -> job_pb2.Job:
        """The job, with its attempts."""
        return (await self.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=job_id))).job

    async def watch(self, job_id: str, token: str = "") -> AsyncIterator[jobs_service_pb2.WatchJobResponse]:
        """Everything a watch of the job says."""
        request = jobs_service_pb2.WatchJobRequest(id=job_id, resume_token=token)
        async for response in self.jobs.WatchJob(request):
            yield response

    async def ended(self, job_id: str) -> job_pb2.Job:
        """The job once it has ended."""
        async for _ in self.watch(job_id):
            pass
        return await self.job(job_id)

    async def until(self, job_id: str, reached: Callable[[job_pb2.Progress], bool]) -> None:
        """Wait until the job's progress has `reached` what the caller wants."""
        async for response in self.watch(job_id):
            progress = response.event.progress if response.WhichOneof("body") == "event" else response.snapshot.progress
            if reached(progress):
                return
        raise AssertionError(f"the job ended first: {await self.job(job_id)}")

    async def download_dataset(
        self, repo_id: str = DATASET_ID, **fields: str
    ) -> datasets_service_pb2.DownloadDatasetResponse:
        """Start to bring a dataset in."""
        request = datasets_service_pb2.DownloadDatasetRequest(repo_id=repo_id, **fields)
        return await self.datasets.DownloadDataset(request)

    async def download_model(self, repo_id: str = MODEL_ID, **fields: Any) -> models_service_pb2.DownloadModelResponse:
        """Start to bring a model in."""
        return await self.models.DownloadModel(models_service_pb2.DownloadModelRequest(repo_id=repo_id, **fields))

    async def download_slow(self, area: Area) -> job_pb2.Job:
        """Start to bring in the dataset or the model that has many megabytes; the job."""
        if area is Area.DATASETS:
            return (await self.download_dataset(SLOW_DATASET)).job
        return (await self.download_model(SLOW_MODEL)).job

    async def upload(self, file_name: str, chunks: Iterable[bytes]) -> datasets_service_pb2.UploadDatasetResponse:
        """Send a file, piece by piece as `chunks` gives them."""

        async def parts() -> AsyncIterator[datasets_service_pb2.UploadDatasetRequest]:
            header = datasets_service_pb2.UploadHeader(file_name=file_name)
            yield datasets_service_pb2.UploadDatasetRequest(header=header)
            for chunk in chunks:
                yield datasets_service_pb2.UploadDatasetRequest(chunk=chunk)

        return await self.datasets.UploadDataset(parts())

    async def ready_dataset(self, repo_id: str = DATASET_ID) -> dataset_pb2.Dataset:
        """A dataset that is here, brought in if need be."""
        answer = await self.download_dataset(repo_id)
        await self.succeeded(answer.job.id)
        return await self.dataset(answer.dataset.id)

    async def ready_model(self, repo_id: str = MODEL_ID) -> model_pb2.Model:
        """A model that is here, brought in if need be."""
        answer = await self.download_model(repo_id)
        await self.succeeded(answer.job.id)
        return (await self.models.GetModel(models_service_pb2.GetModelRequest(id=answer.model.id))).model

    async def dataset(self, dataset_id: str) -> dataset_pb2.Dataset:
        """The dataset as it is now."""
        request = datasets_service_pb2.GetDatasetRequest(id=dataset_id)
        return (await self.datasets.GetDataset(request)).dataset

    async def tokenize(self, dataset_id: str, model_id: str) -> tokenizations_service_pb2.CreateTokenizationResponse:
        """Start to tokenize a dataset for a model."""
        request = tokenizations_service_pb2.CreateTokenizationRequest(dataset_id=dataset_id, model_id=model_id)
        return await self.tokenizations.CreateTokenization(request)

    async def tokenization(self, tokenization_id: str) -> tokenization_pb2.Tokenization:
        """The tokenization as it is now."""
        request = tokenizations_service_pb2.GetTokenizationRequest(id=tokenization_id)
        return (await self.tokenizations.GetTokenization(request)).tokenization

    async def without_model(self, tokenization_id: str) -> tokenization_pb2.Tokenization:
        """The tokenization once it says that its model is deleted."""
        async with asyncio.timeout(100):
            while not (found := await self.tokenization(tokenization_id)).HasField("model_delete_time"):
                await asyncio.sleep(0.05)
        return found

    async def succeeded(self, job_id: str) -> job_pb2.Job:
        """The job once it has succeeded."""
        job = await self.ended(job_id)
        assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job
        return job

    async def cancelled_soon(self, job_id: str) -> None:
        """Cancel the job and see it end, long before it would have been done."""
        start = time.perf_counter()
        await self.jobs.CancelJob(jobs_service_pb2.CancelJobRequest(id=job_id))
        job = await self.ended(job_id)
        seconds = time.perf_counter() - start
        assert job.state == job_pb2.JOB_STATE_CANCELLED
        assert seconds < 15, f"took {seconds:.2f} s"

    async def delete(self, area: Area, resource_id: str) -> None:
        """Delete a dataset or a model, files included."""
        if area is Area.DATASETS:
            await self.delete_dataset(resource_id)
        else:
            answer = await self.models.DeleteModel(models_service_pb2.DeleteModelRequest(id=resource_id))
            await self.ended(answer.job.id)

    async def delete_dataset(self, dataset_id: str) -> None:
        """Delete a dataset with all that needs it, files included."""
        request = datasets_service_pb2.DeleteDatasetRequest(id=dataset_id, force=True)
        await self.ended((await self.datasets.DeleteDataset(request)).job.id)

    async def delete_tokenization(self, tokenization_id: str) -> None:
        """Delete a tokenization, files included."""
        request = tokenizations_service_pb2.DeleteTokenizationRequest(id=tokenization_id)
        await self.ended((await self.tokenizations.DeleteTokenization(request)).job.id)

    def folder(self, area: Area, resource_id: str) -> Path:
        """The resource's folder in the store, which holds one folder an epoch."""
        return self.store.resource(area, UUID(resource_id))

    def epochs(self, area: Area, resource_id: str) -> list[str]:
        """Names of the epochs' folders that the resource has in the store."""
        folder = self.folder(area, resource_id)
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def digest(self, area: Area, resource_id: str) -> dict[str, str]:
        """SHA-256 of every file of the resource's one epoch, by its path there."""
        (epoch,) = self.folder(area, resource_id).iterdir()
        return {
            str(path.relative_to(epoch)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(epoch.rglob("*"))
            if path.is_file()
        }


async def until(is_so: Callable[[], object], seconds: float = 100) -> None:
    """Wait until `is_so` holds for something that tells nobody of its changes, such as the file system."""
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.02)


async def until_gone(path: Path) -> None:
    """Wait until `path` exists no more."""
    await until(lambda: not path.exists())
