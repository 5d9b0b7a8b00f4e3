"""Previews as messages."""

from __future__ import annotations

from mistudio.datasets.v1 import tokenization_pb2
from mistudio.datasets.v1 import tokenizations_service_pb2 as pb
from mistudio_datasets.api.settings_messages import settings_message, settings_of, step_messages
from mistudio_datasets.domain.previews import Preview, PreviewedRow
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from mistudio_datasets.service.preview import PreviewRequest
from mistudio_servicekit.requests import parse_id


def preview_request(request: pb.PreviewTokenizationRequest) -> PreviewRequest:
    """What a client wants to see.

    Raises:
        InvalidArgument: an id is none, or the settings name a step or format that there is not.
    """
    return PreviewRequest(
        dataset_id=parse_id("dataset_id", request.dataset_id),
        model_id=parse_id("model_id", request.model_id),
        settings=settings_of(request.settings),
        offset=request.offset,
        page_size=request.page_size,
        max_tokens=request.max_tokens,
    )


def preview_message(preview: Preview, settings: TokenizationSettings) -> pb.PreviewTokenizationResponse:
    """Previewed rows as clients see them."""
    return pb.PreviewTokenizationResponse(
        rows=map(_row, preview.rows), settings=settings_message(settings), chat_template=preview.chat_template
    )


def _row(row: PreviewedRow) -> tokenization_pb2.PreviewedRow:
    return tokenization_pb2.PreviewedRow(
        row=row.row,
        original_text=row.original_text,
        text=row.text,
        token_ids=row.token_ids,
        tokens=row.tokens,
        total_tokens=row.total_tokens,
        changed_by=step_messages(row.changed_by),
        problem=row.problem,
    )
