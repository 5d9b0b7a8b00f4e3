"""How `datasets` reads a Hub repository, from its file list and dataset card alone: configurations, splits, files.

It is found out once for all configurations, before anything is downloaded; it needs no network, no disk, and runs no
code of the repository. The steps are those of the library for a folder (`LocalDatasetModuleFactory`), on a listing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from glob import has_magic
from typing import Any

import datasets
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own, for one exception class
from datasets.data_files import (
    DataFilesDict,
    DataFilesList,
    DataFilesPatternsDict,
    get_data_patterns,
    resolve_pattern,
    sanitize_patterns,
)
from datasets.info import DatasetInfosDict
from datasets.load import (
    create_builder_configs_from_metadata_configs,
    import_main_class,
    infer_module_for_data_files,
)
from datasets.packaged_modules import (
    _ALL_ALLOWED_EXTENSIONS,
    _MODULE_TO_EXTENSIONS,
    _MODULE_TO_METADATA_EXTENSIONS,
    _MODULE_TO_METADATA_FILE_NAMES,
    _PACKAGED_DATASETS_MODULES,
)
from datasets.utils.file_utils import is_relative_path
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

from mistudio_datasets.data.incoming.repository_listing import BASE, Listing, name_of
from mistudio_datasets.data.incoming.schema import columns_of
from mistudio_datasets.domain.datasets import Column
from mistudio_servicekit.errors import UnsupportedFormat
from mistudio_servicekit.storage import require_inside

CARD_FILES = ("README.md", ".huggingface.yaml", "dataset_infos.json")
"""Files that say how a repository is laid out; fetched first and always."""

_README, _STANDALONE, _LEGACY_INFOS = CARD_FILES


class Repository:
    """A repository as the library reads it.

    Args:
        names: every file of the repository, posix paths.
        cards: contents of those of `CARD_FILES` that exist.

    Raises:
        UnsafePath: a file name would leave its folder.
        UnsupportedFormat: the card names data files outside of the repository.
        ValueError, TypeError, KeyError, OSError, yaml.YAMLError, zipfile.BadZipFile: files and card cannot be resolved.
    """

    def __init__(self, names: Sequence[str], cards: Mapping[str, bytes]) -> None:
        for name in names:
            require_inside(name)
        self._listing = Listing(names)
        card = _card(cards)
        described = MetadataConfigs.from_dataset_card_data(card)
        _require_own_files(described)
        first: Mapping[str, Any] = next(iter(described.values()), {})
        given = first.get("data_files")
        patterns = sanitize_patterns(given) if given else get_data_patterns(BASE, self._listing.access)
        files = self._resolved(patterns, BASE)
        self.module, options = infer_module_for_data_files(files, download_config=self._listing.access)
        self._configs, self.default_config = self._builder_configs(described, files, options)
        self._infos = _infos(card, cards)

    @property
    def configs(self) -> tuple[str, ...]:
        """Names of the configurations, in the order of the card."""
        return tuple(self._configs)

    def builder_config(self, config: str) -> Any:
        """The library's settings of a configuration."""
        return self._configs[config]

    def splits(self, config: str) -> dict[str, tuple[str, ...]]:
        """Names of the data files of each split, in row order.

        Raises:
            FileNotFoundError: the card names a file that there is not.
        """
        settings = self._configs[config]
        files = settings.data_files
        if isinstance(files, DataFilesPatternsDict):
            files = self._resolved(files, f"{BASE}/{settings.data_dir}" if settings.data_dir else BASE)
        return {str(split): tuple(map(name_of, urls)) for split, urls in files.items()}

    def rows_told(self, config: str) -> dict[str, int]:
        """Rows by split, as far as the card tells them."""
        info = self._info(config)
        splits = (info.splits if info else None) or {}
        # A split without the figure has 0 of it.
        return {str(name): split.num_examples for name, split in splits.items() if split.num_examples}

    def columns_told(self, config: str) -> tuple[Column, ...]:
        """The columns, if the card tells them."""
        info = self._info(config)
        return columns_of(info.features.arrow_schema) if info and info.features else ()

    def _info(self, config: str) -> datasets.DatasetInfo | None:
        only = len(self._infos) == len(self._configs) == 1
        return self._infos.get(config) or (next(iter(self._infos.values())) if only else None)

    def _resolved(self, patterns: Mapping[str, Sequence[str]], base: str) -> dict[str, list[str]]:
        return {
            split: [url for pattern in of_split for url in self._matching(pattern, base)]
            for split, of_split in patterns.items()
        }

    def _matching(self, pattern: str, base: str) -> list[str]:
        try:
            found: list[str] = resolve_pattern(pattern, base, _ALL_ALLOWED_EXTENSIONS, self._listing.access)
        except FileNotFoundError:
            if not has_magic(pattern):
                raise
            return []
        return found

    def _builder_configs(
        self, described: MetadataConfigs, files: Mapping[str, list[str]], options: Mapping[str, Any]
    ) -> tuple[dict[str, Any], str]:
        """The settings of every configuration by its name, and the name of the default one, empty without."""
        path, _ = _PACKAGED_DATASETS_MODULES[self.module]
        if described:
            access = self._listing.access
            found, default = create_builder_configs_from_metadata_configs(path, described, BASE, options, access)
            return {settings.name: settings for settings in found}, default or ""
        own = DataFilesDict({split: self._of_module(urls) for split, urls in files.items()})
        only = import_main_class(path).BUILDER_CONFIG_CLASS(data_files=own, **options)
        return {only.name: only}, only.name

    def _of_module(self, urls: list[str]) -> DataFilesList:
        """Those of the files that the module reads; others may lie beside them."""
        extensions = _MODULE_TO_EXTENSIONS[self.module] + _MODULE_TO_METADATA_EXTENSIONS[self.module]
        names = _MODULE_TO_METADATA_FILE_NAMES[self.module]
        return DataFilesList(urls, []).filter(extensions=extensions, file_names=names)


def _card(cards: Mapping[str, bytes]) -> DatasetCardData:
    """What the README's head says; a file of its own goes before it."""
    said: dict[str, Any] = {}
    if _README in cards:
        said |= DatasetCard(cards[_README].decode()).data.to_dict()  # type: ignore[no-untyped-call]  # the library's gap
    if _STANDALONE in cards:
        said |= yaml.safe_load(cards[_STANDALONE]) or {}
    return DatasetCardData(**said)


def _require_own_files(described: MetadataConfigs) -> None:
    """Raise where the card leads elsewhere: the library would look there, on this machine or in its network."""
    for name, config in described.items():
        given = sanitize_patterns(config["data_files"]) if config.get("data_files") else {}
        places = [*(pattern for patterns in given.values() for pattern in patterns), config.get("data_dir") or "."]
        for place in map(str, places):
            if not is_relative_path(place) or "::" in place or ".." in place.split("/"):
                raise UnsupportedFormat(
                    f"The dataset card takes the configuration {name!r} from {place!r}, outside of the repository",
                    next_step="Choose a dataset whose files lie in its own repository",
                    metadata={"config": name},
                )


def _infos(card: DatasetCardData, cards: Mapping[str, bytes]) -> Mapping[str, datasets.DatasetInfo]:
    """What the card says of the data by configuration; nothing where that cannot be read, as nothing depends on it."""
    try:
        legacy = json.loads(cards.get(_LEGACY_INFOS, b"{}"))
        infos = {name: datasets.DatasetInfo.from_dict(info) for name, info in legacy.items()}
        return {**infos, **DatasetInfosDict.from_dataset_card_data(card)}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
