"""Rows and cells of datasets as messages."""

from __future__ import annotations

from collections.abc import Iterator

from mistudio.datasets.v1 import datasets_service_pb2 as pb
from mistudio.datasets.v1 import sample_pb2
from mistudio_datasets.data.browsing.sample_content import SampleContent
from mistudio_datasets.data.browsing.samples import SampleRow
from mistudio_datasets.domain.sample_queries import SampleQuery, TokenLength
from mistudio_datasets.service.sample_requests import SamplesAnswer, SamplesRequest
from mistudio_servicekit.requests import parse_id


def samples_request(request: pb.ListSamplesRequest) -> SamplesRequest:
    """What a client asks for; raises `InvalidArgument` for malformed ids."""
    return SamplesRequest(
        dataset_id=parse_id("dataset_id", request.dataset_id),
        split=request.split,
        offset=request.offset,
        page_size=request.page_size,
        page_token=request.page_token,
        query=_query(request.query),
        include_total=request.include_total,
    )


def _query(query: sample_pb2.SampleQuery) -> SampleQuery:
    return SampleQuery(
        filter=query.filter,
        contains=query.contains,
        regex=query.regex,
        words=query.words,
        ignore_case=query.ignore_case,
        search_columns=tuple(query.search_columns),
        token_length=_token_length(query.token_length) if query.HasField("token_length") else None,
    )


def _token_length(condition: sample_pb2.TokenLengthCondition) -> TokenLength:
    tokenization_id = parse_id("query.token_length.tokenization_id", condition.tokenization_id)
    return TokenLength(tokenization_id, condition.min_tokens, condition.max_tokens)


def samples_message(answer: SamplesAnswer) -> pb.ListSamplesResponse:
    """A page of rows as clients see it."""
    ranking = sample_pb2.Ranking.Value(f"RANKING_{answer.ranking or 'UNSPECIFIED'}")
    return pb.ListSamplesResponse(
        samples=map(sample_message, answer.rows),
        next_page_token=answer.next_page_token,
        total_size=answer.total or 0,
        total_is_known=answer.total is not None,
        ranking=ranking,
        word_index_job_id=str(answer.word_index_job_id or ""),
    )


def sample_message(sample: SampleRow) -> pb.Sample:
    """A row as clients see it."""
    message = pb.Sample(row=sample.row, score=sample.score)
    message.values.update(sample.values)
    message.cut_cells.extend(pb.CutCell(column=cut.column, size_bytes=cut.size_bytes) for cut in sample.cut_cells)
    message.snippets.extend(
        sample_pb2.Snippet(
            column=found.column, text=found.text, match_start=found.match_start, match_end=found.match_end
        )
        for found in sample.snippets
    )
    return message


def content_messages(content: SampleContent) -> Iterator[pb.GetSampleResponse]:
    """A cell or row in pieces; the first carries the header, and is the only one of an empty cell."""
    header = sample_pb2.SampleContentHeader(
        media_type=content.media_type, size_bytes=content.size_bytes, is_null=content.is_null
    )
    pieces = content.pieces()
    first = sample_pb2.SampleContent(header=header, chunk=next(pieces, b""))
    yield pb.GetSampleResponse(content=first)
    for piece in pieces:
        yield pb.GetSampleResponse(content=sample_pb2.SampleContent(chunk=piece))
