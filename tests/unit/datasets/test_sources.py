"""A file that lies in pieces is read as one."""

import os
import random
from itertools import pairwise
from pathlib import Path

import pytest

from mistudio_datasets.data.incoming.sources import Piece, Source
from mistudio_datasets.data.incoming.streams import SourceFile

LINES = b"".join(b"line %d\n" % number for number in range(50_000))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """The lines in five pieces, one of them empty, each with bytes behind it that do not count."""
    pieces, cuts = [], [0, 3, 3, 70_000, 70_001, len(LINES)]
    for number, (start, end) in enumerate(pairwise(cuts)):
        path = tmp_path / str(number)
        path.write_bytes(LINES[start:end] + b"of a stream that was taken over")
        pieces.append(Piece(path, end - start))
    return Source(tuple(pieces), "lines.txt")


def test_pieces_are_read_as_one_file_and_only_what_counts(source: Source) -> None:
    assert source.size_bytes == len(LINES)
    with source.open() as file:
        assert file.read() == LINES
    with SourceFile(source) as lines:
        assert b"".join(line.data for line in lines.lines()) == LINES


def test_any_part_of_it_can_be_read(source: Source) -> None:
    chance = random.Random(3)
    with source.open() as file:
        for start in (chance.randrange(len(LINES)) for _ in range(200)):
            file.seek(start)
            size = chance.randrange(1, 100_000)
            assert file.read(size) == LINES[start : start + size]
        assert file.seek(0, os.SEEK_END) == len(LINES)


def test_a_piece_that_is_shorter_than_it_should_be_is_no_end(source: Source) -> None:
    os.truncate(source.pieces[3].path, 0)
    with source.open() as file, pytest.raises(OSError, match="shorter than 1 bytes"):
        file.read()
