"""Attempts to make the service write where it should not, run what strangers wrote, or show what is not theirs."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import nats
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from nats.js.errors import NotFoundError

from mistudio.jobs.v1 import jobs_service_pb2
from mistudio.models.v2 import model_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_local.hub_mirror.faults import Refusal
from mistudio_models.domain.policy import Policy
from mistudio_servicekit.backend import BackendConfig
from mistudio_servicekit.status import error_of_call
from tests.integration.lying_hub import lying_hub

_CONFIG = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2}
_TRICKS = {
    "climbs": "../../evil",
    "climbs-inside": "a/../../../evil",
    "absolute": "/tmp/evil",
    "backslash": "a\\\\..\\\\..\\\\evil",
    "nul": "evil\\u0000.txt",
    "folder-itself": ".",
    "long": "evil" * 100,
    "deep": "a/" * 1200 + "evil",
    "no-text": "evil\\ud800",
    "partial-files": ".parts/0123456789abcdef0123456789abcdef.ranges",
    "twice": "other.txt",
    "below-a-file": "config.json/evil",
}


def _repository(hub, repo_id: str, **files: bytes | str) -> Path:
    folder: Path = hub.folder(repo_id)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(_CONFIG))
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


async def _inspect(service, repo_id: str, **fields: str) -> model_pb2.ModelInspection:
    answer = await service.stub.InspectModel(pb.InspectModelRequest(repo_id=repo_id, **fields))
    found: model_pb2.ModelInspection = answer.inspection
    return found


def _paths(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


class TestFilesOfAHostileHub:
    @pytest.fixture
    def backend(self, backend: BackendConfig, hub) -> Iterator[BackendConfig]:
        lies = {f"{name}.txt": lie for name, lie in _TRICKS.items()}
        for name in _TRICKS:
            _repository(hub, f"hostile/{name}", **{f"{name}.txt": "evil", "other.txt": "other"})
        with lying_hub(hub.mirror.url, lies) as url:
            yield replace(backend, hub_endpoint=url)

    async def test_no_name_of_a_file_leaves_its_folder_or_takes_anothers_place(self, service, hub, subtests):
        await service.start_worker()
        around = service.backend.store.root.parent
        outside = _paths(around) - {path for path in _paths(around) if path.startswith("store")}
        for name in _TRICKS:
            with subtests.test(name=name):
                reason = await self._ends(service, f"hostile/{name}")
                assert reason in ("UNSAFE_PATH", "HUB_UNAVAILABLE")
                assert (reason == "HUB_UNAVAILABLE") == (name == "no-text")
        assert outside == {path for path in _paths(around) if not path.startswith("store")}
        assert _paths(service.backend.store.root) <= {"models", ".reservations", ".reservations/lock"}
        assert not Path("/tmp/evil").exists()

    async def _ends(self, service, repo_id: str) -> str:
        """Inspect, then download; the reason that the Hub's files are refused for, wherever that is noticed."""
        try:
            await _inspect(service, repo_id)
            asked = await service.download(repo_id)
        except grpc.aio.AioRpcError as refused:
            return str(error_of_call(refused).reason)
        failed = await service.ended(asked.model.id)
        job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=asked.job.id))).job
        assert failed.status == model_pb2.MODEL_STATUS_ERROR
        assert failed.error == job.error
        assert failed.error.suggestion
        return str(failed.error.reason)


_REPO_IDS = [
    "../../etc",
    "../etc/passwd",
    "a/b/../..",
    "a/..",
    "./a",
    "/etc/passwd",
    "a/b/c",
    "a\\b",
    "a/b\0",
    "..%2f..%2fetc",
    "a/b?x=1",
    "a/b#c",
    "a/b@main",
    "a/b ",
    "http://127.0.0.1/x",
    "a/b\r\nX-Evil: 1",
]
_REVISIONS = [
    "..", ".", "../..", "../../../etc/passwd", "main/../../../x", "%2e%2e", "a\\b", "main?x=1", "main#x",
    "main\r\nX-Evil: 1", "refs/heads/../main",
]  # fmt: skip


async def test_no_repository_or_revision_is_a_path(service, hub, subtests):
    for call in (service.stub.InspectModel, service.stub.DownloadModel):
        kind = pb.InspectModelRequest if call is service.stub.InspectModel else pb.DownloadModelRequest
        for repo_id in _REPO_IDS:
            with subtests.test(repo_id=repo_id):
                error = await service.refusal(call(kind(repo_id=repo_id)))
                assert (error.code, error.field) == ("INVALID_ARGUMENT", "repo_id")
        for revision in _REVISIONS:
            with subtests.test(revision=revision):
                error = await service.refusal(call(kind(repo_id=hub.gpt, revision=revision)))
                assert (error.code, error.reason, error.field) == ("NOT_FOUND", "REVISION_NOT_FOUND", "revision")
    asked = {record.path for record in hub.mirror.faults.requests}
    assert not [path for path in asked if not path.startswith("/api/models/tiny/gpt/revision/")]
    assert not service.backend.store.root.exists()


