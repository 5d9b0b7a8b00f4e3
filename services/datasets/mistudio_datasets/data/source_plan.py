"""Which files of a Hub repository make up a configuration and its splits, as `datasets` resolves them.

The library resolves a folder, so the repository's file list is laid out as a folder of empty files beside the real
dataset card. That works before anything is downloaded, needs no network and runs no code of the repository.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own, for one exception class

from mistudio_datasets.data.csv_rows import CsvOptions
from mistudio_datasets.domain.datasets import DataFormat, split_not_found
from mistudio_servicekit.errors import (
    ConfigNotFound,
    DatasetEmpty,
    MalformedFile,
    MissingField,
    MistudioError,
    UnsupportedFormat,
)
from mistudio_servicekit.storage import confined

CARD_FILES = ("README.md", ".huggingface.yaml", "dataset_infos.json")
"""Files that say how a repository is laid out; fetched first and always."""

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
        DatasetEmpty: the repository has no data files.
        UnsupportedFormat: no reader for the data files.
        MalformedFile: the dataset card contradicts itself or the files.
        UnsafePath: a file name would leave the folder.
    """
    with TemporaryDirectory(prefix="mistudio-plan-") as scratch:
        folder = Path(scratch) / "repository"
        _lay_out(folder, names, cards)
        try:
            builder = _builder(folder, config, cache=Path(scratch) / "cache")
        except MistudioError:
            raise
        except _UNRESOLVABLE as error:
            raise _unresolvable(error, names, scratch) from error
        return _plan(builder, folder, [name for name in CARD_FILES if name in cards], splits)


def plan_folder(folder: Path, config: str = "", splits: Sequence[str] = ()) -> SourcePlan:
    """The plan for a complete copy of a repository in `folder`; raises as `plan_source` does."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    cards = {name: (folder / name).read_bytes() for name in CARD_FILES if (folder / name).is_file()}
    return plan_source(names, cards, config, splits)


_UNRESOLVABLE = (ValueError, TypeError, KeyError, OSError, RuntimeError, yaml.YAMLError, zipfile.BadZipFile)


def _lay_out(folder: Path, names: Sequence[str], cards: Mapping[str, bytes]) -> None:
    for name in names:
        path = confined(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cards.get(name, b""))
    folder.mkdir(exist_ok=True)


def _builder(folder: Path, config: str, cache: Path) -> datasets.DatasetBuilder:
    datasets.disable_progress_bars()
    known = datasets.get_dataset_config_names(str(folder))
    if config and config not in known:
        raise ConfigNotFound(
            f"There is no configuration {config!r}",
            next_step=f"Choose one of {', '.join(map(repr, known))}",
            metadata={"config": config, "configs": ",".join(known)},
        )
    chosen = config or datasets.get_dataset_default_config_name(str(folder))
    if chosen is None:
        raise MissingField(
            "The repository has several configurations and no default one",
            next_step=f"Set config to one of {', '.join(map(repr, known))}",
            field="config",
            metadata={"configs": ",".join(known)},
        )
    return datasets.load_dataset_builder(str(folder), chosen, cache_dir=str(cache))


def _plan(builder: datasets.DatasetBuilder, folder: Path, cards: Sequence[str], splits: Sequence[str]) -> SourcePlan:
    root = folder.resolve()
    resolved = {
        str(split): tuple(Path(name).relative_to(root).as_posix() for name in names)
        for split, names in builder.config.data_files.items()
    }
    for split in splits:
        if split not in resolved:
            raise split_not_found(split, list(resolved))
    wanted = {split: names for split, names in resolved.items() if not splits or split in splits}
    format = _format(builder)
    return SourcePlan(builder.config.name, format, wanted, tuple(cards), _csv_options(builder, format))


def _format(builder: datasets.DatasetBuilder) -> DataFormat:
    module = next(
        base.__module__.rsplit(".", 1)[1]
        for base in type(builder).__mro__
        if base.__module__.startswith("datasets.packaged_modules.")
    )
    if module not in _FORMATS:
        raise UnsupportedFormat(
            f"The repository's data files are read by {module!r}, which is not supported",
            next_step=f"Choose a dataset in one of {', '.join(sorted(_FORMATS))}",
            metadata={"format": module},
        )
    return _FORMATS[module]


def _csv_options(builder: datasets.DatasetBuilder, format: DataFormat) -> CsvOptions:
    given = _given_options(builder.config)
    unknown = sorted(set(given) - _KNOWN_OPTIONS)
    if unknown and format is not DataFormat.PARQUET:
        raise UnsupportedFormat(
            f"The dataset card sets {', '.join(f'{name}={given[name]!r}' for name in unknown)}, which is not supported",
            next_step="Choose another configuration, or download the files and upload them",
        )
    names = given.get("names") or ()
    return CsvOptions(given.get("sep", ""), given.get("quotechar", '"'), tuple(map(str, names)))


def _given_options(config: Any) -> dict[str, Any]:
    """Options of the builder's configuration that differ from the library's defaults."""
    defaults = {
        field.name: field.default for field in dataclasses.fields(config) if field.default is not dataclasses.MISSING
    }
    return {name: getattr(config, name) for name in defaults if getattr(config, name) != defaults[name]}


def _unresolvable(error: Exception, names: Sequence[str], scratch: str) -> MistudioError:
    text = str(error).replace(scratch, "").strip().splitlines()
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
