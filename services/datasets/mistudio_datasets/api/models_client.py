"""The models service, seen from here."""

from __future__ import annotations

from typing import Self
from uuid import UUID

import grpc

from mistudio.models.v2 import model_pb2, models_service_pb2, models_service_pb2_grpc
from mistudio_datasets.service.tools import ModelInfo
from mistudio_servicekit.channel import open_channel
from mistudio_servicekit.errors import ModelNotFound, Unavailable
from mistudio_servicekit.status import error_of_call

_DEADLINE_SECONDS = 5.0


class ModelsClient:
    """Asks the models service, inside its block.

    Args:
        target: its `host:port`.
    """

    def __init__(self, target: str) -> None:
        services = list(models_service_pb2.DESCRIPTOR.services_by_name.values())
        self._channel = open_channel(target, services, deadline_seconds=_DEADLINE_SECONDS)
        self._models = models_service_pb2_grpc.ModelsServiceStub(self._channel)

    async def get(self, model_id: UUID) -> ModelInfo:
        """See `ModelDirectory.get`."""
        try:
            response = await self._models.GetModel(models_service_pb2.GetModelRequest(id=str(model_id)))
        except grpc.RpcError as error:
            raise _understood(error, model_id) from error
        return _model_info(response.model)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channel."""
        await self._channel.close()


def _understood(error: grpc.RpcError, model_id: UUID) -> Exception:
    known = error_of_call(error)
    if known.code == "NOT_FOUND":
        return ModelNotFound.of(str(model_id))
    if known.transient:
        return Unavailable("The models service cannot be reached", next_step="Try again in a few seconds")
    return known


def _model_info(model: model_pb2.Model) -> ModelInfo:
    return ModelInfo(
        id=UUID(model.id),
        name=model.name,
        repo_id=model.repo_id,
        status=model_pb2.ModelStatus.Name(model.status).removeprefix("MODEL_STATUS_"),
        epoch=model.epoch,
        has_tokenizer=model.facts.has_tokenizer,
        has_chat_template=model.facts.has_chat_template,
    )
