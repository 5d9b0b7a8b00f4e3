import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mistudio_datasets.data.incoming.csv_rows import CsvOptions
from mistudio_datasets.data.incoming.reading import read_source
from mistudio_datasets.data.incoming.source_plan import SourcePlan
from mistudio_datasets.data.texts.conversation_columns import ConversationColumns
from mistudio_datasets.domain.conversations import ChatSettings, ConversationFormat
from mistudio_datasets.domain.datasets import DataFormat
from mistudio_datasets.domain.progress import UNWATCHED
from mistudio_servicekit.errors import ConversationMissing, InvalidArgument

from .conftest import write_source

OPENAI = [[{"role": "user", "content": "a", "name": None}, {"role": "assistant", "content": "b", "name": "x"}]]
SHAREGPT = [[{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]]
PARTS = [[{"role": "user", "content": [{"type": "text", "text": "a"}]}]]
ODD = [[{"role": "narrator", "content": "a"}]]


def columns_of(folder: Path, **columns: Any) -> ConversationColumns:
    write_source(folder, "train.parquet", pa.table(columns))
    plan = SourcePlan("", DataFormat.PARQUET, {"train": ("train.parquet",)}, (), CsvOptions())
    layout = read_source(folder, plan, UNWATCHED)
    return ConversationColumns(folder, layout, layout.split("train"))


def listed(format: ConversationFormat, column: str, system: str = "") -> ChatSettings:
    return ChatSettings(format, messages_column=column, system_column=system)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"text": ["x"], "messages": OPENAI}, listed(ConversationFormat.OPENAI, "messages")),
        ({"talk": PARTS}, listed(ConversationFormat.OPENAI, "talk")),
        ({"conversations": SHAREGPT, "id": [1]}, listed(ConversationFormat.SHAREGPT, "conversations")),
        ({"rejected": OPENAI, "chosen": OPENAI}, listed(ConversationFormat.OPENAI, "chosen")),
        ({"dialog": [json.dumps(SHAREGPT[0])]}, listed(ConversationFormat.SHAREGPT, "dialog")),
        ({"a": ODD * 3 + OPENAI}, listed(ConversationFormat.OPENAI, "a")),
        ({"System": ["be kind"], "messages": OPENAI}, listed(ConversationFormat.OPENAI, "messages", "System")),
        ({"messages": pa.array([None], pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))},
         listed(ConversationFormat.OPENAI, "messages")),
    ],
)  # fmt: skip
def test_columns_of_messages_are_recognised(tmp_path: Path, columns: Any, expected: ChatSettings) -> None:
    found = columns_of(tmp_path, **columns)
    assert found.recognise() == expected
    assert found.settle(ChatSettings()) == expected == found.settle(expected)


@pytest.mark.parametrize(
    "columns",
    [
        {"text": ["[]", '[{"role": "user"}]', "[1]", None]},
        {"numbers": [[1, 2]]},
        {"messages": ODD},
        {"messages": [[{"who": "user", "what": "a"}]]},
        {"prompt": ["a"], "response": ["b"]},
    ],
)
def test_what_is_no_column_of_messages_is_not_recognised(tmp_path: Path, columns: Any) -> None:
    assert columns_of(tmp_path, **columns).recognise() is None


@pytest.mark.parametrize(
    ("columns", "wanted", "expected"),
    [
        (["prompt", "Completion"], {}, ["prompt", "Completion", "", ""]),
        (["instruction", "input", "output", "system"], {}, ["instruction", "output", "system", "input"]),
        (["instruction", "context", "response"], {}, ["instruction", "response", "", "context"]),
        (["question", "input", "answer"], {}, ["question", "answer", "", ""]),
        (["input", "output"], {}, ["input", "output", "", ""]),
        (["question", "x", "y"], {"response_column": "x"}, ["question", "x", "", ""]),
        (["a", "b", "c"], {"prompt_column": "a", "response_column": "b", "system_column": "c"}, ["a", "b", "c", ""]),
    ],
)
def test_columns_of_prompts_and_responses_are_found(
    tmp_path: Path, columns: list[str], wanted: Any, expected: list[str]
) -> None:
    found = columns_of(tmp_path, **{name: ["x"] for name in columns})
    prompt, response, system, about = expected
    settled = ChatSettings(ConversationFormat.PROMPT_RESPONSE, "", prompt, response, system, about)
    assert found.settle(ChatSettings(**wanted)) == settled == found.settle(settled)


@pytest.mark.parametrize(
    ("wanted", "field", "text"),
    [
        ({}, "messages_column", r"no column of messages.*text \(string\) is no JSON.*numbers \(list.*no list of mess"),
        ({"messages_column": "nope"}, "messages_column", "no column 'nope'"),
        ({"messages_column": "text"}, "messages_column", "'text' is no column of conversations: it is no JSON"),
        ({"messages_column": "numbers"}, "messages_column", "'numbers' is no column of conversations: it holds list"),
        ({"messages_column": "odd"}, "messages_column", "unknown role 'narrator' in its first rows"),
        ({"prompt_column": "text"}, "response_column", "usual name for response_column"),
        ({"format": ConversationFormat.PROMPT_RESPONSE}, "prompt_column", "usual name for prompt_column"),
        ({"prompt_column": "numbers", "response_column": "text"}, "prompt_column", "holds list.*not text"),
        ({"prompt_column": "text", "response_column": "nope"}, "response_column", "no column 'nope'"),
        ({"system_column": "numbers"}, "system_column", "not text"),
    ],
)
def test_columns_that_are_no_conversation_are_refused_with_all_and_why(
    tmp_path: Path, wanted: Any, field: str, text: str
) -> None:
    found = columns_of(tmp_path, text=["x"], numbers=[[1]], odd=ODD)
    with pytest.raises(ConversationMissing, match=text) as caught:
        found.settle(ChatSettings(**wanted))
    assert caught.value.field == f"settings.chat.{field}"
    assert all(name in caught.value.next_step for name in ("text (string)", "numbers (list", "odd (list"))


def test_another_format_than_asked_for_is_refused(tmp_path: Path) -> None:
    found = columns_of(tmp_path, messages=OPENAI)
    with pytest.raises(ConversationMissing, match="as OPENAI, not SHAREGPT") as caught:
        found.settle(ChatSettings(ConversationFormat.SHAREGPT, "messages"))
    assert caught.value.field == "settings.chat.format"
    with pytest.raises(ConversationMissing):
        found.settle(ChatSettings(ConversationFormat.SHAREGPT))


def test_columns_of_both_kinds_are_refused(tmp_path: Path) -> None:
    found = columns_of(tmp_path, messages=OPENAI, prompt=["a"])
    with pytest.raises(InvalidArgument) as caught:
        found.settle(ChatSettings(messages_column="messages", prompt_column="prompt"))
    assert caught.value.field == "settings.chat.prompt_column"
