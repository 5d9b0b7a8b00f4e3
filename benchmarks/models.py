"""Everything about models beside its limits and peers, as one table of one run.

Each part is a benchmark of its own as well: `make bench-model_loads`, `bench-download` and so on. What loads models has
rows for a GPU where there is one.
"""

from __future__ import annotations

from benchmarks import download, model_architectures, model_estimates, model_inspection, model_lists, model_loads
from benchmarks.report import show

PARTS = (model_inspection, model_estimates, model_loads, model_architectures, download, model_lists)


def main() -> None:
    show("models", [row for part in PARTS for row in part.measure()])


if __name__ == "__main__":
    main()
