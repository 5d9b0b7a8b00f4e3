"""What was tokenized stays readable without its model; what is being tokenized keeps it, unless its user insists."""

import pytest

from mistudio.datasets.v1 import tokenization_pb2, tokenizations_service_pb2
from mistudio.jobs.v1 import job_pb2
from mistudio.models.v2 import model_pb2, models_service_pb2
from mistudio_servicekit.storage import Area
from tests.e2e.research import CHAT_MODEL, DATASET, sequences, start_tokenizing, tokenized, tokenizer
from tests.e2e.support import BIG_DATASET, Product, until_gone
from tests.refusals import refusal


@pytest.fixture
async def model(product: Product) -> model_pb2.Model:
    """A model that the test lets go of."""
    return await product.ready_model(CHAT_MODEL)


async def delete_model(product: Product, model_id: str, *, force: bool = False) -> None:
    request = models_service_pb2.DeleteModelRequest(id=model_id, force=force)
    await product.succeeded((await product.models.DeleteModel(request)).job.id)


async def statistics_of(
    product: Product, tokenization_id: str
) -> tokenizations_service_pb2.GetTokenizationStatisticsResponse:
    request = tokenizations_service_pb2.GetTokenizationStatisticsRequest(id=tokenization_id)
    return await product.tokenizations.GetTokenizationStatistics(request)


async def test_a_complete_tokenization_is_read_and_searched_by_ids_without_its_model(
    product: Product, model: model_pb2.Model
) -> None:
    dataset = await product.ready_dataset(DATASET)
    made = await tokenized(product, dataset.id, model.id, split="test", text_column="text")
    before = await sequences(product, made.id), await statistics_of(product, made.id)
    await delete_model(product, model.id)
    await until_gone(product.folder(Area.MODELS, model.id))
    without = await product.without_model(made.id)
    assert without.model_delete_time.ToNanoseconds() > made.update_time.ToNanoseconds()
    assert (without.status, without.store_path, without.tokens) == (made.status, made.store_path, made.tokens)
    assert (await sequences(product, made.id), await statistics_of(product, made.id)) == before

    by_text = tokenizations_service_pb2.SearchTokensRequest(tokenization_id=made.id, text=" the")
    error = await refusal(product.tokenizations.SearchTokens(by_text))
    assert (error.code, error.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")
    assert model.id in error.message
    assert "ids" in error.next_step
    ids = tokenizations_service_pb2.TokenIds(values=tokenizer().encode(" the", add_special_tokens=False).ids)
    by_ids = tokenizations_service_pb2.SearchTokensRequest(tokenization_id=made.id, ids=ids)
    assert (await product.tokenizations.SearchTokens(by_ids)).matches


async def test_a_model_that_is_tokenized_with_goes_only_by_force_which_stops_that(
    product: Product, model: model_pb2.Model
) -> None:
    big, dataset = await product.ready_dataset(BIG_DATASET), await product.ready_dataset(DATASET)
    complete = await tokenized(product, dataset.id, model.id, split="test", text_column="text")
    slow = [tokenization_pb2.CLEANING_STEP_FIX_ENCODING, tokenization_pb2.CLEANING_STEP_COLLAPSE_WHITESPACE]
    running = await start_tokenizing(product, big.id, model.id, cleaning=slow)
    await product.until(running.job.id, lambda progress: progress.done > 0)
    request = models_service_pb2.DeleteModelRequest(id=model.id)
    error = await refusal(product.models.DeleteModel(request))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "RESOURCE_IN_USE")
    assert running.tokenization.id in error.message
    assert complete.id not in error.message

    await delete_model(product, model.id, force=True)
    assert (await product.ended(running.job.id)).state == job_pb2.JOB_STATE_CANCELLED
    stopped = await product.tokenization(running.tokenization.id)
    assert stopped.status == tokenization_pb2.TOKENIZATION_STATUS_CANCELLED
    await until_gone(product.folder(Area.TOKENIZATIONS, stopped.id))
    assert (await sequences(product, complete.id)).sequences
