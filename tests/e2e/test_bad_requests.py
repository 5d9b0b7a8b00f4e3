"""Every call for datasets refuses through the gateway what cannot be right: by its field, with reason and next step."""

from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message

from mistudio.datasets.v1 import dataset_pb2, sample_pb2, tokenization_pb2, view_pb2
from mistudio.datasets.v1 import datasets_service_pb2 as dpb
from mistudio.datasets.v1 import exports_service_pb2 as epb
from mistudio.datasets.v1 import tokenizations_service_pb2 as tpb
from mistudio_local.stack import Stack
from mistudio_servicekit.storage import Store
from tests.e2e.bad_requests import UNKNOWN, Bad, Known, assert_refused, malformed, not_found, unknown
from tests.e2e.research import CHAT_MODEL, DATASET, statistics, tokenized
from tests.e2e.support import Product


def samples(known: Known, query: dict[str, Any], **fields: Any) -> dpb.ListSamplesRequest:
    return dpb.ListSamplesRequest(
        dataset_id=known.dataset, split="test", query=sample_pb2.SampleQuery(**query), **fields
    )


def preview(known: Known, settings: dict[str, Any] | None = None, **fields: Any) -> tpb.PreviewTokenizationRequest:
    return tpb.PreviewTokenizationRequest(
        dataset_id=known.dataset,
        model_id=known.model,
        settings=tokenization_pb2.TokenizationSettings(**settings or {}),
        **fields,
    )


def search(known: Known, **fields: Any) -> tpb.SearchTokensRequest:
    return tpb.SearchTokensRequest(tokenization_id=known.tokenization, **fields)


def export(known: Known, view: view_pb2.View, **fields: Any) -> epb.CreateExportRequest:
    return epb.CreateExportRequest(tokenization_id=known.tokenization, view=view, **fields)


def upload(**header: Any) -> dpb.UploadDatasetRequest:
    return dpb.UploadDatasetRequest(header=dpb.UploadHeader(**header))


PACKED, WINDOWS = view_pb2.VIEW_MODE_PACKED, view_pb2.VIEW_MODE_WINDOWS
VIEW = view_pb2.View(mode=PACKED, context_length=64)
SHORT = view_pb2.View(mode=PACKED, context_length=1)
LOWERCASE = tokenization_pb2.CLEANING_STEP_LOWERCASE

