"""A researcher's session over the whole stack: look, bring in, search, measure, tokenize, view, export, let go."""

import asyncio
from typing import Any

import datasets
import pytest

from mistudio.datasets.v1 import (
    datasets_service_pb2,
    exports_service_pb2,
    sample_pb2,
    tokenization_pb2,
    tokenizations_service_pb2,
    view_pb2,
)
from mistudio.jobs.v1 import job_pb2
from mistudio_servicekit.database import new_id
from mistudio_servicekit.storage import Area, folder_bytes
from tests.e2e.research import (
    CHAT_MODEL,
    DATASET,
    HUGE_PAGE,
    HUGE_ROW,
    PACKED,
    TEST_ROWS,
    TRAIN_ROWS,
    found,
    fresh_dataset,
    rendered,
    rows,
    sequences,
    start_export,
    start_tokenizing,
    statistics,
    tokenized,
    tokenizer,
)
from tests.e2e.support import BIG_DATASET, Product
from tests.tokenizer_families import english_paragraphs

ListSamples = datasets_service_pb2.ListSamplesResponse

SLOW_CLEANING = [
    tokenization_pb2.CLEANING_STEP_FIX_ENCODING,
    tokenization_pb2.CLEANING_STEP_REMOVE_CONTROL_CHARACTERS,
    tokenization_pb2.CLEANING_STEP_REMOVE_HTML,
    tokenization_pb2.CLEANING_STEP_REMOVE_URLS,
    tokenization_pb2.CLEANING_STEP_REMOVE_EMAIL_ADDRESSES,
    tokenization_pb2.CLEANING_STEP_COLLAPSE_WHITESPACE,
]
"""Takes many times as long as the tokens."""


def numbers(page: ListSamples) -> list[int]:
    return [sample.row for sample in page.samples]


async def test_a_dataset_is_told_before_its_download_as_it_then_is(product: Product) -> None:
    request = datasets_service_pb2.InspectDatasetRequest(repo_id=DATASET)
    inspection = (await product.datasets.InspectDataset(request)).inspection
    assert inspection.accessible
    (config,) = inspection.configs
    assert {split.name: split.rows for split in config.splits} == {"train": TRAIN_ROWS, "test": TEST_ROWS}
    dataset = await product.ready_dataset(DATASET)
    assert {split.name: split.rows for split in dataset.splits} == {"train": TRAIN_ROWS, "test": TEST_ROWS}
    assert list(dataset.columns) == list(config.columns)
    assert [column.name for column in dataset.columns] == rows("test").column_names


async def test_a_filter_a_text_and_a_length_in_tokens_find_exactly_their_rows(product: Product) -> None:
    dataset, model = await product.ready_dataset(DATASET), await product.ready_model(CHAT_MODEL)
    made = await tokenized(product, dataset.id, model.id, split="train", text_column="text")
    length = sample_pb2.TokenLengthCondition(tokenization_id=made.id, min_tokens=20, max_tokens=80)
    query = {"filter": "n >= 100 AND score IS NOT NULL", "contains": "THE", "ignore_case": True,
             "search_columns": ["text"], "token_length": length}  # fmt: skip
    expected = [
        row["n"]
        for row in rows("train").select(["text", "n", "score"]).to_pylist()
        if row["n"] >= 100 and row["score"] is not None and "the" in row["text"].lower()
        and 20 <= len(tokenizer().encode(row["text"], add_special_tokens=False).ids) <= 80
    ]  # fmt: skip
    first = await found(product, dataset.id, query, split="train", page_size=100, include_total=True)
    assert (first.total_is_known, first.total_size) == (True, len(expected))
    rest = await found(product, dataset.id, query, split="train", page_size=1000, page_token=first.next_page_token)
    assert numbers(first) + numbers(rest) == expected
    assert len(expected) > 100


async def test_a_regular_expression_is_found_and_shown_where_it_matches(product: Product) -> None:
    dataset = await product.ready_dataset(DATASET)
    query = {"regex": r"\bf-?strings?\b|\blambda\b", "search_columns": ["text"]}
    page = await found(product, dataset.id, query, split="train", page_size=100)
    shown = {
        sample.row: found.text[found.match_start : found.match_end]
        for sample in page.samples
        for found in sample.snippets
    }
    assert sorted(shown) == numbers(page)
    assert {"lambda"} <= set(shown.values()) <= {"lambda", "fstring", "fstrings", "f-string", "f-strings"}


