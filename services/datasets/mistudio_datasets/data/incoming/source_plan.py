"""Which files of a Hub repository make up a configuration and its splits, and whether they can be read."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own, for one exception class

from mistudio_datasets.data.incoming.csv_rows import CsvOptions
from mistudio_datasets.data.incoming.repository import CARD_FILES, Repository
from mistudio_datasets.data.incoming.repository_listing import BASE
from mistudio_datasets.domain.datasets import DataFormat, split_not_found
from mistudio_servicekit.errors import (
    ConfigNotFound,
    DatasetEmpty,
    MalformedFile,
    MissingField,
    MistudioError,
    UnsupportedFormat,
)

_FORMATS = {
    "parquet": DataFormat.PARQUET,
    "json": DataFormat.JSONL,
    "csv": DataFormat.CSV,
    "text": DataFormat.TEXT,
    "arrow": DataFormat.ARROW,
}
_KNOWN_OPTIONS = {"name", "version", "description", "data_dir", "data_files", "features"} | {
    "sep", "delimiter", "quotechar", "names", "column_names"
}  # fmt: skip


@dataclass(frozen=True)
class SourcePlan:
    """The files of one configuration.

    Attributes:
        config: its name.
        format: form of its data files.
        splits: names of the data files of each split, in row order, relative to the repository.
        cards: which of `CARD_FILES` the repository has.
        csv: how its CSV files are written.
    """

    config: str
    format: DataFormat
    splits: Mapping[str, tuple[str, ...]]
    cards: tuple[str, ...]
    csv: CsvOptions

    @property
    def files(self) -> tuple[str, ...]:
        """Every file to fetch, each once, in order."""
        return tuple(dict.fromkeys([*self.cards, *(name for names in self.splits.values() for name in names)]))


def plan_source(
    names: Sequence[str], cards: Mapping[str, bytes], config: str = "", splits: Sequence[str] = ()
) -> SourcePlan:
    """The plan for `config` (empty: the default one) and `splits` (empty: all).

    Args:
        names: every file of the repository, posix paths.
        cards: contents of those of `CARD_FILES` that exist.
        config: name of the configuration.
        splits: names of the splits.

    Raises:
        ConfigNotFound: no such configuration; the text names those that exist.
        MissingField: several configurations, no default one, and none named.
        SplitNotFound: no such split; the text names those that exist.
        DatasetEmpty: the repository or configuration has no data files.
        UnsupportedFormat: no reader for the data files.
        MalformedFile: the dataset card contradicts itself or the files.
        UnsafePath: a file name would leave the folder.
    """
    return SourcePlanner(names, cards).plan(config, splits)


class SourcePlanner:
    """Makes the plans of all configurations of a repository; raises as `plan_source` does."""

    def __init__(self, names: Sequence[str], cards: Mapping[str, bytes]) -> None:
        self._names = names
        self._cards = tuple(name for name in CARD_FILES if name in cards)
        with self._resolving():
            self.repository = Repository(names, cards)

    def plan(self, config: str = "", splits: Sequence[str] = ()) -> SourcePlan:
        """The plan for `config` (empty: the default one) and `splits` (empty: all)."""
        chosen = self._chosen(config)
        with self._resolving():
            resolved = self.repository.splits(chosen)
        _require_files(chosen, resolved)
        for number, split in enumerate(splits):
            if split not in resolved:
                raise split_not_found(split, list(resolved), f"splits[{number}]")
        wanted = {split: names for split, names in resolved.items() if not splits or split in splits}
        format = _format(self.repository.module)
        options = _csv_options(self.repository.builder_config(chosen), format)
        return SourcePlan(chosen, format, wanted, self._cards, options)

    def _chosen(self, config: str) -> str:
        known = self.repository.configs
        if config and config not in known:
            raise ConfigNotFound(
                f"There is no configuration {config!r}",
                next_step=f"Choose one of {', '.join(map(repr, known))}",
                metadata={"config": config, "configs": ",".join(known)},
            )
        chosen = config or self.repository.default_config
        if not chosen:
            raise MissingField(
                "The repository has several configurations and no default one",
                next_step=f"Set config to one of {', '.join(map(repr, known))}",
                field="config",
                metadata={"configs": ",".join(known)},
            )
        return chosen

    @contextmanager
    def _resolving(self) -> Iterator[None]:
        try:
            yield
        except _UNRESOLVABLE as error:
            raise _unresolvable(error, self._names) from error


def plan_folder(folder: Path, config: str = "", splits: Sequence[str] = ()) -> SourcePlan:
    """The plan for a complete copy of a repository in `folder`; raises as `plan_source` does."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    cards = {name: (folder / name).read_bytes() for name in CARD_FILES if (folder / name).is_file()}
    return plan_source(names, cards, config, splits)


_UNRESOLVABLE = (ValueError, TypeError, KeyError, OSError, RuntimeError, yaml.YAMLError, zipfile.BadZipFile)


def _require_files(config: str, splits: Mapping[str, Sequence[str]]) -> None:
    if not any(splits.values()):
        raise DatasetEmpty(
            f"The configuration {config!r} has no data files",
            next_step="Choose another configuration or revision",
            metadata={"config": config},
        )


def _format(module: str) -> DataFormat:
    if module not in _FORMATS:
        raise UnsupportedFormat(
            f"The repository's data files are read by {module!r}, which is not supported",
            next_step=f"Choose a dataset in one of {', '.join(sorted(_FORMATS))}",
            metadata={"format": module},
        )
    return _FORMATS[module]


def _csv_options(settings: Any, format: DataFormat) -> CsvOptions:
    given = _given_options(settings)
    unknown = sorted(set(given) - _KNOWN_OPTIONS)
    if unknown and format is not DataFormat.PARQUET:
        raise UnsupportedFormat(
            f"The dataset card sets {', '.join(f'{name}={given[name]!r}' for name in unknown)}, which is not supported",
            next_step="Choose another configuration, or download the files and upload them",
        )
    names = given.get("names") or ()
    return CsvOptions(given.get("sep", ""), given.get("quotechar", '"'), tuple(map(str, names)))


def _given_options(config: Any) -> dict[str, Any]:
    """Options of a configuration that differ from the library's defaults."""
    defaults = {
        field.name: field.default for field in dataclasses.fields(config) if field.default is not dataclasses.MISSING
    }
    return {name: getattr(config, name) for name in defaults if getattr(config, name) != defaults[name]}


def _unresolvable(error: Exception, names: Sequence[str]) -> MistudioError:
    text = str(error).replace(f"{BASE}/", "").replace(BASE, "the repository").strip().splitlines()
    reason = text[0].partition(" with any supported")[0].rstrip(".") if text else type(error).__name__
    if isinstance(error, datasets.data_files.EmptyDatasetError):
        return DatasetEmpty("The repository holds no data files", next_step="Choose a repository with data files")
    if isinstance(error, (datasets.exceptions.DataFilesNotFoundError, zipfile.BadZipFile)):
        endings = sorted({Path(name).suffix for name in names if Path(name).suffix})
        return UnsupportedFormat(
            f"The repository holds no data files that can be read (its files end in {', '.join(endings)})",
            next_step="Choose a dataset in Parquet, JSON, CSV, text or Arrow; datasets that need code are not run",
        )
    return MalformedFile(
        f"The repository's files and its dataset card do not fit together: {reason}",
        next_step="Name another revision or configuration, or tell the dataset's owner",
    )
