"""Real tokenizers of every family, trained on English that every Python carries, and small datasets on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio_datasets.data.incoming.reading import SOURCE_FOLDER, ingest_upload
from mistudio_datasets.data.incoming.sources import Source
from mistudio_datasets.domain.datasets import Layout
from mistudio_datasets.domain.progress import UNWATCHED
from tests.tokenizer_families import english_paragraphs, save_model

Upload = Callable[..., tuple[Path, Layout]]


@pytest.fixture(scope="session")
def english() -> list[str]:
    """Some thousand paragraphs."""
    return list(english_paragraphs())


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder for each of four tokenizer families, as a download would leave it."""
    families = ("byte-level", "wordpiece", "unigram", "byte-fallback")
    return {family: save_model(family, tmp_path_factory.mktemp(family)) for family in families}


@pytest.fixture
def upload(tmp_path: Path) -> Upload:
    """Takes an upload in: `upload("rows.csv", b"…")` gives the epoch folder and the layout."""

    def take(name: str, content: bytes, wanted: object = None, monitor: object = UNWATCHED) -> tuple[Path, Layout]:
        file = tmp_path / "received"
        file.write_bytes(content)
        folder = tmp_path / "epoch"
        folder.mkdir()
        return folder, ingest_upload(folder, Source.whole(file, name), wanted, monitor)  # type: ignore[arg-type]  # passed on

    return take


def write_source(folder: Path, name: str, table: pa.Table, row_group_size: int = 1000) -> Path:
    """Write `table` as a Parquet file of a downloaded repository."""
    path = folder / SOURCE_FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return path
