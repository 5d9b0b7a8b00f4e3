"""Whether a model can be loaded at all is told before anybody tries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mistudio.models.v2 import models_service_pb2 as pb
from mistudio.models.v2 import weights_pb2
from mistudio_models.domain.policy import Policy

from .stored_models import StoredModels
from .told_workers import GB, device

_NOT_LOADABLE, _FITS = weights_pb2.VERDICT_NOT_LOADABLE, weights_pb2.VERDICT_FITS
_OWN_CODE = {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Own"}}
_GPTQ = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
_GPU_ONLY = {"quantization_config": {"quant_method": "fbgemm_fp8"}}
_UNKNOWN = {"model_type": "novel", "architectures": ["NovelForCausalLM"]}


@pytest.fixture
def models(service, made) -> StoredModels:
    return StoredModels(made, service.backend.store)


@pytest.fixture
def everywhere(workers) -> None:
    """A worker with a CPU and one with a GPU, each with plenty of room."""
    workers.put("cpu-1")
    workers.put("gpu-1", pool="gpu", devices=[device("cuda:0", total=64 * GB, free=64 * GB)])


def _change_config(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _put(models: StoredModels, config: dict[str, Any], weights: str = "model.safetensors") -> str:
    """A tiny model with a changed configuration, its weights under another name (empty: without); its id."""
    model_id = models.put("llama")
    folder = models.folder(model_id)
    _change_config(folder, config)
    if weights:
        (folder / "model.safetensors").rename(folder / weights)
    else:
        (folder / "model.safetensors").unlink()
    models.read_facts(model_id)
    return model_id


async def _estimate(service, **source: Any):
    bf16 = weights_pb2.LoadSettings(format=weights_pb2.WEIGHT_FORMAT_BF16)
    return await service.stub.EstimateMemory(pb.EstimateMemoryRequest(settings=[bf16], **source))


async def _inspect(service, repo_id: str):
    return (await service.stub.InspectModel(pb.InspectModelRequest(repo_id=repo_id))).inspection


def _verdicts(answer) -> list[weights_pb2.Verdict.ValueType]:
    (estimate,) = answer.estimates
    return [each.verdict for each in estimate.verdicts]


_NEVER: list[tuple[dict[str, Any], str, str, str]] = [
    ({}, "", "WEIGHTS_MISSING", "safetensors"),
    ({}, "model.gguf", "WEIGHTS_MISSING", "safetensors"),
    ({}, "pytorch_model.bin", "PICKLE_REFUSED", "MISTUDIO_ALLOW_PICKLE"),
    (_OWN_CODE, "model.safetensors", "REMOTE_CODE_REFUSED", "MISTUDIO_ALLOW_REMOTE_CODE"),
    (_GPTQ, "model.safetensors", "UNSUPPORTED_FORMAT", "optimum"),
    (_UNKNOWN, "model.safetensors", "ARCHITECTURE_UNSUPPORTED", "'novel'"),
]


@pytest.mark.usefixtures("everywhere")
async def test_no_verdict_says_that_fits_what_is_never_loaded_and_the_estimate_says_why(service, hub, models, subtests):
    for number, (config, weights, reason, named) in enumerate(_NEVER):
        model_id = _put(models, config, weights)
        shutil.copytree(models.folder(model_id), hub.folder(f"tiny/never-{number}"))
        for source in ({"model_id": model_id}, {"repo_id": f"tiny/never-{number}"}):
            with subtests.test(reason=reason, weights=weights, source=source):
                answer = await _estimate(service, **source)
                assert _verdicts(answer) == [_NOT_LOADABLE, _NOT_LOADABLE]
                for problem in answer.load_problems:
                    assert problem.suggestion
                assert reason in [problem.reason for problem in answer.load_problems]
                told = " ".join(problem.message for problem in answer.load_problems)
                (estimate,) = answer.estimates
                for verdict in estimate.verdicts:
                    assert named in f"{verdict.reason} {verdict.remedy}"
                    assert verdict.reason in told and verdict.remedy in told
                    assert verdict.needed_bytes > 0


@pytest.mark.usefixtures("everywhere")
async def test_what_can_be_loaded_has_no_problems(service, hub, models):
    model_id = models.put("llama")
    answer = await _estimate(service, model_id=model_id)
    assert (_verdicts(answer), list(answer.load_problems)) == ([_FITS, _FITS], [])
    assert list((await _inspect(service, hub.gpt)).load_problems) == []


@pytest.mark.usefixtures("everywhere")
async def test_what_works_on_gpus_only_fits_no_cpu(service, models):
    answer = await _estimate(service, model_id=_put(models, _GPU_ONLY))
    assert (_verdicts(answer), list(answer.load_problems)) == ([_NOT_LOADABLE, _FITS], [])
    refused = answer.estimates[0].verdicts[0]
    assert "GPUs only" in refused.reason and "worker with a GPU" in refused.remedy


async def test_what_works_on_gpus_only_is_a_problem_where_no_worker_has_one(service, models):
    (problem,) = (await _estimate(service, model_id=_put(models, _GPU_ONLY))).load_problems
    assert problem.reason == "UNSUPPORTED_FORMAT" and "fbgemm_fp8" in problem.message


class TestWithTheOperatorsLeave:
    @pytest.fixture
    def policy(self) -> Policy:
        return Policy(allow_pickle=True, allow_remote_code=True)

    @pytest.mark.usefixtures("everywhere")
    async def test_what_a_request_has_still_to_ask_for_is_told_and_may_fit(self, service, models):
        answer = await _estimate(service, model_id=_put(models, _OWN_CODE))
        (problem,) = answer.load_problems
        assert (_verdicts(answer), problem.reason) == ([_FITS, _FITS], "REMOTE_CODE_REFUSED")
        assert "set trust_remote_code" in problem.message and "MISTUDIO_ALLOW_REMOTE_CODE" not in problem.message

    @pytest.mark.usefixtures("everywhere")
    async def test_pickles_are_asked_for_once_when_they_are_brought_in(self, service, hub, models):
        here = _put(models, {}, "pytorch_model.bin")
        shutil.copytree(models.folder(here), hub.folder("tiny/pickles"))
        answer = await _estimate(service, model_id=here)
        assert (_verdicts(answer), list(answer.load_problems)) == ([_FITS, _FITS], [])
        on_hub = await _estimate(service, repo_id="tiny/pickles")
        assert _verdicts(on_hub) == [_FITS, _FITS]
        for problems in (on_hub.load_problems, (await _inspect(service, "tiny/pickles")).load_problems):
            (problem,) = problems
            assert problem.reason == "PICKLE_REFUSED"
            assert "set allow_pickle in its download" in problem.message


async def test_an_inspection_says_why_a_model_is_not_loaded(service, hub, models, subtests):
    for number, (config, weights, reason, named) in enumerate(_NEVER[:-1]):
        with subtests.test(reason=reason, weights=weights):
            repo_id = f"tiny/never-{number}"
            shutil.copytree(models.folder(_put(models, config, weights)), hub.folder(repo_id))
            (problem,) = (await _inspect(service, repo_id)).load_problems
            assert (problem.reason, bool(problem.suggestion)) == (reason, True)
            assert named in problem.message


async def test_a_model_whose_files_may_not_be_read_has_no_problems_but_that(service, hub):
    found = await _inspect(service, hub.gated)
    assert (found.accessible, list(found.load_problems)) == (False, [])


async def test_an_architecture_that_cannot_be_loaded_is_suitable_for_nothing(service, models):
    async def suitability(model_id: str):
        request = pb.GetModelArchitectureRequest(id=model_id)
        found = (await service.stub.GetModelArchitecture(request)).architecture
        return found.extraction, found.sae_training

    for config, weights, named in (
        ({}, "pytorch_model.bin", "MISTUDIO_ALLOW_PICKLE"),
        (_GPTQ, "a.safetensors", "gptq"),
    ):
        for found in await suitability(_put(models, config, weights)):
            assert not found.suitable
            assert any(named in reason for reason in found.reasons)
    assert all(found.suitable for found in await suitability(models.put("llama")))
