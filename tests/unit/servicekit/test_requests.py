"""Request fields are checked alike everywhere."""

import pytest

from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import Aborted, InvalidArgument, InvalidPageToken, MalformedId, MissingField
from mistudio_servicekit.pagination import PageRequest, decode_token, encode_token, offset_token
from mistudio_servicekit.requests import check_etag, check_labels, check_request_id, parse_id


@pytest.mark.parametrize("value", ["abc", "{0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e}", "0197f2a45c3e7b1a9d2f3e4a5b6c7d8e"])
def test_an_id_must_be_canonical(value: str) -> None:
    with pytest.raises(MalformedId) as caught:
        parse_id("id", value)
    assert value in caught.value.message


def test_an_empty_id_is_missing() -> None:
    with pytest.raises(MissingField):
        parse_id("dataset_id", "")


def test_ids_sort_by_time() -> None:
    ids = [new_id() for _ in range(100)]
    assert ids == sorted(ids)
    assert parse_id("id", str(ids[0])) == ids[0]


def test_too_long_texts_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="129"):
        check_request_id("x" * 129)
    with pytest.raises(InvalidArgument, match="65 labels"):
        check_labels("labels", {str(n): "" for n in range(65)})


def test_a_stale_etag_is_aborted() -> None:
    check_etag("", "3", "dataset")
    check_etag("3", "3", "dataset")
    with pytest.raises(Aborted, match="'3', not '2'"):
        check_etag("2", "3", "dataset")


def test_a_page_token_belongs_to_its_query() -> None:
    token = encode_token(["a"], [5])
    assert decode_token(token, ["a"]) == [5]
    assert offset_token(["a"], token, 0) == 5
    for wrong in (token[:-3], "%%%", encode_token(["b"], [5])):
        with pytest.raises(InvalidPageToken):
            decode_token(wrong, ["a"])


@pytest.mark.parametrize("size", [-1, 501])
def test_a_page_has_bounds(size: int) -> None:
    with pytest.raises(InvalidArgument, match=str(size)):
        PageRequest(page_size=size).size()
