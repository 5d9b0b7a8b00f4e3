"""Repeated, clashing and wrong requests over the whole stack."""

import asyncio
from collections.abc import Awaitable

import pytest

from mistudio.datasets.v1 import datasets_service_pb2, tokenizations_service_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import models_service_pb2
from mistudio_local.hub_mirror import Body, Faults
from mistudio_local.hub_mirror.shelf import DATASET_ID
from mistudio_servicekit.database import new_id
from mistudio_servicekit.storage import RESERVATIONS_FOLDER, Area
from tests.e2e.support import GATED_DATASET, GATED_TOKEN, TOKENLESS_MODEL, Product, until_gone
from tests.refusals import refusal


async def refused(call: Awaitable[object]) -> tuple[str, str, str]:
    """Status, reason and text of a call that must fail."""
    error = await refusal(call)
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


async def test_a_model_that_is_still_downloading_cannot_tokenize(product: Product, faults: Faults) -> None:
    dataset = await product.ready_dataset()
    faults.bodies.append(Body(times=None, path="*", bytes_per_second=2 * 2**20))
    job = await product.download_slow(Area.MODELS)
    code, reason, message = await refused(product.tokenize(dataset.id, job.resource_id))
    assert (code, reason) == ("FAILED_PRECONDITION", "MODEL_NOT_READY")
    assert job.resource_id in message
    assert "DOWNLOADING" in message
    await product.cancelled_soon(job.id)


async def test_unknown_datasets_and_models_are_told_apart(product: Product) -> None:
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


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("some.jsonl", [b'{"text": "one"}', b"{broken", b'{"text": "two"}', b'"no object"']),
        ("some.csv", [b"text,n", b"one,1,2", b"two,2", b"three", b"four,4"]),
    ],
)
async def test_damaged_lines_of_an_upload_are_set_aside_counted_and_listed(
    product: Product, name: str, lines: list[bytes]
) -> None:
    answer = await product.upload(name, [b"\n".join(lines)])
    await product.succeeded(answer.job.id)
    dataset = await product.dataset(answer.dataset.id)
    assert (dataset.rows, dataset.damaged_lines) == (2, 2)
    assert [line.line for line in dataset.damaged] == [2, 4]
    assert all(line.reason for line in dataset.damaged)


@pytest.mark.parametrize(
    ("name", "content", "reason"), [("x.parquet", b"no Parquet", "MALFORMED_FILE"), ("x.jsonl", b"", "DATASET_EMPTY")]
)
async def test_an_upload_that_cannot_be_what_it_is_called_is_refused_at_once(
    product: Product, name: str, content: bytes, reason: str
) -> None:
    assert (await refused(product.upload(name, [content])))[1] == reason


async def test_an_unreadable_upload_ends_in_error_with_the_same_text_and_leaves_nothing(product: Product) -> None:
    answer = await product.upload("x.parquet", [b"PAR1, but only its beginning"])
    job = await product.ended(answer.job.id)
    dataset = await product.dataset(answer.dataset.id)
    assert (job.state, job.error.reason) == (job_pb2.JOB_STATE_FAILED, "MALFORMED_FILE")
    assert dataset.error == job.error
    assert job.error.suggestion
    await until_gone(product.folder(Area.DATASETS, dataset.id))


async def test_a_dataset_without_a_text_column_cannot_be_tokenized(product: Product) -> None:
    answer = await product.upload("numbers.jsonl", [b'{"n": 1}'])
    await product.succeeded(answer.job.id)
    model = await product.ready_model()
    code, reason, message = await refused(product.tokenize(answer.dataset.id, model.id))
    assert (code, reason) == ("INVALID_ARGUMENT", "TEXT_COLUMN_MISSING")
    assert "n (int64)" in message


async def test_any_other_file_name_is_no_path(product: Product) -> None:
    answer = await product.upload("../../../tmp/evil.jsonl", [b'{"text": "x"}\n'])
    await product.succeeded(answer.job.id)
    # The store holds nothing outside its areas, but what running jobs have reserved.
    assert {entry.name for entry in product.store.root.iterdir()} <= {*Area, RESERVATIONS_FOLDER}
