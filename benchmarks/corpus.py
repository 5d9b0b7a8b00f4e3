"""English to measure with: paragraphs that installed packages carry, and tokenizers trained on them."""

from __future__ import annotations

import ast
import json
import pydoc_data.topics
import random
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.tokenizer_families import train

_PACKAGES = ("datasets", "numpy", "pandas", "transformers")
_LETTERS = "etaoinshrdlcumwfgypbvkjxqz"


@cache
def paragraphs() -> list[str]:
    """All paragraphs of the documentation, each once."""
    pages = list(pydoc_data.topics.topics.values())
    folders = [Path(sysconfig.get_paths()["stdlib"]), *(Path(sysconfig.get_paths()["purelib"]) / p for p in _PACKAGES)]
    for folder in folders:
        for path in folder.rglob("*.py"):
            if folder is not folders[0] or "site-packages" not in path.parts:
                pages += _docstrings(path)
    return sorted({paragraph for page in pages for paragraph in page.split("\n\n") if len(paragraph.strip()) > 40})


def documents(size_bytes: int, seed: int = 0) -> list[str]:
    """Documents of one to six paragraphs, `size_bytes` in all."""
    draw = random.Random(seed)
    texts: list[str] = []
    size = 0
    while size < size_bytes:
        texts.append("\n\n".join(draw.choice(paragraphs()) for _ in range(draw.randint(1, 6))))
        size += len(texts[-1].encode())
    return texts


class NewWords:
    """Documents that never repeat: of every ten words one was not there before, and one is a number or hexadecimal.

    Real text does so too, and what an engine keeps of the words it has met grows with them.
    """

    def __init__(self, seed: int = 0) -> None:
        self._draw = random.Random(seed)
        self._words = sorted({word for paragraph in paragraphs() for word in paragraph.split()})
        self._made = 0

    def documents(self, size_bytes: int) -> list[str]:
        """The next documents, `size_bytes` in all."""
        texts: list[str] = []
        size = 0
        while size < size_bytes:
            texts.append(self._document())
            size += len(texts[-1].encode())
        return texts

    def _document(self) -> str:
        words = self._draw.choices(self._words, k=self._draw.randint(40, 400))
        for place in range(0, len(words), 10):
            words[place] += self._new_word()
        for place in range(5, len(words), 10):
            words[place] = f"{self._draw.getrandbits(40):{'x' if place % 20 == 5 else 'd'}}"
        return " ".join(words)

    def _new_word(self) -> str:
        """Letters that spell the number of the word, so that no two are the same."""
        self._made += 1
        number, letters = self._made, ""
        while number:
            number, letter = divmod(number, 26)
            letters += _LETTERS[letter]
        return letters


def train_model(family: str, vocabulary: int, folder: Path, texts: Sequence[str]) -> Path:
    """A model folder with a tokenizer of the family, trained on `texts`."""
    folder.mkdir()
    train(family, texts, vocabulary).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def _docstrings(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # the standard library's tests carry broken files on purpose
        return []
    nodes = (node for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)))
    return [text for node in nodes if (text := ast.get_docstring(node))]
