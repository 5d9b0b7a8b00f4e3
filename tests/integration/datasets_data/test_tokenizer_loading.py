import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
from transformers import AutoTokenizer

from mistudio_datasets.data.tokens.tokenizers import load_tokenizer
from mistudio_servicekit.errors import TokenizerInvalid, TokenizerMissing


def test_a_lone_tokenizer_file_is_enough(tmp_path: Path, model_folders: dict[str, Path]) -> None:
    shutil.copy(model_folders["byte-level"] / "tokenizer.json", tmp_path)
    assert load_tokenizer(tmp_path).vocabulary_size == 2000


def test_a_vocabulary_without_a_fast_file_is_converted(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    backend = load_tokenizer(tmp_path).backend
    assert backend.encode("Hello worlds", add_special_tokens=False).ids == [5, 6, 7]


def test_a_sentencepiece_model_is_converted(tmp_path: Path, english: list[str]) -> None:
    (tmp_path / "text.txt").write_text("\n".join(english[:2000]))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "tokenizer"), vocab_size=800,
        model_type="bpe", byte_fallback=True, character_coverage=1.0, minloglevel=9,
    )  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    text = "The  statement, naïve 日本 🙂"
    expected = AutoTokenizer.from_pretrained(str(tmp_path))(text, add_special_tokens=False)["input_ids"]
    assert load_tokenizer(tmp_path).backend.encode(text, add_special_tokens=False).ids == expected


def test_truncation_and_padding_of_the_files_are_lifted(model_folders: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(model_folders["wordpiece"])
    assert len(tokenizer.backend.encode("a " * 500, add_special_tokens=False).ids) == 500
    assert len(tokenizer.backend.encode("a", add_special_tokens=False).ids) == 1


def test_the_hash_changes_with_any_tokenizer_file(tmp_path: Path, model_folders: dict[str, Path]) -> None:
    shutil.copytree(model_folders["unigram"], tmp_path / "model")
    before = load_tokenizer(tmp_path / "model").sha256
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights do not matter")
    assert load_tokenizer(tmp_path / "model").sha256 == before
    (tmp_path / "model" / "special_tokens_map.json").write_text("{}")
    assert load_tokenizer(tmp_path / "model").sha256 != before


def test_byte_level_pieces_are_shown_as_text(model_folders: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(model_folders["byte-level"])
    ids = tokenizer.backend.encode("in the", add_special_tokens=False).ids
    pieces = tokenizer.pieces()
    assert "".join(pieces[id_] for id_ in ids) == "in the"


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TokenizerMissing, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["{oops", "{}", '{"version": "1.0", "model": {"type": "Nonsense"}}'])
def test_broken_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerInvalid) as caught:
        load_tokenizer(tmp_path)
    assert str(tmp_path) not in caught.value.message


def test_code_of_the_repository_is_never_run(tmp_path: Path, model_folders: dict[str, Path]) -> None:
    shutil.copy(model_folders["byte-level"] / "tokenizer.json", tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    config = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(TokenizerInvalid, match="code"):
        load_tokenizer(tmp_path)
    assert not (tmp_path / "ran").exists()
