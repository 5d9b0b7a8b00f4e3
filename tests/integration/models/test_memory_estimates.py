"""The memory that models need, asked for before anything is loaded, and whether it fits the workers' devices."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
import transformers

from mistudio.models.v2 import models_service_pb2 as pb
from mistudio.models.v2 import weights_pb2
from mistudio_servicekit.database import new_id
from tests.model_families import CONTEXT, make_model

from .stored_models import StoredModels
from .told_workers import GB, device

_FITS, _TIGHT, _WONT_FIT = weights_pb2.VERDICT_FITS, weights_pb2.VERDICT_TIGHT, weights_pb2.VERDICT_WONT_FIT


@pytest.fixture
def models(service, made) -> StoredModels:
    return StoredModels(made, service.backend.store)


def _settings(name: str, **more) -> weights_pb2.LoadSettings:
    return weights_pb2.LoadSettings(format=weights_pb2.WeightFormat.Value(f"WEIGHT_FORMAT_{name}"), **more)


async def _estimate(service, **fields):
    return await service.stub.EstimateMemory(pb.EstimateMemoryRequest(**fields))


def _peak(estimate: weights_pb2.MemoryEstimate) -> int:
    return max(estimate.load_peak_bytes, estimate.run_peak_bytes)


def _name(settings: weights_pb2.LoadSettings) -> str:
    name = weights_pb2.WeightFormat.Name(settings.format).removeprefix("WEIGHT_FORMAT_")
    return name + ("+double" if settings.double_quantization else "")


async def test_every_format_is_estimated_of_a_model_that_is_here(service, models):
    model_id = models.put("llama")
    answer = await _estimate(service, model_id=model_id)
    by_name = {_name(each.settings): each for each in answer.estimates}
    assert list(by_name) == ["FP32", "FP16", "BF16", "INT8", "NF4", "NF4+double", "FP4", "FP4+double"]
    model = transformers.AutoModelForCausalLM.from_pretrained(models.folder(model_id))
    assert answer.parameters == model.num_parameters()
    assert by_name["FP32"].weights_bytes == sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    assert by_name["FP32"].weights_bytes > by_name["BF16"].weights_bytes > by_name["INT8"].weights_bytes
    assert by_name["INT8"].weights_bytes > by_name["NF4"].weights_bytes
    assert (answer.batch_size, answer.sequence_length) == (1, CONTEXT)
    for each in answer.estimates:
        assert each.run_peak_bytes == each.weights_bytes + each.key_value_bytes + each.activation_bytes
        assert each.load_peak_bytes >= each.weights_bytes
        assert (each.basis, list(each.verdicts), list(each.measurements)) == ("modules", [], [])
    assert by_name["NF4"].quantized_parameters > 0
    assert any(modules.path == "lm_head" and modules.reason for modules in by_name["NF4"].unquantized)


async def test_a_model_on_the_hub_needs_what_it_needs_here_and_no_weights_are_fetched(service, hub, models):
    model_id = models.put("qwen2", hidden_size=256)
    repo = hub.folder("tiny/qwen")
    shutil.copytree(models.folder(model_id), repo)
    here, there = await _estimate(service, model_id=model_id), await _estimate(service, repo_id="tiny/qwen")
    assert there == here
    assert hub.mirror.faults.bytes_sent() < (repo / "model.safetensors").stat().st_size / 4


async def test_settings_are_answered_in_their_order_with_the_models_defaults_filled_in(service, models, made):
    model_id = models.put("llama")
    double = _settings("NF4", double_quantization=True, compute_dtype=weights_pb2.COMPUTE_DTYPE_FP32)
    asked = [double, _settings("FP16"), weights_pb2.LoadSettings()]
    found = (await _estimate(service, model_id=model_id, settings=asked)).estimates
    assert [_name(each.settings) for each in found] == ["NF4+double", "FP16", "FP32"]
    computing = [weights_pb2.ComputeDtype.Name(each.settings.compute_dtype)[-4:] for each in found]
    assert computing == ["FP32", "FP16", "FP32"]
    made.execute('UPDATE models SET default_settings = \'{"format": "INT8"}\' WHERE id = %(id)s', {"id": model_id})
    found = (await _estimate(service, model_id=model_id, settings=asked)).estimates
    assert [_name(each.settings) for each in found] == ["NF4+double", "FP16", "INT8"]


async def test_more_at_once_needs_more_while_it_runs_and_no_more_to_load(service, models):
    model_id, bf16 = models.put("llama"), [_settings("BF16")]
    (small,) = (await _estimate(service, model_id=model_id, settings=bf16, sequence_length=16)).estimates
    answer = await _estimate(service, model_id=model_id, settings=bf16, sequence_length=16, batch_size=8)
    (large,) = answer.estimates
    assert (answer.batch_size, answer.sequence_length) == (8, 16)
    assert large.key_value_bytes == 8 * small.key_value_bytes
    assert large.run_peak_bytes > small.run_peak_bytes
    assert large.load_peak_bytes == small.load_peak_bytes


async def test_every_device_of_every_worker_has_its_verdict(service, models, workers):
    model_id = models.put("llama")
    gpus = [device("cuda:0", total=10 * GB, free=9 * GB), device("cuda:1", total=10 * GB, free=1 * GB)]
    workers.put("cpu-1", devices=[device("cpu", free=1000)])
    workers.put("gpu-1", pool="gpu", devices=gpus)
    (found,) = (await _estimate(service, model_id=model_id, settings=[_settings("BF16")])).estimates
    assert [(each.worker, each.device.id, each.verdict) for each in found.verdicts] == [
        ("cpu-1", "cpu", _WONT_FIT), ("gpu-1", "cuda:0", _FITS), ("gpu-1", "cuda:1", _TIGHT),
    ]  # fmt: skip
    refused = found.verdicts[0]
    assert (refused.available_bytes, refused.remedy) == (1000, "")
    assert "nothing makes it fit" in refused.reason
    assert found.verdicts[1].needed_bytes == max(found.load_peak_bytes, found.run_peak_bytes)


async def test_the_remedy_is_the_format_of_best_quality_that_fits(service, models, workers):
    model_id = models.put("llama", hidden_size=512, intermediate_size=1024, num_hidden_layers=12)
    names = ["FP32", "BF16", "INT8", "NF4"]
    wanted = {"model_id": model_id, "settings": [_settings(name) for name in names], "sequence_length": 8}
    peaks = [_peak(each) for each in (await _estimate(service, **wanted)).estimates]
    workers.put("cpu-1", devices=[device(free=peaks[2])])
    found = [each.verdicts[0] for each in (await _estimate(service, **wanted)).estimates]
    assert [each.verdict for each in found] == [_WONT_FIT, _WONT_FIT, _TIGHT, _TIGHT]
    assert all(each.remedy.startswith("Load it in INT8: it then needs ") for each in found[:2])
    assert [each.remedy for each in found[2:]] == ["", ""]


async def test_the_remedy_is_less_at_once_where_only_running_is_too_much(service, models, workers):
    model_id = models.put("llama")
    wanted = {"model_id": model_id, "settings": [_settings("BF16")], "batch_size": 64}
    (whole,) = (await _estimate(service, **wanted)).estimates
    (half,) = (await _estimate(service, **{**wanted, "batch_size": 32})).estimates
    workers.put("cpu-1", devices=[device(free=half.run_peak_bytes)])
    assert whole.load_peak_bytes < half.run_peak_bytes
    (found,) = (await _estimate(service, **wanted)).estimates
    assert found.verdicts[0].remedy.startswith("Run batches of 32 instead of 64: it then needs ")


async def test_what_loading_took_before_stands_beside_what_is_predicted(service, models, made):
    model_id = models.put("llama")
    settings = json.dumps({"format": "NF4", "double_quantization": False, "compute_dtype": "BF16"})
    for weights in (7, 8):
        made.execute(
            """
            INSERT INTO measurements (model_id, settings, worker, device, predicted_weights_bytes,
                measured_weights_bytes, predicted_load_peak_bytes, measured_load_peak_bytes)
            VALUES (%(id)s, %(settings)s::jsonb, 'cpu-1', 'cpu', 6, %(weights)s, 10, 11)
            """,
            {"id": model_id, "settings": settings, "weights": weights},
        )
    asked = [_settings("NF4"), _settings("NF4", double_quantization=True)]
    plain, double = (await _estimate(service, model_id=model_id, settings=asked)).estimates
    assert [past.measured_weights_bytes for past in plain.measurements] == [8, 7]
    assert (plain.measurements[0].worker, plain.measurements[0].device) == ("cpu-1", "cpu")
    assert list(double.measurements) == []


async def test_a_question_is_worked_out_once(service, models):
    model_id = models.put("llama")
    answers = await asyncio.gather(*(_estimate(service, model_id=model_id) for _ in range(20)))
    shutil.rmtree(models.folder(model_id))
    assert all(answer == answers[0] for answer in [*answers, await _estimate(service, model_id=model_id)])


async def test_weight_headers_tell_where_no_installed_code_knows_the_architecture(service, hub):
    folder = make_model("llama", hub.folder("tiny/novel"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "model_type": "novel", "architectures": ["NovelForCausalLM"]})
    )
    answer = await _estimate(service, repo_id="tiny/novel")
    assert {each.basis for each in answer.estimates} == {"headers"}
    assert answer.parameters > 0


async def test_files_that_are_quantized_already_have_one_way_to_be_held(service, models):
    model_id = models.put("llama")
    config = json.loads((models.folder(model_id) / "config.json").read_text())
    quantized = {**config, "quantization_config": {"quant_method": "gptq", "bits": 4}}
    (models.folder(model_id) / "config.json").write_text(json.dumps(quantized))
    models.read_facts(model_id)
    (found,) = (await _estimate(service, model_id=model_id)).estimates
    assert found.weights_bytes > 0
    error = await service.refusal(_estimate(service, model_id=model_id, settings=[{}, _settings("NF4")]))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "settings[1].format")
    assert "gptq" in error.message


_IMPOSSIBLE: list[tuple[dict[str, Any], str, str]] = [
    ({"model_id": None}, "MISSING_FIELD", "source"),
    ({"model_id": "m_1"}, "MALFORMED_ID", "model_id"),
    ({"model_id": ""}, "MISSING_FIELD", "model_id"),
    ({"repo_id": ""}, "MISSING_FIELD", "repo_id"),
    ({"repo_id": "../../etc/passwd"}, "INVALID_FIELD", "repo_id"),
    ({"repo_id": "tiny/gpt", "hub_token": "x" * 2000}, "INVALID_FIELD", "hub_token"),
    ({"settings": [{"format": 99}]}, "INVALID_FIELD", "settings[0].format"),
    ({"settings": [{}, {"compute_dtype": 99}]}, "INVALID_FIELD", "settings[1].compute_dtype"),
    (
        {"settings": [{}, {"format": "WEIGHT_FORMAT_INT8", "double_quantization": True}]},
        "INVALID_FIELD", "settings[1].double_quantization",
    ),
    (
        {"settings": [{"format": "WEIGHT_FORMAT_BF16", "compute_dtype": "COMPUTE_DTYPE_FP32"}]},
        "INVALID_FIELD", "settings[0].compute_dtype",
    ),
    ({"settings": [{}] * 33}, "INVALID_FIELD", "settings"),
    ({"batch_size": -1}, "INVALID_FIELD", "batch_size"),
    ({"batch_size": 1_000_000}, "INVALID_FIELD", "batch_size"),
    ({"sequence_length": -1}, "INVALID_FIELD", "sequence_length"),
    ({"sequence_length": 1 << 40}, "INVALID_FIELD", "sequence_length"),
    ({"sequence_length": CONTEXT + 1}, "INVALID_FIELD", "sequence_length"),
]  # fmt: skip


async def test_what_can_never_be_estimated_is_a_typed_error(service, models, subtests):
    model_id = models.put("llama")
    for fields, reason, field in _IMPOSSIBLE:
        with subtests.test(fields=fields):
            source = {} if "repo_id" in fields else {"model_id": model_id}
            given = {name: value for name, value in {**source, **fields}.items() if value is not None}
            error = await service.refusal(_estimate(service, **given))
            assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", reason, field)
            assert error.next_step


async def test_the_error_for_too_long_a_sequence_names_the_context(service, models):
    error = await service.refusal(_estimate(service, model_id=models.put("llama"), sequence_length=CONTEXT + 1))
    assert f"context has {CONTEXT} tokens" in error.message


async def test_what_is_not_there_or_may_not_be_read_is_a_typed_error(service, hub, made, subtests):
    cases = [
        ({"model_id": str(new_id())}, "NOT_FOUND", "MODEL_NOT_FOUND"),
        ({"model_id": made.put(1, "DOWNLOADING")[0]}, "FAILED_PRECONDITION", "MODEL_NOT_READY"),
        ({"repo_id": "tiny/unknown"}, "NOT_FOUND", "REPO_NOT_FOUND"),
        ({"repo_id": hub.gpt, "revision": "v9"}, "NOT_FOUND", "REVISION_NOT_FOUND"),
        ({"repo_id": hub.gated}, "PERMISSION_DENIED", "REPO_GATED"),
        ({"repo_id": hub.damaged}, "INVALID_ARGUMENT", "MALFORMED_FILE"),
    ]
    for fields, code, reason in cases:
        with subtests.test(fields=fields):
            error = await service.refusal(_estimate(service, **fields))
            assert (error.code, error.reason) == (code, reason)
            assert error.next_step


_HOSTILE: list[dict[str, Any]] = [
    {"num_hidden_layers": 10**9},
    {"hidden_size": 2**62},
    {"hidden_size": -5},
    {"hidden_size": "wide"},
    {"num_attention_heads": 0},
    {"vocab_size": 2**200},
]


async def test_a_hostile_model_ends_in_a_typed_error_and_the_next_question_is_answered(service, models, subtests):
    good = models.put("llama")
    config = json.loads((models.folder(good) / "config.json").read_text())
    for change in _HOSTILE:
        with subtests.test(change=change):
            error = await service.refusal(_estimate(service, model_id=models.put_config({**config, **change})))
            assert error.reason in ("MALFORMED_FILE", "ARCHITECTURE_UNSUPPORTED", "OUT_OF_MEMORY", "TIMED_OUT")
            assert error.next_step
    endless = {"max_position_embeddings": 1 << 27, "num_hidden_layers": 100, "num_key_value_heads": 1 << 10}
    vast = {"model_id": models.put_config({**config, **endless}), "batch_size": 1 << 16, "sequence_length": 1 << 27}
    error = await service.refusal(_estimate(service, **vast))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "sequence_length")
    assert len((await _estimate(service, model_id=good)).estimates) == 8


def test_the_service_itself_never_imports_torch():
    code = "import sys, mistudio_models.server, mistudio_models.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
