"""Every call for models refuses through the gateway what cannot be right: by its field, with reason and next step."""

from collections.abc import Callable

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message

from mistudio.models.v1 import model_pb2 as v1_model_pb2
from mistudio.models.v1 import models_service_pb2 as v1
from mistudio.models.v1 import models_service_pb2_grpc as v1_grpc
from mistudio.models.v2 import model_pb2, weights_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_local.hub_mirror.shelf import MODEL_ID
from mistudio_local.stack import Stack
from mistudio_servicekit.storage import Store
from tests.e2e.bad_requests import UNKNOWN, Bad, Known, assert_refused, malformed, not_found, unknown
from tests.e2e.support import Product

INT8_DOUBLE = weights_pb2.LoadSettings(format=weights_pb2.WEIGHT_FORMAT_INT8, double_quantization=True)
NO_FORMAT = weights_pb2.LoadSettings(format=99)  # type: ignore[arg-type]  # a number that no client of ours sends
FP16_IN_BF16 = weights_pb2.LoadSettings(
    format=weights_pb2.WEIGHT_FORMAT_FP16, compute_dtype=weights_pb2.COMPUTE_DTYPE_BF16
)


def update(*mask: str, known: Known, **fields: object) -> pb.UpdateModelRequest:
    request = pb.UpdateModelRequest(model=model_pb2.Model(id=known.model, **fields))  # type: ignore[arg-type]  # by name
    request.update_mask.paths.extend(mask)
    return request


def estimate(**fields: object) -> Callable[[Known], Message]:
    return lambda known: pb.EstimateMemoryRequest(model_id=known.model, **fields)  # type: ignore[arg-type]  # by name


