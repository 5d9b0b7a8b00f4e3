"""The product's main job over the whole stack: Hub to store to tokens, with generated clients."""

import datasets
import pytest
from tokenizers import Tokenizer

from mistudio.datasets.v1 import datasets_service_pb2, tokenization_pb2, tokenizations_service_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import model_pb2, models_service_pb2
from mistudio_local.hub_mirror.shelf import DATASET_ID, MODEL_ID
from mistudio_servicekit.storage import Area
from tests.e2e.support import Product


async def test_a_model_is_inspected_before_its_download(product: Product) -> None:
    request = models_service_pb2.InspectModelRequest(repo_id=MODEL_ID)
    inspection = (await product.models.InspectModel(request)).inspection
    assert inspection.accessible
    assert inspection.gate == model_pb2.GATE_OPEN
    assert inspection.facts.parameters == 22_713_216 + 512  # weights, and the position ids that the file holds
    assert (inspection.facts.layers, inspection.facts.hidden_size) == (6, 384)
    assert inspection.facts.has_tokenizer


async def test_dataset_and_model_become_exact_tokens_that_open_unconverted(product: Product) -> None:
    dataset, model = await product.ready_dataset(), await product.ready_model()
    answer = await product.tokenize(dataset.id, model.id)
    await product.succeeded(answer.job.id)
    tokenization = await product.tokenization(answer.tokenization.id)
    assert tokenization.status == tokenization_pb2.TOKENIZATION_STATUS_READY

    opened = datasets.load_from_disk(str(product.store.root / tokenization.store_path))
    source = datasets.load_dataset(
        "parquet", data_files=str(next(product.folder(Area.DATASETS, dataset.id).rglob("*.parquet"))), split="train"
    )
    tokenizer = Tokenizer.from_file(str(product.store.root / "models" / model.id / str(model.epoch) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    expected = [encoding.ids for encoding in tokenizer.encode_batch(source["text"], add_special_tokens=False)]
    assert opened["input_ids"][:] == expected

    request = tokenizations_service_pb2.GetTokenizationStatisticsRequest(id=tokenization.id)
    statistics = (await product.tokenizations.GetTokenizationStatistics(request)).statistics
    assert statistics.tokens == tokenization.tokens == sum(map(len, expected))
    assert statistics.documents == dataset.rows == len(expected)
    assert statistics.max_tokens == max(map(len, expected))


async def test_progress_counts_bytes_and_rows_of_a_known_total(product: Product) -> None:
    dataset, model = await product.ready_dataset(), await product.ready_model()
    await _forget_tokenizations(product, dataset.id)
    answer = await product.tokenize(dataset.id, model.id)
    reports = [r.event.progress async for r in product.watch(answer.job.id) if r.event.HasField("progress")]
    assert reports[-1].done == reports[-1].total == dataset.rows
    assert [report.done for report in reports] == sorted(report.done for report in reports)
    assert {report.unit for report in reports} == {"rows"}
    assert reports[-1].metrics["bytes"] == reports[-1].metrics["bytes_total"] > 0


async def _forget_tokenizations(product: Product, dataset_id: str) -> None:
    request = tokenizations_service_pb2.ListTokenizationsRequest(filter=f"dataset_id = {dataset_id}")
    for tokenization in (await product.tokenizations.ListTokenizations(request)).tokenizations:
        await product.delete_tokenization(tokenization.id)


async def test_samples_and_sequences_are_shown_from_any_row(product: Product) -> None:
    dataset, model = await product.ready_dataset(), await product.ready_model()
    last = dataset.rows - 1
    request = datasets_service_pb2.ListSamplesRequest(dataset_id=dataset.id, offset=last, page_size=5)
    page = await product.datasets.ListSamples(request)
    assert [sample.row for sample in page.samples] == [last]
    assert not page.next_page_token

    answer = await product.tokenize(dataset.id, model.id)
    await product.succeeded(answer.job.id)
    sequences = await product.tokenizations.ListSequences(
        tokenizations_service_pb2.ListSequencesRequest(tokenization_id=answer.tokenization.id, offset=last)
    )
    (sequence,) = sequences.sequences
    assert sequence.document == last
    assert len(sequence.tokens) == len(sequence.token_ids) > 0


async def test_the_same_work_again_is_joined_not_repeated(product: Product) -> None:
    dataset, model = await product.ready_dataset(), await product.ready_model()
    first = await product.tokenize(dataset.id, model.id)
    await product.succeeded(first.job.id)
    again = await product.tokenize(dataset.id, model.id)
    assert again.tokenization.id == first.tokenization.id
    assert again.joined
    assert (await product.download_dataset()).joined
    assert (await product.download_model()).joined


async def test_lists_search_filter_and_count(product: Product) -> None:
    dataset = await product.ready_dataset()
    request = datasets_service_pb2.ListDatasetsRequest(
        search="PYDOC", filter="status = READY AND rows > 10", order_by="name desc", page_size=1
    )
    page = await product.datasets.ListDatasets(request)
    assert [found.id for found in page.datasets] == [dataset.id]
    assert (page.total_size, page.datasets[0].repo_id) == (1, DATASET_ID)


@pytest.mark.parametrize("area", [Area.DATASETS, Area.TOKENIZATIONS])
async def test_deleting_removes_row_and_files(product: Product, area: Area) -> None:
    dataset, model = await product.ready_dataset(), await product.ready_model()
    answer = await product.tokenize(dataset.id, model.id)
    await product.succeeded(answer.job.id)
    resource = dataset.id if area is Area.DATASETS else answer.tokenization.id
    assert product.folder(area, resource).exists()
    await (product.delete_dataset if area is Area.DATASETS else product.delete_tokenization)(resource)
    assert not product.folder(area, resource).exists()


async def test_jobs_of_both_services_are_listed_together(product: Product) -> None:
    await product.ready_dataset()
    await product.ready_model()
    page = await product.jobs.ListJobs(jobs_service_pb2.ListJobsRequest(filter="state = SUCCEEDED", page_size=500))
    assert {"datasets", "models"} <= {job.service for job in page.jobs}
    times = [job.create_time.ToNanoseconds() for job in page.jobs]
    assert times == sorted(times, reverse=True)
    assert all(job.state == job_pb2.JOB_STATE_SUCCEEDED for job in page.jobs)


@pytest.mark.parametrize("order_by", ["created_at", "created_at desc"])
async def test_pages_of_one_job_show_every_job_of_both_services_once(product: Product, order_by: str) -> None:
    await product.ready_dataset()
    await product.ready_model()

    async def page(size: int, token: str = "") -> jobs_service_pb2.ListJobsResponse:
        return await product.jobs.ListJobs(
            jobs_service_pb2.ListJobsRequest(
                filter="state != RUNNING AND state != QUEUED", page_size=size, page_token=token, order_by=order_by
            )
        )

    whole, token = await page(500), ""
    seen: list[str] = []
    while not seen or token:
        one = await page(1, token)
        assert (len(one.jobs), one.total_size) == (1, whole.total_size)
        seen, token = [*seen, one.jobs[0].id], one.next_page_token
    assert seen == [job.id for job in whole.jobs]
    assert {job.service for job in whole.jobs} == {"datasets", "models"}
