"""Repeated, clashing and wrong requests over the whole stack."""

import asyncio

import grpc
import pytest

from mistudio.datasets.v1 import datasets_service_pb2, tokenizations_service_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import models_service_pb2
from mistudio_local.hub_mirror.shelf import DATASET_ID, MODEL_ID
from mistudio_servicekit.database import new_id
from mistudio_servicekit.status import error_of_call
from tests.e2e.support import GATED_DATASET, GATED_TOKEN, TOKENLESS_MODEL, Product


async def refused(call: object) -> tuple[str, str, str]:
    """Status, reason and text of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]  # generated stubs return awaitable calls
    error = error_of_call(caught.value)
    return error.code, error.reason, error.message


async def test_two_hundred_identical_requests_start_one_job(product: Product) -> None:
    await product.delete_dataset((await product.ready_dataset()).id)
    answers = await asyncio.gather(*(product.download_dataset() for _ in range(200)))
    assert len({answer.job.id for answer in answers}) == 1
    assert sum(not answer.joined for answer in answers) == 1
    await product.succeeded(answers[0].job.id)
    page = await product.jobs.ListJobs(
        jobs_service_pb2.ListJobsRequest(filter=f"resource_id = {answers[0].dataset.id}", page_size=500)
    )
    assert page.total_size == 1


async def test_a_request_id_gives_the_same_answer_and_takes_no_other_content(product: Product) -> None:
    request_id = f"test-{new_id()}"
    first = await product.download_model(request_id=request_id)
    again = await product.download_model(request_id=request_id)
    assert (again.job.id, again.model.id) == (first.job.id, first.model.id)
    other = product.download_model(TOKENLESS_MODEL, request_id=request_id)
    assert (await refused(other))[:2] == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


@pytest.mark.parametrize(
    ("repo_id", "revision", "token", "expected"),
    [
        ("no slash or space", "", "", ("INVALID_ARGUMENT", "INVALID_FIELD")),
        ("../../etc/passwd", "", "", ("INVALID_ARGUMENT", "INVALID_FIELD")),
        ("", "", "", ("INVALID_ARGUMENT", "MISSING_FIELD")),
        ("nobody/nothing", "", "", ("NOT_FOUND", "REPO_NOT_FOUND")),
        (DATASET_ID, "no-such-branch", "", ("NOT_FOUND", "REVISION_NOT_FOUND")),
        (GATED_DATASET, "", "", ("PERMISSION_DENIED", "REPO_GATED")),
        (GATED_DATASET, "", "hf_wrong", ("PERMISSION_DENIED", "HUB_TOKEN_INVALID")),
    ],
)
async def test_a_wrong_download_is_refused_at_once(
    product: Product, repo_id: str, revision: str, token: str, expected: tuple[str, str]
) -> None:
    code, reason, message = await refused(product.download_dataset(repo_id, revision=revision, hub_token=token))
    assert (code, reason) == expected
    assert not repo_id or repo_id in message or revision in message
    assert not token or token not in message


async def test_a_gated_dataset_comes_with_its_token(product: Product) -> None:
    answer = await product.download_dataset(GATED_DATASET, hub_token=GATED_TOKEN)
    await product.succeeded(answer.job.id)
    assert (await product.dataset(answer.dataset.id)).rows == 50


async def test_unknown_and_malformed_ids_are_told_apart(product: Product) -> None:
    unknown = str(new_id())
    for call in (
        lambda i: product.datasets.GetDataset(datasets_service_pb2.GetDatasetRequest(id=i)),
        lambda i: product.models.GetModel(models_service_pb2.GetModelRequest(id=i)),
        lambda i: product.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=i)),
        lambda i: product.tokenizations.GetTokenization(tokenizations_service_pb2.GetTokenizationRequest(id=i)),
    ):
        assert (await refused(call("abc")))[:2] == ("INVALID_ARGUMENT", "MALFORMED_ID")
        code, _, message = await refused(call(unknown))
        assert code == "NOT_FOUND"
        assert unknown in message


async def test_a_model_without_tokenizer_cannot_tokenize(product: Product) -> None:
    dataset, model = await product.ready_dataset(), await product.ready_model(TOKENLESS_MODEL)
    code, reason, _ = await refused(product.tokenize(dataset.id, model.id))
    assert (code, reason) == ("FAILED_PRECONDITION", "TOKENIZER_MISSING")


async def test_a_model_that_is_not_ready_cannot_tokenize(product: Product) -> None:
    dataset, model = await product.ready_dataset(), await product.ready_model()
    assert (await refused(product.tokenize(str(new_id()), model.id)))[1] == "DATASET_NOT_FOUND"
    assert (await refused(product.tokenize(dataset.id, str(new_id()))))[1] == "MODEL_NOT_FOUND"


async def test_a_dataset_that_is_needed_is_not_deleted(product: Product) -> None:
    dataset, model = await product.ready_dataset(), await product.ready_model()
    answer = await product.tokenize(dataset.id, model.id)
    await product.succeeded(answer.job.id)
    request = datasets_service_pb2.DeleteDatasetRequest(id=dataset.id)
    code, reason, message = await refused(product.datasets.DeleteDataset(request))
    assert (code, reason) == ("FAILED_PRECONDITION", "RESOURCE_IN_USE")
    assert answer.tokenization.id in message


async def upload(product: Product, name: str, content: bytes) -> datasets_service_pb2.UploadDatasetResponse:
    def parts() -> list[datasets_service_pb2.UploadDatasetRequest]:
        header = datasets_service_pb2.UploadHeader(file_name=name, size_bytes=len(content))
        chunks = [content[n : n + 65536] for n in range(0, len(content), 65536)]
        return [
            datasets_service_pb2.UploadDatasetRequest(header=header),
            *(datasets_service_pb2.UploadDatasetRequest(chunk=chunk) for chunk in chunks),
        ]

    return await product.datasets.UploadDataset(iter(parts()))


async def test_damaged_lines_of_an_upload_are_set_aside_counted_and_listed(product: Product) -> None:
    lines = [b'{"text": "one"}', b"{broken", b'{"text": "two"}', b'"no object"']
    answer = await upload(product, "some.jsonl", b"\n".join(lines))
    await product.succeeded(answer.job.id)
    dataset = await product.dataset(answer.dataset.id)
    assert (dataset.rows, dataset.damaged_lines) == (2, 2)
    assert [line.line for line in dataset.damaged] == [2, 4]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("x.parquet", b"PAR1 but not really", "MALFORMED_FILE"), ("x.jsonl", b"", "DATASET_EMPTY")],
)
async def test_an_unreadable_upload_ends_in_error_with_the_same_text(
    product: Product, name: str, content: bytes, reason: str
) -> None:
    try:
        answer = await upload(product, name, content)
    except grpc.aio.AioRpcError as error:
        assert error_of_call(error).reason == reason
        return
    job = await product.ended(answer.job.id)
    dataset = await product.dataset(answer.dataset.id)
    assert (job.state, job.error.reason) == (job_pb2.JOB_STATE_FAILED, reason)
    assert dataset.error.message == job.error.message
    assert job.error.suggestion


async def test_any_other_file_name_is_no_path(product: Product) -> None:
    answer = await upload(product, "../../../tmp/evil.jsonl", b'{"text": "x"}\n')
    await product.succeeded(answer.job.id)
    assert MODEL_ID  # the store holds nothing outside its areas:
    assert {entry.name for entry in product.store.root.iterdir()} <= {"datasets", "models", "tokenizations", "uploads"}
