"""The main job as an operator does it: `buf curl`, which knows the API by reflection alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mistudio_local.hub_mirror.shelf import DATASET_ID, MODEL_ID
from mistudio_local.stack import Stack
from tests.e2e.support import Product

BUF = str(Path(sys.executable).with_name("buf"))


class Operator:
    """Calls the gateway through `buf curl` in an empty folder, without any proto file."""

    def __init__(self, target: str, folder: Path) -> None:
        self._target, self._folder = target, folder

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments]
        return subprocess.run(command, cwd=self._folder, capture_output=True, text=True, timeout=100, check=False)

    def call(self, method: str, **request: Any) -> list[dict[str, Any]]:
        """All responses of a call."""
        done = self.run("-d", json.dumps(request), f"http://{self._target}/{method}")
        assert done.returncode == 0, done.stderr
        decoder, text, responses = json.JSONDecoder(), done.stdout.strip(), []
        while text:
            response, end = decoder.raw_decode(text)
            responses.append(response)
            text = text[end:].strip()
        return responses


@pytest.fixture
def operator(stack: Stack, product: Product, tmp_path: Path) -> Operator:
    return Operator(stack.gateway_target, tmp_path)


def test_reflection_shows_every_service(operator: Operator, stack: Stack) -> None:
    methods = operator.run("--list-methods", f"http://{stack.gateway_target}").stdout.split()
    for method in (
        "mistudio.datasets.v1.DatasetsService/UploadDataset",
        "mistudio.datasets.v1.DatasetsService/GetSample",
        "mistudio.datasets.v1.TokenizationsService/CreateTokenization",
        "mistudio.datasets.v1.ExportsService/CreateExport",
        "mistudio.models.v1.ModelsService/GetModelInfo",
        "mistudio.models.v2.ModelsService/InspectModel",
        "mistudio.models.v2.ModelsService/LoadModel",
        "mistudio.jobs.v1.JobsService/ListWorkers",
        "mistudio.jobs.v1.JobsService/WatchJobs",
        "grpc.health.v1.Health/Check",
    ):
        assert method in methods


def test_the_whole_job_by_reflection_alone(operator: Operator) -> None:
    (dataset,) = operator.call("mistudio.datasets.v1.DatasetsService/DownloadDataset", repo_id=DATASET_ID)
    (model,) = operator.call("mistudio.models.v2.ModelsService/DownloadModel", repo_id=MODEL_ID)
    for answer in (dataset, model):
        watched = operator.call("mistudio.jobs.v1.JobsService/WatchJob", id=answer["job"]["id"])
        last = watched[-1].get("snapshot") or watched[-1]["event"]["stateChanged"]
        assert last["state"] == "JOB_STATE_SUCCEEDED"
    (answer,) = operator.call(
        "mistudio.datasets.v1.TokenizationsService/CreateTokenization",
        dataset_id=dataset["dataset"]["id"],
        model_id=model["model"]["id"],
    )
    operator.call("mistudio.jobs.v1.JobsService/WatchJob", id=answer["job"]["id"])
    (found,) = operator.call(
        "mistudio.datasets.v1.TokenizationsService/GetTokenizationStatistics", id=answer["tokenization"]["id"]
    )
    assert int(found["statistics"]["tokens"]) > 10_000
    view = {"mode": "VIEW_MODE_PACKED", "context_length": 128}
    (export,) = operator.call(
        "mistudio.datasets.v1.ExportsService/CreateExport", tokenization_id=answer["tokenization"]["id"], view=view
    )
    operator.call("mistudio.jobs.v1.JobsService/WatchJob", id=export["job"]["id"])
    (got,) = operator.call("mistudio.datasets.v1.ExportsService/GetExport", id=export["export"]["id"])
    assert int(got["export"]["tokens"]) == int(found["statistics"]["tokens"]) // 128 * 128
    operator.call("mistudio.datasets.v1.ExportsService/DeleteExport", id=export["export"]["id"])


def test_an_error_reads_well_on_the_command_line(operator: Operator, stack: Stack) -> None:
    done = operator.run(
        "-d", '{"id": "abc"}', f"http://{stack.gateway_target}/mistudio.models.v2.ModelsService/GetModel"
    )
    assert done.returncode != 0
    assert "abc" in done.stderr
    assert json.loads(done.stderr)["code"] == "invalid_argument"


def test_health_is_asked_the_standard_way(operator: Operator) -> None:
    for service in (
        "",
        "mistudio.datasets.v1.DatasetsService",
        "mistudio.datasets.v1.ExportsService",
        "mistudio.models.v2.ModelsService",
    ):
        (answer,) = operator.call("grpc.health.v1.Health/Check", service=service)
        assert answer["status"] == "SERVING"
