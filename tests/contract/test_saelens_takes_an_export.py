"""SAELens itself reads exports as they are, and trains a sparse autoencoder on one."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sae_lens import (
    LanguageModelSAERunnerConfig,
    LanguageModelSAETrainingRunner,
    LoggingConfig,
    StandardTrainingSAEConfig,
)
from sae_lens.load_model import load_model
from sae_lens.pretokenize_runner import PretokenizedDatasetMetadata
from sae_lens.training.activations_store import ActivationsStore
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel

from mistudio_datasets.data.incoming.reading import SOURCE_FOLDER, read_source
from mistudio_datasets.data.incoming.source_plan import plan_folder
from mistudio_datasets.data.tokens.tokenizers import load_tokenizer
from mistudio_datasets.data.tokens.tokenizing import TokenizeInput, tokenize
from mistudio_datasets.data.views.exporting import Exporter, ExportInput
from mistudio_datasets.data.views.saelens import SAELENS_FILE
from mistudio_datasets.domain.exports import ExportSettings
from mistudio_datasets.domain.progress import UNWATCHED
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from mistudio_datasets.domain.views import SpecialTokenPolicy, View, ViewMode
from tests.tokenizer_families import english_paragraphs

CONTEXT = 32
WIDTH = 16
END_OF_TEXT = "<|endoftext|>"
PACKED = View(ViewMode.PACKED, CONTEXT, bos=SpecialTokenPolicy.SEQUENCE, eos=SpecialTokenPolicy.DOCUMENT)

# SAELens copies the tensors that it reads the way that torch advises against.
pytestmark = pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")

Export = Callable[..., Path]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of one layer with its tokenizer, as a download leaves it."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(english_paragraphs()[:500], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    size = GPT2Config(vocab_size=500, n_positions=CONTEXT, n_embd=WIDTH, n_layer=1, n_head=2)
    GPT2LMHeadModel(size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenization(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Some hundred paragraphs of English as token ids of the model."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / SOURCE_FOLDER).mkdir()
    pq.write_table(pa.table({"text": english_paragraphs()[:300]}), folder / SOURCE_FOLDER / "train.parquet")
    layout = read_source(folder, plan_folder(folder / SOURCE_FOLDER), UNWATCHED)
    settings = TokenizationSettings("train", "text")
    what = TokenizeInput(folder, layout, "", settings, load_tokenizer(model), threads=1, model_repo_id="tiny/gpt2")
    out = folder / "tokens"
    tokenize(what, out, UNWATCHED)
    return out


@pytest.fixture
def export(tmp_path: Path, tokenization: Path) -> Export:
    """Writes a view: `export(view, seed)` is its folder."""

    def write(view: View, seed: int | None = None) -> Path:
        out = tmp_path / "export"
        what = ExportInput(
            "0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e", tokenization, "tiny/docs", ExportSettings(view, seed)
        )
        Exporter(what).write(out, UNWATCHED)
        return out

    return write


def config(model: Path, **changed: Any) -> LanguageModelSAERunnerConfig[StandardTrainingSAEConfig]:
    settings: dict[str, Any] = {
        "sae": StandardTrainingSAEConfig(d_in=WIDTH, d_sae=32),
        "model_name": str(model),
        "model_class_name": "AutoModelForCausalLM",
        "hook_name": "transformer.h.0",
        "context_size": CONTEXT,
        "training_tokens": 512,
        "store_batch_size_prompts": 4,
        "train_batch_size_tokens": 64,
        "n_batches_in_buffer": 4,
        "n_eval_batches": 1,
        "device": "cpu",
        "logger": LoggingConfig(log_to_wandb=False),
        "checkpoint_path": None,
        "output_path": None,
        "verbose": False,
    }
    return LanguageModelSAERunnerConfig(**settings | changed)


def store_of(folder: Path, model: Path, **changed: Any) -> ActivationsStore:
    language_model = load_model("AutoModelForCausalLM", str(model), device="cpu")
    opened = datasets.load_from_disk(str(folder))
    return ActivationsStore.from_config(language_model, config(model, **changed), override_dataset=opened)


def stream_of(tokenization: Path, special: int) -> list[int]:
    """All documents in one stream, each with an end."""
    documents = datasets.load_from_disk(str(tokenization))["input_ids"][:]
    return [id_ for document in documents if document for id_ in [*document, special]]


def test_saelens_reads_exactly_our_ids_and_adds_none(export: Export, tokenization: Path, model: Path) -> None:
    folder = export(PACKED)
    store = store_of(folder, model)
    assert (store.is_dataset_tokenized, store.tokens_column) == (True, "input_ids")
    found = store.get_batch_tokens(len(datasets.load_from_disk(str(folder)))).tolist()
    special = load_tokenizer(model).backend.token_to_id(END_OF_TEXT)
    assert special is not None
    assert {row[0] for row in found} == {special}
    stream, at = stream_of(tokenization, special), 0
    for row in found:
        # An end that stands where a sequence begins is its beginning: both are one token in this model.
        own = row if stream[at] == special else row[1:]
        assert stream[at : at + len(own)] == own
        at += len(own)
    assert 0 <= len(stream) - at < CONTEXT
    with pytest.raises(StopIteration):
        store.get_batch_tokens(1, raise_at_epoch_end=True)


def test_saelens_takes_a_shuffled_export_in_the_order_that_is_written(export: Export, model: Path) -> None:
    folder = export(View(ViewMode.WINDOWS, CONTEXT), 7)
    written = datasets.load_from_disk(str(folder))["input_ids"][:]
    assert store_of(folder, model).get_batch_tokens(len(written)).tolist() == written


def test_saelens_takes_shorter_contexts_of_it_and_refuses_longer_ones(export: Export, model: Path) -> None:
    folder = export(PACKED)
    with pytest.warns(RuntimeWarning, match=f"context_size {CONTEXT}"):
        shorter = store_of(folder, model, context_size=8)
    assert shorter.get_batch_tokens(2).shape == (2, 8)
    with pytest.raises(ValueError, match=f"context_size {CONTEXT}"):
        store_of(folder, model, context_size=CONTEXT + 1)


def test_the_file_beside_it_is_the_one_that_saelens_writes_itself(export: Export) -> None:
    told = json.loads((export(PACKED, 3) / SAELENS_FILE).read_text())
    assert set(told) == {field.name for field in fields(PretokenizedDatasetMetadata)}
    metadata = PretokenizedDatasetMetadata(**told)
    assert (metadata.context_size, metadata.shuffled, metadata.seed) == (CONTEXT, True, 3)
    assert (metadata.begin_batch_token, metadata.sequence_separator_token) == ("bos", "eos")
    assert (metadata.tokenizer_name, metadata.original_dataset) == ("tiny/gpt2", "tiny/docs")


@pytest.mark.filterwarnings("ignore:You just passed in a dataset:UserWarning")
def test_saelens_trains_a_sparse_autoencoder_on_it(export: Export, model: Path) -> None:
    opened = datasets.load_from_disk(str(export(PACKED)))
    trained = LanguageModelSAETrainingRunner(config(model), override_dataset=opened).run()
    assert (trained.cfg.d_in, trained.cfg.d_sae) == (WIDTH, 32)
    assert all(bool(parameter.isfinite().all()) for parameter in trained.parameters())
