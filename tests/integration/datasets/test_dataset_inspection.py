"""What is told of a dataset on the Hub before it is brought in."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio.datasets.v1 import datasets_service_pb2, inspection_pb2
from mistudio_local.hub_mirror import Refusal

from .served_hub import Hub
from .service_client import Service


async def _inspect(service: Service, repo_id: str, **fields: Any) -> inspection_pb2.DatasetInspection:
    request = datasets_service_pb2.InspectDatasetRequest(repo_id=repo_id, **fields)
    return (await service.datasets.InspectDataset(request)).inspection


def _serve(hub: Hub, repo_id: str, files: Mapping[str, str | bytes]) -> Path:
    folder = hub.root / "datasets" / repo_id
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def _parquet(rows: int, **columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["row"] * rows, **columns}), sink)
    return sink.getvalue()


async def test_splits_rows_columns_and_bytes_are_told_as_a_download_then_brings_them(
    working_service: Service, hub: Hub
) -> None:
    found = await _inspect(working_service, hub.english)
    assert (found.repo_id, found.revision, len(found.commit)) == (hub.english, "main", 40)
    assert (found.accessible, found.access_problem, found.gated, found.private) == (True, "", False, False)
    (config,) = found.configs
    assert (config.name, config.format, config.problem, found.default_config) == ("default", "PARQUET", "", "default")
    dataset = await working_service.ready(hub.english)
    assert [(split.name, split.rows) for split in config.splits] == [("train", 1000), ("test", 200)]
    assert [(split.name, split.rows) for split in dataset.splits] == [("train", 1000), ("test", 200)]
    assert config.columns == dataset.columns
    assert dataset.commit == found.commit
    files = [path for path in (hub.root / "datasets" / hub.english).iterdir() if not path.name.startswith(".")]
    assert config.download_bytes == found.repo_bytes == sum(path.stat().st_size for path in files)
    assert [split.files for split in config.splits] == [1, 1]


async def test_of_the_data_only_footers_are_fetched(service: Service, hub: Hub) -> None:
    (config,) = (await _inspect(service, hub.big)).configs
    size = (hub.root / "datasets" / hub.big / "train.parquet").stat().st_size
    assert (config.splits[0].size_bytes, config.download_bytes) == (size, size)
    assert config.splits[0].rows > 100_000
    assert size > 5 << 20
    assert hub.faults.bytes_sent() <= 64 << 10


async def test_a_repository_of_some_hundred_files_is_inspected_at_once_and_in_four_megabytes(
    service: Service, hub: Hub
) -> None:
    content = _parquet(7)
    _serve(hub, "tiny/many", {f"data/train-{number:05}-of-00300.parquet": content for number in range(300)})
    _serve(hub, "tiny/some", {f"data/train-{number:05}-of-00060.parquet": content for number in range(60)})
    await _inspect(service, hub.english)  # what is imported and connected but once
    for repo_id, files, rows in (("tiny/many", 300, None), ("tiny/some", 60, 420)):
        began = time.perf_counter()
        (config,) = (await _inspect(service, repo_id)).configs
        assert time.perf_counter() - began < 30
        (split,) = config.splits
        assert (split.files, split.rows if split.HasField("rows") else None) == (files, rows)
        assert [column.name for column in config.columns] == ["text"]
    assert hub.faults.bytes_sent() < 4 << 20


async def test_a_hundred_configurations_are_told_at_once(service: Service, hub: Hub) -> None:
    names = [f"c{number}" for number in range(100)]
    lines = "".join(f"- config_name: {name}\n  data_files: {name}/*.jsonl\n" for name in names)
    _serve(hub, "tiny/configs", {f"{name}/{part}.jsonl": "{}\n" for name in names for part in range(20)})
    _serve(hub, "tiny/configs", {"README.md": f"---\nconfigs:\n{lines}---\n"})
    began = time.perf_counter()
    found = await _inspect(service, "tiny/configs")
    assert time.perf_counter() - began < 60
    assert [config.name for config in found.configs] == names
    assert {(config.format, config.splits[0].files, config.problem) for config in found.configs} == {("JSONL", 20, "")}
    assert found.default_config == ""


CARD = """---
dataset_info:
  features:
  - name: id
    dtype: int64
  - name: words
    sequence: string
  splits:
  - name: train
    num_examples: 12345
    num_bytes: 99
configs:
- config_name: default
  data_files:
  - split: train
    path: train.jsonl
  - split: test
    path: test.jsonl