async def test_words_find_the_same_rows_before_and_after_their_index(product: Product) -> None:
    dataset = await fresh_dataset(product)
    query = {"words": 'exception "except clause"'}
    before = await found(product, dataset.id, query, split="train", page_size=1000)
    assert (before.ranking, before.total_is_known) == (sample_pb2.RANKING_SCAN, True)
    await product.succeeded(before.word_index_job_id)
    after = await found(product, dataset.id, query, split="train", page_size=1000)
    assert (after.ranking, after.word_index_job_id) == (sample_pb2.RANKING_INDEX, "")
    assert sorted(numbers(after)) == sorted(numbers(before))
    assert numbers(after)[:5] == numbers(before)[:5]
    assert after.total_size == before.total_size == len(after.samples) > 50


async def test_a_cell_of_several_mebibytes_comes_whole(product: Product) -> None:
    dataset = await product.ready_dataset(DATASET)
    (cut,) = (await found(product, dataset.id, {}, split="train", offset=HUGE_ROW, page_size=1)).samples
    size = len(HUGE_PAGE.encode())
    assert [(cell.column, cell.size_bytes) for cell in cut.cut_cells] == [("page", size)]
    request = datasets_service_pb2.GetSampleRequest(dataset_id=dataset.id, split="train", row=HUGE_ROW, column="page")
    pieces = [piece.content async for piece in product.datasets.GetSample(request)]
    assert (pieces[0].header.media_type, pieces[0].header.size_bytes) == ("text/plain", size)
    assert b"".join(piece.chunk for piece in pieces).decode() == HUGE_PAGE
    assert size > 4 << 20


