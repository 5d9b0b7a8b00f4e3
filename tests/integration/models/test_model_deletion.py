"""Letting go of a model that tokenizations are being made with."""

from __future__ import annotations

from mistudio.models.v2 import models_service_pb2 as pb


async def _ready(service, hub):
    answer = await service.download(hub.gpt)
    await service.start_worker()
    return await service.ended(answer.model.id)


async def _delete(service, model_id, **fields):
    return await service.stub.DeleteModel(pb.DeleteModelRequest(id=model_id, **fields))


async def test_a_model_is_kept_while_tokenizations_are_being_made_with_it(service, hub):
    model = await _ready(service, hub)
    needing = [service.tokenizations.put(model.id, status) for status in ("QUEUED", "PROCESSING") * 4]
    service.tokenizations.put(model.id, "READY")
    error = await service.refusal(_delete(service, model.id))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "RESOURCE_IN_USE")
    assert all(each in error.message for each in needing[:5])
    assert "and 3 more" in error.message
    assert await service.get(model.id) == model


async def test_force_stops_them_first_and_leaves_complete_ones_and_those_of_others(service, hub):
    model = await _ready(service, hub)
    needing = [service.tokenizations.put(model.id, status) for status in ("QUEUED", "PROCESSING", "QUEUED")]
    complete, other = service.tokenizations.put(model.id, "READY"), service.tokenizations.put("another", "QUEUED")
    await _delete(service, model.id, force=True)
    assert [service.tokenizations.status(each) for each in needing] == ["CANCELLED"] * 3
    assert (service.tokenizations.status(complete), service.tokenizations.status(other)) == ("READY", "QUEUED")
    assert (await service.refusal(service.get(model.id))).reason == "MODEL_NOT_FOUND"


async def test_complete_tokenizations_do_not_keep_their_model(service, hub):
    model = await _ready(service, hub)
    for status in ("READY", "ERROR", "CANCELLED"):
        service.tokenizations.put(model.id, status)
    await _delete(service, model.id)
    assert (await service.refusal(service.get(model.id))).reason == "MODEL_NOT_FOUND"


async def test_a_tokenization_that_is_complete_meanwhile_does_not_hold_force_back(service, hub):
    model = await _ready(service, hub)
    tokenization = service.tokenizations.put(model.id, "PROCESSING")
    service.tokenizations.quick = True
    await _delete(service, model.id, force=True)
    assert service.tokenizations.status(tokenization) == "READY"


async def test_without_the_datasets_service_nothing_is_deleted_and_all_else_is_served(service, hub):
    model = await _ready(service, hub)
    await service.stop_datasets()
    for force in (False, True):
        error = await service.refusal(_delete(service, model.id, force=force))
        assert (error.code, error.reason) == ("UNAVAILABLE", "BACKEND_UNAVAILABLE")
        assert "datasets service" in error.message
    assert await service.get(model.id) == model
    waiting = await service.download(hub.bare)
    await service.ended(waiting.model.id)


async def test_a_model_that_was_never_complete_is_deleted_without_the_datasets_service(service, hub):
    await service.stop_datasets()
    answer = await service.download(hub.gpt)
    await _delete(service, answer.model.id)


async def test_a_stale_etag_stops_no_tokenization(service, hub):
    model = await _ready(service, hub)
    tokenization = service.tokenizations.put(model.id, "QUEUED")
    error = await service.refusal(_delete(service, model.id, etag="v0", force=True))
    assert (error.code, error.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert service.tokenizations.status(tokenization) == "QUEUED"
