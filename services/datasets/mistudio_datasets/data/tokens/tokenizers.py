"""A model's own tokenizer, loaded offline from the model's folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
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
    "chat_template.json",
}
_OLD_TEMPLATE_FILE = "chat_template.json"


@dataclass(frozen=True)
class SpecialToken:
    """A token with a meaning of its own: its id, and the text that stands for it."""

    id: int
    token: str


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
        bos: the token that begins a text; None if there is none.
        eos: the token that ends a text.
        pad: the token that fills up.
        adds_bos: whether it puts BOS before every text, when special tokens are asked for.
        named_special_tokens: what templates know special tokens by, for example `bos_token`.
        chat_template: the model's (default) chat template; empty if it has none.
    """

    name: str
    backend: tokenizers.Tokenizer
    files: Mapping[str, str]
    sha256: str
    vocabulary_size: int
    id_count: int
    bos: SpecialToken | None
    eos: SpecialToken | None
    pad: SpecialToken | None
    adds_bos: bool
    named_special_tokens: Mapping[str, str]
    chat_template: str

    def pieces(self) -> list[str]:
        """The text of every id."""
        return self.pieces_of(range(self.id_count))

    def pieces_of(self, ids: Iterable[int]) -> list[str]:
        """The text of each of `ids`; byte-level pieces as the text they stand for where that is whole characters."""
        is_byte_level = "ByteLevel(" in repr(self.backend.decoder)
        raw = [self.backend.id_to_token(id_) or "" for id_ in ids]
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
    loaded, chat_template = _load_fast(folder, files)
    # A copy: transformers changes truncation of its own while it works.
    backend = tokenizers.Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    vocabulary = backend.get_vocab(with_added_tokens=True)
    bos = _special_token(loaded, "bos")
    return ModelTokenizer(
        name=type(loaded).__name__,
        backend=backend,
        files=files,
        sha256=_hash_all(files),
        vocabulary_size=len(vocabulary),
        id_count=max(vocabulary.values(), default=-1) + 1,
        bos=bos,
        eos=_special_token(loaded, "eos"),
        pad=_special_token(loaded, "pad"),
        adds_bos=bos is not None and backend.encode("").ids[:1] == [bos.id],
        named_special_tokens={name: str(token) for name, token in loaded.special_tokens_map.items()},
        chat_template=chat_template,
    )


def _special_token(loaded: Any, name: str) -> SpecialToken | None:
    token, id_ = getattr(loaded, f"{name}_token"), getattr(loaded, f"{name}_token_id")
    return None if token is None or id_ is None else SpecialToken(int(id_), str(token))


def _chat_template(loaded: Any, folder: Path) -> str:
    """The template, of several named ones the default; older repositories keep it in a file that transformers skips."""
    template = loaded.chat_template
    if isinstance(template, Mapping):
        template = template.get("default")
    if template is None and (folder / _OLD_TEMPLATE_FILE).is_file():
        template = json.loads((folder / _OLD_TEMPLATE_FILE).read_text(encoding="utf-8")).get("chat_template")
    return template if isinstance(template, str) else ""


def _is_vocabulary(path: Path) -> bool:
    return path.name in _VOCABULARY_NAMES or path.suffix in _VOCABULARY_ENDINGS


def _is_tokenizer_file(path: Path) -> bool:
    return _is_vocabulary(path) or path.name in _OTHER_NAMES


def _hash_all(files: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in files.items()).encode()).hexdigest()


def _load_fast(folder: Path, files: Mapping[str, str]) -> tuple[Any, str]:
    try:
        loaded = _load(folder, files)
        if not loaded.is_fast:
            raise ValueError(f"{type(loaded).__name__} has no fast form")
        return loaded, _chat_template(loaded, folder)
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
        return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
