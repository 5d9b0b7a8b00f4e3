"""`mistudio preview`, `tokenize`, `tokenizations` and `exports`: their settings, views and searches."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mistudio.datasets.v1 import (
    export_pb2,
    exports_service_pb2,
    exports_service_pb2_grpc,
    tokenization_pb2,
    tokenizations_service_pb2,
    tokenizations_service_pb2_grpc,
    view_pb2,
)
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2_grpc
from mistudio.models.v2 import models_service_pb2, models_service_pb2_grpc
from tests.unit.client.conftest import Serve
from tests.unit.client.scripted import ScriptedLog, a_job
from tests.unit.client.test_cli_commands import DATASET_ID, Shell

MODEL_ID = "0197f2a4-0002-7b1a-9d2f-3e4a5b6c7d8e"
TOKENIZATION_ID = "0197f2a4-0001-7b1a-9d2f-3e4a5b6c7d8e"
EXPORT_ID = "0197f2a4-0003-7b1a-9d2f-3e4a5b6c7d8e"

VIEW_OPTIONS = (
    *("--view", "windows", "--context-length", "8", "--stride", "4", "--bos", "document", "--eos", "sequence"),
    *("--first-window-only", "--min-tokens", "2"),
)
VIEW = view_pb2.View(
    mode=view_pb2.VIEW_MODE_WINDOWS,
    context_length=8,
    stride=4,
    bos=view_pb2.SPECIAL_TOKEN_POLICY_DOCUMENT,
    eos=view_pb2.SPECIAL_TOKEN_POLICY_SEQUENCE,
    first_window_only=True,
    min_tokens=2,
)
SETTINGS_OPTIONS = (
    *("--split", "train", "--messages-column", "chat", "--system-column", "sys", "--chat-format", "openai"),
    *("--clean", "remove-html", "--clean", "lowercase"),
)
SETTINGS = tokenization_pb2.TokenizationSettings(
    split="train",
    chat=tokenization_pb2.ChatSettings(
        format=tokenization_pb2.CONVERSATION_FORMAT_OPENAI, messages_column="chat", system_column="sys"
    ),
    cleaning=[tokenization_pb2.CLEANING_STEP_REMOVE_HTML, tokenization_pb2.CLEANING_STEP_LOWERCASE],
)
FIGURES = view_pb2.ViewFigures(
    sequences=20, tokens=1000, kept_tokens=990, dropped_tokens=10, short_tokens=10, utilization=0.75, documents=7
)


@dataclass
class Tokenizations(tokenizations_service_pb2_grpc.TokenizationsServiceServicer):
    """Answers everything; matches come in pages of one."""

    requests: list[Any] = field(default_factory=list)

    async def PreviewTokenization(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        answer = tokenizations_service_pb2.PreviewTokenizationResponse(settings=SETTINGS, chat_template="{{ all }}")
        answer.rows.add(
            row=3, original_text="<b>Hé\n</b>", text="hé\n", token_ids=[7, 8], tokens=["hé", "\n"], total_tokens=2,
            changed_by=SETTINGS.cleaning,
        )  # fmt: skip
        answer.rows.add(row=4, problem="is null")
        return answer

    async def CreateTokenization(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        job = a_job(0, job_pb2.JOB_STATE_QUEUED)
        return tokenizations_service_pb2.CreateTokenizationResponse(tokenization=a_tokenization(), job=job)

    async def GetTokenization(self, request: Any, context: Any) -> Any:
        return tokenizations_service_pb2.GetTokenizationResponse(tokenization=a_tokenization())

    async def GetTokenizationStatistics(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return tokenizations_service_pb2.GetTokenizationStatisticsResponse(
            statistics=tokenization_pb2.TokenizationStatistics(documents=7), view=FIGURES
        )

    async def ListSequences(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        sequence = tokenization_pb2.TokenSequence(
            document=2, token_ids=[1, 7], tokens=["<s>", "a\n"], total_tokens=8, sequence=5
        )
        sequence.spans.add(document=2, document_start=4, sequence_start=1, tokens=7)
        return tokenizations_service_pb2.ListSequencesResponse(sequences=[sequence], total_size=20, view=FIGURES)

    async def SearchTokens(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        at = int(request.page_token or 0)
        match = tokenization_pb2.TokenMatch(
            document=at, position=9, tokens=["x", "y", "the\n", "z"], match_start=2, match_end=3
        )
        return tokenizations_service_pb2.SearchTokensResponse(
            matches=[match], searched_ids=[11, 12], next_page_token="1" if at == 0 else "",
            total_size=2, total_documents=2, total_is_known=request.include_total,
        )  # fmt: skip

    async def DeleteTokenization(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return tokenizations_service_pb2.DeleteTokenizationResponse()


@dataclass
class Exports(exports_service_pb2_grpc.ExportsServiceServicer):
    """One export."""

    requests: list[Any] = field(default_factory=list)

    async def CreateExport(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        job = a_job(0, job_pb2.JOB_STATE_QUEUED)
        return exports_service_pb2.CreateExportResponse(export=an_export(), job=job)

    async def GetExport(self, request: Any, context: Any) -> Any:
        return exports_service_pb2.GetExportResponse(export=an_export())

    async def ListExports(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return exports_service_pb2.ListExportsResponse(exports=[an_export()], total_size=1)

    async def CancelExport(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return exports_service_pb2.CancelExportResponse(export=an_export())

    async def DeleteExport(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return exports_service_pb2.DeleteExportResponse()


@dataclass
class Models(models_service_pb2_grpc.ModelsServiceServicer):
    """Deletes."""

    requests: list[Any] = field(default_factory=list)

    async def DeleteModel(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return models_service_pb2.DeleteModelResponse()


def a_tokenization() -> tokenization_pb2.Tokenization:
    return tokenization_pb2.Tokenization(id=TOKENIZATION_ID, settings=SETTINGS)


def an_export() -> export_pb2.Export:
    return export_pb2.Export(
        id=EXPORT_ID, tokenization_id=TOKENIZATION_ID, view=VIEW, shuffle_seed=0, sequences=1234, short_sequences=5,
        status=export_pb2.EXPORT_STATUS_READY, store_path="exports/x/1",
    )  # fmt: skip


@pytest.fixture
async def tokenizations() -> Tokenizations:
    return Tokenizations()


@pytest.fixture
async def exports() -> Exports:
    return Exports()


@pytest.fixture
async def models() -> Models:
    return Models()


@pytest.fixture
async def shell(
    serve: Serve, tokenizations: Tokenizations, exports: Exports, models: Models, log: ScriptedLog
) -> AsyncIterator[Shell]:
    _, target = await serve(
        (tokenizations_service_pb2_grpc.add_TokenizationsServiceServicer_to_server, tokenizations),
        (exports_service_pb2_grpc.add_ExportsServiceServicer_to_server, exports),
        (models_service_pb2_grpc.add_ModelsServiceServicer_to_server, models),
        (jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, log),
    )
    shell = Shell(target, None)  # type: ignore[arg-type]  # this shell's product is the services
    yield shell
    for process in shell.started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_tokenization_is_made_with_the_settings_that_were_asked_for(
    shell: Shell, tokenizations: Tokenizations
) -> None:
    ended = await shell.run("tokenize", DATASET_ID, MODEL_ID, *SETTINGS_OPTIONS)
    assert ended.status == 0, ended.err
    (request,) = tokenizations.requests
    assert (request.dataset_id, request.model_id, request.settings) == (DATASET_ID, MODEL_ID, SETTINGS)
    facts = " ".join(ended.out.split())
    assert "conversations openai, messages in chat, system in sys cleaning remove-html, lowercase" in facts


async def test_chat_alone_leaves_the_columns_to_be_found_out(shell: Shell, tokenizations: Tokenizations) -> None:
    await shell.run("tokenize", DATASET_ID, MODEL_ID, "--chat", "--detach")
    await shell.run("tokenize", DATASET_ID, MODEL_ID, "--text-column", "body", "--detach")
    chat, text = (request.settings for request in tokenizations.requests)
    assert chat.HasField("chat") and not chat.chat.ByteSize()
    assert (text.HasField("chat"), text.text_column) == (False, "body")


async def test_a_preview_shows_what_the_settings_do(shell: Shell, tokenizations: Tokenizations) -> None:
    ended = await shell.run("preview", DATASET_ID, MODEL_ID, *SETTINGS_OPTIONS, "--offset", "3", "--limit", "2")
    (request,) = tokenizations.requests
    assert (request.settings, request.offset, request.page_size) == (SETTINGS, 3, 2)
    assert "chat template  {{ all }}\n" in ended.out
    assert ended.out.partition("\n\n")[2] == (
        "row 3, 2 tokens\n"
        "  changed by remove-html, lowercase\n"
        "  was     <b>Hé\\n</b>\n"
        "  text    hé\\n\n"
        "  tokens  hé|\\n\n"
        "  ids     7 8\n"
        "\n"
        "row 4, 0 tokens\n"
        "  problem is null\n"
    )
    as_json = await shell.run("preview", DATASET_ID, MODEL_ID, "--json")
    assert [row["problem"] for row in json.loads(as_json.out)["rows"]] == ["", "is null"]


async def test_the_figures_of_a_view_tell_what_it_keeps_and_drops(shell: Shell, tokenizations: Tokenizations) -> None:
    ended = await shell.run("tokenizations", "stats", TOKENIZATION_ID, *VIEW_OPTIONS)
    assert tokenizations.requests[0].view == VIEW
    assert [line.split("  ", 1)[0] for line in ended.out.splitlines()][:5] == [
        *("sequences", "of documents", "tokens", "kept", "dropped")
    ]
    assert "dropped               10 (1.0 %)\n  in short sequences  10\n" in ended.out
    assert "repeated" not in ended.out
    assert "utilization           75.0 %" in ended.out
    as_json = await shell.run("tokenizations", "stats", TOKENIZATION_ID, *VIEW_OPTIONS, "--json")
    assert json.loads(as_json.out)["kept_tokens"] == "990"


async def test_figures_without_a_view_are_those_of_the_documents(shell: Shell, tokenizations: Tokenizations) -> None:
    ended = await shell.run("tokenizations", "stats", TOKENIZATION_ID, "--json")
    assert not tokenizations.requests[0].HasField("view")
    assert json.loads(ended.out)["documents"] == "7"


async def test_the_sequences_of_a_view_name_their_documents(shell: Shell, tokenizations: Tokenizations) -> None:
    ended = await shell.run("tokenizations", "sequences", TOKENIZATION_ID, *VIEW_OPTIONS, "--limit", "1")
    assert tokenizations.requests[0].view == VIEW
    assert ended.out == ("sequence 5, 8 tokens: document 2 [4–10]\n  tokens  <s>|a\\n\n  ids     1 7\n")
    assert "1 of 20 sequences, which keep 99.0 % of the tokens" in ended.err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--view", "packed"), "A view needs --context-length"),
        (("--context-length", "8"), "A view needs --view"),
        (("--bos", "document"), "A view needs --view"),
        (("--view", "packed", "--context-length", "1"), "--context-length"),
    ],
)
async def test_a_view_that_lacks_something_is_wrong_usage(
    shell: Shell, tokenizations: Tokenizations, options: tuple[str, ...], problem: str
) -> None:
    ended = await shell.run("tokenizations", "sequences", TOKENIZATION_ID, *options)
    assert (ended.status, tokenizations.requests) == (2, [])
    assert problem in ended.err


async def test_found_tokens_stand_between_what_surrounds_them(shell: Shell, tokenizations: Tokenizations) -> None:
    ended = await shell.run("tokenizations", "find", TOKENIZATION_ID, "--ids", "11,12", "--count", "--context", "2")
    request = tokenizations.requests[0]
    assert (list(request.ids.values), request.context_tokens, request.include_total) == ([11, 12], 2, True)
    assert [line.split() for line in ended.out.splitlines()] == [
        ["document", "position", "before", "match", "after"],
        ["0", "9", "x|y", r"the\n", "z"],
        ["1", "9", "x|y", r"the\n", "z"],
    ]
    assert ended.err == "2 of 2 matches in 2 documents\nsearched for the ids 11 12\n"


async def test_a_text_is_searched_for_and_matches_are_not_counted_unasked(
    shell: Shell, tokenizations: Tokenizations
) -> None:
    ended = await shell.run("tokenizations", "find", TOKENIZATION_ID, "--text", "the dog", "--limit", "1")
    assert tokenizations.requests[0].text == "the dog"
    assert ended.err.startswith("1 shown; there are more, which --count counts\n")
    as_json = await shell.run("tokenizations", "find", TOKENIZATION_ID, "--text", "the dog", "--json")
    answer = json.loads(as_json.out)
    assert (len(answer["matches"]), answer["searched_ids"], as_json.err) == (2, [11, 12], "")


@pytest.mark.parametrize("options", [(), ("--text", "a", "--ids", "1"), ("--ids", "1,b")])
async def test_a_search_for_nothing_or_two_things_is_wrong_usage(
    shell: Shell, tokenizations: Tokenizations, options: tuple[str, ...]
) -> None:
    ended = await shell.run("tokenizations", "find", TOKENIZATION_ID, *options)
    assert (ended.status, tokenizations.requests) == (2, [])


async def test_a_tokenization_goes_with_its_exports_when_forced(shell: Shell, tokenizations: Tokenizations) -> None:
    await shell.run("tokenizations", "delete", TOKENIZATION_ID, "--force")
    assert tokenizations.requests == [
        tokenizations_service_pb2.DeleteTokenizationRequest(id=TOKENIZATION_ID, force=True)
    ]


async def test_a_model_stops_what_is_made_with_it_when_forced(shell: Shell, models: Models) -> None:
    await shell.run("models", "delete", MODEL_ID)
    await shell.run("models", "delete", MODEL_ID, "--force")
    assert [(request.id, request.force) for request in models.requests] == [(MODEL_ID, False), (MODEL_ID, True)]


async def test_an_export_is_written_and_followed(shell: Shell, exports: Exports) -> None:
    ended = await shell.run("exports", "create", TOKENIZATION_ID, *VIEW_OPTIONS, "--seed", "0")
    assert ended.status == 0, ended.err
    (request,) = exports.requests
    assert (request.tokenization_id, request.view, request.shuffle_seed) == (TOKENIZATION_ID, VIEW, 0)
    assert request.HasField("shuffle_seed") and request.request_id
    label = "windows 8, stride 4, bos document, eos sequence, first window only, at least 2 tokens"
    assert f"{label}  done" in ended.out
    facts = " ".join(ended.out.split())
    assert "order shuffled with seed 0 status READY sequences 1,234 too short for it 5" in facts


async def test_an_export_in_order_has_no_seed_and_must_say_its_view(shell: Shell, exports: Exports) -> None:
    await shell.run("exports", "create", TOKENIZATION_ID, "--view", "packed", "--context-length", "8", "--detach")
    assert not exports.requests[0].HasField("shuffle_seed")
    ended = await shell.run("exports", "create", TOKENIZATION_ID, "--context-length", "8")
    assert (ended.status, len(exports.requests)) == (2, 1)


async def test_exports_are_listed_shown_stopped_and_deleted(shell: Shell, exports: Exports) -> None:
    listed = await shell.run("exports", "list", "--filter", "status = READY")
    assert exports.requests.pop().filter == "status = READY"
    assert listed.out.splitlines()[1].split()[:4] == [EXPORT_ID, TOKENIZATION_ID, "windows", "8,"]
    assert json.loads((await shell.run("exports", "get", EXPORT_ID, "--json")).out)["store_path"] == "exports/x/1"
    assert (await shell.run("exports", "cancel", EXPORT_ID)).out == f"Cancelled export {EXPORT_ID}.\n"
    assert (await shell.run("exports", "delete", EXPORT_ID)).out == f"Deleted export {EXPORT_ID}.\n"
    assert [type(request).__name__ for request in exports.requests] == ["CancelExportRequest", "DeleteExportRequest"]
