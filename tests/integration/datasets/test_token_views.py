import json
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from tokenizers import Tokenizer

from mistudio.datasets.v1 import tokenization_pb2, view_pb2
from mistudio.datasets.v1 import tokenizations_service_pb2 as pb
from mistudio_servicekit.storage import Area

from .served_hub import Hub
from .service_client import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")

PACKED, WINDOWS = view_pb2.VIEW_MODE_PACKED, view_pb2.VIEW_MODE_WINDOWS
DOCUMENT, SEQUENCE = view_pb2.SPECIAL_TOKEN_POLICY_DOCUMENT, view_pb2.SPECIAL_TOKEN_POLICY_SEQUENCE


async def tokenized(service: Service, tokenizer: Tokenizer) -> tokenization_pb2.Tokenization:
    """The dataset `english`, tokenized for a model of its own that has BOS but no EOS."""
    dataset, model = await service.ready(Hub.english), service.models.put(tokenizer)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>"}
    folder = service.backend.store.epoch(Area.MODELS, UUID(model), 1)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    answer = await service.tokenize(dataset.id, model)
    await service.succeeded(answer.job.id)
    return await service.tokenization(answer.tokenization.id)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(shared_service: Service, tokenizer: Tokenizer) -> tokenization_pb2.Tokenization:
    return await tokenized(shared_service, tokenizer)


@pytest.fixture(scope="module")
def ids(texts: list[str], tokenizer: Tokenizer) -> list[list[int]]:
    """The documents of the dataset as the tokenizer alone makes them."""
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts[:1000]]


async def sequences(service: Service, made: tokenization_pb2.Tokenization, **fields: Any) -> pb.ListSequencesResponse:
    return await service.tokenizations.ListSequences(pb.ListSequencesRequest(tokenization_id=made.id, **fields))


