"""Tokenizing a few rows at once, to see what the settings do; and tokenizing with the same settings."""

import json
from typing import Any

import pytest
from tokenizers import Tokenizer

from mistudio.datasets.v1 import dataset_pb2, tokenization_pb2, tokenizations_service_pb2
from mistudio.jobs.v1 import job_pb2
from mistudio_servicekit.database import new_id
from tests.chat_models import ALTERNATING, CHATML, ENDLESS, HEADERS, chat_tokenizer

from .service_client import Service

pb = tokenizations_service_pb2
Settings = tokenization_pb2.TokenizationSettings
Chat = tokenization_pb2.ChatSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def own(texts: list[str]) -> Tokenizer:
    return chat_tokenizer(texts[:300])


async def taken(service: Service, rows: list[dict[str, Any]]) -> dataset_pb2.Dataset:
    """The rows as an uploaded dataset."""
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    answer = await service.upload("rows.jsonl", content)
    await service.succeeded(answer.job.id)
    return answer.dataset


def talk(*contents: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": content} for number, content in enumerate(contents)]


async def previewed(
    service: Service, dataset_id: str, model_id: str, settings: Settings | None = None, **fields: Any
) -> pb.PreviewTokenizationResponse:
    request = pb.PreviewTokenizationRequest(
        dataset_id=dataset_id, model_id=model_id, settings=settings or Settings(), **fields
    )
    return await service.tokenizations.PreviewTokenization(request)


async def stored(service: Service, dataset_id: str, model_id: str, settings: Settings) -> Any:
    """The finished tokenization, and its first documents."""
    request = pb.CreateTokenizationRequest(dataset_id=dataset_id, model_id=model_id, settings=settings)
    answer = await service.tokenizations.CreateTokenization(request)
    await service.succeeded(answer.job.id)
    page = await service.tokenizations.ListSequences(
        pb.ListSequencesRequest(tokenization_id=answer.tokenization.id, page_size=50)
    )
    return await service.tokenization(answer.tokenization.id), page.sequences


ROWS: list[dict[str, Any]] = [
    {"text": "See https://a.b/c  for more", "messages": talk("What is a list?", "A sequence."), "prompt": "Go",
     "output": "Gone"},
    {"text": None, "messages": None, "prompt": None, "output": "x"},
    {"text": "cafÃ© <b>bold</b>", "messages": talk("One", "Two", "Three <i>x</i>"), "prompt": "A", "output": "B"},
    {"text": "www.x.y", "messages": talk("www.x.y"), "prompt": "www.x.y", "output": "B"},
    {"text": "plain", "messages": [], "prompt": "", "output": ""},
]  # fmt: skip
STEPS = [
    tokenization_pb2.CLEANING_STEP_FIX_ENCODING,
    tokenization_pb2.CLEANING_STEP_REMOVE_HTML,
    tokenization_pb2.CLEANING_STEP_REMOVE_URLS,
    tokenization_pb2.CLEANING_STEP_COLLAPSE_WHITESPACE,
]


async def test_a_preview_shows_exactly_what_is_stored(shared_service: Service, own: Tokenizer) -> None:
    service = shared_service
    dataset = await taken(service, ROWS)
    for settings, template in (
        (Settings(), CHATML),
        (Settings(text_column="text", cleaning=STEPS), CHATML),
        (Settings(chat=Chat()), CHATML),
        (Settings(chat=Chat(), cleaning=STEPS), HEADERS),
        (Settings(chat=Chat(messages_column="messages")), ALTERNATING),
        (Settings(chat=Chat(prompt_column="prompt"), cleaning=STEPS), HEADERS),
    ):
        model = service.models.put(own, chat_template=template)
        found = await previewed(service, dataset.id, model, settings)
        made, documents = await stored(service, dataset.id, model, settings)
        assert found.settings == made.settings
        assert [row.row for row in found.rows] == list(range(5)) == [document.document for document in documents]
        shown = [(row.token_ids, row.tokens, row.total_tokens) for row in found.rows]
        assert shown == [(document.token_ids, document.tokens, document.total_tokens) for document in documents]
        for row in found.rows:
            assert list(row.token_ids) == own.encode(row.text, add_special_tokens=False).ids
        assert found.chat_template == (template if settings.HasField("chat") else "")
        again = pb.CreateTokenizationRequest(dataset_id=dataset.id, model_id=model, settings=made.settings)
        joined = await service.tokenizations.CreateTokenization(again)
        assert (joined.joined, joined.tokenization.id) == (True, made.id)


async def test_a_row_is_shown_before_and_after_with_what_changed_it(shared_service: Service, own: Tokenizer) -> None:
    service = shared_service
    dataset, model = await taken(service, ROWS), service.models.put(own, chat_template=CHATML)
    found = await previewed(service, dataset.id, model, Settings(text_column="text", cleaning=STEPS))
    shown = [(row.original_text, row.text, [STEPS.index(step) for step in row.changed_by]) for row in found.rows]
    assert shown == [
        ("See https://a.b/c  for more", "See for more", [2, 3]),
        ("", "", []),
        ("cafÃ© <b>bold</b>", "café bold", [0, 1]),
        ("www.x.y", "", [2]),
        ("plain", "plain", []),
    ]
    assert [row.problem for row in found.rows] == ["", "is null", "", "", ""]
    assert list(found.settings.cleaning) == STEPS


async def test_conversations_are_shown_as_json_and_as_rendered_with_their_problems(
    shared_service: Service, own: Tokenizer
) -> None:
    service = shared_service
    dataset, model = await taken(service, ROWS), service.models.put(own, chat_template=ALTERNATING)
    found = await previewed(service, dataset.id, model, Settings(chat=Chat()), offset=2, page_size=3)
    assert [row.row for row in found.rows] == [2, 3, 4]
    assert json.loads(found.rows[0].original_text) == talk("One", "Two", "Three <i>x</i>")
    assert found.rows[0].text == "<s>[INST] One [/INST] Two</s>[INST] Three <i>x</i> [/INST]"
    assert (found.rows[2].text, found.rows[2].problem) == ("", "has no messages")
    assert found.settings == Settings(
        split="train",
        chat=Chat(format=tokenization_pb2.CONVERSATION_FORMAT_OPENAI, messages_column="messages"),
    )


async def test_long_rows_are_cut_and_counted_whole(shared_service: Service, own: Tokenizer) -> None:
    service = shared_service
    dataset, model = await taken(service, [{"text": "ab " * 30_000}] * 9), service.models.put(own)
    found = await previewed(service, dataset.id, model, max_tokens=3, page_size=1)
    (row,) = found.rows
    assert (len(row.original_text), len(row.text), len(row.token_ids)) == (10_000, 10_000, 3)
    assert row.total_tokens > 30_000
    all_rows = (await previewed(service, dataset.id, model, max_tokens=100_000, page_size=9)).rows
    assert sum(len(row.token_ids) for row in all_rows) == 200_000
    assert {row.total_tokens for row in all_rows} == {row.total_tokens}
    assert not (await previewed(service, dataset.id, model, offset=9)).rows


async def test_conversations_are_taken_by_themselves_where_nothing_is_usual_text(
    shared_service: Service, own: Tokenizer
) -> None:
    service = shared_service
    row = {"messages": talk("a", "b"), "remark": "x y z", "text": "t", "prompt": "p", "output": "longer"}
    chat, bare = service.models.put(own, chat_template=CHATML), service.models.put(own)
    for columns, model, expected in (
        (("messages",), chat, "messages"),
        (("messages", "remark"), chat, "messages"),
        (("messages", "text"), chat, "text"),
        (("messages", "remark"), bare, "remark"),
        (("prompt", "output"), chat, "output"),
    ):
        dataset = await taken(service, [{name: row[name] for name in columns}])
        found = await previewed(service, dataset.id, model)
        assert expected in (found.settings.text_column, found.settings.chat.messages_column)


async def test_wrong_settings_are_refused_with_their_field_by_create_and_preview_alike(
    shared_service: Service, own: Tokenizer
) -> None:
    service = shared_service
    dataset, model = await taken(service, ROWS), service.models.put(own, chat_template=CHATML)
    bare, listed = service.models.put(own), await taken(service, [{"messages": talk("a")}])
    step, none = tokenization_pb2.CLEANING_STEP_LOWERCASE, tokenization_pb2.CLEANING_STEP_UNSPECIFIED
    unknown: Any = 99
    for dataset_id, model_id, settings, reason, field in (
        (dataset.id, model, Settings(text_column="text", chat=Chat()), "INVALID_FIELD", "settings.text_column"),
        (dataset.id, model, Settings(cleaning=[step, none]), "INVALID_FIELD", "settings.cleaning[1]"),
        (dataset.id, model, Settings(cleaning=[unknown]), "INVALID_FIELD", "settings.cleaning[0]"),
        (dataset.id, model, Settings(cleaning=[step, step]), "INVALID_FIELD", "settings.cleaning[1]"),
        (dataset.id, model, Settings(chat=Chat(format=unknown)), "INVALID_FIELD", "settings.chat.format"),
        (dataset.id, model, Settings(chat=Chat(messages_column="x" * 300)), "INVALID_FIELD",
         "settings.chat.messages_column"),
        (dataset.id, model, Settings(chat=Chat(messages_column="nope")), "CONVERSATION_MISSING",
         "settings.chat.messages_column"),
        (dataset.id, model, Settings(chat=Chat(messages_column="text")), "CONVERSATION_MISSING",
         "settings.chat.messages_column"),
        (dataset.id, model, Settings(chat=Chat(response_column="messages")), "CONVERSATION_MISSING",
         "settings.chat.response_column"),
        (dataset.id, model, Settings(chat=Chat(messages_column="messages", prompt_column="prompt")), "INVALID_FIELD",
         "settings.chat.prompt_column"),
        (dataset.id, model, Settings(text_column="nope"), "TEXT_COLUMN_MISSING", "settings.text_column"),
        (dataset.id, bare, Settings(chat=Chat()), "CHAT_TEMPLATE_MISSING", "settings.chat"),
        (listed.id, bare, Settings(), "CHAT_TEMPLATE_MISSING", "settings.chat"),
    ):  # fmt: skip
        create = pb.CreateTokenizationRequest(dataset_id=dataset_id, model_id=model_id, settings=settings)
        for call in (
            service.tokenizations.CreateTokenization(create),
            previewed(service, dataset_id, model_id, settings),
        ):
            error = await service.refusal(call)
            assert (error.reason, error.field) == (reason, field)


async def test_bounds_of_a_preview_are_checked(shared_service: Service, own: Tokenizer) -> None:
    service = shared_service
    dataset, model = await taken(service, [{"text": "a"}]), service.models.put(own)
    out_of_range: list[tuple[str, Any]] = [("page_size", 51), ("page_size", -1), ("offset", -1)]
    out_of_range += [("max_tokens", 100_001), ("max_tokens", -1)]
    for field, value in out_of_range:
        error = await service.refusal(previewed(service, dataset.id, model, **{field: value}))
        assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "INVALID_FIELD", field)
    for call, reason in (
        (previewed(service, "abc", model), "MALFORMED_ID"),
        (previewed(service, dataset.id, ""), "MISSING_FIELD"),
        (previewed(service, str(new_id()), model), "DATASET_NOT_FOUND"),
        (previewed(service, dataset.id, str(new_id())), "MODEL_NOT_FOUND"),
        (previewed(service, dataset.id, service.models.put(None)), "TOKENIZER_MISSING"),
        (previewed(service, dataset.id, service.models.put(own, "DOWNLOADING")), "MODEL_NOT_READY"),
        (previewed(service, dataset.id, model, Settings(split="nope")), "SPLIT_NOT_FOUND"),
    ):
        assert (await service.refusal(call)).reason == reason


