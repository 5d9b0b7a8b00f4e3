"""Browsing and searching rows, and reading whole cells, through the service."""

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from tokenizers import Tokenizer

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2, sample_pb2
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import Reason
from mistudio_servicekit.storage import Area, remove_tree

from .service_client import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = ["alpha", "beta", "gamma", "delta", "针"]
PNG = b"\x89PNG" + bytes(range(256)) * 10_000
ROWS = 1000


def table() -> pa.Table:
    rows = range(ROWS)
    return pa.table(
        {
            "text": [f"Row {row}: {' '.join(WORDS[: row % 5 + 1])} 100%_\\" for row in rows],
            "title": [None if row % 2 else "Ünïcode Title" for row in rows],
            "n": list(rows),
            "score": [row / ROWS for row in rows],
            "meta": [{"url": f"u{row % 10}", "tags": [row]} for row in rows],
            "image": [PNG if row == 3 else None for row in rows],
        }
    )


def parquet(content: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(content, buffer, row_group_size=100)
    return buffer.getvalue()


async def bring(service: Service, content: pa.Table) -> dataset_pb2.Dataset:
    answer = await service.upload("rows.parquet", parquet(content))
    await service.succeeded(answer.job.id)
    return await service.dataset(answer.dataset.id)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dataset(shared_service: Service) -> AsyncIterator[dataset_pb2.Dataset]:
    yield await bring(shared_service, table())


async def page(
    service: Service, dataset: dataset_pb2.Dataset, *, query: dict[str, Any] | None = None, **fields: Any
) -> datasets_service_pb2.ListSamplesResponse:
    wanted = None if query is None else sample_pb2.SampleQuery(**query)
    request = datasets_service_pb2.ListSamplesRequest(dataset_id=dataset.id, query=wanted, **fields)
    return await service.datasets.ListSamples(request)


def numbers(answer: datasets_service_pb2.ListSamplesResponse) -> list[int]:
    assert [sample.row for sample in answer.samples] == [sample.values["n"] for sample in answer.samples]
    return [sample.row for sample in answer.samples]


async def test_a_search_is_paged_to_its_end_and_counted_once(
    shared_service: Service, dataset: dataset_pb2.Dataset
) -> None:
    query = {"contains": "GAMMA", "ignore_case": True, "filter": "n >= 100"}
    expected = [row for row in range(100, ROWS) if row % 5 >= 2]
    first = await page(shared_service, dataset, query=query, page_size=100)
    assert (numbers(first), first.total_is_known, first.total_size) == (expected[:100], False, 0)
    counted = await page(shared_service, dataset, query=query, page_size=100, include_total=True)
    assert (numbers(counted), counted.total_is_known, counted.total_size) == (expected[:100], True, 540)
    seen, token = numbers(counted), counted.next_page_token
    while token:
        answer = await page(shared_service, dataset, query=query, page_size=100, page_token=token)
        assert (answer.total_is_known, answer.total_size) == (True, 540)
        seen += numbers(answer)
        token = answer.next_page_token
    assert seen == expected


async def test_the_last_page_has_no_token(shared_service: Service, dataset: dataset_pb2.Dataset) -> None:
    query = {"filter": "n < 40"}
    first = await page(shared_service, dataset, query=query, include_total=True, page_size=20)
    second = await page(shared_service, dataset, query=query, page_token=first.next_page_token, page_size=20)
    assert (numbers(second), second.next_page_token) == (list(range(20, 40)), "")
    only = await page(shared_service, dataset, query={"filter": "n < 4"})
    assert (numbers(only), only.next_page_token, only.total_is_known, only.total_size) == ([0, 1, 2, 3], "", True, 4)


async def test_matches_can_be_passed_over(shared_service: Service, dataset: dataset_pb2.Dataset) -> None:
    answer = await page(shared_service, dataset, query={"filter": "`score` >= 0.5"}, offset=10, page_size=3)
    assert numbers(answer) == [510, 511, 512]
    answer = await page(shared_service, dataset, query={"filter": "score >= 0.5"}, offset=498)
    assert (numbers(answer), answer.next_page_token) == ([998, 999], "")


async def test_without_a_query_the_total_is_known(shared_service: Service, dataset: dataset_pb2.Dataset) -> None:
    for query in (None, {"contains": ""}, {"search_columns": ["text"]}):
        answer = await page(shared_service, dataset, query=query, offset=990)
        assert (numbers(answer), answer.total_is_known, answer.total_size) == (list(range(990, 1000)), True, ROWS)


async def test_rows_look_the_same_with_and_without_a_query(
    shared_service: Service, dataset: dataset_pb2.Dataset
) -> None:
    plain = await page(shared_service, dataset, page_size=10)
    found = await page(shared_service, dataset, query={"filter": "n < 10"}, page_size=10)
    assert list(plain.samples) == list(found.samples)


async def test_snippets_show_what_was_found_in_each_column(
    shared_service: Service, dataset: dataset_pb2.Dataset
) -> None:
    answer = await page(shared_service, dataset, query={"regex": r"t\w*le|gam+a", "ignore_case": True}, page_size=20)
    by_row = {sample.row: sample.snippets for sample in answer.samples}
    shown = {
        row: [(found.column, found.text[found.match_start : found.match_end]) for found in snippets]
        for row, snippets in by_row.items()
    }
    assert shown[2] == [("text", "gamma"), ("title", "Title")]
    assert shown[3] == [("text", "gamma")]
    assert shown[6] == [("title", "Title")]
    assert 5 not in shown


async def test_all_conditions_combine_with_lengths_of_a_tokenization(
    shared_service: Service, dataset: dataset_pb2.Dataset, tokenizer: Tokenizer
) -> None:
    model = shared_service.models.put(tokenizer)
    made = await shared_service.tokenize(dataset.id, model, text_column="text")
    await shared_service.succeeded(made.job.id)
    lengths = [len(tokenizer.encode(text).ids) for text in table()["text"].to_pylist()]
    middle = sorted(lengths)[ROWS // 2]
    condition = sample_pb2.TokenLengthCondition(tokenization_id=made.tokenization.id, min_tokens=middle)
    query: dict[str, Any] = {"contains": "beta", "filter": "n > 500", "token_length": condition}
    expected = [row for row in range(501, ROWS) if row % 5 >= 1 and lengths[row] >= middle]
    answer = await page(shared_service, dataset, query=query, include_total=True, page_size=1000)
    assert (numbers(answer), answer.total_size) == (expected, len(expected))
    condition.max_tokens = middle
    answer = await page(shared_service, dataset, query={"token_length": condition}, include_total=True, page_size=7)
    exact = [row for row in range(ROWS) if lengths[row] == middle]
    assert (numbers(answer), answer.total_size) == (exact[:7], len(exact))
    ranked = await page(
        shared_service, dataset, query={"words": "gamma", "filter": "n > 900", "token_length": condition}
    )
    assert set(numbers(ranked)) == {row for row in exact if row > 900 and row % 5 >= 2}


async def test_words_are_ranked_within_the_filter(shared_service: Service, dataset: dataset_pb2.Dataset) -> None:
    answer = await page(shared_service, dataset, query={"words": "delta 针", "filter": "n < 50"}, page_size=15)
    assert {sample.row % 5 for sample in answer.samples[:10]} == {4}
    assert {sample.row % 5 for sample in answer.samples[10:]} == {3}
    for sample in answer.samples:
        (found,) = sample.snippets
        assert (found.column, found.text[found.match_start : found.match_end]) == ("text", "delta")
    scores = [sample.score for sample in answer.samples]
    assert scores == sorted(scores, reverse=True)
    assert (answer.total_is_known, answer.total_size) == (True, 20)
    assert answer.ranking in (sample_pb2.RANKING_SCAN, sample_pb2.RANKING_INDEX)
    rest = await page(
        shared_service,
        dataset,
        query={"words": "delta 针", "filter": "n < 50"},
        page_size=15,
        page_token=answer.next_page_token,
    )
    assert (len(rest.samples), rest.next_page_token) == (5, "")
    assert not {sample.row for sample in rest.samples} & {sample.row for sample in answer.samples}


REFUSED: list[tuple[dict[str, Any], dict[str, Any], Reason, str, str]] = [
    ({"filter": "lang = en"}, {}, Reason.INVALID_FILTER, "query.filter", "`text`, `title`, `n`"),
    ({"filter": "n = "}, {}, Reason.INVALID_FILTER, "query.filter", "character 1"),
    ({"regex": "("}, {}, Reason.INVALID_SEARCH, "query.regex", "parenthesis"),
    ({"contains": "a", "search_columns": ["x"]}, {}, Reason.COLUMN_NOT_FOUND, "query.search_columns", "'title'"),
    ({"words": "a", "search_columns": ["x"]}, {}, Reason.COLUMN_NOT_FOUND, "query.search_columns", "'title'"),
    ({"contains": "a", "search_columns": ["n"]}, {}, Reason.INVALID_SEARCH, "query.search_columns", "holds no text"),
    ({"contains": "a" * 1001}, {}, Reason.INVALID_FIELD, "query.contains", "1,001"),
    ({"filter": "n = 1"}, {"page_size": 1001}, Reason.INVALID_FIELD, "page_size", "1001"),
    ({"filter": "n = 1"}, {"offset": -1}, Reason.INVALID_FIELD, "offset", "-1"),
    ({"filter": "n = 1"}, {"page_token": "x"}, Reason.INVALID_PAGE_TOKEN, "page_token", "damaged"),
    ({"filter": "n = 1"}, {"split": "test"}, Reason.SPLIT_NOT_FOUND, "split", "'train'"),
    ({"token_length": {"tokenization_id": "x"}}, {}, Reason.MALFORMED_ID, "query.token_length.tokenization_id", "x"),
    ({"token_length": {"tokenization_id": str(new_id()), "min_tokens": 9, "max_tokens": 1}}, {},
     Reason.INVALID_FIELD, "query.token_length", "9 to 1"),
    ({"token_length": {"tokenization_id": str(new_id())}}, {}, Reason.TOKENIZATION_NOT_FOUND, "", "no tokenization"),
]  # fmt: skip


async def test_what_cannot_be_searched_is_refused(shared_service: Service) -> None:
    dataset = await bring(shared_service, table().slice(0, 10))
    for query, fields, reason, field, said in REFUSED:
        error = await shared_service.refusal(page(shared_service, dataset, query=query, **fields))
        assert (error.reason, error.field) == (reason, field), query
        assert said in error.message


async def test_a_tokenization_of_other_rows_is_refused(
    shared_service: Service, dataset: dataset_pb2.Dataset, tokenizer: Tokenizer
) -> None:
    model = shared_service.models.put(tokenizer)
    made = await shared_service.tokenize(dataset.id, model, text_column="text")
    other = await bring(shared_service, table().slice(0, 10))
    condition = {"tokenization_id": made.tokenization.id}
    error = await shared_service.refusal(page(shared_service, other, query={"token_length": condition}))
    assert (error.reason, error.field) == (Reason.INVALID_FIELD, "query.token_length.tokenization_id")
    await shared_service.succeeded(made.job.id)


async def test_a_token_of_another_query_is_refused(shared_service: Service, dataset: dataset_pb2.Dataset) -> None:
    token = (await page(shared_service, dataset, query={"filter": "n > 1"})).next_page_token
    for query in (None, {"filter": "n > 2"}):
        error = await shared_service.refusal(page(shared_service, dataset, query=query, page_token=token))
        assert error.reason is Reason.INVALID_PAGE_TOKEN


async def content(service: Service, dataset_id: str, **fields: Any) -> tuple[sample_pb2.SampleContentHeader, bytes]:
    request = datasets_service_pb2.GetSampleRequest(dataset_id=dataset_id, **fields)
    pieces = [piece.content async for piece in service.datasets.GetSample(request)]
    assert all(len(piece.chunk) <= 1 << 20 for piece in pieces)
    assert not any(piece.HasField("header") for piece in pieces[1:])
    whole = b"".join(piece.chunk for piece in pieces)
    assert len(whole) == pieces[0].header.size_bytes
    return pieces[0].header, whole


async def test_whole_cells_come_as_what_they_are(shared_service: Service, dataset: dataset_pb2.Dataset) -> None:
    header, text = await content(shared_service, dataset.id, row=999, column="text")
    assert (header.media_type, text.decode()) == ("text/plain", table()["text"][999].as_py())
    header, image = await content(shared_service, dataset.id, row=3, column="image")
    assert (header.media_type, image == PNG) == ("image/png", True)
    header, meta = await content(shared_service, dataset.id, row=5, column="meta")
    assert (header.media_type, json.loads(meta)) == ("application/json", {"url": "u5", "tags": [5]})
    header, number = await content(shared_service, dataset.id, row=5, column="n")
    assert (header.media_type, number) == ("application/json", b"5")
    header, nothing = await content(shared_service, dataset.id, row=1, column="title")
    assert (header.media_type, header.is_null, nothing) == ("text/plain", True, b"")


async def test_a_whole_row_comes_as_json(shared_service: Service, dataset: dataset_pb2.Dataset) -> None:
    header, row = await content(shared_service, dataset.id, row=3)
    assert header.media_type == "application/json"
    values = json.loads(row)
    assert list(values) == table().column_names
    assert (values["n"], values["title"], values["meta"]) == (3, None, {"url": "u3", "tags": [3]})
    assert values["image"] == {"kind": "image", "format": "png", "size_bytes": len(PNG)}


async def test_a_huge_cell_that_a_page_cuts_comes_whole(shared_service: Service) -> None:
    text = "ä针x" * 1_500_000
    dataset = await bring(shared_service, pa.table({"text": ["small", text], "n": [0, 1]}))
    (sample,) = (await page(shared_service, dataset, offset=1)).samples
    assert sample.cut_cells[0].size_bytes == len(text.encode())
    _, whole = await content(shared_service, dataset.id, row=1, column="text")
    assert whole.decode() == text


async def test_a_cell_that_is_not_there_is_refused(shared_service: Service) -> None:
    dataset = await bring(shared_service, table().slice(0, 10))
    refused: list[tuple[dict[str, Any], Reason, str]] = [
        ({"row": 10}, Reason.ROW_NOT_FOUND, "0 to 9"),
        ({"row": -1}, Reason.ROW_NOT_FOUND, "0 to 9"),
        ({"column": "nope"}, Reason.COLUMN_NOT_FOUND, "'title'"),
        ({"split": "nope"}, Reason.SPLIT_NOT_FOUND, "'train'"),
    ]
    for fields, reason, said in refused:
        error = await shared_service.refusal(content(shared_service, dataset.id, **fields))
        assert error.reason is reason
        assert said in error.message


@pytest.mark.asyncio(loop_scope="function")
async def test_a_dataset_without_files_has_no_cells(service: Service) -> None:
    answer = await service.upload("rows.txt", b"a line\n")
    error = await service.refusal(content(service, answer.dataset.id))
    assert error.reason is Reason.DATASET_NOT_READY
    error = await service.refusal(page(service, answer.dataset, query={"contains": "a"}))
    assert error.reason is Reason.DATASET_NOT_READY
    error = await service.refusal(content(service, str(new_id())))
    assert error.reason is Reason.DATASET_NOT_FOUND


async def test_lost_files_are_an_incident_and_a_deleted_dataset_is_not_found(
    shared_service: Service,
) -> None:
    dataset = await bring(shared_service, table().slice(0, 10))
    request = datasets_service_pb2.DeleteDatasetRequest(id=dataset.id)
    remove_tree(shared_service.folder(Area.DATASETS, dataset.id))
    error = await shared_service.refusal(page(shared_service, dataset, query={"contains": "alpha"}))
    assert error.reason is Reason.INTERNAL  # the store has lost files
    await shared_service.datasets.DeleteDataset(request)
    error = await shared_service.refusal(page(shared_service, dataset, query={"contains": "alpha"}))
    assert error.reason is Reason.DATASET_NOT_FOUND
