"""A model's own tokenizer, loaded offline from the model's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from mistudio_servicekit.errors import TokenizerInvalid, TokenizerMissing

_VOCABULARY_NAMES = {"tokenizer.json", "vocab.json", "vocab.txt"}
_VOCABULARY_ENDINGS = {".model", ".tiktoken"}
_OTHER_NAMES = {
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
}


@dataclass(frozen=True)
class ModelTokenizer:
    """A loaded tokenizer.

    Attributes:
        name: class that `transformers` chose for it.
        backend: the fast tokenizer, without truncation and padding.
        files: SHA-256 of every tokenizer file by name.
        sha256: one hash over all of them.
        vocabulary_size: entries, added tokens included.
        id_count: one more than the highest id.
    """

    name: str
    backend: tokenizers.Tokenizer
    files: Mapping[str, str]
    sha256: str
    vocabulary_size: int
    id_count: int

    def pieces(self) -> list[str]:
        """The text of every id; byte-level pieces as the text they stand for where that is whole characters."""
        is_byte_level = "ByteLevel(" in repr(self.backend.decoder)
        raw = [self.backend.id_to_token(id_) or "" for id_ in range(self.id_count)]
        return [_spelled(piece) for piece in raw] if is_byte_level else raw


_BYTE_LEVEL = tokenizers.decoders.ByteLevel()


def _spelled(piece: str) -> str:
    text = _BYTE_LEVEL.decode([piece])
    return piece if "\ufffd" in text else text


def tokenizer_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every tokenizer file directly in `folder`, by name."""
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and _is_tokenizer_file(path)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def load_tokenizer(folder: Path) -> ModelTokenizer:
    """The tokenizer of the model in `folder`, as `transformers.AutoTokenizer` makes it, without remote code.

    Raises:
        TokenizerMissing: the folder holds no tokenizer.
        TokenizerInvalid: its files cannot be loaded, or need code of the repository.
    """
    files = tokenizer_files(folder)
    if not any(_is_vocabulary(Path(name)) for name in files):
        raise TokenizerMissing(
            "The model's repository carries no tokenizer (tokenizer.json, vocab.json, vocab.txt, *.model, *.tiktoken)",
            next_step="Choose a model that has one, or download the model it was made from",
        )
    name, backend = _load_fast(folder, files)
    backend.no_truncation()
    backend.no_padding()
    vocabulary = backend.get_vocab(with_added_tokens=True)
    return ModelTokenizer(
        name=name,
        backend=backend,
        files=files,
        sha256=_hash_all(files),
        vocabulary_size=len(vocabulary),
        id_count=max(vocabulary.values(), default=-1) + 1,
    )


def _is_vocabulary(path: Path) -> bool:
    return path.name in _VOCABULARY_NAMES or path.suffix in _VOCABULARY_ENDINGS


def _is_tokenizer_file(path: Path) -> bool:
    return _is_vocabulary(path) or path.name in _OTHER_NAMES


def _hash_all(files: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in files.items()).encode()).hexdigest()


def _load_fast(folder: Path, files: Mapping[str, str]) -> tuple[str, tokenizers.Tokenizer]:
    try:
        loaded = _load(folder, files)
        if not loaded.is_fast:
            raise ValueError(f"{type(loaded).__name__} has no fast form")
        # A copy: transformers changes truncation of its own while it works.
        return type(loaded).__name__, tokenizers.Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    except Exception as error:  # the tokenizers library raises bare Exception for broken files
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise TokenizerInvalid(
            f"The model's tokenizer cannot be loaded: {reason.replace(str(folder), 'its folder')}",
            next_step="Download the model again; if it stays so, tell the model's owner",
            metadata={"files": ",".join(files)},
        ) from error


def _load(folder: Path, files: Mapping[str, str]) -> Any:
    # transformers takes seconds to import, and only this needs it.
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if "tokenizer_config.json" not in files and not (folder / "config.json").is_file():
        return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))  # type: ignore[no-untyped-call]  # transformers' own lack
    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
