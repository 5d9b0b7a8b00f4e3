import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio_datasets.data.views.views import OpenView, open_view
from mistudio_datasets.domain.views import SpecialTokenPolicy, View, ViewMode
from mistudio_servicekit.errors import InvalidArgument

from .plain_views import Documents, PlainView, plain_view, spans_of
from .stored_tokens import BOS, EOS, store_tokens

POLICIES = st.sampled_from(SpecialTokenPolicy)
# Few ids, so that BOS and EOS stand everywhere.
DOCUMENTS = st.lists(st.lists(st.integers(0, 4), max_size=14), max_size=24)


@st.composite
def views(draw: st.DrawFn) -> View:
    context_length = draw(st.integers(3, 9))
    if draw(st.booleans()):
        return View(ViewMode.PACKED, context_length, bos=draw(POLICIES), eos=draw(POLICIES))
    view = View(
        ViewMode.WINDOWS,
        context_length,
        stride=draw(st.integers(0, 12)),
        bos=draw(POLICIES),
        eos=draw(POLICIES),
        first_window_only=draw(st.booleans()),
    )
    return replace(view, min_tokens=draw(st.integers(0, view.room)))


def opened(documents: Documents, view: View, bos: int, eos: int, batch: int) -> tuple[OpenView, PlainView]:
    folder = Path(tempfile.mkdtemp(dir=SCRATCH.name))
    store_tokens(folder, documents, batch=batch, shard_bytes=300, special={"bos": bos, "eos": eos})
    return open_view(folder, view), plain_view(documents, view, bos, eos)


SCRATCH = tempfile.TemporaryDirectory(prefix="views-")


@pytest.fixture(scope="module", autouse=True)
def _scratch():
    yield
    SCRATCH.cleanup()


@settings(max_examples=300)
@given(documents=DOCUMENTS, view=views(), eos=st.sampled_from([EOS, BOS]), batch=st.integers(1, 9), draw=st.data())
def test_every_view_equals_its_plain_definition(
    documents: Documents, view: View, eos: int, batch: int, draw: st.DataObject
) -> None:
    fast, plain = opened(documents, view, BOS, eos, batch)
    assert asdict(fast.figures) == asdict(plain.figures)
    for number, sequence in enumerate(plain.sequences):
        found = fast.sequence(number)
        assert found.ids.tolist() == [token.id for token in sequence]
        assert found.spans == spans_of(sequence)
    order = draw.draw(st.permutations(range(len(plain.sequences))))
    read = [part.sequence(at) for part in fast.batches(np.array(order, np.int64), batch=4) for at in range(len(part))]
    assert [sequence.ids.tolist() for sequence in read] == [[t.id for t in plain.sequences[n]] for n in order]
    assert [sequence.spans for sequence in read] == [spans_of(plain.sequences[n]) for n in order]


def test_a_document_that_has_its_special_tokens_gets_no_second_ones(tmp_path: Path) -> None:
    folder = store_tokens(tmp_path / "out", [[BOS, 7, 8, EOS], [9], []])
    packed = View(ViewMode.PACKED, 7, bos=SpecialTokenPolicy.DOCUMENT, eos=SpecialTokenPolicy.DOCUMENT)
    assert open_view(folder, packed).sequence(0).ids.tolist() == [BOS, 7, 8, EOS, BOS, 9, EOS]
    windows = View(ViewMode.WINDOWS, 6, bos=SpecialTokenPolicy.SEQUENCE, eos=SpecialTokenPolicy.SEQUENCE)
    found = [open_view(folder, windows).sequence(number).ids.tolist() for number in range(2)]
    assert found == [[BOS, 7, 8, EOS], [BOS, 9, EOS]]
    assert open_view(folder, windows).figures.special_tokens == 2


def test_a_packed_sequence_that_begins_with_the_streams_bos_takes_one_token_more(tmp_path: Path) -> None:
    folder = store_tokens(tmp_path / "out", [[BOS, 5, 6, 7], [8, 9, 9]])
    view = View(ViewMode.PACKED, 3, bos=SpecialTokenPolicy.SEQUENCE)
    opened = open_view(folder, view)
    assert [opened.sequence(n).ids.tolist() for n in range(3)] == [[BOS, 5, 6], [BOS, 7, 8], [BOS, 9, 9]]
    assert (opened.figures.special_tokens, opened.figures.dropped_tokens) == (2, 0)


@pytest.mark.parametrize(
    ("special", "field"), [({"bos": None, "eos": EOS}, "view.bos"), ({"bos": BOS, "eos": None}, "view.eos")]
)
def test_a_special_token_that_the_model_lacks_is_refused(
    tmp_path: Path, special: dict[str, int | None], field: str
) -> None:
    folder = store_tokens(tmp_path / "out", [[3]], special=special)
    view = View(ViewMode.PACKED, 4, bos=SpecialTokenPolicy.SEQUENCE, eos=SpecialTokenPolicy.DOCUMENT)
    with pytest.raises(InvalidArgument, match="the model has no token that") as caught:
        open_view(folder, view)
    assert caught.value.field == field


def test_a_tokenization_from_before_special_tokens_were_recorded_says_so(tmp_path: Path) -> None:
    folder = store_tokens(tmp_path / "out", [[3, 4]])
    (folder / "manifest.json").write_text('{"tokenizer": {}}')
    assert open_view(folder, View(ViewMode.PACKED, 2)).sequences == 1
    with pytest.raises(InvalidArgument, match="before special tokens were recorded"):
        open_view(folder, View(ViewMode.PACKED, 2, eos=SpecialTokenPolicy.DOCUMENT))


def test_a_view_of_no_tokens_has_no_sequences(tmp_path: Path) -> None:
    folder = store_tokens(tmp_path / "out", [[], []])
    for mode in ViewMode:
        opened = open_view(folder, View(mode, 4, bos=SpecialTokenPolicy.DOCUMENT))
        assert (opened.sequences, opened.figures.utilization, list(opened.batches())) == (0, 0.0, [])
        with pytest.raises(IndexError):
            opened.sequence(0)


def test_full_sequences_come_as_rows(tmp_path: Path) -> None:
    folder = store_tokens(tmp_path / "out", [[3, 4, 5, 6, 7], [8], [9, 9]])
    (batch,) = open_view(folder, View(ViewMode.WINDOWS, 2)).batches()
    assert batch.rows(2).tolist() == [[3, 4], [5, 6], [9, 9]]


def test_sequences_with_large_runs_and_small_ones_are_copied_alike(tmp_path: Path) -> None:
    documents = [list(range(3, 3 + length)) for length in (40, 1, 0, 300, 2, 2, 90)]
    folder = store_tokens(tmp_path / "out", documents, vocabulary=400, batch=2)
    for context_length in (3, 50, 200):
        view = View(ViewMode.PACKED, context_length, bos=SpecialTokenPolicy.DOCUMENT)
        plain = plain_view(documents, view, BOS, EOS).sequences
        found = open_view(folder, view).take(np.arange(len(plain)))
        assert found.ids.tolist() == [token.id for sequence in plain for token in sequence]
