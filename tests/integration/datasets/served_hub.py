"""What the mirror serves to the tests of the datasets service."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mistudio_local.hub_mirror import Faults, HubMirror


@dataclass(frozen=True)
class Hub:
    """The mirror and what it serves; files are shared by all tests: replace them, never write into them.

    `english` has train and test in Parquet; `lines` has two configurations in JSON Lines; `gated` opens for
    `ada_token` only; `numbers` has no text; `hollow` has an empty split; `big` takes a while; `odd` holds no data.
    """

    mirror: HubMirror
    root: Path
    english: str = "tiny/english"
    lines: str = "tiny/lines"
    gated: str = "tiny/gated"
    numbers: str = "tiny/numbers"
    hollow: str = "tiny/hollow"
    big: str = "tiny/big"
    odd: str = "tiny/odd"
    ada_token: str = "hf_AdaMayReadGatedDatasets0123456789"
    bob_token: str = "hf_BobMayReadOpenDatasetsOnly9876543"

    @property
    def faults(self) -> Faults:
        """What the mirror does wrong, and what it was asked."""
        return self.mirror.faults


def _folder(root: Path, repo_id: str, **files: str) -> Path:
    folder = root / "datasets" / repo_id
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


def _card(splits: Iterable[str], ending: str) -> str:
    lines = [f"  - split: {split}\n    path: {split}.{ending}" for split in splits]
    return "---\nconfigs:\n- config_name: default\n  data_files:\n" + "\n".join(lines) + "\n---\n"


def fill(root: Path, hub: type[Hub], texts: list[str]) -> None:
    english = _folder(root, hub.english, README__md=_card(["train", "test"], "parquet"))
    rows = [{"id": number, "text": text} for number, text in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist(rows[:1000]), english / "train.parquet", row_group_size=100)
    pq.write_table(pa.Table.from_pylist(rows[1000:1200]), english / "test.parquet")
    configs = "---\nconfigs:\n- config_name: a\n  data_files: a.jsonl\n- config_name: b\n  data_files: b.jsonl\n---\n"
    line = json.dumps({"text": "one line"}) + "\n"
    _folder(root, hub.lines, README__md=configs, a__jsonl=line * 3, b__jsonl=line * 5)
    gated = _folder(root, hub.gated, data__jsonl=line * 50)
    (gated / ".mirror.json").write_text(json.dumps({"gated": "manual", "readers": ["ada"]}))
    (root / "users.json").write_text(json.dumps({hub.ada_token: "ada", hub.bob_token: "bob"}))
    _folder(root, hub.numbers, data__jsonl='{"n": 1}\n{"n": 2}\n')
    hollow = _folder(root, hub.hollow, README__md=_card(["train", "test"], "parquet"))
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), hollow / "train.parquet")
    pq.write_table(pa.table({"text": ["only here"]}), hollow / "test.parquet")
    big = _folder(root, hub.big)
    pq.write_table(pa.table({"text": texts * 60}), big / "train.parquet", compression="none", use_dictionary=False)
    _folder(root, hub.odd, notes__pdf="%PDF")
