from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mistudio_local.cli import main, options_from
from mistudio_local.config import StackOptions, StackPorts
from mistudio_local.gpus import has_gpu
from mistudio_servicekit.errors import InvalidArgument

URLS = {"MISTUDIO_DATASETS_DATABASE_URL": "postgresql://d", "MISTUDIO_MODELS_DATABASE_URL": "postgresql://m"}


def test_without_options_the_stack_has_the_documented_ports_and_one_of_each_process() -> None:
    options = options_from(["up"], {})
    assert options == StackOptions()
    assert (options.ports.gateway, options.ports.http, options.ports.metrics) == (50050, 8080, 9101)
    assert (options.gateways, options.datasets_workers, options.models_workers) == (1, 1, 1)


def test_the_command_line_sets_ports_folder_numbers_and_the_mirror() -> None:
    line = (
        "up --data-dir d --gateway-port 1 --nats-port 0 --gateways 2 --datasets-workers 3 --models-gpu-workers 4 "
        "--hub-mirror"
    )
    options = options_from(line.split(), {})
    assert options.data_dir == Path("d")
    assert options.ports == StackPorts(gateway=1, nats=0)
    assert (options.gateways, options.datasets_workers, options.hub_mirror) == (2, 3, True)
    assert options.models_gpu_workers == 4


def test_external_servers_come_from_the_environment_and_are_not_shown() -> None:
    options = options_from(["up"], {**URLS, "MISTUDIO_NATS_URL": "nats://n"})
    assert options.models_database_url == "postgresql://m"
    assert options.nats_url == "nats://n"
    assert "postgresql" not in repr(options)


@pytest.mark.parametrize("missing", URLS)
def test_one_external_database_without_the_other_is_refused(missing: str) -> None:
    with pytest.raises(InvalidArgument, match="Only one of MISTUDIO_DATASETS_DATABASE_URL and"):
        options_from(["up"], {name: url for name, url in URLS.items() if name != missing})


@pytest.mark.parametrize("numbers", [["--gateways", "0"], ["--datasets-workers", "-1"], ["--models-gpu-workers", "-1"]])
def test_impossible_numbers_end_the_command_with_one_line(
    numbers: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", *numbers]) == 1
    assert capsys.readouterr().err.endswith("Ask for at least one gateway and no negative numbers.\n")


def test_a_gpu_is_found_by_its_device_file_and_has_a_worker(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    assert not has_gpu(tmp_path) or shutil.which("nvidia-smi")
    (tmp_path / "nvidia0").touch()
    assert has_gpu(tmp_path)
    assert options_from(["up"], {}).models_gpu_workers == int(has_gpu())
