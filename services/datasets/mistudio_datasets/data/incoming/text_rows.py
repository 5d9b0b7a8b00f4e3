"""Plain text: one row a line, in a column called `text`.

Blank lines are rows with an empty text, so row n is line n + 1 and nothing is lost; `datasets.load_dataset("text")`
reads the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from mistudio_datasets.data.incoming.records import DamagedRecord, Row, damaged
from mistudio_datasets.data.incoming.streams import SourceFile

TEXT_COLUMN = "text"


def read_text(source: SourceFile) -> Iterator[Row | DamagedRecord]:
    """The lines without their ends; lines that are not UTF-8 are set aside."""
    for line in source.lines():
        try:
            line.require_whole()
            yield {TEXT_COLUMN: line.data.decode().removesuffix("\n").removesuffix("\r")}
        except UnicodeDecodeError as error:
            yield damaged(source.name, [line], f"not UTF-8 at byte {error.start} of the line")
        except ValueError as error:
            yield damaged(source.name, [line], str(error))
