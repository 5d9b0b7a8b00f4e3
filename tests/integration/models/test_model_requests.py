"""What is answered at once when a model is asked for, while no worker runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import model_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_local.hub_mirror.faults import Refusal
from mistudio_servicekit.storage import Store

_UNKNOWN = "0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e"


async def test_a_download_is_answered_at_once_with_all_that_is_known(service, hub):
    answer = await service.download(hub.gpt)
    model, job = answer.model, answer.job
    assert not answer.joined
    assert (model.status, model.name, model.revision) == (model_pb2.MODEL_STATUS_DOWNLOADING, hub.gpt, "main")
    assert (len(model.commit), model.facts.parameters, model.size_bytes, model.epoch) == (40, 1600, 0, 0)
    assert (job.kind, job.service, job.state) == ("models.download", "models", job_pb2.JOB_STATE_QUEUED)
    assert (job.resource_id, model.job_id) == (model.id, job.id)
    assert await service.get(model.id) == model


async def test_a_model_is_called_as_the_request_says(service, hub):
    assert (await service.download(hub.gpt, name="My GPT")).model.name == "My GPT"


async def test_200_equal_requests_at_once_start_one_job_and_share_their_questions_to_the_hub(service, hub):
    answers = await asyncio.gather(*(service.download(hub.gpt) for _ in range(200)))
    assert len({answer.model.id for answer in answers}) == 1
    assert len({answer.job.id for answer in answers}) == 1
    assert [answer.joined for answer in answers].count(False) == 1
    assert service.rows("SELECT count(*) FROM jobs") == [(1,)]
    assert len(hub.mirror.faults.requests) < 200


async def test_equal_requests_by_branch_and_by_commit_are_the_same_model(service, hub):
    first = await service.download(hub.gpt)
    second = await service.download(hub.gpt, revision=first.model.commit, name="Another name")
    assert second.joined
    assert second.model == first.model


async def test_another_revision_is_another_model(service, hub):
    first, second = await service.download(hub.gpt), await service.download(hub.gpt, revision="v1")
    assert not second.joined
    assert second.model.id != first.model.id


async def test_a_repeated_request_id_gives_the_same_model_though_the_hub_is_away(service, hub):
    first = await service.download(hub.gpt, request_id="mine")
    hub.mirror.faults.refusals.append(Refusal(status=503, times=None))
    again = await service.download(hub.gpt, request_id="mine")
    assert (again.model, again.job.id) == (first.model, first.job.id)


async def test_the_token_is_no_part_of_a_requests_content(service, hub):
    first = await service.download(hub.gpt, request_id="mine", hub_token=hub.ada_token)
    again = await service.download(hub.gpt, request_id="mine", hub_token=hub.bob_token)
    assert again.model.id == first.model.id


async def test_a_request_id_with_other_content_is_refused(service, hub):
    await service.download(hub.gpt, request_id="mine")
    error = await service.refusal(service.download(hub.bare, request_id="mine"))
    assert (error.code, error.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert "'mine'" in error.message


async def test_one_request_id_sent_at_once_with_two_contents_starts_one_of_them(service, hub):
    calls = [service.download(repo_id, request_id="mine") for repo_id in (hub.gpt, hub.bare) * 10]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    started = {answer.model.repo_id for answer in answers if isinstance(answer, pb.DownloadModelResponse)}
    assert len(started) == 1
    assert service.rows("SELECT count(*) FROM jobs") == [(1,)]
    assert service.rows("SELECT count(*) FROM models") == [(1,)]


_IMPOSSIBLE: list[tuple[dict[str, Any], str, str, str]] = [
    ({}, "INVALID_ARGUMENT", "MISSING_FIELD", "repo_id"),
    ({"repo_id": "tiny/gpt", "name": "x" * 300}, "INVALID_ARGUMENT", "INVALID_FIELD", "name"),
    ({"repo_id": "tiny/gpt", "request_id": "x" * 129}, "INVALID_ARGUMENT", "INVALID_FIELD", "request_id"),
    ({"repo_id": "tiny/gpt", "hub_token": "x" * 2000}, "INVALID_ARGUMENT", "INVALID_FIELD", "hub_token"),
    ({"repo_id": "tiny/unknown"}, "NOT_FOUND", "REPO_NOT_FOUND", "repo_id"),
    ({"repo_id": "tiny/gpt", "revision": "v9"}, "NOT_FOUND", "REVISION_NOT_FOUND", "revision"),
    ({"repo_id": "tiny/gated"}, "PERMISSION_DENIED", "REPO_GATED", "hub_token"),
    ({"repo_id": "tiny/gated", "hub_token": "hf_unknown"}, "PERMISSION_DENIED", "HUB_TOKEN_INVALID", "hub_token"),
    ({"repo_id": "tiny/damaged"}, "INVALID_ARGUMENT", "MALFORMED_FILE", ""),
    ({"repo_id": "tiny/empty"}, "NOT_FOUND", "ENTRY_NOT_FOUND", "revision"),
]


async def test_what_cannot_be_downloaded_is_a_typed_error_and_leaves_nothing(service, hub, subtests):
    for fields, code, reason, field in _IMPOSSIBLE:
        with subtests.test(fields=fields):
            error = await service.refusal(service.stub.DownloadModel(pb.DownloadModelRequest(**fields)))
            assert (error.code, error.reason, error.field) == (code, reason, field)
            assert error.next_step
    assert service.rows("SELECT count(*) FROM models") == service.rows("SELECT count(*) FROM jobs") == [(0,)]


async def test_an_unreachable_hub_is_told_at_once(service, hub):
    hub.mirror.faults.refusals.append(Refusal(status=502, times=None))
    error = await service.refusal(service.download(hub.gpt))
    assert (error.code, error.reason) == ("UNAVAILABLE", "HUB_UNAVAILABLE")


class TestAFullStore:
    @pytest.fixture
    def backend(self, backend):
        return replace(backend, store=Store(backend.store.root, quota_bytes=1000))

    async def test_a_model_that_does_not_fit_is_refused_before_the_first_byte(self, service, hub):
        error = await service.refusal(service.download(hub.gpt))
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "DISK_FULL")
        assert "1,000 bytes free" in error.message
        assert service.rows("SELECT count(*) FROM models") == service.rows("SELECT count(*) FROM jobs") == [(0,)]


async def test_a_waiting_download_is_cancelled_at_once_and_may_be_asked_for_again(service, hub):
    first = await service.download(hub.gpt)
    answer = await service.stub.CancelModelDownload(pb.CancelModelDownloadRequest(id=first.model.id))
    assert answer.model.status == model_pb2.MODEL_STATUS_CANCELLED
    assert answer.job.state == job_pb2.JOB_STATE_CANCELLED
    again = await service.download(hub.gpt)
    assert not again.joined
    assert again.model.id != first.model.id


async def test_a_request_for_what_is_being_cancelled_is_asked_to_come_back(service, hub):
    model = (await service.download(hub.gpt)).model
    held = "state = 'CANCELLING', cancel_requested_at = now(), lease_until = now() + interval '1 hour'"
    service.rows(f"UPDATE jobs SET {held} RETURNING id")  # as while a worker is stopping it
    error = await service.refusal(service.download(hub.gpt))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "MODEL_NOT_READY")
    assert model.id in error.message


async def test_cancelling_what_has_ended_is_refused(service, hub):
    model = (await service.download(hub.gpt)).model
    request = pb.CancelModelDownloadRequest(id=model.id)
    await service.stub.CancelModelDownload(request)
    error = await service.refusal(service.stub.CancelModelDownload(request))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "JOB_NOT_CANCELLABLE")


async def test_a_cancelled_download_that_is_retried_is_on_its_way_again(service, hub):
    model = (await service.download(hub.gpt)).model
    await service.stub.CancelModelDownload(pb.CancelModelDownloadRequest(id=model.id))
    await service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=model.job_id))
    assert (await service.get(model.id)).status == model_pb2.MODEL_STATUS_DOWNLOADING
    assert (await service.download(hub.gpt)).model.id == model.id


async def test_no_retry_brings_a_second_model_of_one_commit_or_a_deleted_one(service, hub):
    first = (await service.download(hub.gpt)).model
    await service.stub.CancelModelDownload(pb.CancelModelDownloadRequest(id=first.id))
    second = (await service.download(hub.gpt)).model
    retry = jobs_service_pb2.RetryJobRequest(id=first.job_id)
    error = await service.refusal(service.jobs.RetryJob(retry))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "JOB_NOT_RETRYABLE")
    assert second.id in error.message
    await service.stub.DeleteModel(pb.DeleteModelRequest(id=first.id))
    error = await service.refusal(service.jobs.RetryJob(retry))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "JOB_NOT_RETRYABLE")
    assert "deleted" in error.message


async def test_a_waiting_download_is_deleted_with_its_job(service, hub):
    model = (await service.download(hub.gpt)).model
    cleanup = (await service.stub.DeleteModel(pb.DeleteModelRequest(id=model.id, etag=model.etag))).job
    assert (cleanup.kind, cleanup.resource_id) == ("models.cleanup", model.id)
    assert (await service.refusal(service.get(model.id))).reason == "MODEL_NOT_FOUND"
    job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=model.job_id))).job
    assert job.state == job_pb2.JOB_STATE_CANCELLED
    assert not (await service.download(hub.gpt)).joined


_NO_IDS = [
    ("", "INVALID_ARGUMENT", "MISSING_FIELD"),
    ("abc", "INVALID_ARGUMENT", "MALFORMED_ID"),
    (_UNKNOWN.replace("-", ""), "INVALID_ARGUMENT", "MALFORMED_ID"),
    (_UNKNOWN, "NOT_FOUND", "MODEL_NOT_FOUND"),
]


async def test_an_id_that_names_no_model_is_a_typed_error(service, subtests):
    for method in ("GetModel", "CancelModelDownload", "DeleteModel"):
        for identifier, code, reason in _NO_IDS:
            with subtests.test(method=method, identifier=identifier):
                request = getattr(pb, f"{method}Request")(id=identifier)
                error = await service.refusal(getattr(service.stub, method)(request))
                assert (error.code, error.reason) == (code, reason)


async def test_a_stale_etag_protects_from_deletion(service, hub):
    model = (await service.download(hub.gpt)).model
    changed = pb.UpdateModelRequest(
        model=model_pb2.Model(id=model.id, name="New"), update_mask=FieldMask(paths=["name"])
    )
    await service.stub.UpdateModel(changed)
    error = await service.refusal(service.stub.DeleteModel(pb.DeleteModelRequest(id=model.id, etag=model.etag)))
    assert (error.code, error.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert (await service.get(model.id)).status == model_pb2.MODEL_STATUS_DOWNLOADING
