import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio_datasets.data.tokens.manifest import MANIFEST_FILE
from mistudio_datasets.data.views.exporting import Exporter, ExportInput, ExportResult
from mistudio_datasets.data.views.saelens import SAELENS_FILE
from mistudio_datasets.domain.exports import ExportSettings, effective
from mistudio_datasets.domain.progress import UNWATCHED, Monitor
from mistudio_datasets.domain.views import SpecialTokenPolicy, View, ViewMode
from mistudio_servicekit.errors import InvalidArgument, JobCancelled, ViewEmpty

from .plain_views import plain_view
from .stored_tokens import BOS, EOS, SOURCE, store_tokens, store_tokens_with_source
from .test_views import views

PACKED = View(ViewMode.PACKED, 4)
WINDOWS = View(ViewMode.WINDOWS, 4)
DOCUMENTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [], [14, 15, 16, 17, 18, 19]]


def exporter(folder: Path, view: View, seed: int | None = None, **at_once: int) -> Exporter:
    what = ExportInput("0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e", folder, "tiny/texts", ExportSettings(view, seed))
    return Exporter(what, **at_once)


def written(
    tmp_path: Path, view: View, seed: int | None = None, monitor: Monitor = UNWATCHED, **at_once: int
) -> ExportResult:
    return exporter(store_tokens_with_source(tmp_path / "tokens", DOCUMENTS), view, seed, **at_once).write(
        tmp_path / "out", monitor
    )


def sequences(folder: Path) -> list[list[int]]:
    found: list[list[int]] = datasets.load_from_disk(str(folder))["input_ids"][:]
    return found


def described(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def test_a_packed_export_holds_the_stream_cut_into_sequences_of_a_fixed_length(tmp_path: Path) -> None:
    result = written(tmp_path, PACKED)
    assert sequences(tmp_path / "out") == [[5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]]
    opened = datasets.load_from_disk(str(tmp_path / "out"))
    assert opened.features == {"input_ids": datasets.List(datasets.Value("int32"), length=4)}
    assert opened.split == "train"
    assert (result.sequences, result.short_sequences, result.tokens) == (3, 0, 12)
    assert result.size_bytes == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())


def test_sequences_that_are_too_short_are_left_out_and_counted(tmp_path: Path) -> None:
    result = written(tmp_path, WINDOWS)
    assert sequences(tmp_path / "out") == [[5, 6, 7, 8], [14, 15, 16, 17]]
    assert (result.sequences, result.short_sequences, result.tokens) == (2, 3, 8)


@pytest.mark.parametrize("view", [PACKED, replace(WINDOWS, stride=1)], ids=["packed", "windows"])
def test_a_seed_gives_one_order_and_loses_nothing(tmp_path: Path, view: View) -> None:
    documents = [list(range(first, first + 30)) for first in range(0, 3000, 30)]
    folder = store_tokens_with_source(tmp_path / "tokens", documents)
    plain, order = exporter(folder, view), np.random.Generator(np.random.PCG64(7))
    plain.write(tmp_path / "plain", UNWATCHED)
    shuffled = [exporter(folder, view, seed).write(tmp_path / name, UNWATCHED) for name, seed in
                (("once", 7), ("again", 7), ("other", 8))]  # fmt: skip
    assert {result.sequences for result in shuffled} == {plain.sequences}
    in_order = sequences(tmp_path / "plain")
    assert sequences(tmp_path / "once") == [in_order[at] for at in order.permutation(len(in_order))]
    assert sequences(tmp_path / "once") == sequences(tmp_path / "again") != sequences(tmp_path / "other")
    assert sorted(sequences(tmp_path / "other")) == sorted(in_order)


def test_how_much_is_read_at_once_changes_nothing(tmp_path: Path) -> None:
    folder = store_tokens_with_source(tmp_path / "tokens", DOCUMENTS * 50)
    for seed in (None, 3):
        exporter(folder, PACKED, seed).write(tmp_path / f"whole-{seed}", UNWATCHED)
        pieces = exporter(folder, PACKED, seed, batch_tokens=20, shuffled_tokens=60)
        pieces.write(tmp_path / f"pieces-{seed}", UNWATCHED)
        assert sequences(tmp_path / f"pieces-{seed}") == sequences(tmp_path / f"whole-{seed}")


@settings(max_examples=40)
@given(
    documents=st.lists(st.lists(st.integers(0, 4), max_size=14), max_size=24),
    view=views(),
    seed=st.sampled_from([None, 0, 5]),
)
def test_every_export_holds_the_full_sequences_of_its_view(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], view: View, seed: int | None
) -> None:
    folder = tmp_path_factory.mktemp("export")
    store_tokens_with_source(folder / "tokens", documents)
    every = [[token.id for token in sequence] for sequence in plain_view(documents, view, BOS, EOS).sequences]
    full = [sequence for sequence in every if len(sequence) == view.context_length]
    if not full:
        with pytest.raises(ViewEmpty):
            exporter(folder / "tokens", view, seed)
        return
    result = exporter(folder / "tokens", view, seed).write(folder / "out", UNWATCHED)
    found = sequences(folder / "out")
    assert found == full if seed is None else sorted(found) == sorted(full)
    assert (result.sequences, result.short_sequences) == (len(full), len(every) - len(full))


