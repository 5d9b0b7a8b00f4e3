"""The datasets service, seen from here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self
from uuid import UUID

import grpc

from mistudio.datasets.v1 import tokenizations_service_pb2 as pb
from mistudio.datasets.v1 import tokenizations_service_pb2_grpc as pb_grpc
from mistudio_servicekit.channel import open_channel
from mistudio_servicekit.errors import Reason, Unavailable
from mistudio_servicekit.status import error_of_call

_DEADLINE_SECONDS = 5.0
_PAGE = 500
_OVER = (Reason.TOKENIZATION_NOT_FOUND, Reason.JOB_NOT_CANCELLABLE)


class DatasetsClient:
    """Asks the datasets service, inside its block; it may come and go meanwhile.

    Args:
        target: its `host:port`.
    """

    def __init__(self, target: str) -> None:
        services = list(pb.DESCRIPTOR.services_by_name.values())
        self._channel = open_channel(target, services, deadline_seconds=_DEADLINE_SECONDS)
        self._tokenizations = pb_grpc.TokenizationsServiceStub(self._channel)

    async def running_with(self, model_id: UUID) -> Sequence[UUID]:
        """See `TokenizationDirectory.running_with`."""
        ended = "status != READY AND status != ERROR AND status != CANCELLED"
        request = pb.ListTokenizationsRequest(filter=f'model_id = "{model_id}" AND {ended}', page_size=_PAGE)
        found: list[UUID] = []
        while True:
            try:
                page = await self._tokenizations.ListTokenizations(request)
            except grpc.RpcError as error:
                raise _understood(error, model_id) from error
            found += [UUID(tokenization.id) for tokenization in page.tokenizations]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def cancel(self, model_id: UUID, tokenization_id: UUID) -> None:
        """See `TokenizationDirectory.cancel`."""
        try:
            await self._tokenizations.CancelTokenization(pb.CancelTokenizationRequest(id=str(tokenization_id)))
        except grpc.RpcError as error:
            if error_of_call(error).reason not in _OVER:
                raise _understood(error, model_id) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channel."""
        await self._channel.close()


def _understood(error: grpc.RpcError, model_id: UUID) -> Exception:
    known = error_of_call(error)
    if known.transient:
        return Unavailable(
            f"The datasets service cannot be reached, and only it knows whether tokenizations need model {model_id}",
            next_step="Try again in a few seconds",
        )
    return known