async def test_nothing_that_a_client_says_becomes_a_path(service, hub):
    await service.start_worker()
    said = {"name": "../../evil-name", "request_id": "../../evil-request", "revision": "main"}
    asked = await service.download(hub.gpt, **said, deny_patterns=["evil-pattern*"])
    ready = await service.ended(asked.model.id)
    change = model_pb2.Model(id=ready.id, name="/evil-name", labels={"../../evil-label": "../../evil-value"})
    mask = FieldMask(paths=["name", "labels"])
    await service.stub.UpdateModel(pb.UpdateModelRequest(model=change, update_mask=mask))
    folder = f"models/{ready.id}/{ready.epoch}"
    own = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    reserving = {".reservations", ".reservations/lock"}
    assert _paths(service.backend.store.root) == {
        "models", f"models/{ready.id}", folder, *(f"{folder}/{name}" for name in own), *reserving,
    }  # fmt: skip
    assert not [path for path in _paths(service.backend.store.root.parent) if "evil" in path]


async def test_a_link_in_a_repository_is_a_file_like_any_other(service, hub, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("what the link leads to")
    (_repository(hub, "tiny/linked") / "linked.txt").symlink_to(secret)
    await service.start_worker()
    ready = await service.ended((await service.download("tiny/linked")).model.id)
    copy = service.folder(ready.id) / str(ready.epoch) / "linked.txt"
    assert (copy.is_symlink(), copy.is_file()) == (False, True)


async def test_a_gated_model_is_for_whoever_shows_a_token_and_for_nobody_after_them(service, hub, monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN"):
        monkeypatch.setenv(name, hub.ada_token)
    await service.start_worker()
    assert (await _inspect(service, hub.gated, hub_token=hub.ada_token)).accessible
    mine = (await service.download(hub.gated, hub_token=hub.ada_token)).model
    assert (await service.ended(mine.id)).status == model_pb2.MODEL_STATUS_READY
    for token in ("", hub.bob_token):
        found = await _inspect(service, hub.gated, hub_token=token)
        assert (found.accessible, found.HasField("facts")) == (False, False)
        for revision in ("", "main", mine.commit):
            error = await service.refusal(service.download(hub.gated, hub_token=token, revision=revision))
            assert (error.code, error.reason, error.field) == ("PERMISSION_DENIED", "REPO_GATED", "hub_token")
    again = await service.download(hub.gated, hub_token=hub.ada_token)
    assert (again.joined, again.model.id) == (True, mine.id)


async def test_a_token_is_in_no_event_row_log_file_or_error_whatever_becomes_of_its_download(
    service, hub, caplog, capfd
):
    caplog.set_level("DEBUG")
    asked = await service.download(hub.gated, hub_token=hub.ada_token, name="Mine", request_id="mine")
    hub.mirror.faults.refusals.append(Refusal(status=401, times=None, path="*/model.safetensors"))
    await service.start_worker()
    failed = await service.ended(asked.model.id)
    assert failed.error.reason == "HUB_TOKEN_INVALID"
    refused = await service.refusal(service.download(hub.gated, hub_token=hub.bob_token))
    job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=asked.job.id))).job
    tables = service.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'models'")
    rows = [row for (table,) in tables for row in service.rows(f'SELECT t::text FROM "{table}" AS t')]
    files = [path.read_bytes() for path in service.backend.store.root.rglob("*") if path.is_file()]
    seen = [caplog.text, capfd.readouterr().err, str(failed), str(job), refused.message, str(refused.to_record())]
    everything = "\n".join([*seen, str(rows), str(files), *await _messages(service)])
    assert str(job.id) in everything
    for token in (hub.ada_token, hub.bob_token):
        for written in (token, token.encode().hex()):
            assert written not in everything


async def _messages(service) -> list[str]:
    """Every message of every stream, with its headers."""
    found = []
    connection = await nats.connect(service.backend.nats_url)
    try:
        js = connection.jetstream()
        for info in await js.streams_info():
            for sequence in range(max(1, info.state.first_seq), info.state.last_seq + 1):
                try:
                    message = await js.get_msg(str(info.config.name), sequence)
                except NotFoundError:
                    continue
                found.append(f"{message.subject} {(message.data or b'').decode('latin-1')} {message.headers}")
    finally:
        await connection.close()
    return found


class _Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self._marker), "w")


