"""Pages of 50 of 10,000 datasets, searched, filtered, ordered and paged to the end, with their disk use."""

from __future__ import annotations

import json

import uvloop
from sqlalchemy import text

from benchmarks.paging import fresh_database, page_row
from benchmarks.report import Row, show
from mistudio_datasets.domain.datasets import Column, ColumnKind, DataFormat, Layout, SplitInfo
from mistudio_datasets.migrate import FOLDERS
from mistudio_datasets.service.datasets import overviews
from mistudio_datasets.store import SCHEMA, datasets
from mistudio_servicekit.database import Database
from mistudio_servicekit.pagination import PageRequest

DATASETS = 10_000
TOKENIZATIONS = 3 * DATASETS
WISHES = {
    "newest first": PageRequest(),
    "by name": PageRequest(order_by="name"),
    "by rows, largest first": PageRequest(order_by="rows desc"),
    "by size": PageRequest(order_by="size_bytes"),
    "search that finds a hundred": PageRequest(search="set 77"),
    "search that finds none": PageRequest(search="no such thing"),
    "status": PageRequest(filter="status = ERROR"),
    "repository, by name": PageRequest(filter='repo_id = "owner/7"', order_by="name"),
    "rows and time": PageRequest(filter='rows > 5000 AND created_at > "2020-01-01T00:00:00Z"'),
    "label": PageRequest(filter='labels.team = "team 3"'),
    "two labels, by size": PageRequest(filter='labels.team = "team 3" AND labels.stage = "7"', order_by="size_bytes"),
    "not a label": PageRequest(filter='labels.team != "team 3"', order_by="rows"),
}

_DATASETS = """
    INSERT INTO datasets (id, name, status, repo_id, revision, commit, config, splits, labels, layout, rows, size_bytes,
        job_id, epoch, error, version, created_at)
    SELECT gen_random_uuid(), 'Set ' || n, CASE WHEN mod(n, 50) = 0 THEN 'ERROR' ELSE 'READY' END,
        'owner/' || mod(n, 40), 'main', md5(n::text), '', '["train"]',
        jsonb_build_object('team', 'team ' || mod(n, 20), 'stage', mod(n, 9)::text), CAST(:layout AS jsonb),
        mod(n * 7919, 10007), mod(n * 104729, 1000003), gen_random_uuid(), 1, NULL, 1,
        now() - make_interval(secs => n)
    FROM generate_series(1, :count) n
"""
_TOKENIZATIONS = """
    INSERT INTO tokenizations (id, dataset_id, model_id, settings, settings_digest, status, documents, tokens,
        size_bytes, engine, tokenizer_sha256, job_id, epoch, error, version)
    SELECT gen_random_uuid(), id, gen_random_uuid(), '{}', n::text, 'READY', 1, 1, 100, 'tokenizers', '',
        gen_random_uuid(), 1, NULL, 1
    FROM datasets, generate_series(1, :each) n
"""


def main() -> None:
    show("lists", measure())


def measure() -> list[Row]:
    """Every figure."""
    return uvloop.run(_measure())


async def _measure() -> list[Row]:
    async with fresh_database(SCHEMA, FOLDERS) as database:
        await _fill(database)

        async def fetch(request: PageRequest) -> str:
            async with database.transaction() as session:
                found = await datasets.list_page(session, request)
                await overviews(session, found.rows)
            return found.next_page_token

        return [await page_row(work, wish, fetch) for work, wish in WISHES.items()]


async def _fill(database: Database) -> None:
    columns = tuple(Column(f"column {number}", "string", ColumnKind.TEXT) for number in range(10))
    layout = Layout("", DataFormat.PARQUET, (SplitInfo("train", 1000, 1 << 20, (), ()),), columns)
    async with database.transaction() as session:
        await session.execute(text(_DATASETS), {"count": DATASETS, "layout": json.dumps(layout.to_json())})
        await session.execute(text(_TOKENIZATIONS), {"each": TOKENIZATIONS // DATASETS})
    async with database.transaction() as session:
        await session.execute(text("ANALYZE"))


if __name__ == "__main__":
    main()