DATASETS = [
    Bad(lambda known: dpb.InspectDatasetRequest(repo_id="no slash"), "repo_id"),
    Bad(lambda known: dpb.InspectDatasetRequest(), "repo_id", "MISSING_FIELD"),
    not_found(lambda known: dpb.InspectDatasetRequest(repo_id="nobody/nothing"), "REPO_NOT_FOUND", "repo_id"),
    not_found(
        lambda known: dpb.InspectDatasetRequest(repo_id=DATASET, revision="none"), "REVISION_NOT_FOUND", "revision"
    ),
    Bad(lambda known: dpb.DownloadDatasetRequest(repo_id="no slash"), "repo_id"),
    not_found(
        lambda known: dpb.DownloadDatasetRequest(repo_id=DATASET, splits=["nope"]), "SPLIT_NOT_FOUND", "splits[0]"
    ),
    Bad(lambda known: upload(), "header.file_name", "MISSING_FIELD"),
    Bad(lambda known: upload(file_name="x.txt", request_id="r", offset=-1), "header.offset"),
    Bad(lambda known: dpb.GetUploadRequest(), "request_id", "MISSING_FIELD"),
    not_found(lambda known: dpb.GetUploadRequest(request_id="never begun"), "UPLOAD_NOT_FOUND"),
    Bad(lambda known: dpb.ListDatasetsRequest(filter="colour = red"), "filter", "INVALID_FILTER"),
    Bad(lambda known: dpb.UpdateDatasetRequest(dataset=dataset_pb2.Dataset(id="abc")), "dataset.id", "MALFORMED_ID"),
    Bad(lambda known: dpb.BatchDeleteDatasetsRequest(), "ids", "MISSING_FIELD"),
    Bad(lambda known: dpb.BatchDeleteDatasetsRequest(ids=["abc"] * 1001), "ids"),
    malformed(dpb.GetDatasetRequest),
    malformed(dpb.CancelDatasetRequest),
    malformed(dpb.DeleteDatasetRequest),
    malformed(dpb.ReadDamagedLinesRequest, "dataset_id"),
    malformed(dpb.CreateWordIndexRequest, "dataset_id"),
    malformed(dpb.CreateColumnStatisticsRequest, "dataset_id"),
    malformed(dpb.GetSampleRequest, "dataset_id"),
    unknown(dpb.ReadDamagedLinesRequest, "DATASET_NOT_FOUND", "dataset_id"),
    unknown(dpb.CreateWordIndexRequest, "DATASET_NOT_FOUND", "dataset_id"),
    unknown(dpb.CreateColumnStatisticsRequest, "DATASET_NOT_FOUND", "dataset_id"),
    unknown(dpb.GetColumnStatisticsRequest, "DATASET_NOT_FOUND", "dataset_id"),
    not_found(
        lambda known: dpb.GetColumnStatisticsRequest(dataset_id=known.dataset, split="nope"), "SPLIT_NOT_FOUND", "split"
    ),
    not_found(
        lambda known: dpb.GetColumnStatisticsRequest(dataset_id=known.dataset, columns=["nope"]),
        "COLUMN_NOT_FOUND",
        "columns",
    ),
]
SAMPLES = [
    Bad(lambda known: samples(known, {"filter": "lang = 1"}), "query.filter", "INVALID_FILTER"),
    Bad(lambda known: samples(known, {"filter": "n ="}), "query.filter", "INVALID_FILTER"),
    Bad(lambda known: samples(known, {"regex": "("}), "query.regex", "INVALID_SEARCH"),
    Bad(lambda known: samples(known, {"words": "?!"}), "query.words", "INVALID_SEARCH"),
    Bad(lambda known: samples(known, {"contains": "x" * 1001}), "query.contains"),
    not_found(
        lambda known: samples(known, {"contains": "x", "search_columns": ["y"]}),
        "COLUMN_NOT_FOUND",
        "query.search_columns",
    ),
    Bad(
        lambda known: samples(known, {"token_length": {"tokenization_id": "abc"}}),
        "query.token_length.tokenization_id",
        "MALFORMED_ID",
    ),
    not_found(lambda known: samples(known, {"token_length": {"tokenization_id": UNKNOWN}}), "TOKENIZATION_NOT_FOUND"),
    Bad(lambda known: samples(known, {"contains": "x"}, page_token="x"), "page_token", "INVALID_PAGE_TOKEN"),
    Bad(lambda known: samples(known, {"contains": "x"}, page_size=1001), "page_size"),
    not_found(lambda known: dpb.GetSampleRequest(dataset_id=known.dataset, split="nope"), "SPLIT_NOT_FOUND", "split"),
    not_found(lambda known: dpb.GetSampleRequest(dataset_id=known.dataset, row=-1), "ROW_NOT_FOUND", "row"),
    not_found(
        lambda known: dpb.GetSampleRequest(dataset_id=known.dataset, column="nope"), "COLUMN_NOT_FOUND", "column"
    ),
]
TOKENIZATIONS = [
    Bad(lambda known: preview(known, page_size=51), "page_size"),
    Bad(lambda known: preview(known, offset=-1), "offset"),
    Bad(lambda known: preview(known, max_tokens=-1), "max_tokens"),
    Bad(lambda known: preview(known, {"cleaning": [LOWERCASE, LOWERCASE]}), "settings.cleaning[1]"),
    Bad(lambda known: preview(known, {"text_column": "nope"}), "settings.text_column", "TEXT_COLUMN_MISSING"),
    Bad(
        lambda known: preview(known, {"chat": {"messages_column": "n"}}),
        "settings.chat.messages_column",
        "CONVERSATION_MISSING",
    ),
    malformed(tpb.CreateTokenizationRequest, "dataset_id"),
    malformed(tpb.GetTokenizationRequest),
    malformed(tpb.CancelTokenizationRequest),
    malformed(tpb.DeleteTokenizationRequest),
    Bad(lambda known: tpb.ListTokenizationsRequest(order_by="colour"), "order_by", "INVALID_ORDER_BY"),
    Bad(lambda known: tpb.ListSequencesRequest(tokenization_id=known.tokenization, view=SHORT), "view.context_length"),
    Bad(
        lambda known: tpb.ListSequencesRequest(
            tokenization_id=known.tokenization, view=view_pb2.View(mode=PACKED, context_length=64, stride=2)
        ),
        "view.stride",
    ),
    Bad(
        lambda known: tpb.GetTokenizationStatisticsRequest(
            id=known.tokenization, view=view_pb2.View(mode=WINDOWS, context_length=64, min_tokens=65)
        ),
        "view.min_tokens",
    ),
    Bad(search, "ids", "MISSING_FIELD"),
    Bad(lambda known: search(known, ids=tpb.TokenIds(values=[1, 10**6])), "ids.values[1]"),
    Bad(lambda known: search(known, text="word " * 1000), "text"),
    Bad(lambda known: search(known, text="a", context_tokens=101), "context_tokens"),
]
EXPORTS = [
    malformed(epb.CreateExportRequest, "tokenization_id"),
    Bad(lambda known: export(known, view_pb2.View(context_length=64)), "view.mode", "MISSING_FIELD"),
    Bad(lambda known: export(known, SHORT), "view.context_length"),
    Bad(lambda known: export(known, VIEW, shuffle_seed=-1), "shuffle_seed"),
    Bad(lambda known: export(known, VIEW, request_id="x" * 129), "request_id"),
    unknown(epb.GetExportRequest, "EXPORT_NOT_FOUND"),
    unknown(epb.CancelExportRequest, "EXPORT_NOT_FOUND"),
    unknown(epb.DeleteExportRequest, "EXPORT_NOT_FOUND"),
    Bad(lambda known: epb.ListExportsRequest(filter="colour = red"), "filter", "INVALID_FILTER"),
]
ALL = [*DATASETS, *SAMPLES, *TOKENIZATIONS, *EXPORTS]


