import time
import unicodedata
from typing import Literal

import pyarrow as pa
import pytest

from mistudio_datasets.data.texts.cleaning import Cleaner, libraries_of
from mistudio_datasets.domain.cleaning import CleaningStep


def cleaned(text: str, *steps: CleaningStep) -> str:
    (found,) = Cleaner(steps).clean(pa.array([text], pa.string()))[0].to_pylist()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        (CleaningStep.UNICODE_NFC, "e\u0301 ﬁ", "é ﬁ"),
        (CleaningStep.UNICODE_NFKC, "e\u0301 ﬁ Ａ", "é fi A"),
        (CleaningStep.FIX_ENCODING, "cafÃ© isnâ€™t\n日本", "café isn’t\n日本"),
        (CleaningStep.FIX_ENCODING, "&amp; ﬁ “x”\r\n", "&amp; ﬁ “x”\r\n"),
        (CleaningStep.REMOVE_CONTROL_CHARACTERS, "a\x00\x07b\tc\nd\r\x7f\x85e\u00a0", "ab\tc\nde\u00a0"),
        (CleaningStep.REMOVE_HTML, "<p class='x'>one &lt;two&gt;</p><p>three</p>", "\none <two>\n\nthree\n"),
        (CleaningStep.REMOVE_HTML, "a<b>bo</b>ld <br/>x<!-- <p>no</p> -->", "abold \nx"),
        (CleaningStep.REMOVE_HTML, "<SCRIPT a='b'>if (a<b) '</p>'</SCRIPT >x<style>p{}</style>y", "xy"),
        (CleaningStep.REMOVE_HTML, '<a title="x > y" href=z>link</a>', "link"),
        (CleaningStep.REMOVE_HTML, "1 < 2 && 3 > 2, AT&T; a<3", "1 < 2 && 3 > 2, AT&T; a<3"),
        (CleaningStep.REMOVE_HTML, f"&#{'9' * 5000};", f"&#{'9' * 5000};"),
        (CleaningStep.REMOVE_URLS, "see https://x.y/z?q=1#a, or (www.a.de). ok", "see , or (). ok"),
        (CleaningStep.REMOVE_URLS, "<a href=\"http://é.fr/ü\">", '<a href="">'),
        (CleaningStep.REMOVE_EMAIL_ADDRESSES, "Ann <a.b+c@d-e.co.uk>, @home a@b", "Ann <>, @home a@b"),
        (CleaningStep.COLLAPSE_WHITESPACE, "  a \t b\n\nc\n\n\n\nd\n \n \ne \n", "a b\n\nc\n\nd\n\ne"),
        (CleaningStep.LOWERCASE, "ABC ΟΔΟΣ İ", "abc οδος i̇"),
    ],
)  # fmt: skip
def test_each_step_does_what_it_says(step: CleaningStep, text: str, expected: str) -> None:
    assert cleaned(text, step) == expected


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_normal_forms_are_those_of_unicode(form: Literal["NFC", "NFKC"]) -> None:
    step = CleaningStep(f"UNICODE_{form}")
    known = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    texts = [*known, "e\u0316\u0301" * 40, "\u0301\u0316" * 50, "é" + "\u0301\u0316\u0344\u0f73" * 50, "ﾞ\u0316" * 50]
    found, _ = Cleaner([step]).clean(pa.array(texts, pa.string()))
    assert found.to_pylist() == [unicodedata.normalize(form, text) for text in texts]


HOSTILE = (
    "<", "<div>", "<a ", "<a '", "<a \"x", "<!--", "<!-->", "<script>", "<script></script", "&", "&amp;", "&#9",
    "http://", "http://x.", "www.", "a@", "a@b.", "a@b.c@", "é@é.é", " ", "\n", " \n", "\t ", "\u0301\u0316",
    "\u0316\u0f73\u0301", "ﾞ\u0316", "\u1161\u1100", "ﷺ", "Ã©", "ÃƒÂ©", "Ã©日", "\x80", "Ã", "İ", "Σ", "\x00", "a",
)  # fmt: skip


@pytest.mark.parametrize("step", list(CleaningStep))
def test_a_hostile_megabyte_takes_a_moment(step: CleaningStep) -> None:
    slowest = 0.0
    for pattern in HOSTILE:
        text = pattern * (1_000_000 // len(pattern.encode()))
        started = time.process_time()
        cleaned(f"{text}>", step)
        slowest = max(slowest, time.process_time() - started)
    assert slowest < 20


def test_steps_are_taken_in_their_order() -> None:
    html, urls = CleaningStep.REMOVE_HTML, CleaningStep.REMOVE_URLS
    text = "https://a.b/<i>c</i>"
    assert (cleaned(text, html, urls), cleaned(text, urls, html)) == ("", "c")


def test_what_each_step_changed_and_emptied_is_told() -> None:
    steps = [CleaningStep.REMOVE_URLS, CleaningStep.COLLAPSE_WHITESPACE, CleaningStep.LOWERCASE]
    texts, effects = Cleaner(steps).clean(pa.array(["www.x.y", " a", "", " www.x.y ", "b"], pa.string()))
    assert texts.to_pylist() == ["", "a", "", "", "b"]
    told = [(effect.changed.tolist(), effect.emptied.tolist()) for effect in effects]
    assert told == [([0, 3], [0]), ([1, 3], [3]), ([], [])]


def test_slices_and_empty_batches_are_taken() -> None:
    texts = pa.array(["A", "É", "", "Ï&amp;"], pa.string())
    for part in (texts.slice(1, 2), texts.slice(3), texts.slice(4)):
        found, _ = Cleaner(list(CleaningStep)).clean(part)
        expected = [cleaned(text, *CleaningStep) for text in part.to_pylist() if text is not None]
        assert found.to_pylist() == expected


def test_without_steps_texts_pass_untouched() -> None:
    texts = pa.array([" A ", ""], pa.string())
    assert Cleaner([]).clean(texts) == (texts, ())
    assert libraries_of([]) == {}
