"""A datasets service that knows the tokenizations that a test puts into it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from mistudio.datasets.v1 import tokenization_pb2, tokenizations_service_pb2_grpc
from mistudio.datasets.v1 import tokenizations_service_pb2 as pb
from mistudio_servicekit.config import ServerConfig
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import JobNotCancellable
from mistudio_servicekit.filters import parse_filter
from mistudio_servicekit.server import Server


@dataclass
class TokenizationShelf(tokenizations_service_pb2_grpc.TokenizationsServiceServicer):
    """Lists and cancels; where it is `quick`, a tokenization is complete at the very moment it is to be stopped."""

    known: dict[str, tokenization_pb2.Tokenization] = field(default_factory=dict)
    quick: bool = False

    def put(self, model_id: str, status: str) -> str:
        """A tokenization that is made with the model; its id."""
        made = tokenization_pb2.Tokenization(
            id=str(new_id()),
            model_id=model_id,
            status=tokenization_pb2.TokenizationStatus.Value(f"TOKENIZATION_STATUS_{status}"),
        )
        self.known[made.id] = made
        return made.id

    def status(self, tokenization_id: str) -> str:
        """The status, without its prefix."""
        return _status(self.known[tokenization_id])

    async def ListTokenizations(
        self, request: pb.ListTokenizationsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListTokenizationsResponse:
        terms = parse_filter(request.filter, {"model_id": str, "status": str})
        found = [
            each
            for each in self.known.values()
            if all(term.matches(each.model_id if term.field == "model_id" else _status(each)) for term in terms)
        ]
        # Two a page, whatever is asked for: clients must follow the pages.
        first = int(request.page_token or 0)
        behind = first + 2
        token = str(behind) if behind < len(found) else ""
        return pb.ListTokenizationsResponse(
            tokenizations=found[first:behind], next_page_token=token, total_size=len(found)
        )

    async def CancelTokenization(
        self, request: pb.CancelTokenizationRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.CancelTokenizationResponse:
        found = self.known[request.id]
        if self.quick:
            found.status = tokenization_pb2.TOKENIZATION_STATUS_READY
            raise JobNotCancellable("It has ended", next_step="Delete it")
        found.status = tokenization_pb2.TOKENIZATION_STATUS_CANCELLED
        return pb.CancelTokenizationResponse(tokenization=found)


def _status(tokenization: tokenization_pb2.Tokenization) -> str:
    return tokenization_pb2.TokenizationStatus.Name(tokenization.status).removeprefix("TOKENIZATION_STATUS_")


@asynccontextmanager
async def datasets_service() -> AsyncIterator[tuple[TokenizationShelf, Server]]:
    """The service, while the block lasts."""
    shelf = TokenizationShelf()
    server = Server(ServerConfig("127.0.0.1:0", "127.0.0.1:0", drain_seconds=1), (), {})
    tokenizations_service_pb2_grpc.add_TokenizationsServiceServicer_to_server(shelf, server.grpc)
    await server.start()
    try:
        yield shelf, server
    finally:
        await server.stop()
