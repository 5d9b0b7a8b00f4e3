"""Everything about datasets and tokenizations beside its peers and limits, as one table of one run.

Each part is a benchmark of its own as well: `make bench-tokenization`, `bench-samples`, `bench-search` and so on.
"""

from __future__ import annotations

from benchmarks import exports, ingest, lists, samples, search, tokenization, views, words
from benchmarks.report import show

PARTS = (ingest, tokenization, samples, search, words, views, exports, lists)


def main() -> None:
    show("datasets", [row for part in PARTS for row in part.measure()])


if __name__ == "__main__":
    main()
