"""Real tokenizers of every family, trained on English that every Python carries, and small datasets on disk."""

from __future__ import annotations

import json
import pydoc_data.topics
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from mistudio_datasets.data.reading import SOURCE_FOLDER, ingest_upload
from mistudio_datasets.domain.datasets import Layout
from mistudio_datasets.domain.progress import UNWATCHED

Upload = Callable[..., tuple[Path, Layout]]


@pytest.fixture(scope="session")
def english() -> list[str]:
    """Some thousand paragraphs."""
    pages = pydoc_data.topics.topics.values()
    return [paragraph for page in pages for paragraph in page.split("\n\n") if paragraph.strip()]


def _byte_level(english: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(english, trainer)
    return tokenizer


def _wordpiece(english: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        english, trainers.WordPieceTrainer(vocab_size=2000, special_tokens=specials, show_progress=False)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128)
    return tokenizer


def _unigram(english: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    specials = ["<unk>", "<s>", "</s>"]
    trainer = trainers.UnigramTrainer(vocab_size=1000, unk_token="<unk>", special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(english[:1000], trainer)
    return tokenizer


def _byte_fallback(english: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=2000, max_token_length=16, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator((line for text in english for line in text.split("\n")), trainer)
    return tokenizer


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory, english: list[str]) -> dict[str, Path]:
    """A model folder for every tokenizer family, as a download would leave it."""
    families = {
        "byte-level": _byte_level, "wordpiece": _wordpiece, "unigram": _unigram, "byte-fallback": _byte_fallback
    }  # fmt: skip
    folders = {}
    for family, train in families.items():
        folders[family] = folder = tmp_path_factory.mktemp(family)
        train(english).save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folders


@pytest.fixture
def upload(tmp_path: Path) -> Upload:
    """Takes an upload in: `upload("rows.csv", b"…")` gives the epoch folder and the layout."""

    def take(name: str, content: bytes, wanted: object = None, monitor: object = UNWATCHED) -> tuple[Path, Layout]:
        file = tmp_path / "received"
        file.write_bytes(content)
        folder = tmp_path / "epoch"
        folder.mkdir()
        return folder, ingest_upload(folder, file, name, wanted, monitor)  # type: ignore[arg-type]  # passed on

    return take


def write_source(folder: Path, name: str, table: pa.Table, row_group_size: int = 1000) -> Path:
    """Write `table` as a Parquet file of a downloaded repository."""
    path = folder / SOURCE_FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return path
