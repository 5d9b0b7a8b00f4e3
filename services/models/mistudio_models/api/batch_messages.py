"""What became of a batch of models, as a message."""

from __future__ import annotations

from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_jobs.events import error_message, job_message
from mistudio_jobs.started import BatchDeletion
from mistudio_servicekit.batches import Refusal


def batch_message(batch: BatchDeletion) -> pb.BatchDeleteModelsResponse:
    """What became of a batch, as clients see it."""
    return pb.BatchDeleteModelsResponse(
        deleted_ids=map(str, batch.deleted),
        failures=map(_failure_message, batch.refusals),
        job=None if batch.job is None else job_message(batch.job),
    )


def _failure_message(refusal: Refusal) -> pb.ModelDeletionFailure:
    return pb.ModelDeletionFailure(id=refusal.id, error=error_message(refusal.error.to_record()))
