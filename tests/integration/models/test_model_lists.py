"""Lists of models, and changing what people call them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from mistudio.models.v2 import model_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_servicekit.channel import MAX_MESSAGE_BYTES


@pytest.fixture
async def three(service, hub):
    """Three models, oldest first: `gpt` (1,600 parameters), `bare` (15), `sharded` (800,000), called C, a and B."""
    wanted = ((hub.gpt, "Model C"), (hub.bare, "model a"), (hub.sharded, "Model B_1"))
    return [(await service.download(repo_id, name=name)).model for repo_id, name in wanted]


async def _names(service, **fields) -> list[str]:
    return [model.name for model in (await service.stub.ListModels(pb.ListModelsRequest(**fields))).models]


async def test_the_newest_model_comes_first(service, three):
    answer = await service.stub.ListModels(pb.ListModelsRequest())
    assert list(answer.models) == three[::-1]
    assert (answer.total_size, answer.next_page_token) == (3, "")


_SEARCHES = [
    ("MODEL", ["Model B_1", "model a", "Model C"]),
    ("shard", ["Model B_1"]),
    ("_", ["Model B_1"]),
    ("%", []),
    ("nothing", []),
    ("tiny/G", ["Model C"]),
]


async def test_a_search_looks_into_names_and_repositories_in_any_case(service, three, subtests):
    for search, names in _SEARCHES:
        with subtests.test(search=search):
            assert await _names(service, search=search) == names


_KEPT_BY_FILTERS = [
    ("status = DOWNLOADING", ["Model B_1", "model a", "Model C"]),
    ("status = READY", []),
    ('name = "Model C"', ["Model C"]),
    ('repo_id = "tiny/bare"', ["model a"]),
    ("architecture = GPT2LMHeadModel AND parameters > 15", ["Model B_1", "Model C"]),
    ("parameters <= 1600 AND parameters != 15", ["Model C"]),
    ("model_type = gpt2 AND status != READY", ["Model B_1", "model a", "Model C"]),
    ("model_type = llama", []),
    ('quantization = "" AND parameters < 100', ["model a"]),
    ("quantization = gptq", []),
    ('default_format = "" AND architecture = GPT2LMHeadModel', ["Model B_1", "model a", "Model C"]),
    ("default_format = NF4", []),
    ("size_bytes > 0", []),
    ('created_at > "2001-01-01T00:00:00Z"', ["Model B_1", "model a", "Model C"]),
]


async def test_a_filter_keeps_what_it_says(service, three, subtests):
    for text, names in _KEPT_BY_FILTERS:
        with subtests.test(filter=text):
            assert await _names(service, filter=text) == names


async def test_search_filter_order_and_pages_go_together(service, three):
    wishes: dict[str, Any] = {"search": "model", "filter": "parameters > 15", "order_by": "name desc", "page_size": 1}
    first = await service.stub.ListModels(pb.ListModelsRequest(**wishes))
    second = await service.stub.ListModels(pb.ListModelsRequest(**wishes, page_token=first.next_page_token))
    assert [model.name for answer in (first, second) for model in answer.models] == ["Model C", "Model B_1"]
    assert (first.total_size, second.total_size, second.next_page_token) == (2, 2, "")


async def test_the_longest_names_are_listed_and_found(service, hub):
    longest = "".join(random.Random(7).choices([chr(0x1F300 + each) for each in range(500)], k=256))
    await service.download(hub.gpt, name=longest)
    assert await _names(service, search=longest[100:200], order_by="name") == [longest]


_ORDERS = [
    ("created_at", ["Model C", "model a", "Model B_1"]),
    ("name", ["Model B_1", "Model C", "model a"]),
    ("parameters desc", ["Model B_1", "Model C", "model a"]),
]


async def test_pages_in_any_order_show_every_model_once(service, three, subtests):
    for order, names in _ORDERS:
        with subtests.test(order=order):
            assert await _one_by_one(service, order) == names


async def _one_by_one(service, order) -> list[str]:
    """Names of all models, from pages of one."""
    names: list[str] = []
    token = ""
    while True:
        answer = await service.stub.ListModels(pb.ListModelsRequest(page_size=1, page_token=token, order_by=order))
        assert answer.total_size == 3
        names, token = names + [model.name for model in answer.models], answer.next_page_token
        if not token:
            return names


_IMPOSSIBLE_LISTS: list[tuple[dict[str, Any], str, str]] = [
    ({"page_size": -1}, "INVALID_FIELD", "page_size"),
    ({"page_size": 501}, "INVALID_FIELD", "page_size"),
    ({"page_token": "damaged"}, "INVALID_PAGE_TOKEN", "page_token"),
    ({"search": "a\0b"}, "INVALID_FIELD", "search"),
    ({"filter": "status = "}, "INVALID_FILTER", "filter"),
    ({"filter": "status = DONE"}, "INVALID_FILTER", "filter"),
    ({"filter": "secrets = 1"}, "INVALID_FILTER", "filter"),
    ({"filter": "parameters > 99999999999999999999"}, "INVALID_FILTER", "filter"),
    ({"filter": 'name = "a\0b"'}, "INVALID_FIELD", "filter"),
    ({"order_by": "labels"}, "INVALID_ORDER_BY", "order_by"),
]


async def test_a_list_that_cannot_be_made_is_a_typed_error(service, subtests):
    for fields, reason, field in _IMPOSSIBLE_LISTS:
        with subtests.test(fields=fields):
            error = await service.refusal(service.stub.ListModels(pb.ListModelsRequest(**fields)))
            assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", reason, field)


async def test_a_page_token_of_another_query_is_refused(service, three):
    token = (await service.stub.ListModels(pb.ListModelsRequest(page_size=1))).next_page_token
    request = pb.ListModelsRequest(page_size=1, page_token=token, search="model")
    assert (await service.refusal(service.stub.ListModels(request))).reason == "INVALID_PAGE_TOKEN"


def _update(model, *paths, **fields) -> pb.UpdateModelRequest:
    return pb.UpdateModelRequest(model=model_pb2.Model(id=model.id, **fields), update_mask=FieldMask(paths=paths))


async def test_an_update_changes_the_named_fields_only(service, three):
    before = three[0]
    labelled = (await service.stub.UpdateModel(_update(before, "labels", name="Ignored", labels={"team": "a"}))).model
    assert (labelled.name, dict(labelled.labels)) == (before.name, {"team": "a"})
    assert labelled.etag != before.etag
    renamed = (await service.stub.UpdateModel(_update(before, "name", name="New", etag=labelled.etag))).model
    assert (renamed.name, dict(renamed.labels)) == ("New", {"team": "a"})
    assert renamed.update_time.ToDatetime() > before.update_time.ToDatetime()
    assert await service.get(before.id) == renamed
    assert await _names(service, search="new") == ["New"]


async def test_of_two_updates_of_one_state_the_second_is_refused(service, three):
    await service.stub.UpdateModel(_update(three[0], "name", name="First", etag=three[0].etag))
    late = _update(three[0], "name", name="Second", etag=three[0].etag)
    error = await service.refusal(service.stub.UpdateModel(late))
    assert (error.code, error.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert (await service.get(three[0].id)).name == "First"


_IMPOSSIBLE_UPDATES: list[tuple[tuple[str, ...], dict[str, Any], str, str]] = [
    ((), {"name": "New"}, "MISSING_FIELD", "update_mask"),
    (("status",), {}, "INVALID_FIELD", "update_mask"),
    (("name", "facts.layers"), {"name": "New"}, "INVALID_FIELD", "update_mask"),
    (("name",), {"name": " "}, "MISSING_FIELD", "model.name"),
    (("name",), {"name": "x" * 257}, "INVALID_FIELD", "model.name"),
    (("labels",), {"labels": {str(number): "" for number in range(65)}}, "INVALID_FIELD", "model.labels"),
]


async def test_an_update_that_cannot_be_is_a_typed_error_and_changes_nothing(service, three, subtests):
    for paths, fields, reason, field in _IMPOSSIBLE_UPDATES:
        with subtests.test(paths=paths, fields=fields):
            error = await service.refusal(service.stub.UpdateModel(_update(three[0], *paths, **fields)))
            assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", reason, field)
            assert await service.get(three[0].id) == three[0]


async def test_pages_of_models_with_the_most_and_longest_labels_are_shorter_and_miss_none(service, made):
    ids = set(made.put(63))
    labels = json.dumps({f"{number:02}" + "é" * 100: "漢" * 154 for number in range(64)})
    made.execute("UPDATE models SET labels = %(labels)s::jsonb WHERE parameters <= 60", {"labels": labels})
    request, found = pb.ListModelsRequest(page_size=500, order_by="name"), list[str]()
    while not found or request.page_token:
        page = await service.stub.ListModels(request)
        assert page.ByteSize() < MAX_MESSAGE_BYTES / 4
        assert page.total_size == 63
        found += [model.id for model in page.models]
        request.page_token = page.next_page_token
    assert len(found) == 63
    assert set(found) == ids
