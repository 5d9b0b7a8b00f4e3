"""Which of a repository's files are brought in: by patterns, and without pickles unless everybody allows them."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from mistudio.jobs.v1 import jobs_service_pb2
from mistudio.models.v2 import model_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_local.hub_mirror.faults import Refusal
from mistudio_models.domain.policy import Policy

PICKLED = "tiny/pickled"
_ALL = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(autouse=True)
def pickled(hub) -> str:
    """A model with its weights as a pickle only."""
    folder = hub.folder(PICKLED)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": 2}))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    return PICKLED


def _names(service, model) -> set[str]:
    folder = service.folder(model.id) / str(model.epoch)
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


_CHOICES = [
    ({}, _ALL),
    ({"allow_patterns": ["*.json"]}, _ALL - {"model.safetensors"}),
    ({"deny_patterns": ["tokenizer*"]}, {"config.json", "model.safetensors"}),
    (
        {"allow_patterns": ["*.json", "*.safetensors"], "deny_patterns": ["tokenizer*"]},
        {"config.json", "model.safetensors"},
    ),
    ({"allow_patterns": ["model.*"]}, {"model.safetensors"}),
]


async def test_exactly_the_chosen_files_are_brought_in_and_nothing_else_is_fetched(service, hub, subtests):
    await service.start_worker()
    for fields, wanted in _CHOICES:
        with subtests.test(fields=fields):
            hub.mirror.faults.requests.clear()
            asked = (await service.download(hub.gpt, **fields)).model
            ready = await service.ended(asked.id)
            assert ready.status == model_pb2.MODEL_STATUS_READY
            assert _names(service, ready) == wanted
            sizes = {path.name: path.stat().st_size for path in hub.folder(hub.gpt).iterdir() if path.is_file()}
            assert ready.size_bytes == sum(sizes[name] for name in wanted)
            assert (list(ready.allow_patterns), list(ready.deny_patterns)) == (
                fields.get("allow_patterns", []),
                fields.get("deny_patterns", []),
            )
            fetched = {record.path.rpartition("/")[2] for record in hub.mirror.faults.requests if record.bytes_sent}
            assert fetched <= wanted | {"config.json", "tokenizer_config.json"}


async def test_facts_are_those_of_the_chosen_files(service, hub):
    whole = (await service.download(hub.gpt)).model.facts
    assert (whole.parameters, whole.weight_files) == (1600, model_pb2.WEIGHT_FILES_SAFETENSORS)
    described = (await service.download(hub.gpt, allow_patterns=["*.json"])).model.facts
    assert (described.parameters, described.weight_files) == (0, model_pb2.WEIGHT_FILES_NONE)
    assert (described.architecture, described.has_tokenizer) == ("GPT2LMHeadModel", True)
    bare = (await service.download(hub.gpt, allow_patterns=["model.*"])).model.facts
    assert (bare.parameters, bare.architecture, bare.has_tokenizer) == (1600, "", False)
    part = (await service.download(hub.sharded, deny_patterns=["model-00002*"])).model.facts
    assert part.parameters == 300_000


async def test_another_selection_is_another_model_and_the_same_one_in_other_words_is_joined(service, hub):
    whole = await service.download(hub.gpt)
    some = await service.download(hub.gpt, allow_patterns=["*.json", "*.safetensors"])
    assert (some.joined, some.model.id == whole.model.id) == (False, False)
    again = await service.download(hub.gpt, allow_patterns=["*.safetensors", "*.json", "*.json"], revision="main")
    assert (again.joined, again.model) == (True, some.model)
    fewer = await service.download(hub.gpt, deny_patterns=["*.json"])
    assert not fewer.joined
    assert len({whole.model.id, some.model.id, fewer.model.id}) == 3


async def test_a_retry_takes_the_same_files(service, hub):
    asked = await service.download(hub.gpt, deny_patterns=["tokenizer*"])
    hub.mirror.faults.refusals.append(Refusal(status=404, times=None, path="*/model.safetensors"))
    await service.start_worker()
    assert (await service.ended(asked.model.id)).error.reason == "ENTRY_NOT_FOUND"
    hub.mirror.faults.clear()
    await service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=asked.job.id))
    ready = await service.ended(asked.model.id)
    assert (ready.status, _names(service, ready)) == (
        model_pb2.MODEL_STATUS_READY,
        {"config.json", "model.safetensors"},
    )


async def test_a_request_id_with_another_selection_is_refused(service, hub):
    await service.download(hub.gpt, request_id="mine", deny_patterns=["*.md"])
    again = await service.download(hub.gpt, request_id="mine", deny_patterns=["*.md"])
    assert again.joined
    for fields in ({}, {"deny_patterns": ["*.txt"]}, {"allow_patterns": ["*.md"]}):
        error = await service.refusal(service.download(hub.gpt, request_id="mine", **fields))
        assert error.reason == "REQUEST_ID_REUSED"


_BAD = ["", "  ", "/etc/passwd", "../*", "a/../../b", "..", "a\\b", "a\0b", "two\nlines", "x" * 257]


async def test_what_can_be_no_pattern_is_a_typed_error_that_names_it(service, hub, subtests):
    for field in ("allow_patterns", "deny_patterns"):
        for pattern in _BAD:
            with subtests.test(field=field, pattern=pattern):
                error = await service.refusal(service.download(hub.gpt, **{field: ["*.json", pattern]}))
                assert (error.code, error.field) == ("INVALID_ARGUMENT", f"{field}[1]")
                assert error.reason == ("INVALID_FIELD" if pattern.strip() else "MISSING_FIELD")
                assert error.next_step
        error = await service.refusal(service.download(hub.gpt, **{field: ["*.json"] * 101}))
        assert (error.code, error.field) == ("INVALID_ARGUMENT", field)
        assert "101 patterns" in error.message
    assert service.rows("SELECT count(*) FROM models") == service.rows("SELECT count(*) FROM jobs") == [(0,)]


async def test_patterns_that_leave_no_file_are_told(service, hub):
    for field, pattern in (("allow_patterns", "*.gguf"), ("deny_patterns", "*")):
        error = await service.refusal(service.download(hub.gpt, **{field: [pattern]}))
        assert (error.code, error.field) == ("INVALID_ARGUMENT", field)
        assert f"'{pattern}'" in error.message
        assert "Widen the patterns" in error.next_step


async def test_patterns_made_to_be_slow_are_not(service, hub):
    for number in range(200):
        (hub.folder(hub.gpt) / f"{'a' * 200}{number}.json").write_text("{}")
    slow = ["*a" * 127 + "b", "[!b]*" * 50 + "c", "?*" * 120]
    error = await service.refusal(service.download(hub.gpt, allow_patterns=[*slow[:2]] * 50, deny_patterns=[slow[2]]))
    assert error.field == "allow_patterns"


async def test_an_inspection_tells_that_weights_are_pickles(service, hub, pickled):
    found = (await service.stub.InspectModel(pb.InspectModelRequest(repo_id=pickled))).inspection
    assert (found.facts.weight_files, found.facts.parameters) == (model_pb2.WEIGHT_FILES_PICKLE, 0)
    both = (await service.stub.InspectModel(pb.InspectModelRequest(repo_id=hub.gpt))).inspection
    assert both.facts.weight_files == model_pb2.WEIGHT_FILES_SAFETENSORS


_WITHOUT_LEAVE: list[tuple[str, dict[str, Any], str]] = [
    (PICKLED, {}, "allow_pickle"),
    (PICKLED, {"allow_pickle": True}, ""),
    ("tiny/gpt", {"allow_patterns": ["*"]}, "allow_pickle"),
    ("tiny/gpt", {"allow_patterns": ["*.bin", "config.json"], "allow_pickle": True}, ""),
]


async def test_pickles_are_refused_unless_request_and_operator_allow_them(service, hub, subtests):
    for repo_id, fields, field in _WITHOUT_LEAVE:
        with subtests.test(repo_id=repo_id, fields=fields):
            error = await service.refusal(service.download(repo_id, **fields))
            assert (error.code, error.reason, error.field) == ("PERMISSION_DENIED", "PICKLE_REFUSED", field)
            assert "'pytorch_model.bin'" in error.message
            assert "MISTUDIO_ALLOW_PICKLE" in error.next_step
            assert ("set allow_pickle" in error.next_step) == (field == "allow_pickle")
    assert service.rows("SELECT count(*) FROM models") == [(0,)]
    left_out = await service.download(PICKLED, deny_patterns=["*.bin"])
    assert left_out.model.facts.weight_files == model_pb2.WEIGHT_FILES_NONE


class TestWithTheOperatorsLeave:
    @pytest.fixture
    def policy(self) -> Policy:
        return Policy(allow_pickle=True)

    async def test_pickles_come_only_where_the_request_asks_for_them(self, service, hub, pickled):
        error = await service.refusal(service.download(pickled))
        assert (error.reason, error.field) == ("PICKLE_REFUSED", "allow_pickle")
        assert "MISTUDIO_ALLOW_PICKLE" not in error.next_step
        await service.start_worker()
        ready = await service.ended((await service.download(pickled, allow_pickle=True)).model.id)
        assert (ready.status, ready.facts.weight_files) == (
            model_pb2.MODEL_STATUS_READY,
            model_pb2.WEIGHT_FILES_PICKLE,
        )
        assert _names(service, ready) == {"config.json", "pytorch_model.bin"}

    async def test_with_safetensors_beside_them_pickles_stay_behind_all_the_same(self, service, hub):
        await service.start_worker()
        ready = await service.ended((await service.download(hub.gpt, allow_pickle=True)).model.id)
        assert _names(service, ready) == _ALL
