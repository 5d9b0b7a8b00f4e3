"""Whole cells of any size and type."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mistudio_datasets.data.browsing.sample_content import PIECE_BYTES, SampleContent, read_content
from mistudio_datasets.data.incoming.csv_rows import CsvOptions
from mistudio_datasets.data.incoming.layout_file import write_layout
from mistudio_datasets.data.incoming.reading import read_source
from mistudio_datasets.data.incoming.source_plan import SourcePlan
from mistudio_datasets.domain.datasets import DataFormat
from mistudio_datasets.domain.progress import UNWATCHED

from .conftest import write_source

FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def cell(folder: Path, table: pa.Table, row: int, column: str) -> SampleContent:
    write_source(folder, "part.parquet", table)
    plan = SourcePlan("", DataFormat.PARQUET, {"train": ("part.parquet",)}, (), CsvOptions())
    return read_content(folder, read_source(folder, plan, UNWATCHED), "", row, column)


@pytest.mark.parametrize(
    ("values", "media_type", "expected"),
    [
        (pa.array(["", "é针"]), "text/plain", "é针".encode()),
        (pa.array(["x", "y"]).dictionary_encode(), "text/plain", b"y"),
        (pa.array([b"", b"\xff\xd8\xff"]), "image/jpeg", b"\xff\xd8\xff"),
        (pa.array([b"", b"ID3."]), "audio/mpeg", b"ID3."),
        (pa.array([b"", b"\0\1"]), "application/octet-stream", b"\0\1"),
        (pa.array([b"ab", b"cd"], pa.binary(2)), "application/octet-stream", b"cd"),
        (pa.array([None, {"bytes": b"RIFF____WAVE", "path": "a"}], FILE), "audio/wav", b"RIFF____WAVE"),
        (pa.array([1, 2**62]), "application/json", b'"4611686018427387904"'),
        (pa.array([None, float("nan")]), "application/json", b'"nan"'),
        (pa.array([[], [{"role": "user"}]]), "application/json", b'[{"role": "user"}]'),
    ],
)
def test_a_cell_is_what_its_column_holds(tmp_path: Path, values: Any, media_type: str, expected: bytes) -> None:
    found = cell(tmp_path, pa.table({"other": [0, 1], "x": values, "x.y": ["a", "b"]}), 1, "x")
    assert (found.media_type, b"".join(found.pieces()), found.is_null) == (media_type, expected, False)
    assert found.size_bytes == len(expected)


@pytest.mark.parametrize("values", [pa.array(["a", None]), pa.array([b"a", None]), pa.array([[1], None]), pa.nulls(2)])
def test_a_null_is_told_from_an_empty_cell(tmp_path: Path, values: Any) -> None:
    found = cell(tmp_path, pa.table({"x": values}), 1, "x")
    assert (found.is_null, found.size_bytes, list(found.pieces())) == (True, 0, [])


def test_a_file_that_is_only_named_comes_as_json(tmp_path: Path) -> None:
    found = cell(tmp_path, pa.table({"x": pa.array([{"bytes": None, "path": "a.wav"}], FILE)}), 0, "x")
    assert found.media_type == "application/json"
    assert json.loads(b"".join(found.pieces()))["path"] == "a.wav"


def test_pieces_are_small_and_whole(tmp_path: Path) -> None:
    text = "0123456789" * 300_000
    pieces = list(cell(tmp_path, pa.table({"x": [text]}), 0, "x").pieces())
    assert [len(piece) for piece in pieces] == [PIECE_BYTES, PIECE_BYTES, 3_000_000 - 2 * PIECE_BYTES]
    assert b"".join(pieces) == text.encode()


_PROBE = """
import resource, sys
from pathlib import Path
from mistudio_datasets.data.incoming.layout_file import read_layout
from mistudio_datasets.data.browsing.sample_content import read_content
folder, layout = Path(sys.argv[1]), read_layout(Path(sys.argv[1]))
sum(map(len, read_content(folder, layout, "", 0, "small").pieces()))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = sum(map(len, read_content(folder, layout, "", 1, "big").pieces()))
print(size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)
"""


def test_a_cell_of_200_mb_comes_without_further_copies(tmp_path: Path) -> None:
    """It lies in memory as its page and as its value: no more, whatever stands beside it."""
    size = 200 << 20
    write_source(tmp_path, "part.parquet", pa.table({"small": ["a", "b", "c"], "big": ["x", "y" * size, "z"]}))
    plan = SourcePlan("", DataFormat.PARQUET, {"train": ("part.parquet",)}, (), CsvOptions())
    write_layout(tmp_path, read_source(tmp_path, plan, UNWATCHED))
    answer = subprocess.run([sys.executable, "-c", _PROBE, str(tmp_path)], capture_output=True, text=True, check=True)
    read, memory = map(int, answer.stdout.split())
    assert read == size
    assert memory < 2.5 * size
