from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from mistudio_local.config import StackOptions, StackPorts
from mistudio_local.errors import CannotRunHere, DataFolderInUse, ProcessNotRunning, StartFailed
from mistudio_local.layout import PRODUCT, Programs
from mistudio_local.nats import NatsServer
from mistudio_local.orphans import members
from mistudio_local.process import SupervisedProcess
from mistudio_local.readiness import grpc_serving, http_ok
from mistudio_local.stack import Stack
from mistudio_local.testing import Database


def stand_ins() -> Programs:
    location = spec_from_file_location("stand_in", Path(__file__).with_name("stand_in.py"))
    assert location and location.loader
    module = module_from_spec(location)
    location.loader.exec_module(module)
    programs: Programs = module.programs()
    return programs


@pytest.fixture
def options(tmp_path: Path) -> StackOptions:
    return StackOptions(data_dir=tmp_path / "var", ports=StackPorts.free(), models_gpu_workers=0, durable=False)


@pytest.fixture
def stack(options: StackOptions) -> Iterator[Stack]:
    with Stack(options, stand_ins()) as stack:
        yield stack


def rows_of_migrations(stack: Stack, domain: str) -> int:
    assert stack.postgres
    with stack.postgres.role(domain).connect() as connection:
        row = connection.execute("SELECT count(*) FROM migrations").fetchone()
    assert row
    return int(row[0])


async def test_a_started_stack_answers_everywhere_with_its_schemas_migrated(options: StackOptions) -> None:
    async with Stack(options, stand_ins()) as stack:
        assert list(stack.processes) == [
            *("nats", "postgres", "datasets", "models", "datasets-worker-1", "models-worker-1", "gateway-1")
        ]
        assert all(grpc_serving(target)() for target in [stack.gateway_target, *stack.targets.values()])
        assert [rows_of_migrations(stack, domain) for domain in ("datasets", "models")] == [1, 1]
        assert len(base64.b64decode(stack.folder.secret_key.read_text())) == 32


def test_a_killed_service_comes_back_at_its_address(stack: Stack) -> None:
    service = stack.process("datasets")
    before = service.pid
    service.kill()
    service.wait_ready()
    assert service.pid != before
    assert grpc_serving(stack.targets["datasets"])()


def test_processes_are_scaled_up_and_down(stack: Stack) -> None:
    stack.scale("datasets-worker", 3)
    stack.scale("gateway", 2)
    assert stack.process("datasets-worker-3").running
    assert len(set(stack.gateway_targets)) == 2
    stack.scale("datasets-worker", 1)
    assert [name for name in stack.processes if "worker" in name] == ["datasets-worker-1", "models-worker-1"]
    with pytest.raises(ProcessNotRunning, match="no process 'datasets-worker-3'"):
        stack.process("datasets-worker-3")


def test_workers_for_gpus_are_a_kind_of_their_own(options: StackOptions) -> None:
    with Stack(replace(options, models_gpu_workers=1), stand_ins()) as stack:
        pools = {name: process.spec.env["MISTUDIO_WORKER_POOL"] for name, process in _workers(stack).items()}
        assert pools == {"datasets-worker-1": "cpu", "models-worker-1": "cpu", "models-gpu-worker-1": "gpu"}
        stack.scale("models-gpu-worker", 2)
        stack.scale("models-worker", 0)
        assert set(_workers(stack)) == {"datasets-worker-1", "models-gpu-worker-1", "models-gpu-worker-2"}


def _workers(stack: Stack) -> dict[str, SupervisedProcess]:
    return {name: process for name, process in stack.processes.items() if "worker" in name}


def test_data_and_key_survive_a_stop_and_a_second_start(options: StackOptions) -> None:
    with Stack(options, stand_ins()) as first:
        key = first.folder.secret_key.read_text()
    with Stack(options, stand_ins()) as second:
        assert second.folder.secret_key.read_text() == key
        assert rows_of_migrations(second, "models") == 2


def test_a_second_stack_on_the_same_folder_is_refused(stack: Stack, options: StackOptions) -> None:
    with pytest.raises(DataFolderInUse, match=rf"uses the data folder {options.data_dir}"), Stack(options):
        pass
    assert stack.process("gateway-1").running


def test_a_taken_port_is_named_and_nothing_is_left_running(stack: Stack, options: StackOptions, tmp_path: Path) -> None:
    taken = int(stack.targets["models"].partition(":")[2])
    second = Stack(
        replace(options, data_dir=tmp_path / "other", ports=replace(options.ports, models=taken)), stand_ins()
    )
    with pytest.raises(CannotRunHere, match=f"Port {taken} of 127.0.0.1 cannot be used"), second:
        pass
    assert not second.processes


def test_a_failing_migration_is_reported_with_its_log_and_nothing_is_left_running(options: StackOptions) -> None:
    failing = dict.fromkeys(("datasets", "models"), (sys.executable, "-c", "raise SystemExit('no such column')"))
    stack = Stack(options, replace(stand_ins(), migrations=failing))
    with pytest.raises(StartFailed, match=r"datasets-migrate ended with status 1; .*no such column"), stack:
        pass
    assert not stack.processes


def test_external_servers_are_used_when_named(
    options: StackOptions, database: Database, nats_server: NatsServer
) -> None:
    external = replace(
        options,
        datasets_database_url=database.url("datasets"),
        models_database_url=database.url("models"),
        nats_url=nats_server.url,
    )
    with Stack(external, stand_ins()) as stack:
        assert not {"postgres", "nats"} & set(stack.processes)
        assert stack.process("gateway-1").spec.env["MISTUDIO_NATS_URL"] == nats_server.url
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM models.migrations").fetchone() == (1,)


def test_the_hub_mirror_takes_the_place_of_the_hub_when_asked_for(options: StackOptions) -> None:
    programs = replace(stand_ins(), hub_mirror=PRODUCT.hub_mirror)
    with Stack(replace(options, hub_mirror=True), programs) as stack:
        assert stack.hub_mirror_url
        assert stack.process("datasets").spec.env["MISTUDIO_HUB_ENDPOINT"] == stack.hub_mirror_url
        assert http_ok(
            stack.hub_mirror_url.removeprefix("http://"), "/api/models/sentence-transformers/all-MiniLM-L6-v2"
        )()


def test_no_process_sees_the_database_of_the_other_domain(stack: Stack) -> None:
    for name, process in stack.processes.items():
        texts = " ".join(process.spec.env.values())
        assert ("mistudio_models:" in texts) == name.startswith("models"), name
        assert ("mistudio_datasets:" in texts) == name.startswith("datasets"), name


def test_a_stopped_stack_has_left_no_process(options: StackOptions) -> None:
    with Stack(options, stand_ins()) as stack:
        stack_id = stack.process("nats").guard.stack_id
        assert len(members(stack_id)) > 7
    assert not members(stack_id)