async def test_statistics_of_columns_are_exact_for_every_split(product: Product) -> None:
    dataset = await product.ready_dataset(DATASET)
    for split, count in (("train", TRAIN_ROWS), ("test", TEST_ROWS)):
        answer = await statistics(product, dataset.id, split=split)
        by_name = {column.column: column for column in answer.columns}
        assert answer.split == split
        assert list(by_name) == rows(split).column_names
        assert (by_name["n"].numbers.min, by_name["n"].numbers.max) == (0, count - 1)
        assert (by_name["n"].distinct, by_name["n"].distinct_is_exact) == (count, True)
        assert (by_name["score"].rows, by_name["score"].nulls) == (count, count // 10)
        assert by_name["text"].lengths.max == max(map(len, english_paragraphs()[:count]))
        assert (by_name["messages"].lengths.min, by_name["messages"].lengths.max) == (2, 2)
    assert (await product.dataset(dataset.id)).column_statistics.size_bytes > 0


async def test_one_dataset_is_tokenized_for_two_models_at_once(product: Product) -> None:
    dataset = await fresh_dataset(product)
    models = [await product.ready_model(), await product.ready_model(CHAT_MODEL)]
    settings: list[dict[str, Any]] = [{"split": "train"}, {"split": "test", "chat": tokenization_pb2.ChatSettings()}]
    started = [
        await start_tokenizing(product, dataset.id, model.id, **each)
        for model, each in zip(models, settings, strict=True)
    ]

    async def told(job_id: str) -> job_pb2.Progress:
        reports = [r.event.progress async for r in product.watch(job_id) if r.event.HasField("progress")]
        return reports[-1]

    last = await asyncio.gather(*(told(answer.job.id) for answer in started))
    assert [(report.done, report.total) for report in last] == [(TRAIN_ROWS, TRAIN_ROWS), (TEST_ROWS, TEST_ROWS)]
    for model, each, answer in zip(models, settings, started, strict=True):
        again = await start_tokenizing(product, dataset.id, model.id, **each)
        assert (again.joined, again.tokenization.id) == (True, answer.tokenization.id)
        assert (await product.tokenization(answer.tokenization.id)).status == tokenization_pb2.TOKENIZATION_STATUS_READY


async def test_of_two_tokenizations_at_once_one_is_cancelled_and_the_other_goes_on(product: Product) -> None:
    big = await product.ready_dataset(BIG_DATASET)
    model, other = await product.ready_model(), await product.ready_model(CHAT_MODEL)
    stays = await start_tokenizing(product, big.id, model.id, cleaning=SLOW_CLEANING)
    await product.until(stays.job.id, lambda progress: progress.done > 0)
    goes = await start_tokenizing(product, big.id, other.id, cleaning=SLOW_CLEANING)
    await product.until(goes.job.id, lambda progress: progress.done > 0)
    await product.cancelled_soon(goes.job.id)
    assert (await product.job(stays.job.id)).state == job_pb2.JOB_STATE_RUNNING
    await product.succeeded(stays.job.id)
    assert product.epochs(Area.TOKENIZATIONS, goes.tokenization.id) == []
    assert (await product.tokenization(stays.tokenization.id)).documents == big.rows
    await product.delete_tokenization(stays.tokenization.id)


SETTINGS: dict[str, dict[str, Any]] = {
    "text": {"text_column": "text"},
    "cleaned text": {
        "text_column": "text",
        "cleaning": [
            tokenization_pb2.CLEANING_STEP_COLLAPSE_WHITESPACE,
            tokenization_pb2.CLEANING_STEP_LOWERCASE,
        ],
    },
    "conversations": {"chat": tokenization_pb2.ChatSettings()},
}


@pytest.mark.parametrize("name", SETTINGS)
async def test_a_preview_shows_the_ids_that_are_stored(product: Product, name: str) -> None:
    dataset, model = await product.ready_dataset(DATASET), await product.ready_model(CHAT_MODEL)
    wanted = tokenization_pb2.TokenizationSettings(split="test", **SETTINGS[name])
    request = tokenizations_service_pb2.PreviewTokenizationRequest(
        dataset_id=dataset.id, model_id=model.id, settings=wanted, offset=10, page_size=50
    )
    preview = await product.tokenizations.PreviewTokenization(request)
    made = await tokenized(product, dataset.id, model.id, split="test", **SETTINGS[name])
    stored = (await sequences(product, made.id, offset=10, page_size=50)).sequences
    assert [row.row for row in preview.rows] == [document.document for document in stored] == list(range(10, 60))
    assert [list(row.token_ids) for row in preview.rows] == [list(document.token_ids) for document in stored]
    assert preview.settings == made.settings


async def test_conversations_become_the_ids_of_the_models_chat_template(product: Product) -> None:
    dataset, model = await product.ready_dataset(DATASET), await product.ready_model(CHAT_MODEL)
    made = await tokenized(product, dataset.id, model.id, split="test", chat=tokenization_pb2.ChatSettings())
    opened = datasets.load_from_disk(str(product.store.root / made.store_path))
    texts = [rendered(row["messages"]) for row in rows("test").select(["messages"]).to_pylist()]
    encodings = tokenizer().encode_batch(texts, add_special_tokens=False)
    assert opened["input_ids"][:] == [encoding.ids for encoding in encodings]


VIEWS = {
    "packed": PACKED,
    "packed, special tokens": view_pb2.View(
        mode=view_pb2.VIEW_MODE_PACKED,
        context_length=32,
        bos=view_pb2.SPECIAL_TOKEN_POLICY_SEQUENCE,
        eos=view_pb2.SPECIAL_TOKEN_POLICY_DOCUMENT,
    ),
    "windows": view_pb2.View(mode=view_pb2.VIEW_MODE_WINDOWS, context_length=32, stride=16, min_tokens=8),
    "truncated": view_pb2.View(mode=view_pb2.VIEW_MODE_WINDOWS, context_length=16, first_window_only=True),
}


@pytest.mark.parametrize("name", VIEWS)
async def test_a_view_keeps_and_drops_every_token_of_the_tokenization(product: Product, name: str) -> None:
    dataset, model = await product.ready_dataset(DATASET), await product.ready_model(CHAT_MODEL)
    made = await tokenized(product, dataset.id, model.id, split="train", text_column="text")
    request = tokenizations_service_pb2.GetTokenizationStatisticsRequest(id=made.id, view=VIEWS[name])
    answer = await product.tokenizations.GetTokenizationStatistics(request)
    view = answer.view
    assert view.kept_tokens + view.dropped_tokens == view.tokens == answer.statistics.tokens == made.tokens
    dropped = (view.truncated_tokens, view.short_tokens, view.leftover_tokens, view.skipped_tokens)
    assert sum(dropped) == view.dropped_tokens
    last = await sequences(product, made.id, view=VIEWS[name], offset=view.sequences - 1)
    assert (len(last.sequences), last.total_size, last.view) == (1, view.sequences, view)
    assert last.sequences[0].total_tokens <= VIEWS[name].context_length


async def test_tokens_are_found_by_text_and_by_ids_alike(product: Product) -> None:
    dataset, model = await product.ready_dataset(DATASET), await product.ready_model(CHAT_MODEL)
    made = await tokenized(product, dataset.id, model.id, split="train", text_column="text")
    ask: dict[str, Any] = {"tokenization_id": made.id, "page_size": 100, "include_total": True}
    by_text = await product.tokenizations.SearchTokens(
        tokenizations_service_pb2.SearchTokensRequest(text=" the function", **ask)
    )
    ids = tokenizer().encode(" the function", add_special_tokens=False).ids
    by_ids = await product.tokenizations.SearchTokens(
        tokenizations_service_pb2.SearchTokensRequest(ids=tokenizations_service_pb2.TokenIds(values=ids), **ask)
    )
    assert list(by_text.searched_ids) == ids
    assert by_text == by_ids
    assert by_ids.total_size >= len(by_ids.matches) > 0
    texts = rows("train")["text"]
    assert all(" the function" in texts[match.document].as_py() for match in by_ids.matches)


async def test_an_export_opens_unconverted_with_sequences_of_one_length(product: Product) -> None:
    dataset, model = await product.ready_dataset(DATASET), await product.ready_model(CHAT_MODEL)
    made = await tokenized(product, dataset.id, model.id, split="train", text_column="text")
    answer = await start_export(product, made.id, PACKED, shuffle_seed=7)
    await product.succeeded(answer.job.id)
    again = await start_export(product, made.id, PACKED, shuffle_seed=7)
    assert (again.joined, again.export.id) == (True, answer.export.id)
    request = exports_service_pb2.GetExportRequest(id=answer.export.id)
    export = (await product.exports.GetExport(request)).export
    opened = datasets.load_from_disk(str(product.store.root / export.store_path))
    assert {len(ids) for ids in opened["input_ids"][:]} == {PACKED.context_length}
    assert len(opened) == export.sequences == made.tokens // PACKED.context_length
    in_order = await sequences(product, made.id, view=PACKED, page_size=500)
    assert {tuple(one.token_ids) for one in in_order.sequences} <= {tuple(ids) for ids in opened["input_ids"][:]}


async def test_disk_use_tells_every_byte_and_deletion_gives_it_back(product: Product) -> None:
    dataset, model = await fresh_dataset(product), await product.ready_model(CHAT_MODEL)
    folders = await _made_of(product, dataset.id, model.id)
    use = (await product.dataset(dataset.id)).disk_use
    for area, told in (
        (Area.DATASETS, use.dataset_bytes),
        (Area.DERIVED, use.derived_bytes),
        (Area.TOKENIZATIONS, use.tokenization_bytes),
        (Area.EXPORTS, use.export_bytes),
    ):
        on_disk = sum(folder_bytes(product.folder(area, resource_id)) for resource_id in folders[area])
        assert told == on_disk > 0, area
    assert use.total_bytes == use.dataset_bytes + use.derived_bytes + use.tokenization_bytes + use.export_bytes

    plain = await product.upload("plain.txt", [b"a line\n"])
    await product.succeeded(plain.job.id)
    unknown = str(new_id())
    deletion = await _delete(product, [dataset.id, plain.dataset.id, unknown, "abc"])
    assert list(deletion.deleted_ids) == [plain.dataset.id]
    refused = {failure.id: failure.error.reason for failure in deletion.failures}
    assert refused == {dataset.id: "RESOURCE_IN_USE", unknown: "DATASET_NOT_FOUND", "abc": "MALFORMED_ID"}
    assert list((await _delete(product, [dataset.id], force=True)).deleted_ids) == [dataset.id]
    for area, resource_ids in folders.items():
        for resource_id in resource_ids:
            assert not product.folder(area, resource_id).exists()
    assert not product.folder(Area.DATASETS, plain.dataset.id).exists()


async def _made_of(product: Product, dataset_id: str, model_id: str) -> dict[Area, list[str]]:
    """Make all that can be made of a dataset; ids of the resources with files."""
    made = await tokenized(product, dataset_id, model_id, split="train", text_column="text")
    export = await start_export(product, made.id, PACKED)
    index = await product.datasets.CreateWordIndex(datasets_service_pb2.CreateWordIndexRequest(dataset_id=dataset_id))
    create = datasets_service_pb2.CreateColumnStatisticsRequest(dataset_id=dataset_id)
    figures = await product.datasets.CreateColumnStatistics(create)
    for job in (export.job, index.job, figures.job):
        await product.succeeded(job.id)
    return {
        Area.DATASETS: [dataset_id],
        Area.DERIVED: [index.job.resource_id, figures.job.resource_id],
        Area.TOKENIZATIONS: [made.id],
        Area.EXPORTS: [export.export.id],
    }


async def _delete(
    product: Product, ids: list[str], *, force: bool = False
) -> datasets_service_pb2.BatchDeleteDatasetsResponse:
    request = datasets_service_pb2.BatchDeleteDatasetsRequest(ids=ids, force=force)
    answer = await product.datasets.BatchDeleteDatasets(request)
    await product.succeeded(answer.job.id)
    return answer
