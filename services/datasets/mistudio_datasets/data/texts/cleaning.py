"""Cleaning texts: every step on whole columns, in time that grows with the text alone, whatever the text is."""

from __future__ import annotations

import html
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Literal, cast

import ftfy
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mistudio_datasets.domain.cleaning import CleaningStep

_Ints = npt.NDArray[np.int64]
_Clean = Callable[[pa.StringArray], pa.StringArray]


@dataclass(frozen=True)
class StepEffect:
    """What a step did to a batch: the documents that it changed, and those that it left without any text."""

    step: CleaningStep
    changed: _Ints
    emptied: _Ints


class Cleaner:
    """Takes steps one after the other; without steps, texts pass as they are."""

    def __init__(self, steps: Sequence[CleaningStep]) -> None:
        self._steps = tuple(steps)

    def clean(
        self, texts: pa.StringArray, documents: _Ints | None = None
    ) -> tuple[pa.StringArray, tuple[StepEffect, ...]]:
        """The texts after every step, and what each step did.

        Args:
            texts: without nulls.
            documents: for each text the number of its document, ascending; None: each is a document.
        """
        owners = np.arange(len(texts)) if documents is None else documents
        effects = []
        for step in self._steps:
            cleaned = _CLEANERS[step](texts)
            effects.append(_effect(step, texts, cleaned, owners))
            texts = cleaned
        return texts, tuple(effects)


def libraries_of(steps: Sequence[CleaningStep]) -> dict[str, str]:
    """The versions of the libraries that take `steps`, by name."""
    names = {"ftfy" if step is CleaningStep.FIX_ENCODING else "pyarrow" for step in steps}
    return {name: version(name) for name in sorted(names)}


def _effect(step: CleaningStep, before: pa.StringArray, after: pa.StringArray, owners: _Ints) -> StepEffect:
    changed = np.unique(owners[pc.not_equal(before, after).to_numpy(False)])
    had, has = _bytes_of_documents(before, owners), _bytes_of_documents(after, owners)
    return StepEffect(step, changed, np.flatnonzero((had > 0) & (has == 0)))


def _bytes_of_documents(texts: pa.StringArray, owners: _Ints) -> _Ints:
    return np.bincount(owners, pc.binary_length(texts).to_numpy(False)).astype(np.int64)


def _replacing(*rules: tuple[str, str]) -> _Clean:
    """Replaces all matches of each pattern in turn; Arrow's engine (RE2) takes linear time."""

    def clean(texts: pa.StringArray) -> pa.StringArray:
        for pattern, replacement in rules:
            texts = pc.replace_substring_regex(texts, pattern=pattern, replacement=replacement)
        return texts

    return clean


def _each(texts: pa.StringArray, wanted: pa.BooleanArray, change: Callable[[str], str]) -> pa.StringArray:
    """`texts` with those that are `wanted` changed one by one."""
    changed = [change(text) for text in texts.filter(wanted).to_pylist() if text is not None]
    return cast(pa.StringArray, pc.replace_with_mask(texts, wanted, pa.array(changed, pa.string())))


def _matching(texts: pa.StringArray, pattern: str) -> pa.BooleanArray:
    return pc.match_substring_regex(texts, pattern=pattern)


def _not_ascii(texts: pa.StringArray) -> pa.BooleanArray:
    return pc.invert(pc.string_is_ascii(texts))


def _normalizing(composed: Literal["NFC", "NFKC"], decomposed: Literal["NFD", "NFKD"]) -> _Clean:
    def clean(texts: pa.StringArray) -> pa.StringArray:
        long_runs = _matching(texts, _LONG_RUN_OF_MARKS)
        in_order = _each(texts, long_runs, lambda text: _with_sorted_marks(text, decomposed))
        return cast(pa.StringArray, pc.utf8_normalize(in_order, form=composed))  # type: ignore[attr-defined]  # missing in the stubs

    return clean


# Normalizers sort runs of combining marks by insertion, which takes hours for a run of a million. Sorted before in a
# way that keeps the text equivalent, the result is the same and takes no time.
_LONG_RUN_OF_MARKS = r"[\p{M}\x{ff9e}\x{ff9f}]{32}"


def _with_sorted_marks(text: str, form: Literal["NFD", "NFKD"]) -> str:
    def in_order(run: re.Match[str]) -> str:
        return "".join(sorted(_parts(run.group(), form), key=unicodedata.combining))

    return _marks(form).sub(in_order, text)


