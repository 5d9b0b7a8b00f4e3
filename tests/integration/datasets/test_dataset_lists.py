"""Lists of datasets and tokenizations: filters, orders, and what is told of each dataset."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import event

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2, derived_data_pb2, tokenizations_service_pb2
from mistudio_datasets.service.datasets import overviews
from mistudio_datasets.store import SCHEMA, datasets
from mistudio_local.testing import Database as Tables
from mistudio_servicekit.channel import MAX_MESSAGE_BYTES
from mistudio_servicekit.database import Database
from mistudio_servicekit.pagination import PageRequest

from .made_rows import Rows
from .service_client import Service


@pytest.fixture
def rows(service: Service) -> Rows:
    return Rows(service.database)


async def _names(service: Service, filter_text: str) -> list[str]:
    request = datasets_service_pb2.ListDatasetsRequest(filter=filter_text, order_by="name")
    return [found.name for found in (await service.datasets.ListDatasets(request)).datasets]


async def test_labels_are_filtered_by_key(service: Service, rows: Rows) -> None:
    made = rows.datasets(3)
    for dataset_id, labels in zip(
        made, ({"team": "vision"}, {"team": "text", "example.com/a b": "1"}, {}), strict=True
    ):
        await _label(service, dataset_id, labels)
    assert await _names(service, 'labels.team = "vision"') == ["made 0"]
    assert await _names(service, "labels.team != vision") == ["made 1", "made 2"]
    assert await _names(service, 'labels.`example.com/a b` = 1 AND labels."team" = text') == ["made 1"]
    assert await _names(service, "labels.team = vision AND labels.team = text") == []
    for wrong in ("labels = x", "labels.team > x", "rows.x = 1"):
        error = await service.refusal(_names(service, wrong))
        assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "INVALID_FILTER", "filter")


async def _label(service: Service, dataset_id: str, labels: dict[str, str]) -> dataset_pb2.Dataset:
    request = datasets_service_pb2.UpdateDatasetRequest(
        dataset=dataset_pb2.Dataset(id=dataset_id, labels=labels), update_mask=FieldMask(paths=["labels"])
    )
    return (await service.datasets.UpdateDataset(request)).dataset


async def test_a_dataset_tells_what_it_and_all_that_was_made_of_it_take_and_what_is_derived_from_it(
    service: Service, rows: Rows
) -> None:
    used, bare = rows.datasets(2)
    for _ in range(2):
        tokenization = rows.tokenization(used, size_bytes=100)
        for _ in range(3):
            rows.export(tokenization, size_bytes=1000)
    rows.derived(used, "word_index", "ERROR", size_bytes=0)
    index = rows.derived(used, "word_index", size_bytes=7)
    statistics = rows.derived(used, "column_statistics", "CANCELLED", size_bytes=0)
    listed = {each.id: each for each in (await service.datasets.ListDatasets(_ALL)).datasets}
    expected = dataset_pb2.DiskUse(
        total_bytes=6217, dataset_bytes=10, derived_bytes=7, tokenization_bytes=200, export_bytes=6000
    )
    for found in (listed[used], await service.dataset(used), await _label(service, used, {})):
        assert found.disk_use == expected
        assert (found.word_index.status, found.word_index.size_bytes) == (derived_data_pb2.DERIVED_STATUS_READY, 7)
        assert found.column_statistics.status == derived_data_pb2.DERIVED_STATUS_ERROR
        assert found.word_index.job_id == _job_of(rows, index)
        assert found.column_statistics.job_id == _job_of(rows, statistics)
    assert listed[bare].disk_use == dataset_pb2.DiskUse(total_bytes=10, dataset_bytes=10)
    assert listed[bare].word_index == derived_data_pb2.DerivedData()


_ALL = datasets_service_pb2.ListDatasetsRequest()


def _job_of(rows: Rows, derived_id: str) -> str:
    return str(rows.execute("SELECT job_id FROM derived WHERE id = %s", derived_id)[0][0])


@pytest.mark.parametrize(
    ("filter_text", "order_by", "expected"),
    [
        ("documents > 3", "", [1]),
        ("size_bytes <= 200", "size_bytes desc", [1, 0]),
        ("engine = gigatoken", "documents", [0, 2]),
        ("tokens = 30 AND engine != gigatoken", "", [1]),
        ("", "size_bytes", [0, 1, 2]),
    ],
)
async def test_tokenizations_are_filtered_and_ordered_by_size_documents_and_engine(
    service: Service, rows: Rows, filter_text: str, order_by: str, expected: list[int]
) -> None:
    (dataset,) = rows.datasets(1)
    made = [rows.tokenization(dataset, size_bytes=size) for size in (100, 200, 300)]
    rows.execute("UPDATE tokenizations SET engine = 'gigatoken' WHERE id = ANY(%s)", [made[0], made[2]])
    rows.execute("UPDATE tokenizations SET documents = 4 WHERE id = %s", made[1])
    request = tokenizations_service_pb2.ListTokenizationsRequest(filter=filter_text, order_by=order_by)
    found = await service.tokenizations.ListTokenizations(request)
    assert [made.index(each.id) for each in found.tokenizations] == expected


async def test_an_update_that_cannot_be_names_the_label_and_changes_nothing(service: Service, rows: Rows) -> None:
    (dataset,) = rows.datasets(1)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"": "x"}, "dataset.labels"),
        ({"team": "x" * 300}, "dataset.labels['team']"),
        ({"te\nam": "x"}, "dataset.labels['te\\nam']"),
        ({str(number): "" for number in range(65)}, "dataset.labels"),
    ]
    for labels, field in wrong:
        error = await service.refusal(_label(service, dataset, labels))
        assert (error.code, error.field) == ("INVALID_ARGUMENT", field)
    assert dict((await service.dataset(dataset)).labels) == {}


@pytest.fixture
async def database(tables: Tables) -> AsyncIterator[Database]:
    """10,000 datasets, each with a label of its own."""
    Rows(tables).datasets(10_000)
    Rows(tables).execute("UPDATE datasets SET labels = jsonb_build_object('number', rows::text)")
    Rows(tables).execute("ANALYZE")
    database = Database(tables.url(SCHEMA), SCHEMA)
    yield database
    await database.close()


async def _plan(database: Database, request: PageRequest) -> str:
    """How Postgres reads a page."""
    statements: list[tuple[str, Any]] = []

    def note(connection: object, cursor: object, statement: str, values: Any, *_: object) -> None:
        statements.append((statement, values))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    async with database.transaction() as session:
        await datasets.list_page(session, request)
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    (page,) = [each for each in statements if "LIMIT" in each[0]]
    async with database.engine.connect() as connection:
        lines = await connection.exec_driver_sql(f"EXPLAIN {page[0]}", page[1])
        return "\n".join(line for (line,) in lines)


async def test_pages_of_ten_thousand_datasets_are_read_by_an_index(database: Database) -> None:
    for order in ("created_at", "name", "rows", "size_bytes"):
        for direction in ("", " desc"):
            assert f"datasets_by_{order}" in await _plan(database, PageRequest(order_by=order + direction))
    assert "datasets_with_labels" in await _plan(database, PageRequest(filter="labels.number = 77", order_by="name"))


async def test_the_disk_use_of_a_page_is_asked_once(database: Database) -> None:
    asked: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    async with database.transaction() as session:
        page = await datasets.list_page(session, PageRequest(page_size=500))
        before = len(asked)
        assert len(await overviews(session, page.rows)) == 500
    assert len(asked) - before == 2


_LAYOUT = """
    SELECT jsonb_build_object('config', '', 'format', 'PARQUET', 'damaged_count', 100,
        'splits', jsonb_build_array(
            jsonb_build_object('name', 'train', 'rows', 7, 'bytes', 9, 'files', '[]'::jsonb, 'file_rows', '[]'::jsonb)),
        'columns', (SELECT jsonb_agg(jsonb_build_object('name', 'c' || n, 'type', %s::text, 'kind', 'TEXT') ORDER BY n)
            FROM generate_series(0, %s - 1) n),
        'damaged', (SELECT jsonb_agg(jsonb_build_object('file', 'f', 'line', n, 'lines', 1, 'byte_offset', 0,
                'byte_count', 1, 'reason', 'r', 'text', repeat('x', 200), 'base64', NULL))
            FROM generate_series(1, 100) n))
"""


async def test_a_list_of_any_datasets_stays_below_the_limit_of_a_message(service: Service, rows: Rows) -> None:
    rows.datasets(500)
    rows.execute(f"UPDATE datasets SET layout = made.layout FROM ({_LAYOUT}) AS made (layout)", "é" * 1200, 300)
    listed = await service.datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest(page_size=500))
    assert len(listed.datasets) == 500
    assert listed.ByteSize() < MAX_MESSAGE_BYTES / 4
    for found in listed.datasets:
        assert (found.column_count, found.rows, found.damaged_lines) == (300, 7, 100)
        assert {column.type for column in found.columns} == {"é" * 1000}


async def test_pages_of_datasets_with_the_most_and_longest_labels_are_shorter_and_miss_none(
    service: Service, rows: Rows
) -> None:
    ids = rows.datasets(60, **{f"{number:02}" + "é" * 100: "漢" * 154 for number in range(64)})
    plain = rows.datasets(3)
    rows.execute(f"UPDATE datasets SET layout = made.layout FROM ({_LAYOUT}) AS made (layout)", "é" * 1200, 300)
    request = datasets_service_pb2.ListDatasetsRequest(page_size=500, order_by="name")
    found: list[str] = []
    while not found or request.page_token:
        page = await service.datasets.ListDatasets(request)
        assert page.ByteSize() < MAX_MESSAGE_BYTES / 4
        assert page.total_size == 63
        found += [dataset.id for dataset in page.datasets]
        request.page_token = page.next_page_token
    assert len(found) == 63
    assert set(found) == {*ids, *plain}
    await _label(service, ids[0], dict((await service.dataset(ids[0])).labels))  # a client may have as many


async def test_a_list_shows_the_first_hundred_columns_and_a_dataset_alone_all_of_them(
    service: Service, rows: Rows
) -> None:
    made, _ = rows.datasets(2)
    wide = f"UPDATE datasets SET layout = made.layout FROM ({_LAYOUT}) AS made (layout) WHERE id = %s"
    rows.execute(wide, "string", 10_000, made)
    alone = await service.dataset(made)
    assert [column.name for column in alone.columns] == [f"c{number}" for number in range(10_000)]
    request = datasets_service_pb2.ListDatasetsRequest(order_by="name")
    listed, without = (await service.datasets.ListDatasets(request)).datasets
    assert list(listed.columns) == list(alone.columns[:100])
    assert (listed.column_count, alone.column_count, without.column_count) == (10_000, 10_000, 0)
    assert listed.splits == alone.splits
    assert 0 < len(listed.damaged) < len(alone.damaged) == 100


async def test_a_dataset_of_ten_thousand_columns_of_long_types_is_told_in_one_message(
    service: Service, rows: Rows
) -> None:
    (made,) = rows.datasets(1)
    rows.execute(f"UPDATE datasets SET layout = made.layout FROM ({_LAYOUT}) AS made (layout)", "t" * 2000, 10_000)
    found = await service.dataset(made)
    assert (found.column_count, len(found.columns)) == (10_000, 10_000)
    assert {column.type for column in found.columns} == {"t" * 1000}
    rows.execute(f"UPDATE datasets SET layout = made.layout FROM ({_LAYOUT}) AS made (layout)", "é" * 1000, 10_000)
    found = await service.dataset(made)
    assert found.ByteSize() < MAX_MESSAGE_BYTES
    assert 5_000 < len(found.columns) < found.column_count == 10_000
