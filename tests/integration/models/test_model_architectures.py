"""What models are made of, found without their weights."""

from __future__ import annotations

import shutil

import pytest

from mistudio.models.v2 import architecture_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_servicekit.database import new_id

from .stored_models import StoredModels


@pytest.fixture
def models(service, made) -> StoredModels:
    return StoredModels(made, service.backend.store)


async def _architecture(service, model_id: str):
    request = pb.GetModelArchitectureRequest(id=model_id)
    return (await service.stub.GetModelArchitecture(request)).architecture


async def test_layers_and_hook_points_of_a_model_are_found(service, models):
    found = await _architecture(service, models.put("llama"))
    assert (found.architecture, found.model_type) == ("LlamaForCausalLM", "llama")
    assert (found.hidden_size, found.vocabulary_size, found.parallel_layers) == (64, 512, False)
    assert (found.embedding_path, found.unembedding_path) == ("model.embed_tokens", "lm_head")
    assert [layer.index for layer in found.layers] == [0, 1, 2]
    layer = found.layers[1]
    assert (layer.module_path, layer.module_class) == ("model.layers.1", "LlamaDecoderLayer")
    after = next(point for point in layer.hook_points if point.kind == architecture_pb2.HOOK_POINT_KIND_RESID_POST)
    assert (after.module_path, after.side, after.width) == (
        "model.layers.1", architecture_pb2.HOOK_SIDE_OUTPUT, 64,
    )  # fmt: skip
    assert found.extraction.suitable
    assert found.sae_training.suitable


async def test_an_architecture_is_worked_out_once(service, models):
    model_id = models.put("gpt2")
    first = await _architecture(service, model_id)
    shutil.rmtree(models.folder(model_id))
    assert await _architecture(service, model_id) == first


async def test_what_has_no_architecture_to_tell_is_a_typed_error(service, models, subtests):
    cases = [
        ("", "INVALID_ARGUMENT", "MISSING_FIELD"),
        ("m_1", "INVALID_ARGUMENT", "MALFORMED_ID"),
        (str(new_id()), "NOT_FOUND", "MODEL_NOT_FOUND"),
        (models.made.put(1, "ERROR")[0], "FAILED_PRECONDITION", "MODEL_NOT_READY"),
        (models.put_config({"model_type": "novel"}), "FAILED_PRECONDITION", "ARCHITECTURE_UNSUPPORTED"),
        (models.put_config({"model_type": "llama", "num_hidden_layers": 10**9}), "INVALID_ARGUMENT", "MALFORMED_FILE"),
    ]
    for model_id, code, reason in cases:
        with subtests.test(model_id=model_id, reason=reason):
            request = pb.GetModelArchitectureRequest(id=model_id)
            error = await service.refusal(service.stub.GetModelArchitecture(request))
            assert (error.code, error.reason) == (code, reason)
            assert error.next_step