@settings(max_examples=100)
@given(documents=st.lists(st.lists(st.integers(0, 4), max_size=14), max_size=12), view=views())
def test_what_has_no_effect_on_a_view_tells_no_exports_apart(documents: list[list[int]], view: View) -> None:
    plainest = effective(view)
    assert plain_view(documents, plainest, BOS, EOS).sequences == plain_view(documents, view, BOS, EOS).sequences
    assert effective(plainest) == plainest
    same = [replace(view, stride=view.room)] if view.mode is ViewMode.WINDOWS and not view.stride else []
    assert all(ExportSettings.of(other, 1).digest() == ExportSettings.of(view, 1).digest() for other in same)


def test_settings_differ_by_view_and_seed() -> None:
    settings = [ExportSettings.of(view, seed) for view in (PACKED, WINDOWS) for seed in (None, 0, 1)]
    assert len({one.digest() for one in settings}) == len(settings)


def test_the_manifest_says_what_made_it_and_what_it_holds(tmp_path: Path) -> None:
    written(tmp_path, WINDOWS, 7)
    manifest = described(tmp_path / "out", MANIFEST_FILE)
    assert manifest["tokenization"]["id"] == "0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e"
    assert {name: manifest["tokenization"][name] for name in SOURCE} == SOURCE
    assert (View.from_json(manifest["view"]), manifest["shuffle_seed"]) == (WINDOWS, 7)
    counts = manifest["counts"]
    assert (counts["sequences"], counts["short_sequences"], counts["tokens"]) == (2, 3, 8)
    assert (counts["view"]["sequences"], counts["view"]["tokens"]) == (5, 15)
    (shard,) = manifest["shards"]
    assert (shard["file"], shard["sequences"], shard["tokens"]) == ("data-00000-of-00001.arrow", 2, 8)


def test_room_is_asked_for_what_is_written_and_hardly_more(tmp_path: Path) -> None:
    folder = store_tokens_with_source(tmp_path / "tokens", [list(range(1000))] * 4000)
    for view in (View(ViewMode.PACKED, 2), View(ViewMode.PACKED, 1000)):
        wanted = exporter(folder, view)
        size = wanted.write(tmp_path / str(view.context_length), UNWATCHED).size_bytes
        assert size <= wanted.bytes_needed <= 1.1 * size


def test_saelens_is_told_of_the_special_tokens_that_it_knows(tmp_path: Path) -> None:
    written(tmp_path, View(ViewMode.PACKED, 5, bos=SpecialTokenPolicy.SEQUENCE, eos=SpecialTokenPolicy.DOCUMENT), 3)
    told = described(tmp_path / "out", SAELENS_FILE)
    assert (told["context_size"], told["shuffled"], told["seed"]) == (5, True, 3)
    assert (told["begin_batch_token"], told["begin_sequence_token"], told["sequence_separator_token"]) == (
        "bos",
        None,
        "eos",
    )
    assert (told["tokenizer_name"], told["original_dataset"], told["original_split"]) == (
        "tiny/model",
        "tiny/texts",
        "train",
    )
    assert (told["original_column_name"], told["disable_concat_sequences"], told["use_chat_formatting"]) == (
        "text",
        False,
        False,
    )


def test_a_view_without_a_full_sequence_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    with pytest.raises(ViewEmpty, match="None of the 3 sequences of this view has 100 tokens"):
        written(tmp_path, replace(WINDOWS, context_length=100))
    assert not (tmp_path / "out").exists()


def test_a_token_that_the_model_lacks_is_refused(tmp_path: Path) -> None:
    folder = store_tokens(tmp_path / "tokens", DOCUMENTS, special={"bos": None, "eos": None, "pad": None})
    with pytest.raises(InvalidArgument) as refused:
        exporter(folder, replace(PACKED, bos=SpecialTokenPolicy.SEQUENCE))
    assert refused.value.field == "view.bos"


def test_progress_counts_sequences_up_to_the_exact_total(tmp_path: Path) -> None:
    seen: list[tuple[Any, ...]] = []
    result = written(tmp_path, PACKED, monitor=Monitor(lambda *state: seen.append(state), lambda: None), batch_tokens=4)
    assert [state[:4] for state in seen] == [(done, 3, "sequences", "writing") for done in (1, 2, 3)]
    assert seen[-1][4] == {"tokens": float(result.tokens)}


def test_a_cancelled_export_stops_at_once(tmp_path: Path) -> None:
    reported: list[int] = []

    def check() -> None:
        if reported:
            raise JobCancelled("Stopped", next_step="Start it again")

    with pytest.raises(JobCancelled):
        written(tmp_path, PACKED, monitor=Monitor(lambda done, *_: reported.append(done), check), batch_tokens=4)
    assert reported == [1]
    assert not (tmp_path / "out" / MANIFEST_FILE).exists()
