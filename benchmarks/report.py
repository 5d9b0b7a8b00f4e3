"""How figures are kept: one row a figure, printed as a table with ratios, written to `benchmarks/results/`."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
_VERSIONS = (
    "grpcio", "nats-py", "psycopg", "SQLAlchemy", "tokenizers", "datasets", "huggingface-hub", "pyarrow",
    "torch", "transformers", "bitsandbytes", "accelerate", "safetensors",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One figure beside its mark.

    Attributes:
        work: what was measured.
        ours: our figure, median, in `unit`.
        unit: unit of both figures.
        mark: what it is held against: a peer measured in the same run, or a limit.
        mark_value: the mark's figure, median, in `unit`.
        target: what performance.md of the design asks, in words.
        met: whether the target is reached.
        spread: our slowest minus fastest run, in `unit`.
    """

    work: str
    ours: float
    unit: str
    mark: str
    mark_value: float
    target: str
    met: bool
    spread: float = 0.0

    @property
    def ratio(self) -> float:
        """Ours over the mark."""
        return self.ours / self.mark_value if self.mark_value else float("nan")


def show(name: str, rows: Sequence[Row]) -> None:
    """Print `rows` as a table and write them with the library versions to `benchmarks/results/<name>.json`."""
    table = Table(title=f"{name} · {platform.machine()}, Python {platform.python_version()}")
    for heading in ("work", "ours", "mark", "ratio", "target", "met"):
        table.add_column(heading, justify="left" if heading in ("work", "mark", "target") else "right")
    for row in rows:
        ours, mark = f"{row.ours:,.4g} {row.unit}", f"{row.mark}: {row.mark_value:,.4g} {row.unit}"
        table.add_row(row.work, ours, mark, f"{row.ratio:.2f}", row.target, "yes" if row.met else "no")
    Console(width=150).print(table)
    RESULTS.mkdir(exist_ok=True)
    found = {"versions": dict(_versions()), "rows": [asdict(row) for row in rows]}
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2))


def _versions() -> Iterator[tuple[str, str]]:
    """Libraries with their versions; those that are not installed did not take part."""
    for package in _VERSIONS:
        with suppress(PackageNotFoundError):
            yield package, version(package)


def timed(work: Callable[[], object], repeat: int = 3) -> list[float]:
    """Seconds of each of `repeat` runs of `work`, sorted."""
    seconds = []
    for _ in range(repeat):
        start = perf_counter()
        work()
        seconds.append(perf_counter() - start)
    return sorted(seconds)


def percentile(values: Sequence[float], percent: float) -> float:
    """The `percent`-th percentile of `values` (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


median = statistics.median
