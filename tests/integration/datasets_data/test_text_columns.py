from typing import Any

import pytest

from mistudio_datasets.data.texts.text_column import find_text_column
from mistudio_servicekit.errors import TextColumnMissing


def found(upload: Any, row: str, wanted: str = "") -> str:
    folder, layout = upload("rows.jsonl", row.encode() + b"\n")
    return find_text_column(folder, layout, "train", wanted)


def test_a_usual_name_is_preferred(upload: Any) -> None:
    assert found(upload, '{"title": "a much longer title than the text", "text": "short"}') == "text"


def test_a_usual_name_is_known_in_any_case(upload: Any) -> None:
    assert found(upload, '{"title": "longer title", "Content": "x"}') == "Content"


def test_the_only_text_column_is_taken(upload: Any) -> None:
    assert found(upload, '{"id": 1, "remark": "x"}') == "remark"


def test_among_several_the_one_with_most_text_is_taken(upload: Any) -> None:
    assert found(upload, '{"author": "me", "remark": "a long remark", "tag": "x"}') == "remark"


def test_the_named_column_is_taken(upload: Any) -> None:
    assert found(upload, '{"text": "x", "title": "y"}', "title") == "title"


@pytest.mark.parametrize(
    ("row", "wanted", "text"),
    [
        ('{"text": "x", "n": 1}', "body", r"no column 'body'.*text \(string\), n \(int64\)"),
        ('{"text": "x", "n": 1}', "n", "'n' holds int64, not text"),
        ('{"n": 1}', "", "no text column.*n"),
    ],
)
def test_what_is_no_text_column_is_refused_with_all_columns(upload: Any, row: str, wanted: str, text: str) -> None:
    with pytest.raises(TextColumnMissing, match=text):
        found(upload, row, wanted)
