"""What may be done to a text before it is tokenized."""

from __future__ import annotations

from enum import StrEnum


class CleaningStep(StrEnum):
    """A step of cleaning; mirrors `mistudio.datasets.v1.CleaningStep`, which says what each does."""

    UNICODE_NFC = "UNICODE_NFC"
    UNICODE_NFKC = "UNICODE_NFKC"
    FIX_ENCODING = "FIX_ENCODING"
    REMOVE_CONTROL_CHARACTERS = "REMOVE_CONTROL_CHARACTERS"
    REMOVE_HTML = "REMOVE_HTML"
    REMOVE_URLS = "REMOVE_URLS"
    REMOVE_EMAIL_ADDRESSES = "REMOVE_EMAIL_ADDRESSES"
    COLLAPSE_WHITESPACE = "COLLAPSE_WHITESPACE"
    LOWERCASE = "LOWERCASE"