async def test_a_template_without_an_end_does_not_keep_a_job_from_being_cancelled(
    shared_service: Service, own: Tokenizer
) -> None:
    service = shared_service
    dataset, model = await taken(service, ROWS), service.models.put(own, chat_template=ENDLESS)
    answer = await service.tokenize(dataset.id, model, chat=Chat())
    await service.until(answer.job.id, lambda job: job.state == job_pb2.JOB_STATE_RUNNING)
    await service.tokenizations.CancelTokenization(pb.CancelTokenizationRequest(id=answer.tokenization.id))
    assert (await service.ended(answer.job.id)).state == job_pb2.JOB_STATE_CANCELLED


async def test_a_template_that_takes_nothing_fails_the_job_with_its_reason(
    shared_service: Service, own: Tokenizer
) -> None:
    service = shared_service
    template = "{{ raise_exception('Only for pictures!') }}"
    dataset, model = await taken(service, ROWS), service.models.put(own, chat_template=template)
    answer = await service.tokenize(dataset.id, model, chat=Chat())
    job = await service.ended(answer.job.id)
    assert (job.error.reason, "Only for pictures!" in job.error.message) == ("CHAT_TEMPLATE_MISSING", True)
    found = await previewed(service, dataset.id, model, Settings(chat=Chat()), page_size=1)
    assert "Only for pictures!" in found.rows[0].problem
