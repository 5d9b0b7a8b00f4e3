"""How a model is loaded where a request does not say: given with its download, changed later, filtered by."""

from __future__ import annotations

import json
from typing import Any, cast

from google.protobuf.field_mask_pb2 import FieldMask

from mistudio.models.v2 import model_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio.models.v2.weights_pb2 import (
    COMPUTE_DTYPE_BF16,
    COMPUTE_DTYPE_FP16,
    COMPUTE_DTYPE_FP32,
    WEIGHT_FORMAT_FP4,
    WEIGHT_FORMAT_FP16,
    WEIGHT_FORMAT_INT8,
    WEIGHT_FORMAT_NF4,
    ComputeDtype,
    LoadSettings,
    WeightFormat,
)

_NF4 = LoadSettings(format=WEIGHT_FORMAT_NF4, double_quantization=True, compute_dtype=COMPUTE_DTYPE_FP16)


async def _download(service, repo_id: str, settings: LoadSettings, request_id: str = ""):
    request = pb.DownloadModelRequest(repo_id=repo_id, default_settings=settings, request_id=request_id)
    return await service.stub.DownloadModel(request)


async def _update(service, model: model_pb2.Model, *paths: str, **fields: Any):
    changed = model_pb2.Model(id=model.id, **fields)
    request = pb.UpdateModelRequest(model=changed, update_mask=FieldMask(paths=paths))
    return (await service.stub.UpdateModel(request)).model


async def _found(service, text: str) -> list[str]:
    return [each.repo_id for each in (await service.stub.ListModels(pb.ListModelsRequest(filter=text))).models]


async def test_a_model_keeps_the_settings_that_it_was_asked_for_with(service, hub):
    model = (await _download(service, hub.gpt, _NF4)).model
    assert model.default_settings == _NF4
    assert await service.get(model.id) == model


async def test_without_settings_nothing_is_said(service, hub):
    assert (await service.download(hub.gpt)).model.default_settings == LoadSettings()


async def test_a_model_that_is_joined_keeps_its_own_settings(service, hub):
    first = await _download(service, hub.gpt, _NF4)
    second = await _download(service, hub.gpt, LoadSettings(format=WEIGHT_FORMAT_INT8))
    assert (second.joined, second.model) == (True, first.model)
    assert (list(first.not_applied), list(second.not_applied)) == ([], ["default_settings"])


async def test_a_download_that_joins_tells_what_the_model_does_not_get_from_it(service, hub):
    await _download(service, hub.gpt, _NF4)
    wishes: list[tuple[dict[str, Any], list[str]]] = [
        ({}, []),
        ({"name": hub.gpt, "default_settings": _NF4}, []),
        ({"name": "Mine"}, ["name"]),
        ({"name": "Mine", "default_settings": LoadSettings(format=WEIGHT_FORMAT_INT8)}, ["name", "default_settings"]),
    ]
    for wish, kept in wishes:
        answer = await service.download(hub.gpt, **wish)
        assert (answer.joined, list(answer.not_applied)) == (True, kept)
        assert answer.model.name == hub.gpt
    once = await service.download(hub.gpt, name="Mine", request_id="mine")
    assert list((await service.download(hub.gpt, name="Mine", request_id="mine")).not_applied) == list(once.not_applied)


async def test_a_quantized_default_is_refused_before_quantized_files_are_brought_in(service, hub):
    config = hub.folder(hub.bare) / "config.json"
    quantized = {**json.loads(config.read_text()), "quantization_config": {"quant_method": "gptq", "bits": 4}}
    config.write_text(json.dumps(quantized))
    error = await service.refusal(_download(service, hub.bare, _NF4))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert error.field == "default_settings.format"
    assert "NF4" in error.message and "gptq" in error.message and "Leave format out" in error.next_step
    assert service.rows("SELECT count(*) FROM models") == [(0,)]
    half = LoadSettings(format=WEIGHT_FORMAT_FP16)
    assert (await _download(service, hub.bare, half)).model.default_settings == half


