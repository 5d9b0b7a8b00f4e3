"""The datasets service, seen from here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
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
_RUNNING = "status != READY AND status != ERROR AND status != CANCELLED"
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

    async def running_with(self, model_ids: Collection[UUID]) -> Mapping[UUID, Sequence[UUID]]:
        """See `TokenizationDirectory.running_with`; of many models by one question, as few tokenizations run."""
        wanted = set(map(str, model_ids))
        only = f' AND model_id = "{next(iter(wanted))}"' if len(wanted) == 1 else ""
        request = pb.ListTokenizationsRequest(filter=_RUNNING + only, page_size=_PAGE)
        found: dict[UUID, list[UUID]] = defaultdict(list)
        while True:
            try:
                page = await self._tokenizations.ListTokenizations(request)
            except grpc.RpcError as error:
                raise _understood(error) from error
            for tokenization in page.tokenizations:
                if tokenization.model_id in wanted:
                    found[UUID(tokenization.model_id)].append(UUID(tokenization.id))
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def cancel(self, tokenization_id: UUID) -> None:
        """See `TokenizationDirectory.cancel`."""
        try:
            await self._tokenizations.CancelTokenization(pb.CancelTokenizationRequest(id=str(tokenization_id)))
        except grpc.RpcError as error:
            if error_of_call(error).reason not in _OVER:
                raise _understood(error) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channel."""
        await self._channel.close()


def _understood(error: grpc.RpcError) -> Exception:
    known = error_of_call(error)
    if known.transient:
        return Unavailable(
            "The datasets service cannot be reached, and only it knows which tokenizations need the model",
            next_step="Try again in a few seconds",
        )
    return known
