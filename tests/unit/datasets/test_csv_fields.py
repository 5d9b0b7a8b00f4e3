import pytest

from mistudio_datasets.data.incoming.csv_rows import sniff_delimiter, typed_field


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("-3", -3), ("1.5", 1.5), ("-2e3", -2000.0), ("true", True), ("False", False), ("abc", "abc")],
)
def test_plain_values_get_their_type(text: str, value: object) -> None:
    assert typed_field(text) == value
    assert type(typed_field(text)) is type(value)


@pytest.mark.parametrize(
    "text", ["007", "+1", "1,5", "1e999", "-0", " 1", "1_000", "٣", "1٣", "nan", ".", "-", "e5", "-E10", "1."]
)
def test_texts_that_a_number_would_not_give_back_stay_text(text: str) -> None:
    assert typed_field(text) == text


@pytest.mark.parametrize(
    ("head", "delimiter"),
    [
        (b"a,b\n1,2\n", ","),
        (b"a;b\n1,5;2,5\n3,1;4\n", ";"),
        (b"a\tb\nx, y\tz\n", "\t"),
        (b"a|b|c\n1|2|3\n", "|"),
        (b'a,b\n"x;y;z",2\n"p;q;r",4\n', ","),
        (b"only\none\n", ","),
    ],
)
def test_the_delimiter_is_found(head: bytes, delimiter: str) -> None:
    assert sniff_delimiter(head) == delimiter
