"""What the Hub says of a dataset before anything of its data is fetched."""

from __future__ import annotations

from dataclasses import dataclass

from mistudio_datasets.domain.datasets import Column, DataFormat


@dataclass(frozen=True)
class InspectedSplit:
    """A split of a dataset on the Hub.

    Attributes:
        rows: rows in it; None where only reading the data would tell.
        files: number of its data files.
        size_bytes: bytes of its data files.
    """

    name: str
    rows: int | None
    files: int
    size_bytes: int


@dataclass(frozen=True)
class InspectedConfig:
    """A configuration of a dataset on the Hub.

    Attributes:
        format: form of its data files; None where they cannot be read.
        problem: why a download of it would be refused; empty where it would not.
        splits: in the order of the dataset.
        columns: empty where neither the card nor Parquet footers tell.
        download_bytes: bytes that a download fetches.
    """

    name: str
    format: DataFormat | None = None
    problem: str = ""
    splits: tuple[InspectedSplit, ...] = ()
    columns: tuple[Column, ...] = ()
    download_bytes: int = 0


@dataclass(frozen=True)
class DatasetInspection:
    """A dataset on the Hub at one commit.

    Attributes:
        revision: what was asked for, for example `main`.
        commit: what it stands for now.
        gated: whether conditions must be accepted first.
        access_problem: why its files cannot be read and what to do; empty where they can.
        default_config: what a download takes when none is named; empty where one must be named.
        configs: empty where the files cannot be read.
        repo_bytes: bytes of all files of the repository.
    """

    repo_id: str
    revision: str
    commit: str
    gated: bool
    private: bool
    access_problem: str
    default_config: str
    configs: tuple[InspectedConfig, ...]
    repo_bytes: int

    @property
    def accessible(self) -> bool:
        """Whether the files can be read."""
        return not self.access_problem