def test_every_call_for_datasets_has_such_a_request() -> None:
    services = [service for module in (dpb, tpb, epb) for service in module.DESCRIPTOR.services_by_name.values()]
    assert {bad.name for bad in ALL} == {method.name for service in services for method in service.methods}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def known(stack: Stack) -> Known:
    async with grpc.aio.insecure_channel(stack.gateway_target) as channel:
        return await _bring(Product(channel, Store(stack.folder.store)))


async def _bring(product: Product) -> Known:
    dataset, model = await product.ready_dataset(DATASET), await product.ready_model(CHAT_MODEL)
    made = await tokenized(product, dataset.id, model.id, split="test", text_column="text")
    await statistics(product, dataset.id)
    return Known(dataset.id, model.id, made.id)


async def answer(product: Product, name: str, request: Message) -> object:
    """What the call says, or the first of what it says."""
    stubs = (product.datasets, product.tokenizations, product.exports)
    method = next(getattr(stub, name) for stub in stubs if hasattr(stub, name))
    call = method(iter([request]) if name == "UploadDataset" else request)
    return await (call.read() if isinstance(call, grpc.aio.UnaryStreamCall) else call)


@pytest.mark.parametrize("bad", ALL, ids=lambda bad: f"{bad.name} {bad.field or bad.reason}")
async def test_what_cannot_be_right_is_refused_by_its_field_with_a_next_step(
    product: Product, known: Known, bad: Bad
) -> None:
    await assert_refused(answer(product, bad.name, bad.request(known)), bad)
