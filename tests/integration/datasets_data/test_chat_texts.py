import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from mistudio_datasets.data.incoming.csv_rows import CsvOptions
from mistudio_datasets.data.incoming.reading import read_source
from mistudio_datasets.data.incoming.source_plan import SourcePlan
from mistudio_datasets.data.texts.chat_templates import ChatTemplate
from mistudio_datasets.data.texts.outcomes import preparer_of
from mistudio_datasets.data.texts.texts import Prepared
from mistudio_datasets.data.tokens.tokenizers import load_tokenizer
from mistudio_datasets.data.tokens.tokenizing import TokenizeInput, TokenizeResult, tokenize
from mistudio_datasets.domain.cleaning import CleaningStep
from mistudio_datasets.domain.conversations import ChatSettings, ConversationFormat
from mistudio_datasets.domain.datasets import DataFormat
from mistudio_datasets.domain.progress import UNWATCHED
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from mistudio_servicekit.errors import ChatTemplateMissing
from tests.chat_models import ALTERNATING, BOS_ID, CHATML, HEADERS, chat_tokenizer, write_chat_model

from .conftest import write_source

MESSAGES = ChatSettings(ConversationFormat.OPENAI, messages_column="messages")
SHAREGPT = ChatSettings(ConversationFormat.SHAREGPT, messages_column="messages")
PAIR = ChatSettings(ConversationFormat.PROMPT_RESPONSE, "", "instruction", "output", "system", "input")
TALK = [
    {"role": "user", "content": "What is a list?"},
    {"role": "assistant", "content": " A sequence of values. "},
    {"role": "user", "content": "naïve 日本?"},
    {"role": "assistant", "content": "Yes."},
]


@pytest.fixture(scope="module")
def tokenizer(english: list[str]) -> Tokenizer:
    return chat_tokenizer(english[:500])


@pytest.fixture
def write_model(tmp_path: Path, tokenizer: Tokenizer) -> Any:
    def write(template: object = None, own: Tokenizer = tokenizer) -> Path:
        return write_chat_model(tmp_path / "model", own, template)

    return write


def prepared(model: Path, values: Any, chat: ChatSettings = MESSAGES, *cleaning: CleaningStep) -> Prepared:
    settings = TokenizationSettings("train", "", chat, cleaning)
    columns = values if isinstance(values, dict) else {"messages": values}
    rows = pa.RecordBatch.from_pydict(columns)
    return preparer_of(settings, load_tokenizer(model)).prepare(rows)


def texts(found: Prepared) -> list[str | None]:
    return found.texts.to_pylist()


def problems(found: Prepared) -> dict[int, str]:
    return {int(row): reason for reason, rows in found.problems.items() for row in rows}


def tokenized(
    folder: Path, model: Path, rows: list[Any], chat: ChatSettings = MESSAGES, *cleaning: CleaningStep
) -> tuple[TokenizeResult, list[list[int]]]:
    write_source(folder, "train.parquet", pa.table({"messages": rows}), row_group_size=3)
    plan = SourcePlan("", DataFormat.PARQUET, {"train": ("train.parquet",)}, (), CsvOptions())
    layout = read_source(folder, plan, UNWATCHED)
    settings = TokenizationSettings("train", "", chat, cleaning)
    what = TokenizeInput(folder, layout, "", settings, load_tokenizer(model), threads=2)
    result = tokenize(what, folder / "out", UNWATCHED)
    return result, datasets.load_from_disk(str(folder / "out"))["input_ids"][:]


@pytest.mark.parametrize("template", [HEADERS, ALTERNATING], ids=["headers", "alternating"])
def test_ids_are_those_of_apply_chat_template_and_begin_with_one_bos(
    tmp_path: Path, write_model: Any, template: str
) -> None:
    model = write_model(template)
    result, ids = tokenized(tmp_path, model, [TALK, TALK[:2], TALK])
    own = AutoTokenizer.from_pretrained(str(model))
    assert ids == [own.apply_chat_template(talk, return_dict=False) for talk in (TALK, TALK[:2], TALK)]
    assert [document.count(BOS_ID) for document in ids] == [1, 1, 1]
    assert [document[0] for document in ids] == [BOS_ID] * 3
    assert (result.statistics.documents, dict(result.empty_because)) == (3, {})


def test_a_bos_behind_space_is_not_doubled(tmp_path: Path, write_model: Any) -> None:
    _, ids = tokenized(tmp_path, write_model(" " + HEADERS.replace("{{-", "{{")), [TALK])
    assert (ids[0][0] != BOS_ID, ids[0].count(BOS_ID)) == (True, 1)


def test_a_bos_that_the_template_leaves_to_the_tokenizer_is_there_once(tmp_path: Path, write_model: Any) -> None:
    model = write_model(CHATML)
    _, ids = tokenized(tmp_path, model, [TALK])
    own = AutoTokenizer.from_pretrained(str(model))
    assert ids == [own(own.apply_chat_template(TALK, tokenize=False))["input_ids"]]
    assert ids[0].count(BOS_ID) == 1


