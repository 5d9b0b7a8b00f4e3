"""Pages of 50 of 10,000 models, searched, filtered, ordered and paged through."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import uvloop
from sqlalchemy import text

from benchmarks.paging import fresh_database, page_row
from benchmarks.report import Row, show
from mistudio_models.domain.models import ModelFacts, WeightFiles
from mistudio_models.domain.weights import LoadSettings, WeightFormat
from mistudio_models.migrate import FOLDERS
from mistudio_models.store import SCHEMA, models
from mistudio_servicekit.database import Database
from mistudio_servicekit.pagination import PageRequest

MODELS = 10_000
SEARCHES = {"all": "", "search for a hundred": "model 77", "search for many": "owner/1", "search for none": "no such"}
FILTERS = {
    "no filter": "",
    "status": "status = ERROR",
    "not a status": "status != READY",
    "name": 'name = "Model 4711"',
    "repository": 'repo_id = "owner/17"',
    "architecture": "architecture = Architecture3",
    "model type": "model_type = type5",
    "quantization": "quantization = gptq",
    "default format": "default_format = NF4",
    "parameters": "parameters > 5000000",
    "size": "size_bytes <= 900000",
    "time": 'created_at > "2020-01-01T00:00:00Z"',
    "many at once": "status = READY AND model_type = type5 AND default_format = NF4 AND parameters > 100000",
}
ORDERS = ("created_at desc", "created_at", "name", "name desc", "parameters desc", "size_bytes")

_FACTS = ModelFacts(
    architecture="LlamaForCausalLM",
    model_type="llama",
    parameters_by_dtype={"BF16": 8_030_261_248},
    layers=32,
    hidden_size=4096,
    attention_heads=32,
    key_value_heads=8,
    context_length=131_072,
    vocabulary_size=128_256,
    weight_files=WeightFiles.SAFETENSORS,
)
_MODELS = """
    INSERT INTO models (id, name, status, repo_id, revision, commit, facts, architecture, model_type, quantization,
        parameters, epoch, size_bytes, error, labels, default_settings, default_format, job_id, version, created_at)
    SELECT gen_random_uuid(), 'Model ' || n, CASE WHEN mod(n, 50) = 0 THEN 'ERROR' ELSE 'READY' END,
        'owner/' || mod(n, 40), 'main', md5(n::text), CAST(:facts AS jsonb), 'Architecture' || mod(n, 20),
        'type' || mod(n, 15), CASE WHEN mod(n, 12) = 0 THEN 'gptq' ELSE '' END,
        mod(n * 7919, 10007) * 1000, 1, mod(n * 104729, 1000003), NULL, jsonb_build_object('team', mod(n, 20)::text),
        CAST(:settings AS jsonb), CASE WHEN mod(n, 7) = 0 THEN 'NF4' ELSE '' END, gen_random_uuid(), 1,
        now() - make_interval(secs => n)
    FROM generate_series(1, :count) n
"""


def main() -> None:
    show("model-lists", measure())


def measure() -> list[Row]:
    """Every search with every filter, each in the order in which it is slowest."""
    return uvloop.run(_measure())


async def _measure() -> list[Row]:
    async with fresh_database(SCHEMA, FOLDERS) as database:
        await _fill(database)

        async def fetch(request: PageRequest) -> str:
            async with database.transaction() as session:
                return (await models.list_page(session, request)).next_page_token

        rows = []
        for searched, filtered in itertools.product(SEARCHES, FILTERS):
            wished = PageRequest(search=SEARCHES[searched], filter=FILTERS[filtered])
            timed = [
                await page_row(f"{searched}, {filtered}, by {order}", replace(wished, order_by=order), fetch)
                for order in ORDERS
            ]
            rows.append(max(timed, key=lambda row: row.ours))
        return rows


async def _fill(database: Database) -> None:
    values = {
        "count": MODELS,
        "facts": json.dumps(_FACTS.to_json()),
        "settings": json.dumps(LoadSettings(WeightFormat.NF4).to_json()),
    }
    async with database.transaction() as session:
        await session.execute(text(_MODELS), values)
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE"))  # as the server does by itself within a minute


if __name__ == "__main__":
    main()