---
"""


async def test_what_the_card_tells_needs_no_data_and_what_nobody_tells_is_absent(service: Service, hub: Hub) -> None:
    _serve(hub, "tiny/told", {"README.md": CARD, "train.jsonl": "{}\n" * 3, "test.jsonl": "{}\n"})
    (config,) = (await _inspect(service, "tiny/told")).configs
    train, test = config.splits
    assert (train.rows, test.HasField("rows")) == (12345, False)
    assert [(column.name, column.type) for column in config.columns] == [
        ("id", "int64"), ("words", "list<item: string>"),
    ]  # fmt: skip
    assert hub.faults.bytes_sent("*.jsonl") == 0


async def test_a_gated_dataset_without_its_token_is_told_with_its_size_and_the_next_step(
    service: Service, hub: Hub
) -> None:
    for token in ("", hub.bob_token):
        found = await _inspect(service, hub.gated, hub_token=token)
        assert (found.gated, found.accessible, list(found.configs), found.default_config) == (True, False, [], "")
        assert "Accept the terms" in found.access_problem
        assert found.repo_bytes > 0
        assert not token or token not in found.access_problem
    opened = await _inspect(service, hub.gated, hub_token=hub.ada_token)
    assert (opened.accessible, opened.configs[0].format) == (True, "JSONL")


async def test_a_configuration_that_a_download_refuses_says_why_and_others_are_told(service: Service, hub: Hub) -> None:
    card = "---\nconfigs:\n- config_name: a\n  data_files: a.csv\n- config_name: b\n  data_files: gone.csv\n" \
        "- config_name: c\n  data_files: a.csv\n  skiprows: 2\n---\n"  # fmt: skip
    _serve(hub, "tiny/mixed", {"README.md": card, "a.csv": "x\n1\n"})
    found = await _inspect(service, "tiny/mixed")
    good, gone, odd = found.configs
    assert (good.name, good.format, good.problem) == ("a", "CSV", "")
    assert ("gone.csv" in gone.problem, "skiprows=2" in odd.problem) == (True, True)
    for config in (gone, odd):
        error = await service.refusal(service.download("tiny/mixed", config=config.name))
        assert (error.message, config.format) == (config.problem, "")


async def test_a_repository_that_cannot_be_read_is_told_as_one_configuration(service: Service, hub: Hub) -> None:
    found = await _inspect(service, hub.odd)
    assert ([config.name for config in found.configs], found.default_config) == (["default"], "default")
    error = await service.refusal(service.download(hub.odd))
    assert found.configs[0].problem == error.message
    assert found.repo_bytes == 4


async def test_a_damaged_parquet_file_leaves_its_rows_untold(service: Service, hub: Hub) -> None:
    _serve(hub, "tiny/broken", {"train.parquet": b"PAR1 no footer", "test.parquet": _parquet(3)})
    (config,) = (await _inspect(service, "tiny/broken")).configs
    assert {split.name: split.rows if split.HasField("rows") else None for split in config.splits} == {
        "train": None, "test": 3,
    }  # fmt: skip


async def test_a_card_that_leads_elsewhere_is_not_followed(service: Service, hub: Hub) -> None:
    places = ("/etc/passwd", "http://127.0.0.1:1/x.csv", "zip://x.csv::a.zip", "../../other/x.csv")
    for number, place in enumerate(places):
        repo_id = f"tiny/elsewhere-{number}"
        card = f'---\nconfigs:\n- config_name: a\n  data_files: "{place}"\n---\n'
        _serve(hub, repo_id, {"README.md": card, "a.csv": "x\n1\n"})
        (config,) = (await _inspect(service, repo_id)).configs
        assert "outside of the repository" in config.problem


@pytest.mark.parametrize(
    ("fields", "code", "reason", "field"),
    [
        ({}, "INVALID_ARGUMENT", "MISSING_FIELD", "repo_id"),
        ({"repo_id": "../../etc/passwd"}, "INVALID_ARGUMENT", "INVALID_FIELD", "repo_id"),
        ({"repo_id": "tiny/" + "x" * 300}, "INVALID_ARGUMENT", "INVALID_FIELD", "repo_id"),
        ({"repo_id": Hub.english, "revision": "a\0b"}, "INVALID_ARGUMENT", "INVALID_FIELD", "revision"),
        ({"repo_id": "tiny/unknown"}, "NOT_FOUND", "REPO_NOT_FOUND", "repo_id"),
        ({"repo_id": Hub.english, "revision": "nope"}, "NOT_FOUND", "REVISION_NOT_FOUND", "revision"),
        ({"repo_id": Hub.english, "hub_token": "hf_x"}, "PERMISSION_DENIED", "HUB_TOKEN_INVALID", "hub_token"),
    ],
)
async def test_what_cannot_be_inspected_is_a_typed_error(
    service: Service, fields: dict[str, str], code: str, reason: str, field: str
) -> None:
    request = datasets_service_pb2.InspectDatasetRequest(**fields)
    error = await service.refusal(service.datasets.InspectDataset(request))
    assert (error.code, error.reason, error.field) == (code, reason, field)
    assert error.next_step


async def test_a_hub_that_is_away_is_unavailable_to_inspections(service: Service, hub: Hub) -> None:
    hub.faults.refusals.append(Refusal(503, times=None))
    request = datasets_service_pb2.InspectDatasetRequest(repo_id=hub.english)
    error = await service.refusal(service.datasets.InspectDataset(request))
    assert (error.code, error.reason) == ("UNAVAILABLE", "HUB_UNAVAILABLE")