async def test_one_request_id_always_says_the_same_settings(service, hub):
    first = await _download(service, hub.gpt, _NF4, request_id="mine")
    assert (await _download(service, hub.gpt, _NF4, request_id="mine")).model.id == first.model.id
    error = await service.refusal(_download(service, hub.gpt, LoadSettings(), request_id="mine"))
    assert (error.code, error.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


async def test_an_update_of_the_settings_changes_them_alone_and_filters_follow(service, hub):
    model = (await _download(service, hub.gpt, _NF4)).model
    other = (await service.download(hub.bare)).model
    assert await _found(service, "default_format = NF4") == [hub.gpt]
    int8 = LoadSettings(format=WEIGHT_FORMAT_INT8)
    changed = await _update(service, model, "default_settings", default_settings=int8, name="Ignored")
    assert (changed.default_settings, changed.name) == (int8, model.name)
    assert await service.get(model.id) == changed
    assert await _found(service, "default_format = NF4") == []
    assert await _found(service, "default_format = INT8") == [hub.gpt]
    assert await _found(service, 'default_format = ""') == [hub.bare]
    cleared = await _update(service, changed, "default_settings", etag=changed.etag)
    assert cleared.default_settings == LoadSettings()
    assert await _found(service, 'default_format = ""') == [hub.bare, hub.gpt]
    assert await service.get(other.id) == other


async def test_name_labels_and_settings_change_together(service, hub):
    model = (await service.download(hub.gpt)).model
    paths = ("name", "labels", "default_settings")
    changed = await _update(service, model, *paths, name="New", labels={"team": "a"}, default_settings=_NF4)
    assert (changed.name, dict(changed.labels), changed.default_settings) == ("New", {"team": "a"}, _NF4)
    assert changed.etag != model.etag


async def test_a_stale_etag_protects_the_settings(service, hub):
    model = (await _download(service, hub.gpt, _NF4)).model
    await _update(service, model, "name", name="New")
    error = await service.refusal(_update(service, model, "default_settings", etag=model.etag))
    assert (error.code, error.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert (await service.get(model.id)).default_settings == _NF4


_IMPOSSIBLE = [
    (LoadSettings(double_quantization=True), "double_quantization"),
    (LoadSettings(format=WEIGHT_FORMAT_INT8, double_quantization=True), "double_quantization"),
    (LoadSettings(format=WEIGHT_FORMAT_FP16, compute_dtype=COMPUTE_DTYPE_BF16), "compute_dtype"),
    (LoadSettings(format=cast("WeightFormat.ValueType", 99)), "format"),
    (LoadSettings(compute_dtype=cast("ComputeDtype.ValueType", 99)), "compute_dtype"),
]


async def test_settings_that_cannot_be_are_typed_errors_and_change_nothing(service, hub, subtests):
    model = (await _download(service, hub.bare, _NF4)).model
    for settings, field in _IMPOSSIBLE:
        with subtests.test(settings=str(settings)):
            error = await service.refusal(_download(service, hub.gpt, settings))
            assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
            assert (error.field, bool(error.next_step)) == (f"default_settings.{field}", True)
            error = await service.refusal(_update(service, model, "default_settings", default_settings=settings))
            assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
            assert (error.field, bool(error.next_step)) == (f"model.default_settings.{field}", True)
    assert await service.get(model.id) == model
    assert service.rows("SELECT count(*) FROM models") == [(1,)]


async def test_what_goes_together_is_taken(service, hub, subtests):
    model = (await service.download(hub.gpt)).model
    possible = [
        LoadSettings(format=WEIGHT_FORMAT_FP4, double_quantization=True),
        LoadSettings(format=WEIGHT_FORMAT_FP16, compute_dtype=COMPUTE_DTYPE_FP16),
        LoadSettings(format=WEIGHT_FORMAT_INT8, compute_dtype=COMPUTE_DTYPE_FP32),
        LoadSettings(compute_dtype=COMPUTE_DTYPE_BF16),
    ]
    for settings in possible:
        with subtests.test(settings=str(settings)):
            changed = await _update(service, model, "default_settings", default_settings=settings)
            assert changed.default_settings == settings


async def test_files_that_are_quantized_already_get_no_quantized_format_for_the_loads_to_come(service, made):
    (model_id,) = made.put(1, facts={"quantization": "gptq"})
    model = await service.get(model_id)
    error = await service.refusal(_update(service, model, "default_settings", default_settings=_NF4))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "model.default_settings.format")
    assert "gptq" in error.message
    half = LoadSettings(format=WEIGHT_FORMAT_FP16)
    assert (await _update(service, model, "default_settings", default_settings=half)).default_settings == half


async def test_a_path_into_the_settings_is_refused_with_what_can_be_named(service, hub):
    model = (await service.download(hub.gpt)).model
    error = await service.refusal(_update(service, model, "default_settings.format", default_settings=_NF4))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "INVALID_FIELD", "update_mask")
    assert "name or labels or default_settings" in error.message


async def test_a_filter_by_a_format_that_there_is_not_is_refused(service):
    error = await service.refusal(service.stub.ListModels(pb.ListModelsRequest(filter="default_format = NF5")))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "INVALID_FILTER", "filter")