def test_a_model_without_bos_in_its_texts_gets_none(tmp_path: Path, write_model: Any, english: list[str]) -> None:
    model = write_model(CHATML, chat_tokenizer(english[:500], adds_bos=False))
    _, ids = tokenized(tmp_path, model, [TALK])
    own = AutoTokenizer.from_pretrained(str(model))
    assert ids == [own.apply_chat_template(TALK, return_dict=False)]
    assert BOS_ID not in ids[0]


def test_sharegpt_and_openai_and_json_and_parts_render_the_same(write_model: Any) -> None:
    model = write_model(CHATML)
    speakers = {"user": "human", "assistant": "gpt"}
    shared = [{"from": speakers[message["role"]], "value": message["content"]} for message in TALK]
    parts = [message | {"content": [{"type": "text", "text": message["content"]}]} for message in TALK]
    as_json = [message | {"content": json.dumps([{"type": "text", "text": message["content"]}])} for message in TALK]
    expected = texts(prepared(model, [TALK]))
    assert texts(prepared(model, [parts])) == texts(prepared(model, [as_json])) == expected
    assert texts(prepared(model, [json.dumps(TALK)])) == expected
    assert texts(prepared(model, [shared], SHAREGPT)) == texts(prepared(model, [json.dumps(shared)], SHAREGPT))
    assert texts(prepared(model, [shared], SHAREGPT)) == expected


def test_prompts_take_their_input_and_system_message_along(write_model: Any) -> None:
    rows = {
        "instruction": ["Add", "Sing", None, "x"],
        "input": ["1 and 2", " ", "x", None],
        "output": ["3", "La", "x", ""],
        "system": ["Be short", None, None, None],
    }
    found = prepared(write_model(CHATML), rows, PAIR)
    im = "<|im_start|>{}\n{}<|im_end|>\n".format
    assert texts(found)[:2] == [
        "<s>" + im("system", "Be short") + im("user", "Add\n\n1 and 2") + im("assistant", "3"),
        "<s>" + im("user", "Sing") + im("assistant", "La"),
    ]
    assert problems(found) == {2: "has no prompt", 3: "has no response"}


def test_a_system_column_adds_to_conversations_that_have_no_system_message(write_model: Any) -> None:
    chat = ChatSettings(ConversationFormat.OPENAI, messages_column="messages", system_column="system")
    own = [{"role": "system", "content": "mine"}, TALK[0]]
    found = prepared(write_model(CHATML), {"messages": [TALK[:1], own], "system": ["other", "other"]}, chat)
    first, second = texts(found)
    assert first and "<|im_start|>system\nother<|im_end|>" in first
    assert second and "mine" in second and "other" not in second


def test_calls_of_tools_reach_the_template_without_what_other_messages_have(write_model: Any) -> None:
    template = (
        "{% for m in messages %}{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}{{ c | tojson }}"
        "{% endfor %};{% endfor %}"
    )
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": None}}}
    talk = [
        {"role": "user", "content": "go", "tool_calls": None, "weight": 1.5},
        {"role": "assistant", "content": None, "tool_calls": [call], "weight": None},
    ]
    found = prepared(write_model(template), [talk])
    expected = json.dumps({"type": "function", "function": {"name": "f", "arguments": {"x": 1}}})
    assert texts(found) == [f"<s>user:go;assistant:{expected};"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (None, "is null"),
        ([], "has no messages"),
        ([{"role": "narrator", "content": "x"}], "has a message with the unknown role 'narrator'"),
        ([{"role": None, "content": "x"}], "has a message with no role"),
        ([{"role": "user", "content": None}], "has a message without content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "has a part that is no text (image_url)"),
        ("nonsense", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"role": "user"}', "is no list of messages"),
        ("[1]", "has a message that is no record"),
        ('[{"role": "user", "content": 1}]', "has a message whose content is no text"),
        ('[{"role": "user", "content": "\\ud800"}]', "has half a character (a lone surrogate)"),
    ],
)
def test_a_row_without_a_conversation_is_an_empty_document_with_its_reason(
    write_model: Any, row: Any, reason: str
) -> None:
    found = prepared(write_model(CHATML), [row])
    assert (texts(found), problems(found)) == ([""], {0: reason})


