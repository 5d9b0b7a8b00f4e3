"""`mistudio models …` and `mistudio workers`, as processes of their own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from mistudio.jobs.v1 import jobs_service_pb2_grpc
from mistudio.models.v2 import loading_pb2, models_service_pb2, models_service_pb2_grpc, weights_pb2
from mistudio_client.cli.rendering.loaded import place_text
from mistudio_servicekit import errors
from tests.unit.client.conftest import Serve
from tests.unit.client.scripted import JOB_ID
from tests.unit.client.scripted_models import EVICTION, FIRST, NF4, SECOND, THIRD, ScriptedJobs, ScriptedModels
from tests.unit.client.test_cli_commands import Shell


@pytest.fixture
def models() -> ScriptedModels:
    return ScriptedModels()


@pytest.fixture
async def shell(serve: Serve, models: ScriptedModels) -> AsyncIterator[Shell]:
    _, target = await serve(
        (models_service_pb2_grpc.add_ModelsServiceServicer_to_server, models),
        (jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, ScriptedJobs()),
    )
    shell = Shell(target, None)  # type: ignore[arg-type]  # this shell's product is `models`
    yield shell
    for process in shell.started:
        if process.returncode is None:
            process.kill()
            await process.wait()


def words(text: str) -> str:
    return " ".join(text.split())


async def test_an_inspection_tells_experts_weights_and_quantization(shell: Shell) -> None:
    text = words((await shell.run("models", "inspect", "a/tiny")).out)
    for fact in ("experts 8", "width of a head 64", "inside the MLP 256", "quantized gptq"):
        assert fact in text
    assert "weights pickles only, which can run code" in text
    assert "loading is refused It has pickles only. Ask the operator." in text


async def test_a_download_that_joins_says_what_the_model_keeps_and_how_to_change_it(shell: Shell) -> None:
    ended = await shell.run("models", "download", "a/tiny", "--name", "mine", "--format", "int8", "--detach")
    assert ended.status == 0
    assert "keeps its own name and default format" in ended.err
    assert f"mistudio models update {FIRST}" in ended.err
    assert (await shell.run("models", "download", "a/tiny", "--detach")).err == ""


async def test_a_load_and_ps_name_the_models_that_made_room(shell: Shell, models: ScriptedModels) -> None:
    other = loading_pb2.Eviction(repo_id="c/older", job_id=SECOND, settings=NF4)
    models.evictions = (EVICTION, other)
    gone = f"b/gone {SECOND} nf4 double, computing in bf16 45.0 MB cuda:0 models-gpu-1 a/tiny {JOB_ID}"
    load = words((await shell.run("models", "load", "tiny")).out)
    assert gone in load and "c/older" not in load
    ps = words((await shell.run("models", "ps")).out)
    assert gone in ps and "c/older" in ps
    models.evictions = ()
    assert "made room" not in (await shell.run("models", "ps")).out


async def test_a_download_takes_patterns_pickles_and_its_default_format(shell: Shell, models: ScriptedModels) -> None:
    options = ("--allow", "*.json", "--allow", "*.bin", "--deny", "onnx/*", "--allow-pickle", "--format", "nf4")
    ended = await shell.run("models", "download", "a/tiny", *options, "--double-quantization", "--detach")
    assert ended.status == 0, ended.err
    request = models.last()
    assert (list(request.allow_patterns), list(request.deny_patterns)) == (["*.json", "*.bin"], ["onnx/*"])
    assert request.allow_pickle
    assert request.default_settings.format == weights_pb2.WEIGHT_FORMAT_NF4
    assert request.default_settings.double_quantization
    text = words(ended.out)
    assert "only files *.safetensors" in text
    assert "loads by default in nf4 double, computing in bf16" in text
    await shell.run("models", "download", "a/tiny", "--detach")
    assert not models.last().HasField("default_settings")


async def test_an_update_changes_only_what_is_said(shell: Shell, models: ScriptedModels) -> None:
    ended = await shell.run("models", "update", "tiny", "--label", "team=text", "--label", "old=", "--label", "a=b=c")
    assert ended.status == 0, ended.err
    request = models.last()
    assert list(request.update_mask.paths) == ["labels"]
    assert dict(request.model.labels) == {"team": "text", "a": "b=c"}
    assert (request.model.id, request.model.etag) == (FIRST, "v3")
    await shell.run("models", "update", FIRST, "--name", "better", "--format", "int8")
    request = models.last()
    assert list(request.update_mask.paths) == ["name", "default_settings"]
    assert request.model.name == "better"
    assert request.model.default_settings == weights_pb2.LoadSettings(format=weights_pb2.WEIGHT_FORMAT_INT8)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("update", FIRST), "nothing to change"),
        (("update", FIRST, "--label", "team"), "KEY=VALUE"),
        (("estimate", FIRST, "--double-quantization", "--format", "int8"), "fp4 or nf4"),
        (("estimate", FIRST, "--compute-dtype", "fp16"), "goes with --format"),
        (("load", FIRST, "--format", "int4"), "int4"),
        (("load", FIRST, "--device", "tpu"), "tpu"),
    ],
)
async def test_wrong_usage_is_told_and_asks_for_nothing(
    shell: Shell, models: ScriptedModels, options: tuple[str, ...], problem: str
) -> None:
    ended = await shell.run("models", *options)
    assert (ended.status, models.requests) == (2, [])
    assert problem in words(ended.err)


async def test_several_models_are_deleted_by_one_call_and_what_is_left_is_told(
    shell: Shell, models: ScriptedModels
) -> None:
    ended = await shell.run("models", "delete", FIRST, SECOND, THIRD, "--force")
    assert ended.status == 1
    assert "Deleted 2 models." in ended.out
    assert f"{SECOND}: It is loaded. Unload it." in ended.err
    assert "1 of 3 models were not deleted." in ended.err
    assert (list(models.last().ids), models.last().force) == ([FIRST, SECOND, THIRD], True)


async def test_an_estimate_shows_predicted_beside_measured_verdicts_and_remedies(
    shell: Shell, models: ScriptedModels
) -> None:
    ended = await shell.run("models", "estimate", "tiny", "--batch", "4")
    assert ended.status == 0, ended.err
    assert (models.last().model_id, models.last().batch_size, list(models.last().settings)) == (FIRST, 4, [])
    text = words(ended.out)
    assert "batch 4 sequence length 2,048" in text
    assert "bf16 91.0 MB 92.5 MB 120.0 MB 121.0 MB 150.0 MB 4.0 MB 5.0 MB" in text
    assert "bf16 won't fit 3.0 GB 2.0 GB cpu Xeon w-1 Load it in NF4: it then needs 1.00 GB" in text
    assert "w-2 Nothing makes it fit." in text
    assert "nf4 fits 150.0 MB 2.0 GB cpu Xeon w-1" in text


async def test_an_estimate_shows_what_stands_in_the_way_of_a_load(shell: Shell) -> None:
    text = words((await shell.run("models", "estimate", "tiny")).out)
    assert "loading is refused It has pickles only. Ask the operator." in text
    assert "can't load 1.0 MB 2.0 MB cpu Xeon w-3 It is of GPUs only. Use a worker with a GPU." in text


async def test_an_estimate_of_one_format_tells_what_stays_unquantized(shell: Shell, models: ScriptedModels) -> None:
    options = ("--format", "nf4", "--double-quantization", "--compute-dtype", "fp16", "--sequence", "128")
    ended = await shell.run("models", "estimate", FIRST, *options)
    (settings,) = models.last().settings
    assert (settings.format, settings.double_quantization) == (weights_pb2.WEIGHT_FORMAT_NF4, True)
    assert settings.compute_dtype == weights_pb2.COMPUTE_DTYPE_FP16
    assert models.last().sequence_length == 128
    assert "lm_head 1 module, 500 parameters, 1.0 kB: it is the output head" in words(ended.out)


async def test_a_model_that_is_not_here_is_estimated_from_the_hub(shell: Shell, models: ScriptedModels) -> None:
    assert (await shell.run("models", "estimate", "b/other")).status == 0
    assert (models.last().WhichOneof("source"), models.last().repo_id) == ("repo_id", "b/other")
    as_json = await shell.run("models", "estimate", "a/tiny", "--revision", "v2", "--json")
    assert (models.last().repo_id, models.last().revision) == ("a/tiny", "v2")
    assert len(json.loads(as_json.out)["estimates"]) == 2


async def test_an_architecture_shows_its_layers_or_every_hook_point(shell: Shell) -> None:
    text = words((await shell.run("models", "architecture", "tiny")).out)
    assert "extraction yes" in text and "SAE training no: It is tiny." in text
    assert "0 model.layers.0 LlamaDecoderLayer 700 — mlp_out" in text
    hooks = words((await shell.run("models", "architecture", "tiny", "--hooks")).out)
    assert "0 mlp_out model.layers.0.mlp output 64" in hooks


async def test_a_load_is_followed_live_and_shows_where_the_model_is(shell: Shell, models: ScriptedModels) -> None:
    options = ("--format", "nf4", "--double-quantization", "--compute-dtype", "bf16", "--device", "gpu", "--pin")
    ended = await shell.run("models", "load", "tiny", *options, "--trust-remote-code")
    assert ended.status == 0, ended.err
    request = next(each for each in models.requests if isinstance(each, models_service_pb2.LoadModelRequest))
    assert (request.id, request.settings, request.pin, request.trust_remote_code) == (FIRST, NF4, True, True)
    assert request.device == loading_pb2.DEVICE_PREFERENCE_GPU
    assert request.request_id
    assert models.last().model_id == FIRST
    assert "tiny  waiting for a worker" in ended.out and "tiny  done" in ended.out
    assert f"a/tiny {FIRST} nf4 double, computing in bf16 92.0 MB 91.0 MB cuda:0 models-gpu-1" in words(ended.out)
    await shell.run("models", "load", "tiny", "--detach")
    assert isinstance(models.last(), models_service_pb2.LoadModelRequest)
    assert not models.last().HasField("settings")


async def test_a_refused_load_says_why_and_what_to_do(shell: Shell, models: ScriptedModels) -> None:
    models.refusal = errors.RemoteCodeRefused("a/tiny needs code from its repository", next_step="Ask the operator")
    ended = await shell.run("models", "load", "tiny")
    assert (ended.status, ended.out) == (1, "")
    assert "a/tiny needs code from its repository. Ask the operator." in ended.err


async def test_an_unload_tells_from_where_and_how_much_is_free_again(shell: Shell, models: ScriptedModels) -> None:
    ended = await shell.run("models", "unload", "tiny", "--worker", "models-gpu-1")
    assert words(ended.out) == (
        "Unloaded tiny: nf4 double, computing in bf16 on cuda:0 of worker models-gpu-1. 92.0 MB are free again."
    )
    assert (models.last().worker, models.last().HasField("settings")) == ("models-gpu-1", False)
    await shell.run("models", "unload", FIRST, "--format", "int8")
    assert models.last().settings.format == weights_pb2.WEIGHT_FORMAT_INT8


async def test_ps_shows_what_is_loaded_where_and_the_hosts(shell: Shell, models: ScriptedModels) -> None:
    text = words((await shell.run("models", "ps")).out)
    assert "cuda:0 models-gpu-1 pinned, in use 2.5 s" in text
    assert "models-gpu-1 gpu node-7 cpu Xeon 2.0 GB 92.0 MB 5.0 GB" in text
    assert models.last().model_id == ""
    assert json.loads((await shell.run("models", "ps", "--json")).out)["hosts"][0]["pool"] == "gpu"


def test_weights_that_are_quantized_in_their_files_are_told_by_that() -> None:
    plain = weights_pb2.LoadSettings(
        format=weights_pb2.WEIGHT_FORMAT_BF16, compute_dtype=weights_pb2.COMPUTE_DTYPE_BF16
    )
    loaded = loading_pb2.LoadedModel(worker="w-1", device="cpu", settings=plain)
    assert place_text(loaded) == "bf16 on cpu of worker w-1"
    loaded.quantization = "bitsandbytes-nf4"
    assert place_text(loaded) == "bitsandbytes-nf4, computing in bf16 on cpu of worker w-1"


async def test_workers_are_listed_with_what_they_run(shell: Shell) -> None:
    lines = [line.split() for line in (await shell.run("workers")).out.splitlines()[1:]]
    assert [line[:4] for line in lines] == [["m-1", "models", "gpu", "node-7"], ["d-1", "datasets", "cpu", "node-8"]]
    assert lines[0][4:6] == ["job", JOB_ID]
    assert len((await shell.run("workers", "--pool", "gpu")).out.splitlines()) == 2