async def test_a_packed_view_is_the_stream_of_documents_in_pieces_of_the_context_length(
    shared_service: Service, made: tokenization_pb2.Tokenization, ids: list[list[int]]
) -> None:
    view = view_pb2.View(mode=PACKED, context_length=64)
    page = await sequences(shared_service, made, view=view, offset=10, page_size=5)
    stream = [id_ for document in ids for id_ in document]
    assert [list(found.token_ids) for found in page.sequences] == [stream[n * 64 : n * 64 + 64] for n in range(10, 15)]
    assert [found.sequence for found in page.sequences] == list(range(10, 15))
    assert page.total_size == page.view.sequences == len(stream) // 64
    assert (page.view.kept_tokens, page.view.leftover_tokens) == (len(stream) // 64 * 64, len(stream) % 64)
    for found in page.sequences:
        assert found.document == found.spans[0].document
        for span in found.spans:
            part = ids[span.document][span.document_start : span.document_start + span.tokens]
            assert list(found.token_ids[span.sequence_start : span.sequence_start + span.tokens]) == part
    rest = await sequences(shared_service, made, view=view, page_size=500, page_token=page.next_page_token)
    assert rest.sequences[0].sequence == 15


async def test_a_page_token_belongs_to_its_view(shared_service: Service, made: tokenization_pb2.Tokenization) -> None:
    page = await sequences(shared_service, made, view=view_pb2.View(mode=PACKED, context_length=64))
    for other in ({}, {"view": view_pb2.View(mode=PACKED, context_length=65)}):
        call = sequences(shared_service, made, page_token=page.next_page_token, **other)
        assert (await shared_service.refusal(call)).reason == "INVALID_PAGE_TOKEN"


async def test_long_sequences_are_cut_and_tell_their_whole_length_and_spans(
    shared_service: Service, made: tokenization_pb2.Tokenization, ids: list[list[int]]
) -> None:
    view = view_pb2.View(mode=WINDOWS, context_length=1000)
    (found,) = (await sequences(shared_service, made, view=view, page_size=1, max_tokens=2)).sequences
    assert (list(found.token_ids), found.total_tokens) == (ids[0][:2], len(ids[0]))
    assert [span.tokens for span in found.spans] == [len(ids[0])]
    assert len(found.tokens) == 2


async def test_statistics_tell_every_percentile_and_what_a_view_keeps(
    shared_service: Service, made: tokenization_pb2.Tokenization, ids: list[list[int]]
) -> None:
    view = view_pb2.View(mode=WINDOWS, context_length=32, first_window_only=True, bos=DOCUMENT)
    request = pb.GetTokenizationStatisticsRequest(id=made.id, view=view)
    answer = await shared_service.tokenizations.GetTokenizationStatistics(request)
    assert [each.percentile for each in answer.statistics.percentiles] == list(range(1, 100))
    assert answer.view.tokens == sum(map(len, ids))
    assert answer.view.kept_tokens == sum(min(31, len(document)) for document in ids)
    assert answer.view.truncated_tokens == answer.view.dropped_tokens
    request.ClearField("view")
    assert not (await shared_service.tokenizations.GetTokenizationStatistics(request)).HasField("view")


WRONG_VIEWS: list[tuple[dict[str, Any], str]] = [
    ({"context_length": 8}, "view.mode"),
    ({"mode": 7, "context_length": 8}, "view.mode"),
    ({"mode": PACKED}, "view.context_length"),
    ({"mode": PACKED, "context_length": 1_048_577}, "view.context_length"),
    ({"mode": PACKED, "context_length": 2, "bos": SEQUENCE, "eos": SEQUENCE}, "view.context_length"),
    ({"mode": WINDOWS, "context_length": 2, "bos": DOCUMENT, "eos": DOCUMENT}, "view.context_length"),
    ({"mode": PACKED, "context_length": 8, "stride": 1}, "view.stride"),
    ({"mode": WINDOWS, "context_length": 8, "stride": -1}, "view.stride"),
    ({"mode": PACKED, "context_length": 8, "first_window_only": True}, "view.first_window_only"),
    ({"mode": PACKED, "context_length": 8, "min_tokens": 1}, "view.min_tokens"),
    ({"mode": WINDOWS, "context_length": 8, "bos": SEQUENCE, "min_tokens": 8}, "view.min_tokens"),
    ({"mode": WINDOWS, "context_length": 8, "min_tokens": -1}, "view.min_tokens"),
    ({"mode": PACKED, "context_length": 8, "bos": 9}, "view.bos"),
    ({"mode": PACKED, "context_length": 8, "eos": DOCUMENT}, "view.eos"),
]


async def test_a_view_that_cannot_be_is_refused_by_its_field(
    shared_service: Service, made: tokenization_pb2.Tokenization
) -> None:
    for fields, field in WRONG_VIEWS:
        view = view_pb2.View(**fields)
        statistics = pb.GetTokenizationStatisticsRequest(id=made.id, view=view)
        for call in (
            sequences(shared_service, made, view=view),
            shared_service.tokenizations.GetTokenizationStatistics(statistics),
        ):
            error = await shared_service.refusal(call)
            assert (error.code, error.field) == ("INVALID_ARGUMENT", field), fields


async def test_tokens_are_found_by_ids_and_by_text_page_by_page(
    shared_service: Service, made: tokenization_pb2.Tokenization, ids: list[list[int]], tokenizer: Tokenizer
) -> None:
    query = tokenizer.encode("the", add_special_tokens=False).ids
    places = [
        (number, at)
        for number, document in enumerate(ids)
        for at in range(len(document))
        if document[at : at + len(query)] == query
    ]
    request = pb.SearchTokensRequest(tokenization_id=made.id, text="the", page_size=7, include_total=True)
    found = []
    while True:
        page = await shared_service.tokenizations.SearchTokens(request)
        found += [(match.document, match.position) for match in page.matches]
        assert (page.total_is_known, page.total_size) == (True, len(places))
        assert page.total_documents == len({document for document, _ in places})
        assert list(page.searched_ids) == query
        if not page.next_page_token:
            break
        request = pb.SearchTokensRequest(
            tokenization_id=made.id,
            ids=pb.TokenIds(values=query),
            page_size=7,
            page_token=page.next_page_token,
        )
    assert found == places
    assert len(places) > 7
    request = pb.SearchTokensRequest(tokenization_id=made.id, text="the", page_size=1, context_tokens=0)
    (match,) = (await shared_service.tokenizations.SearchTokens(request)).matches
    assert (list(match.token_ids), match.match_start, match.match_end) == (query, 0, len(query))
    assert "".join(match.tokens) == "the"


WRONG_SEARCHES: list[tuple[dict[str, Any], str]] = [
    ({}, "ids"),
    ({"ids": pb.TokenIds()}, "ids.values"),
    ({"ids": pb.TokenIds(values=[1] * 257)}, "ids.values"),
    ({"ids": pb.TokenIds(values=[1, 501])}, "ids.values[1]"),
    ({"ids": pb.TokenIds(values=[-1])}, "ids.values[0]"),
    ({"text": ""}, "text"),
    ({"text": "x" * 10_001}, "text"),
    ({"text": "word " * 1000}, "text"),
    ({"text": "a", "context_tokens": 101}, "context_tokens"),
    ({"text": "a", "context_tokens": -1}, "context_tokens"),
    ({"text": "a", "page_size": 501}, "page_size"),
    ({"text": "a", "page_token": "x"}, "page_token"),
]


async def test_a_search_that_cannot_be_is_refused_by_its_field(
    shared_service: Service, made: tokenization_pb2.Tokenization
) -> None:
    for fields, field in WRONG_SEARCHES:
        request = pb.SearchTokensRequest(tokenization_id=made.id, **fields)
        error = await shared_service.refusal(shared_service.tokenizations.SearchTokens(request))
        assert (error.code, error.field) == ("INVALID_ARGUMENT", field), fields


async def test_without_its_model_a_search_by_text_asks_for_ids(shared_service: Service, tokenizer: Tokenizer) -> None:
    made = await tokenized(shared_service, tokenizer)
    del shared_service.models.known[made.model_id]
    by_text = pb.SearchTokensRequest(tokenization_id=made.id, text="the")
    error = await shared_service.refusal(shared_service.tokenizations.SearchTokens(by_text))
    assert error.reason == "MODEL_NOT_FOUND"
    assert "ids" in error.next_step
    by_ids = pb.SearchTokensRequest(tokenization_id=made.id, ids=pb.TokenIds(values=[70]))
    assert (await shared_service.tokenizations.SearchTokens(by_ids)).matches


async def test_nothing_is_found_in_a_tokenization_that_is_gone(shared_service: Service, tokenizer: Tokenizer) -> None:
    made = await tokenized(shared_service, tokenizer)
    job = (await shared_service.tokenizations.DeleteTokenization(pb.DeleteTokenizationRequest(id=made.id))).job
    await shared_service.succeeded(job.id)
    view = view_pb2.View(mode=PACKED, context_length=8)
    for call in (
        sequences(shared_service, made, view=view),
        shared_service.tokenizations.SearchTokens(
            pb.SearchTokensRequest(tokenization_id=made.id, ids=pb.TokenIds(values=[1]))
        ),
    ):
        assert (await shared_service.refusal(call)).reason == "TOKENIZATION_NOT_FOUND"