V2 = [
    Bad(lambda known: pb.InspectModelRequest(), "repo_id", "MISSING_FIELD"),
    Bad(lambda known: pb.InspectModelRequest(repo_id="no slash"), "repo_id"),
    not_found(lambda known: pb.InspectModelRequest(repo_id="nobody/nothing"), "REPO_NOT_FOUND", "repo_id"),
    not_found(
        lambda known: pb.InspectModelRequest(repo_id=MODEL_ID, revision="none"), "REVISION_NOT_FOUND", "revision"
    ),
    Bad(lambda known: pb.DownloadModelRequest(repo_id="no slash"), "repo_id"),
    Bad(lambda known: pb.DownloadModelRequest(repo_id=MODEL_ID, request_id="x" * 129), "request_id"),
    Bad(
        lambda known: pb.DownloadModelRequest(repo_id=MODEL_ID, allow_patterns=["a", ""]),
        "allow_patterns[1]",
        "MISSING_FIELD",
    ),
    Bad(lambda known: pb.DownloadModelRequest(repo_id=MODEL_ID, deny_patterns=["../x"]), "deny_patterns[0]"),
    Bad(lambda known: pb.DownloadModelRequest(repo_id=MODEL_ID, deny_patterns=["x"] * 101), "deny_patterns"),
    Bad(lambda known: pb.DownloadModelRequest(repo_id=MODEL_ID, allow_patterns=["no-such-file"]), "allow_patterns"),
    Bad(
        lambda known: pb.DownloadModelRequest(repo_id=MODEL_ID, default_settings=INT8_DOUBLE),
        "default_settings.double_quantization",
    ),
    malformed(pb.GetModelRequest),
    unknown(pb.GetModelRequest, "MODEL_NOT_FOUND"),
    Bad(lambda known: pb.ListModelsRequest(filter="colour = red"), "filter", "INVALID_FILTER"),
    Bad(lambda known: pb.ListModelsRequest(filter="parameters > many"), "filter", "INVALID_FILTER"),
    Bad(lambda known: pb.ListModelsRequest(order_by="colour"), "order_by", "INVALID_ORDER_BY"),
    Bad(lambda known: pb.ListModelsRequest(page_token="x"), "page_token", "INVALID_PAGE_TOKEN"),
    Bad(lambda known: pb.ListModelsRequest(page_size=501), "page_size"),
    Bad(lambda known: pb.UpdateModelRequest(model=model_pb2.Model(id="abc")), "model.id", "MALFORMED_ID"),
    Bad(lambda known: update("repo_id", known=known), "update_mask"),
    Bad(
        lambda known: update("default_settings", known=known, default_settings=FP16_IN_BF16),
        "model.default_settings.compute_dtype",
    ),
    malformed(pb.CancelModelDownloadRequest),
    unknown(pb.CancelModelDownloadRequest, "MODEL_NOT_FOUND"),
    malformed(pb.DeleteModelRequest),
    unknown(pb.DeleteModelRequest, "MODEL_NOT_FOUND"),
    Bad(lambda known: pb.BatchDeleteModelsRequest(), "ids", "MISSING_FIELD"),
    Bad(lambda known: pb.BatchDeleteModelsRequest(ids=["abc"] * 1001), "ids"),
    Bad(lambda known: pb.EstimateMemoryRequest(), "source", "MISSING_FIELD"),
    malformed(pb.EstimateMemoryRequest, "model_id"),
    unknown(pb.EstimateMemoryRequest, "MODEL_NOT_FOUND", "model_id"),
    Bad(lambda known: pb.EstimateMemoryRequest(repo_id="no slash"), "repo_id"),
    not_found(lambda known: pb.EstimateMemoryRequest(repo_id="nobody/nothing"), "REPO_NOT_FOUND", "repo_id"),
    Bad(estimate(batch_size=-1), "batch_size"),
    Bad(estimate(sequence_length=-1), "sequence_length"),
    Bad(estimate(sequence_length=10**6), "sequence_length"),
    Bad(estimate(settings=[weights_pb2.LoadSettings(), INT8_DOUBLE]), "settings[1].double_quantization"),
    Bad(estimate(settings=[NO_FORMAT]), "settings[0].format"),
    Bad(estimate(settings=[weights_pb2.LoadSettings()] * 33), "settings"),
    malformed(pb.GetModelArchitectureRequest),
    unknown(pb.GetModelArchitectureRequest, "MODEL_NOT_FOUND"),
    malformed(pb.LoadModelRequest),
    unknown(pb.LoadModelRequest, "MODEL_NOT_FOUND"),
    Bad(lambda known: pb.LoadModelRequest(id=known.model, settings=NO_FORMAT), "settings.format"),
    Bad(lambda known: pb.LoadModelRequest(id=known.model, settings=INT8_DOUBLE), "settings.double_quantization"),
    Bad(lambda known: pb.LoadModelRequest(id=known.model, device=99), "device"),  # type: ignore[arg-type]  # no device
    Bad(lambda known: pb.LoadModelRequest(id=known.model, request_id="x" * 129), "request_id"),
    malformed(pb.UnloadModelRequest),
    unknown(pb.UnloadModelRequest, "MODEL_NOT_FOUND"),
    not_found(lambda known: pb.UnloadModelRequest(id=known.model), "MODEL_NOT_LOADED"),
    malformed(pb.ListLoadedModelsRequest, "model_id"),
    unknown(pb.ListLoadedModelsRequest, "MODEL_NOT_FOUND", "model_id"),
]
V1 = [
    Bad(lambda known: v1.ListModelsRequest(limit=501), "limit"),
    Bad(lambda known: v1.ListModelsRequest(skip=-1), "skip"),
    malformed(v1.GetModelRequest),
    not_found(lambda known: v1.GetModelRequest(id=f"m_{UNKNOWN}"), "MODEL_NOT_FOUND"),
    Bad(lambda known: v1.DownloadModelRequest(repo_id="no slash"), "repo_id"),
    Bad(
        lambda known: v1.DownloadModelRequest(repo_id=MODEL_ID, quantization=v1_model_pb2.QUANTIZATION_Q2),
        "quantization",
    ),
    malformed(v1.DeleteModelRequest),
    malformed(v1.CancelDownloadRequest),
    malformed(v1.GetModelInfoRequest),
    malformed(v1.EstimateMemoryRequest),
]


@pytest.mark.parametrize(("module", "cases"), [(pb, V2), (v1, V1)], ids=["v2", "v1"])
def test_every_call_for_models_has_such_a_request(module: object, cases: list[Bad]) -> None:
    service = module.DESCRIPTOR.services_by_name["ModelsService"]  # type: ignore[attr-defined]  # of a generated module
    assert {bad.name for bad in cases} == {method.name for method in service.methods}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def known(stack: Stack) -> Known:
    async with grpc.aio.insecure_channel(stack.gateway_target) as channel:
        model = await Product(channel, Store(stack.folder.store)).ready_model()
    return Known("", model.id, "")


@pytest.mark.parametrize("bad", V2, ids=lambda bad: f"{bad.name} {bad.field or bad.reason}")
async def test_what_cannot_be_right_is_refused_by_its_field_with_a_next_step(
    product: Product, known: Known, bad: Bad
) -> None:
    await assert_refused(getattr(product.models, bad.name)(bad.request(known)), bad)


@pytest.mark.parametrize("bad", V1, ids=lambda bad: f"{bad.name} {bad.field or bad.reason}")
async def test_v1_refuses_it_too(product: Product, known: Known, bad: Bad) -> None:
    stub = v1_grpc.ModelsServiceStub(product.channel)
    await assert_refused(getattr(stub, bad.name)(bad.request(known)), bad)
