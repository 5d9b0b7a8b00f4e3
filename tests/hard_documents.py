"""Documents on which tokenizers go wrong: generated, the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.tokenizer_families import english_paragraphs

_SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_start|>user", "<tool_call>", "</tool_call>", "<mask>", "<sep>",
    "<both>", "whole", "wholesale", "[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "<s>", "</s>", "<unk>", "<0x0A>",
    "<|endoftext", "|>", "▁", "▁▁", "Ġ", "Ċ", "##ing",
)  # fmt: skip
_EMOJI = ("👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "👍🏽", "😀", "❤️", "🧑🏿‍🚀", "#️⃣", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "☃", "🇩")
_BLANKS = " \t\n\r\v\f\x1c\x1f\x85\xa0\u1680\u2003\u200a\u2028\u2029\u202f\u205f\u3000\u200b\u2060\ufeff"
_CODE = (
    "def f(x: int) -> dict:\n    return {'a': [x ** 2]}  # tab\there\n\n\n", "for(;;){if(a!=b&&c<=d)i++;}\r\n",
    "SELECT * FROM \"t\" WHERE a<>'b''c';--", "<div class=\"x\">&nbsp;&#8217;</div>\n\n", "\\frac{a}{b} $x_{i}^{2}$",
    "\t\t\t}\n\t\t}\n\t}\n}", "0xDEADBEEF 0b1010 1e-10 .5 5.", "#!/bin/sh\nset -eu\n", "```py\nx = 1\n```",
)  # fmt: skip
_URLS = ("https://x.y/z?q=1&r=%20#a", "user@host.tld", "ftp://[::1]:21/", "www.例え.jp", "data:;base64,SGVsbG8=")
_RANGES = {
    "cjk": (0x4E00, 0x9FFF), "kana": (0x3040, 0x30FF), "hangul": (0xAC00, 0xD7A3), "jamo": (0x1100, 0x11FF),
    "arabic": (0x600, 0x6FF), "hebrew": (0x591, 0x5F4), "devanagari": (0x900, 0x97F), "thai": (0xE01, 0xE5B),
    "greek": (0x370, 0x3FF), "latin": (0xC0, 0x24F), "math": (0x1D400, 0x1D7FF), "symbols": (0x2000, 0x2BFF),
    "forms": (0xF900, 0xFDFF), "wide": (0xFF00, 0xFFEF), "private": (0xE000, 0xE0FF), "tags": (0xE0000, 0xE01EF),
    "control": (0, 0x1F), "control 1": (0x7F, 0x9F), "gothic": (0x10330, 0x1034A), "digits": (0x660, 0x669),
}  # fmt: skip


def hard_documents(count: int, seed: int = 7) -> list[str]:
    """`count` documents of zero to ten parts, each of a random hard kind or plain English."""
    draw = random.Random(seed)
    kinds = list(_KINDS.values())
    return ["".join(draw.choice(kinds)(draw) for _ in range(draw.randrange(11))) for _ in range(count)]


def _english(draw: random.Random) -> str:
    return draw.choice(english_paragraphs())[: draw.randrange(200)]


def _script(draw: random.Random) -> str:
    first, last = draw.choice(list(_RANGES.values()))
    text = "".join(chr(draw.randint(first, last)) for _ in range(draw.randrange(1, 12)))
    return text + draw.choice(["", " ", "\n"])


def _combining(draw: random.Random) -> str:
    letters = "aeiounsçÅfiﬁǅßİıकন각か"
    return "".join(
        draw.choice(letters) + "".join(chr(draw.randint(0x300, 0x36F)) for _ in range(draw.randrange(4)))
        for _ in range(draw.randrange(1, 8))
    )


def _any_character(draw: random.Random) -> str:
    points = (draw.randrange(0x110000) for _ in range(draw.randrange(1, 8)))
    return "".join(chr(point) for point in points if not 0xD800 <= point <= 0xDFFF)


def _blanks(draw: random.Random) -> str:
    return "".join(draw.choices(_BLANKS, k=draw.randrange(1, 10)))


def _long_word(draw: random.Random) -> str:
    part = draw.choice(["a", "ab", "Aa", "é", "語", "_", "!?", "=-", "0", "x1", "'", "ing", "🙂"])
    return part * draw.randrange(20, 400)


def _numbers(draw: random.Random) -> str:
    forms = ("{:,}", "{}", "{:.3e}", "-{}", "${}", "{}%", "{:x}", "¼{}²", "{}st ", "({}) ")
    return draw.choice(forms).format(draw.randrange(10 ** draw.randrange(1, 15)))


def _contraction(draw: random.Random) -> str:
    ending = draw.choice(["'s", "'S", "'ll", "'LL", "'vE", "'re", "'d", "'", "'ſ", "’t", "''s", "'x"])
    return draw.choice(["don", "I", "", " ", "WE", "ﬁ"]) + ending


def _from(texts: tuple[str, ...]) -> Callable[[random.Random], str]:
    return lambda draw: draw.choice(["", " ", "  ", "x"]) + draw.choice(texts) + draw.choice(["", " ", "  \n", "x"])


_KINDS: dict[str, Callable[[random.Random], str]] = {
    "english": _english, "more english": _english, "script": _script, "combining": _combining, "blanks": _blanks,
    "any character": _any_character, "long word": _long_word, "numbers": _numbers, "contraction": _contraction,
    "specials": _from(_SPECIALS), "emoji": _from(_EMOJI), "code": _from(_CODE), "urls": _from(_URLS),
}  # fmt: skip