def test_document_n_is_row_n_and_the_manifest_counts_the_others(tmp_path: Path, write_model: Any) -> None:
    odd = [{"role": "narrator", "content": "x"}]
    rows = [TALK, None, odd, TALK[1:2], [], TALK[:2], odd]
    result, ids = tokenized(tmp_path, write_model(ALTERNATING), rows)
    assert [bool(document) for document in ids] == [True, False, False, False, False, True, False]
    refused = "the chat template does not take it: Conversation roles must alternate user/assistant/user/assistant/"
    expected = {
        "has a message with the unknown role 'narrator'": 2, "is null": 1, refused: 1, "has no messages": 1
    }  # fmt: skip
    assert {reason.rstrip("."): count for reason, count in result.empty_because.items()} == expected
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["empty_because"] == dict(result.empty_because)
    assert manifest["counts"]["null_documents"] == result.null_documents == 1
    assert manifest["settings"]["chat"] == {"format": "OPENAI", "messages_column": "messages"}
    assert manifest["chat"] == {
        "template_sha256": hashlib.sha256(ALTERNATING.encode()).hexdigest(),
        "template_date": "2024-07-26",
        "conversations": 2,
        "no_conversations": 5,
    }
    assert manifest["tokenizer"]["special_tokens"] == {
        "bos": {"id": 1, "token": "<s>"}, "eos": {"id": 2, "token": "</s>"}, "pad": None
    }  # fmt: skip


def test_a_template_that_takes_no_conversation_at_all_fails_with_its_reason(tmp_path: Path, write_model: Any) -> None:
    model = write_model("{{ raise_exception('Only for pictures!') }}")
    with pytest.raises(ChatTemplateMissing, match=r"none of the 2 conversations: Only for pictures!"):
        tokenized(tmp_path, model, [TALK, None, TALK])


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (None, "has no chat template"),
        ({"tool_use": CHATML}, "has no chat template"),
        ("{% for %}", "is broken: "),
        ("{{ messages | nonsense }}", "is broken: .*nonsense"),
    ],
)
def test_a_model_without_a_usable_template_is_refused(write_model: Any, template: Any, text: str) -> None:
    named = [{"name": name, "template": source} for name, source in template.items()] if isinstance(
        template, dict
    ) else template  # fmt: skip
    with pytest.raises(ChatTemplateMissing, match=text) as caught:
        prepared(write_model(named), [TALK])
    assert caught.value.field == "settings.chat"


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{% set _ = messages.append({}) %}x",
        "{{ undefined.attribute }}",
        "{{ 1 / 0 }}",
        "{{ messages[99].content }}",
        "{{ 'x' + 1 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ ' ' }}",
    ],
)
def test_a_template_that_fails_or_leaves_its_sandbox_empties_the_document(write_model: Any, source: str) -> None:
    found = prepared(write_model(source), [TALK])
    assert texts(found) == [""]
    assert problems(found)[0].startswith("the chat template does not take it: ")


def test_templates_are_found_wherever_models_keep_them(tmp_path: Path, write_model: Any) -> None:
    model = write_model([{"name": "default", "template": "named"}, {"name": "rag", "template": "x"}])
    assert load_tokenizer(model).chat_template == "named"
    (model / "chat_template.jinja").write_text("in a file")
    assert load_tokenizer(model).chat_template == "in a file"
    model = write_model()
    (model / "chat_template.jinja").unlink()
    (model / "chat_template.json").write_text(json.dumps({"chat_template": "of old"}))
    assert load_tokenizer(model).chat_template == "of old"


def test_templates_that_print_the_day_print_the_same_one_every_day(write_model: Any) -> None:
    template = ChatTemplate(load_tokenizer(write_model("{{ strftime_now('%d %b %Y') }}")))
    assert template.render(TALK) == "<s>26 Jul 2024"
    assert datetime.datetime.now(datetime.UTC).year != 2024


def test_messages_are_cleaned_and_the_template_is_not(write_model: Any) -> None:
    talk = [{"role": "user", "content": "See  WWW.A.B"}, {"role": "assistant", "content": "OK"}]
    gone = [{"role": "user", "content": " www.a.b"}]
    steps = (CleaningStep.REMOVE_URLS, CleaningStep.COLLAPSE_WHITESPACE, CleaningStep.LOWERCASE)
    found = prepared(write_model("{{ bos_token }}{% for m in messages %}[INST]  {{ m.content }}{% endfor %}"),
                     [None, talk, gone, TALK[3:]], MESSAGES, *steps)  # fmt: skip
    assert texts(found) == ["", "<s>[INST]  see[INST]  ok", "", "<s>[INST]  yes."]
    assert problems(found) == {0: "is null", 2: "has no text left after cleaning"}
    told = [(effect.changed.tolist(), effect.emptied.tolist()) for effect in found.effects]
    assert told == [([1, 2], []), ([1, 2], [2]), ([1, 3], [])]


def test_the_manifest_tells_what_cleaning_did(tmp_path: Path, write_model: Any) -> None:
    gone = [{"role": "user", "content": "www.a.b"}]
    steps = (CleaningStep.REMOVE_URLS, CleaningStep.FIX_ENCODING)
    tokenized(tmp_path, write_model(CHATML), [TALK, gone], MESSAGES, *steps)
    cleaning = json.loads((tmp_path / "out/manifest.json").read_text())["cleaning"]
    assert cleaning["steps"] == [
        {"step": "REMOVE_URLS", "changed_documents": 1, "emptied_documents": 1},
        {"step": "FIX_ENCODING", "changed_documents": 0, "emptied_documents": 0},
    ]
    assert sorted(cleaning["libraries"]) == ["ftfy", "pyarrow"]
