"""A small real tokenizer of every family that models use, trained on English, saved as a download leaves a model."""

from __future__ import annotations

import json
import pydoc_data.topics
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

Train = Callable[[Sequence[str], int], Tokenizer]

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
"""How the two model families cut text into words, as their `tokenizer.json` says."""

_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


@cache
def english_paragraphs() -> tuple[str, ...]:
    """Some thousand paragraphs that every Python carries."""
    pages = pydoc_data.topics.topics.values()
    return tuple(paragraph for page in pages for paragraph in page.split("\n\n") if paragraph.strip())


def _byte_level_bpe(texts: Sequence[str], vocabulary: int, tokenizer: Tokenizer | None = None) -> Tokenizer:
    """As GPT-2's, or with the normalizer and the split that `tokenizer` has already."""
    tokenizer = tokenizer or Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = tokenizer.pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _split_by(pattern: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _llama3(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = _split_by(LLAMA3_SPLIT)
    return _byte_level_bpe(texts, vocabulary, tokenizer)


def _qwen2(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _split_by(QWEN2_SPLIT)
    return _byte_level_bpe(texts, vocabulary, tokenizer)


def _nfkc(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFKC()
    return _byte_level_bpe(texts, vocabulary, tokenizer)


def _chat(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    tokenizer = _byte_level_bpe(texts, vocabulary)
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>", "<|im_start|>user"])
    tokenizer.add_tokens(["<tool_call>", "</tool_call>"])
    return tokenizer


def _stripping(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    tokenizer = _byte_level_bpe(texts, vocabulary)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<sep>", rstrip=True)])
    tokenizer.add_tokens([AddedToken("whole", single_word=True), AddedToken("<both>", lstrip=True, rstrip=True)])
    return tokenizer


def _wordpiece(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128)
    return tokenizer


def _unigram(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    specials = ["<unk>", "<s>", "</s>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary, unk_token="<unk>", special_tokens=specials, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _byte_fallback_bpe(
    texts: Sequence[str], vocabulary: int, splits: pre_tokenizers.PreTokenizer | None = None
) -> Tokenizer:
    """As Llama 2's, which normalizes spaces, unless it `splits` words instead."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if splits is None:
        tokenizer.normalizer = _spaces_normalized()
    else:
        tokenizer.pre_tokenizer = splits
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        max_token_length=16,
        special_tokens=["<unk>", "<s>", "</s>", *_BYTES],
        show_progress=False,
    )
    tokenizer.train_from_iterator((line for text in texts for line in text.split("\n")), trainer)
    return tokenizer


def _spaces_normalized() -> normalizers.Normalizer:
    return normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def _phrases(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    return _byte_fallback_bpe(texts, vocabulary)


def _mistral(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    return _byte_fallback_bpe(texts, vocabulary, pre_tokenizers.Metaspace(prepend_scheme="first", split=False))


def _llama2(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """With a vocabulary as Llama 2 has it: no entry goes across a space, as those of `_phrases` do."""
    tokenizer = _byte_fallback_bpe(texts, vocabulary, pre_tokenizers.Metaspace(prepend_scheme="first"))
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = _spaces_normalized()
    return tokenizer


FAMILIES: dict[str, Train] = {
    "byte-level": _byte_level_bpe,
    "llama-3": _llama3,
    "qwen-2": _qwen2,
    "nfkc": _nfkc,
    "chat tokens": _chat,
    "stripping tokens": _stripping,
    "wordpiece": _wordpiece,
    "unigram": _unigram,
    "byte-fallback": _phrases,
    "byte-fallback, words": _llama2,
    "byte-fallback, split": _mistral,
}


_VOCABULARY = 2000


def train(family: str, texts: Sequence[str], vocabulary: int = _VOCABULARY) -> Tokenizer:
    """A tokenizer of the family, trained on `texts`, of at most `vocabulary` entries."""
    return FAMILIES[family](texts, vocabulary)


@cache
def tokenizer_json(family: str) -> str:
    """A small trained tokenizer as the content of `tokenizer.json`; trained once a process."""
    if family == "unigram":  # slow to train, and few texts give few pieces
        return train(family, english_paragraphs()[:1000], _VOCABULARY // 2).to_str()
    return train(family, english_paragraphs()).to_str()


def save_model(family: str, folder: Path) -> Path:
    """Write a model's tokenizer files to `folder`, as a download would leave them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer_json(family), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder
