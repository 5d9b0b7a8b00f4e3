"""`TokenizationsService`."""

from __future__ import annotations

from mistudio.datasets.v1 import tokenizations_service_pb2 as pb
from mistudio.datasets.v1 import tokenizations_service_pb2_grpc as pb_grpc
from mistudio_datasets.api.conversion import statistics_message, tokenization_message
from mistudio_datasets.api.preview_messages import preview_message, preview_request
from mistudio_datasets.api.settings_messages import settings_of
from mistudio_datasets.api.token_search_messages import token_search_message, token_search_of
from mistudio_datasets.api.view_messages import figures_message, sequence_message, view_of
from mistudio_datasets.service import deletion, preview, sequences, token_search, tokenizations, views
from mistudio_datasets.service.tools import Tools
from mistudio_jobs.events import job_message
from mistudio_servicekit.interceptors import Context
from mistudio_servicekit.pagination import PageRequest
from mistudio_servicekit.requests import parse_id


class TokenizationsServicer(pb_grpc.TokenizationsServiceServicer):
    """Tokenizations over gRPC; the contract is in the protos."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def PreviewTokenization(  # noqa: N802  # the RPC's name
        self, request: pb.PreviewTokenizationRequest, context: Context
    ) -> pb.PreviewTokenizationResponse:
        """A few rows as they would be tokenized."""
        found, settings = await preview.preview(self._tools, preview_request(request))
        return preview_message(found, settings)

    async def CreateTokenization(  # noqa: N802  # the RPC's name
        self, request: pb.CreateTokenizationRequest, context: Context
    ) -> pb.CreateTokenizationResponse:
        """Start to tokenize a dataset for a model."""
        wanted = tokenizations.TokenizationRequest(
            dataset_id=parse_id("dataset_id", request.dataset_id),
            model_id=parse_id("model_id", request.model_id),
            settings=settings_of(request.settings),
            request_id=request.request_id,
        )
        started = await tokenizations.create(self._tools, wanted)
        return pb.CreateTokenizationResponse(
            tokenization=tokenization_message(started.resource), job=job_message(started.job), joined=started.joined
        )

    async def GetTokenization(  # noqa: N802  # the RPC's name
        self, request: pb.GetTokenizationRequest, context: Context
    ) -> pb.GetTokenizationResponse:
        """One tokenization."""
        tokenization = await tokenizations.get(self._tools, parse_id("id", request.id))
        return pb.GetTokenizationResponse(tokenization=tokenization_message(tokenization))

    async def ListTokenizations(  # noqa: N802  # the RPC's name
        self, request: pb.ListTokenizationsRequest, context: Context
    ) -> pb.ListTokenizationsResponse:
        """A page of tokenizations."""
        wanted = PageRequest(
            page_size=request.page_size,
            page_token=request.page_token,
            filter=request.filter,
            order_by=request.order_by,
        )
        found = await tokenizations.list_page(self._tools, wanted)
        return pb.ListTokenizationsResponse(
            tokenizations=map(tokenization_message, found.rows),
            next_page_token=found.next_page_token,
            total_size=found.total_size,
        )

    async def CancelTokenization(  # noqa: N802  # the RPC's name
        self, request: pb.CancelTokenizationRequest, context: Context
    ) -> pb.CancelTokenizationResponse:
        """Stop a tokenization."""
        stopped = await tokenizations.cancel(self._tools, parse_id("id", request.id))
        return pb.CancelTokenizationResponse(
            tokenization=tokenization_message(stopped.resource), job=job_message(stopped.job)
        )

    async def DeleteTokenization(  # noqa: N802  # the RPC's name
        self, request: pb.DeleteTokenizationRequest, context: Context
    ) -> pb.DeleteTokenizationResponse:
        """Delete a tokenization."""
        tokenization_id = parse_id("id", request.id)
        job = await deletion.delete_tokenization(self._tools, tokenization_id, etag=request.etag, force=request.force)
        return pb.DeleteTokenizationResponse(job=job_message(job))

    async def GetTokenizationStatistics(  # noqa: N802  # the RPC's name
        self, request: pb.GetTokenizationStatisticsRequest, context: Context
    ) -> pb.GetTokenizationStatisticsResponse:
        """Exact figures over all documents of a tokenization."""
        tokenization_id = parse_id("id", request.id)
        view = view_of(request.view) if request.HasField("view") else None
        figures = await tokenizations.statistics(self._tools, tokenization_id)
        seen = await views.figures(self._tools, tokenization_id, view) if view else None
        return pb.GetTokenizationStatisticsResponse(
            statistics=statistics_message(figures), view=figures_message(seen) if seen else None
        )

    async def ListSequences(  # noqa: N802  # the RPC's name
        self, request: pb.ListSequencesRequest, context: Context
    ) -> pb.ListSequencesResponse:
        """A page of tokenized documents, or of the sequences of a view."""
        wanted = sequences.SequencesRequest(
            tokenization_id=parse_id("tokenization_id", request.tokenization_id),
            offset=request.offset,
            page_size=request.page_size,
            page_token=request.page_token,
            max_tokens=request.max_tokens,
            view=view_of(request.view) if request.HasField("view") else None,
        )
        found = await sequences.list_sequences(self._tools, wanted)
        return pb.ListSequencesResponse(
            sequences=map(sequence_message, found.page.rows),
            next_page_token=found.page.next_page_token,
            total_size=found.page.total_size,
            view=figures_message(found.figures) if found.figures else None,
        )

    async def SearchTokens(  # noqa: N802  # the RPC's name
        self, request: pb.SearchTokensRequest, context: Context
    ) -> pb.SearchTokensResponse:
        """Places where tokens follow one another."""
        return token_search_message(await token_search.search_tokens(self._tools, token_search_of(request)))
