"""A view as a dataset of sequences that all have the context length, as SAELens takes a pretokenized one."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mistudio_datasets.data.tokens.manifest import MANIFEST_FILE
from mistudio_datasets.data.tokens.shards import Shard, ShardWriter
from mistudio_datasets.data.tokens.token_files import Ids, Ints
from mistudio_datasets.data.views.saelens import SAELENS_FILE, saelens_metadata
from mistudio_datasets.data.views.views import OpenView, open_view
from mistudio_datasets.domain.exports import ExportSettings
from mistudio_datasets.domain.progress import Check, Monitor, result_of
from mistudio_servicekit.errors import ViewEmpty
from mistudio_servicekit.storage import folder_bytes

BATCH_TOKENS = 1 << 20
"""Tokens that are read and written at once."""
SHUFFLED_TOKENS = 1 << 25
"""Tokens that are put into a random order in memory: every so many, all of the tokenization is passed over."""
_LENGTHS_AT_ONCE = 1 << 18
_ID_BYTES = 4
_HEAD_BYTES = 1 << 10
_OTHER_BYTES = 1 << 20
"""Most bytes beside the ids: of the head of a batch, and of all that is no batch."""
_SOURCE_FACTS = ("dataset", "settings", "tokenizer", "engine", "counts")
_LIBRARIES = ("datasets", "numpy", "pyarrow")

_Numbers = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class ExportInput:
    """What is written.

    Attributes:
        tokenization_id: UUID of the tokenization.
        folder: its epoch folder.
        dataset: what its dataset is called: the repository on the Hub, or a name.
        settings: the view and the order.
    """

    tokenization_id: str
    folder: Path
    dataset: str
    settings: ExportSettings


@dataclass(frozen=True)
class ExportResult:
    """What came out: sequences, those left out because they are shorter, token ids, and bytes of the whole folder."""

    sequences: int
    short_sequences: int
    tokens: int
    size_bytes: int


class Exporter:
    """Writes an export; all that it will hold is known before the first byte.

    Memory is bounded by what is read at once, beside four bytes a sequence for the order.

    Args:
        what: what is written.
        batch_tokens: read and written at once.
        shuffled_tokens: put into a random order in memory at once.

    Raises:
        InvalidArgument: the view cannot be; see `open_view`.
        ViewEmpty: no sequence has the context length.
        FileNotFoundError: the tokenization is gone; `write` raises it too.
    """

    def __init__(
        self, what: ExportInput, batch_tokens: int = BATCH_TOKENS, shuffled_tokens: int = SHUFFLED_TOKENS
    ) -> None:
        self._what = what
        self._length = what.settings.view.context_length
        self._view = open_view(what.folder, what.settings.view)
        self._numbers = _full_sequences(self._view, self._length)
        if not len(self._numbers):
            raise _empty(what, self._view)
        self._seed = what.settings.shuffle_seed
        self._batch = max(1, batch_tokens // self._length)
        self._block = self._batch if self._seed is None else max(self._batch, shuffled_tokens // self._length)
        if self._seed is not None:
            np.random.Generator(np.random.PCG64(self._seed)).shuffle(self._numbers)

    @property
    def sequences(self) -> int:
        """Sequences that are written."""
        return len(self._numbers)

    @property
    def bytes_needed(self) -> int:
        """Bytes that the files take, at most."""
        batches = -(-self.sequences // self._batch)
        return self.sequences * self._length * _ID_BYTES + batches * _HEAD_BYTES + _OTHER_BYTES

    def write(self, out: Path, monitor: Monitor) -> ExportResult:
        """Write shards, `manifest.json` and `sae_lens.json` to the folder `out`, which opens in `load_from_disk`.

        Progress is in sequences, with tokens as a metric.

        Raises:
            JobCancelled: raised by the monitor; the folder is left incomplete.
        """
        split = self._source["settings"]["split"]
        shards = self._write_shards(ShardWriter(out, split, length=self._length), monitor)
        _write_json(out / SAELENS_FILE, saelens_metadata(self._what.settings, self._source, self._what.dataset))
        _write_json(out / MANIFEST_FILE, self._manifest(shards))
        return ExportResult(self.sequences, self._short, self.sequences * self._length, folder_bytes(out))

    @property
    def _short(self) -> int:
        return self._view.sequences - self.sequences

    @cached_property
    def _source(self) -> Mapping[str, Any]:
        """The manifest of the tokenization."""
        read: Mapping[str, Any] = json.loads((self._what.folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        return read

    def _write_shards(self, writer: ShardWriter, monitor: Monitor) -> list[Shard]:
        written = 0
        with closing(writer), closing(_read_ahead(self._blocks(), monitor.check)) as blocks:
            for block in blocks:
                for first in range(0, len(block), self._batch):
                    monitor.check()
                    ids = block[first : first + self._batch]
                    writer.write_sequences(ids)
                    written += len(ids)
                    metrics = {"tokens": float(written * self._length)}
                    monitor.report(written, self.sequences, "sequences", "writing", metrics)
            return writer.finish()

    def _blocks(self) -> Iterator[Ids]:
        """All sequences, as many at once as are worth one pass; shape (sequences, length)."""
        for first in range(0, self.sequences, self._block):
            yield self._read(self._numbers[first : first + self._block].astype(np.int64))

    def _read(self, numbers: Ints) -> Ids:
        """The sequences of these numbers, read in the order of the store, which is the quickest by far."""
        order = np.argsort(numbers)
        found = np.empty((len(numbers), self._length), np.int32)
        for first in range(0, len(numbers), self._batch):
            part = order[first : first + self._batch]
            found[part] = self._view.take(numbers[part]).rows(self._length)
            self._view.release()
        return found

    def _manifest(self, shards: list[Shard]) -> dict[str, Any]:
        what = self._what
        source = {name: self._source[name] for name in _SOURCE_FACTS}
        return {
            "tokenization": {"id": what.tokenization_id} | source,
            "view": what.settings.view.to_json(),
            "shuffle_seed": what.settings.shuffle_seed,
            "counts": {
                "sequences": self.sequences,
                "short_sequences": self._short,
                "tokens": self.sequences * self._length,
                "view": asdict(self._view.figures),
            },
            "libraries": {name: version(name) for name in _LIBRARIES},
            "shards": [shard.described("sequences") for shard in shards],
        }


def _full_sequences(view: OpenView, length: int) -> _Numbers:
    """Numbers of the sequences that have all of the `length`, in order."""
    smallest = np.uint32 if view.sequences <= np.iinfo(np.uint32).max else np.uint64
    found: _Numbers = np.empty(view.sequences, smallest)
    count = 0
    for first in range(0, view.sequences, _LENGTHS_AT_ONCE):
        numbers = np.arange(first, min(view.sequences, first + _LENGTHS_AT_ONCE))
        full = numbers[view.lengths(numbers) == length]
        found[count : count + len(full)] = full
        count += len(full)
        view.release()
    return found[:count]


def _read_ahead(blocks: Iterator[Ids], check: Check) -> Generator[Ids]:
    """The blocks, the next of which is read in a thread of its own while one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        coming = reader.submit(next, blocks, None)
        while (ids := result_of(coming, check)) is not None:
            coming = reader.submit(next, blocks, None)
            yield ids


def _empty(what: ExportInput, view: OpenView) -> ViewEmpty:
    length = what.settings.view.context_length
    return ViewEmpty(
        f"None of the {view.sequences:,} sequences of this view has {length:,} tokens",
        next_step="Choose a shorter context_length, or a packed view",
        metadata={"subject": f"tokenization/{what.tokenization_id}"},
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
