"""`mistudio datasets inspect` and `delete`, as a process of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mistudio.datasets.v1 import (
    dataset_pb2,
    datasets_service_pb2,
    datasets_service_pb2_grpc,
    inspection_pb2,
)
from mistudio.jobs.v1 import job_pb2
from tests.unit.client.conftest import Serve
from tests.unit.client.test_cli_commands import Shell

FIRST, SECOND, THIRD = (f"0197f2a4-000{number}-7b1a-9d2f-3e4a5b6c7d8e" for number in range(3))


@dataclass
class Datasets(datasets_service_pb2_grpc.DatasetsServiceServicer):
    """Deletes all but the second dataset, and tells of one on the Hub."""

    requests: list[Any] = field(default_factory=list)

    async def InspectDataset(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        split = inspection_pb2.InspectedSplit(name="train", rows=12_000, files=3, size_bytes=2_000_000)
        unknown = inspection_pb2.InspectedSplit(name="test", files=1, size_bytes=10)
        columns = [dataset_pb2.Column(name="text", type="string")]
        good = inspection_pb2.InspectedConfig(
            name="en", format="PARQUET", splits=[split, unknown], columns=columns, download_bytes=2_000_010
        )
        bad = inspection_pb2.InspectedConfig(name="de", problem="Its files are read by 'imagefolder'.")
        found = inspection_pb2.DatasetInspection(
            repo_id=request.repo_id, accessible=True, default_config="en", configs=[good, bad], repo_bytes=3_000_000
        )
        return datasets_service_pb2.InspectDatasetResponse(inspection=found)

    async def BatchDeleteDatasets(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        answer = datasets_service_pb2.BatchDeleteDatasetsResponse()
        for each in request.ids:
            if each == SECOND:
                error = job_pb2.JobError(message="It is in use. Use force.", reason="RESOURCE_IN_USE")
                answer.failures.append(datasets_service_pb2.DeletionFailure(id=each, error=error))
            else:
                answer.deleted_ids.append(each)
        return answer

    async def DeleteDataset(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return datasets_service_pb2.DeleteDatasetResponse()


@pytest.fixture
async def datasets() -> Datasets:
    return Datasets()


@pytest.fixture
async def shell(serve: Serve, datasets: Datasets) -> AsyncIterator[Shell]:
    _, target = await serve((datasets_service_pb2_grpc.add_DatasetsServiceServicer_to_server, datasets))
    shell = Shell(target, None)  # type: ignore[arg-type]  # this shell's product is `datasets`
    yield shell
    for process in shell.started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_an_inspection_shows_every_configuration(shell: Shell, datasets: Datasets) -> None:
    ended = await shell.run("datasets", "inspect", "a/b", "--revision", "v1")
    assert (ended.status, ended.err) == (0, "")
    text = " ".join(ended.out.split())
    assert "config en PARQUET" in text
    assert "train (12,000 rows, 3 files" in text
    assert "test (rows not told" in text
    assert "columns text: string" in text
    assert "config de cannot be downloaded: Its files are read by 'imagefolder'." in text
    assert (datasets.requests[0].repo_id, datasets.requests[0].revision) == ("a/b", "v1")


async def test_several_datasets_are_deleted_by_one_call_and_what_is_left_is_told(
    shell: Shell, datasets: Datasets
) -> None:
    ended = await shell.run("datasets", "delete", FIRST, SECOND, THIRD, "--force")
    assert ended.status != 0
    assert "Deleted 2 datasets." in ended.out
    assert f"{SECOND}: It is in use. Use force." in ended.err
    assert "1 of 3 datasets were not deleted." in ended.err
    (request,) = datasets.requests
    assert (list(request.ids), request.force) == ([FIRST, SECOND, THIRD], True)
    as_json = await shell.run("datasets", "delete", FIRST, THIRD, "--json")
    assert (as_json.status, json.loads(as_json.out)["deleted_ids"]) == (0, [FIRST, THIRD])


async def test_one_dataset_is_deleted_by_the_call_for_one(shell: Shell, datasets: Datasets) -> None:
    ended = await shell.run("datasets", "delete", FIRST)
    assert (ended.status, ended.out) == (0, f"Deleted dataset {FIRST}.\n")
    assert isinstance(datasets.requests[0], datasets_service_pb2.DeleteDatasetRequest)