def _parts(run: str, form: Literal["NFD", "NFKD"]) -> str:
    """The marks that `run` is made of; one by one, since together they would be sorted."""
    return "".join(unicodedata.normalize(form, mark) for mark in run)


@lru_cache(maxsize=2)
def _marks(form: Literal["NFD", "NFKD"]) -> re.Pattern[str]:
    """Matches long runs of characters that, decomposed, are nothing but combining marks."""
    every = (chr(code) for code in range(sys.maxunicode + 1) if _is_mark(chr(code), form))
    return re.compile(f"[{''.join(every)}]{{32,}}")


def _is_mark(character: str, form: Literal["NFD", "NFKD"]) -> bool:
    decomposed = unicodedata.decomposition(character) or unicodedata.combining(character)
    return bool(decomposed) and all(map(unicodedata.combining, unicodedata.normalize(form, character)))


# ftfy does much more than what the step promises: all the rest is off.
_MENDING = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)


def _mended(texts: pa.StringArray) -> pa.StringArray:
    return _each(texts, _not_ascii(texts), lambda text: ftfy.fix_text(text, _MENDING))


def _in_lower_case(texts: pa.StringArray) -> pa.StringArray:
    # Arrow lowers letter by letter: it knows no final sigma, and no letter that becomes two.
    return _each(pc.ascii_lower(texts), _not_ascii(texts), str.lower)


_ATTRIBUTES = r"""(?:[^<>"']|"[^"<]*"|'[^'<]*')*"""
_BLOCKS = (
    "address|article|aside|blockquote|body|br|caption|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|form|"
    "h[1-6]|head|header|hr|html|legend|li|main|nav|ol|option|p|pre|section|summary|table|tbody|td|tfoot|th|thead|"
    "title|tr|ul"
)
_without_tags = _replacing(
    (r"(?is)<!--.*?-->|<script\b[^>]*>.*?</script\s*>|<style\b[^>]*>.*?</style\s*>", ""),
    (rf"(?i)</?(?:{_BLOCKS})(?:[\s/]{_ATTRIBUTES})?>", "\n"),
    (rf"</?[a-zA-Z]{_ATTRIBUTES}>|</?[a-zA-Z][^<>]*>|<![a-zA-Z\[][^>]*>|<\?[a-zA-Z][^>]*>", ""),
)
# With a bound on its length, and closed: what only looks like one stays, and numbers stay small.
_CHARACTER_REFERENCE = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")


def _without_html(texts: pa.StringArray) -> pa.StringArray:
    plain = _without_tags(texts)
    return _each(plain, _matching(plain, "&"), lambda text: _CHARACTER_REFERENCE.sub(_character, text))


def _character(reference: re.Match[str]) -> str:
    return html.unescape(reference.group())


_URL = r"""(?i)\b(?:https?://|ftp://|www\.)[^\s\p{Z}<>"]*[^\s\p{Z}<>"'.,;:!?)\]}]"""
_EMAIL_ADDRESS = r"[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}\-]+(?:\.[\p{L}\p{N}\-]+)+"
_without_runs = _replacing((r"[ \t]+", " "), (r"\r?\n(?:[ \t]*\r?\n){2,}", "\n\n"))


def _with_little_whitespace(texts: pa.StringArray) -> pa.StringArray:
    return pc.utf8_trim_whitespace(_without_runs(texts))


_CLEANERS: Mapping[CleaningStep, _Clean] = {
    CleaningStep.UNICODE_NFC: _normalizing("NFC", "NFD"),
    CleaningStep.UNICODE_NFKC: _normalizing("NFKC", "NFKD"),
    CleaningStep.FIX_ENCODING: _mended,
    CleaningStep.REMOVE_CONTROL_CHARACTERS: _replacing((r"[\x00-\x08\x0b-\x1f\x7f-\x{9f}]", "")),
    CleaningStep.REMOVE_HTML: _without_html,
    CleaningStep.REMOVE_URLS: _replacing((_URL, "")),
    CleaningStep.REMOVE_EMAIL_ADDRESSES: _replacing((_EMAIL_ADDRESS, "")),
    CleaningStep.COLLAPSE_WHITESPACE: _with_little_whitespace,
    CleaningStep.LOWERCASE: _in_lower_case,
}