class TestWithTheOperatorsLeave:
    @pytest.fixture
    def policy(self) -> Policy:
        return Policy(allow_pickle=True, allow_remote_code=True)

    async def test_a_pickle_is_never_opened_where_it_is_brought_in(self, service, hub, tmp_path):
        marker = tmp_path / "opened"
        payload = pickle.dumps(_Payload(marker))
        files = dict.fromkeys(("pytorch_model.bin", "training_args.bin", "model.pkl"), payload)
        _repository(hub, "evil/pickle", **files)
        pickle.loads(payload).close()
        assert marker.exists()
        marker.unlink()
        assert (await _inspect(service, "evil/pickle")).facts.weight_files == model_pb2.WEIGHT_FILES_PICKLE
        await service.start_worker()
        ready = await service.ended((await service.download("evil/pickle", allow_pickle=True)).model.id)
        assert ready.status == model_pb2.MODEL_STATUS_READY
        folder = service.folder(ready.id) / str(ready.epoch)
        assert {name: (folder / name).read_bytes() for name in files} == files
        assert not marker.exists()

    async def test_code_of_a_repository_is_never_run_where_it_is_brought_in(self, service, hub, tmp_path):
        marker = tmp_path / "run"
        code = f"open({str(marker)!r}, 'w').close()\nclass Evil: pass\n"
        folder = _repository(hub, "evil/code", modeling_evil__py=code, configuration_evil__py=code, setup__py=code)
        own = {"AutoConfig": "configuration_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"}
        config = {**_CONFIG, "model_type": "evil", "auto_map": own, "custom_pipelines": {"x": {"impl": "evil.Evil"}}}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))
        found = await _inspect(service, "evil/code")
        assert found.facts.needs_remote_code
        await service.start_worker()
        ready = await service.ended((await service.download("evil/code")).model.id)
        assert ready.status == model_pb2.MODEL_STATUS_READY
        assert (service.folder(ready.id) / str(ready.epoch) / "modeling_evil.py").read_text() == code
        assert not marker.exists()
        assert not [name for name in sys.modules if "evil" in name]


_HUGE = {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}
_HOSTILE_FILES: list[tuple[str, dict[str, object], str]] = [
    ("nul in names", {"config.json": {"model_type": "a\0b", "architectures": ["\0"]}}, ""),
    ("half a character", {"config.json": '{"model_type": "\\ud800", "architectures": ["\\udfff"]}'}, ""),
    ("long names", {"config.json": {"model_type": "x" * 10**6, "architectures": ["y" * 10**6]}}, ""),
    ("impossible sizes", {"config.json": dict.fromkeys((*_CONFIG, "vocab_size", "n_positions"), 10**30)}, ""),
    ("lists for sizes", {"config.json": {name: [{}] for name in (*_CONFIG, "num_experts", "text_config")}}, ""),
    ("odd quantization", {"config.json": {"quantization_config": {"quant_method": "\0", "bits": "4"}}}, ""),
    ("deep", {"config.json": '{"a":' * 50_000}, "MALFORMED_FILE"),
    ("long number", {"config.json": '{"a": ' + "9" * 10_000 + "}"}, "MALFORMED_FILE"),
    (
        "index that climbs",
        {"model.safetensors.index.json": {"weight_map": {"a": "../../etc/passwd"}}},
        "MALFORMED_FILE",
    ),
    ("index with a long name", {"model.safetensors.index.json": {"weight_map": {"a": "x" * 10**6}}}, "MALFORMED_FILE"),
    ("index with nul", {"model.safetensors.index.json": {"weight_map": {"a": "\0"}}}, "MALFORMED_FILE"),
    ("impossible tensor", {"model.safetensors": {"a": _HUGE}}, "MALFORMED_FILE"),
    ("tensor of another dtype", {"model.safetensors": {"a": {**_HUGE, "dtype": "\0", "shape": []}}}, "MALFORMED_FILE"),
]


def _content(name: str, value: object) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value)
    header = len(text).to_bytes(8, "little") if name == "model.safetensors" else b""
    return header + text.encode() + bytes(8 if header else 0)


async def test_whatever_a_repository_says_is_told_or_refused_and_never_breaks_the_service(service, hub, subtests):
    for number, (what, files, reason) in enumerate(_HOSTILE_FILES):
        with subtests.test(what=what):
            repo_id = f"hostile/files-{number}"
            _repository(hub, repo_id, **{name: _content(name, value) for name, value in files.items()})
            if reason:
                for call in (service.download(repo_id), _inspect(service, repo_id)):
                    assert (await service.refusal(call)).reason == reason
            else:
                assert (await _inspect(service, repo_id)).accessible
                assert (await service.download(repo_id)).model.status == model_pb2.MODEL_STATUS_DOWNLOADING
