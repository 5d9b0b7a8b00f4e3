"""A researcher's way with a model: looked at, sized up, brought in, taken apart, loaded, worked with, and let go."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import architecture_pb2, loading_pb2, model_pb2, models_service_pb2, weights_pb2
from mistudio_local.gpus import has_gpu
from mistudio_local.stack import Stack
from mistudio_servicekit.storage import Area
from tests.e2e.killing import kill_worker
from tests.e2e.research import DATASET, sequences, tokenized
from tests.e2e.support import Product
from tests.model_families import make_model
from tests.refusals import refusal

pb = models_service_pb2

LLAMA = "tests/llama"
LAYERS, HIDDEN_SIZE = 3, 64
NF4 = weights_pb2.LoadSettings(
    format=weights_pb2.WEIGHT_FORMAT_NF4, double_quantization=True, compute_dtype=weights_pb2.COMPUTE_DTYPE_BF16
)
CPU_WORKER = "models-worker-1"


@pytest.fixture(scope="module", autouse=True)
def language_model(hub_root: Path) -> None:
    """A tiny real model on the mirror, with files that its loading does not need."""
    folder = make_model("llama", hub_root / "models" / LLAMA)
    (folder / "README.md").write_text("# A tiny llama")
    (folder / "notes.txt").write_text("Nobody needs this.")


@pytest.fixture
async def model(product: Product) -> model_pb2.Model:
    """The model, brought in if it is not here."""
    return await product.ready_model(LLAMA)


async def load(product: Product, model_id: str, **fields: Any) -> pb.LoadModelResponse:
    request = pb.LoadModelRequest(id=model_id, settings=NF4, device=loading_pb2.DEVICE_PREFERENCE_CPU, **fields)
    return await product.models.LoadModel(request)


async def loaded(product: Product, model_id: str = "") -> list[loading_pb2.LoadedModel]:
    request = pb.ListLoadedModelsRequest(model_id=model_id)
    return list((await product.models.ListLoadedModels(request)).models)


async def until(is_so: Callable[[], Awaitable[bool]], seconds: float = 100) -> None:
    async with asyncio.timeout(seconds):
        while not await is_so():
            await asyncio.sleep(0.1)


async def test_a_model_on_the_hub_is_inspected_and_estimated_before_anything_is_fetched(product: Product) -> None:
    inspection = (await product.models.InspectModel(pb.InspectModelRequest(repo_id=LLAMA))).inspection
    facts = inspection.facts
    assert (facts.architecture, facts.layers, facts.hidden_size) == ("LlamaForCausalLM", LAYERS, HIDDEN_SIZE)
    assert facts.weight_files == model_pb2.WEIGHT_FILES_SAFETENSORS
    answer = await product.models.EstimateMemory(pb.EstimateMemoryRequest(repo_id=LLAMA, batch_size=2))
    assert (answer.parameters, answer.batch_size) == (facts.parameters, 2)
    formats = [(each.settings.format, each.settings.double_quantization) for each in answer.estimates]
    assert len(formats) == len(set(formats)) == 8
    full, *_, smallest = sorted(answer.estimates, key=lambda each: each.weights_bytes, reverse=True)
    assert full.settings.format == weights_pb2.WEIGHT_FORMAT_FP32
    assert full.weights_bytes >= 4 * facts.parameters
    assert smallest.settings.format in (weights_pb2.WEIGHT_FORMAT_NF4, weights_pb2.WEIGHT_FORMAT_FP4)
    for estimate in answer.estimates:
        verdicts = {verdict.worker: verdict for verdict in estimate.verdicts}
        assert verdicts[CPU_WORKER].verdict == weights_pb2.VERDICT_FITS, verdicts
        assert not estimate.measurements


async def test_only_the_files_that_patterns_choose_are_brought_in(product: Product) -> None:
    patterns = {"allow_patterns": ["*.json", "*.safetensors"], "deny_patterns": ["generation_*"]}
    answer = await product.download_model(LLAMA, name="chosen", **patterns)
    await product.succeeded(answer.job.id)
    (folder,) = product.folder(Area.MODELS, answer.model.id).iterdir()
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"README.md", "notes.txt", "generation_config.json"}
    found = (await product.models.GetModel(pb.GetModelRequest(id=answer.model.id))).model
    assert list(found.deny_patterns) == patterns["deny_patterns"]
    whole = await product.ready_model(LLAMA)
    assert whole.id != found.id, "another selection is another model"
    await product.delete(Area.MODELS, found.id)


async def test_its_layers_and_hook_points_are_told(product: Product, model: model_pb2.Model) -> None:
    request = pb.GetModelArchitectureRequest(id=model.id)
    found = (await product.models.GetModelArchitecture(request)).architecture
    assert (len(found.layers), found.hidden_size) == (LAYERS, HIDDEN_SIZE)
    assert found.extraction.suitable
    places = {point.kind: point.module_path for point in found.layers[1].hook_points}
    assert places[architecture_pb2.HOOK_POINT_KIND_MLP_OUT] == "model.layers.1.mlp"
    assert architecture_pb2.HOOK_POINT_KIND_RESID_POST in places


async def test_loaded_in_four_bits_it_is_listed_with_what_it_takes_beside_what_was_predicted(
    product: Product, model: model_pb2.Model
) -> None:
    answer = await load(product, model.id)
    job = await product.succeeded(answer.job.id)
    assert (job.kind, job.pool) == ("models.load", "cpu")
    (held,) = await loaded(product, model.id)
    assert (held.worker, held.device, held.settings, held.repo_id) == (CPU_WORKER, "cpu", NF4, LLAMA)
    assert held.memory.measured_weights_bytes == held.memory.predicted_weights_bytes > 0
    assert {each.path for each in held.unquantized} >= {"lm_head"}

    again = await load(product, model.id)
    assert again.joined
    assert again.loaded.model_id == model.id
    estimated = await product.models.EstimateMemory(pb.EstimateMemoryRequest(model_id=model.id, settings=[NF4]))
    (estimate,) = estimated.estimates
    assert estimate.measurements[0].worker == CPU_WORKER
    assert estimate.measurements[0].measured_weights_bytes == estimate.weights_bytes

    workers = (await product.jobs.ListWorkers(jobs_service_pb2.ListWorkersRequest())).workers
    by_name = {worker.name: worker for worker in workers}
    assert {"datasets-worker-1", "datasets-worker-2", CPU_WORKER} <= set(by_name)
    assert model.id in str(by_name[CPU_WORKER].state["models"])

    freed = await product.models.UnloadModel(pb.UnloadModelRequest(id=model.id))
    assert freed.freed_bytes == held.memory.measured_weights_bytes
    assert await loaded(product, model.id) == []


async def test_a_loaded_model_goes_only_by_force_and_what_was_tokenized_with_it_says_so_and_is_read(
    product: Product, model: model_pb2.Model
) -> None:
    dataset = await product.ready_dataset(DATASET)
    made = await tokenized(product, dataset.id, model.id, split="test", text_column="text")
    before = await sequences(product, made.id)
    assert any(sequence.tokens for sequence in before.sequences)
    await product.succeeded((await load(product, model.id)).job.id)

    request = pb.DeleteModelRequest(id=model.id)
    error = await refusal(product.models.DeleteModel(request))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "RESOURCE_IN_USE")
    assert CPU_WORKER in error.message and "force" in error.next_step

    request.force = True
    await product.succeeded((await product.models.DeleteModel(request)).job.id)
    assert model.id not in {each.model_id for each in await loaded(product)}
    assert not product.folder(Area.MODELS, model.id).exists()
    without = await product.without_model(made.id)
    assert without.model_id == model.id
    assert await sequences(product, made.id) == before
    await product.delete_tokenization(made.id)


@pytest.mark.faults
async def test_a_model_that_was_held_by_a_killed_worker_is_listed_no_more_and_loads_again(
    product: Product, stack: Stack, model: model_pb2.Model
) -> None:
    await product.succeeded((await load(product, model.id, pin=True)).job.id)
    assert [each.pinned for each in await loaded(product, model.id)] == [True]
    kill_worker(stack, CPU_WORKER)

    async def is_gone() -> bool:
        return not await loaded(product, model.id)

    await until(is_gone)
    answer = await load(product, model.id)
    assert not answer.joined
    await product.succeeded(answer.job.id)
    assert [each.worker for each in await loaded(product, model.id)] == [CPU_WORKER]
    await product.models.UnloadModel(pb.UnloadModelRequest(id=model.id))


@pytest.mark.skipif(has_gpu(), reason="here a worker takes the job at once")
async def test_a_load_for_a_gpu_says_that_it_waits_for_a_worker_with_one(
    product: Product, model: model_pb2.Model
) -> None:
    request = pb.LoadModelRequest(id=model.id, device=loading_pb2.DEVICE_PREFERENCE_GPU)
    job = (await product.models.LoadModel(request)).job
    async for response in product.watch(job.id):
        waiting = response.snapshot
        break
    assert (waiting.state, waiting.pool, waiting.wait.workers) == (job_pb2.JOB_STATE_QUEUED, "gpu", 0)
    assert "gpu" in waiting.wait.reason
    await product.cancelled_soon(job.id)
