"""Resume tokens: opaque, whole, bound to their watch."""

import base64
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio_gateway import tokens
from mistudio_gateway.floors import Floor
from mistudio_gateway.selection import Selection
from mistudio_gateway.tokens import ResumeToken
from mistudio_servicekit.errors import InvalidResumeToken

JOB = Selection.of_job("0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e")
floors = st.dictionaries(
    st.uuids().map(str),
    st.builds(Floor, st.integers(0, 2**62), st.tuples(st.integers(-1, 2**31 - 1), st.integers(-1, 2**62))),
    max_size=5,
)


@given(st.binary(min_size=8, max_size=8), st.integers(0, 2**63), st.booleans(), floors)
def test_a_token_comes_back_as_it_was(identity, sequence, ended, known):
    token = ResumeToken(identity, sequence, ended, known)
    assert tokens.decode(token.encode(JOB), JOB) == token


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_token_with_any_changed_byte_is_refused(place, change):
    whole = bytearray(base64.urlsafe_b64decode(_token() + "=="))
    whole[place % len(whole)] ^= change
    with pytest.raises(InvalidResumeToken):
        tokens.decode(base64.urlsafe_b64encode(whole).decode(), JOB)


@given(st.text(max_size=80))
def test_no_text_breaks_the_reading_of_tokens(text):
    with pytest.raises(InvalidResumeToken):
        tokens.decode(text, JOB)


def test_a_token_of_another_watch_says_so():
    other = Selection.of_job(str(uuid4()))
    with pytest.raises(InvalidResumeToken, match="another watch"):
        tokens.decode(_token(), other)


def _token() -> str:
    return ResumeToken(b"identity", 42, False, {str(uuid4()): Floor(3, (1, 7))}).encode(JOB)
