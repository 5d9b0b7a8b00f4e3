"""What the Hub says of a dataset, as a list of facts."""

from __future__ import annotations

from mistudio.datasets.v1 import inspection_pb2
from mistudio_client.cli.rendering.formats import byte_size, number


def dataset_inspection_facts(found: inspection_pb2.DatasetInspection) -> list[tuple[str, str]]:
    """The repository first, then its configurations."""
    return [
        ("repository", found.repo_id),
        ("revision", found.revision),
        ("commit", found.commit),
        ("gated", "yes" if found.gated else ""),
        ("private", "yes" if found.private else ""),
        ("accessible", "yes" if found.accessible else f"no: {found.access_problem}"),
        ("size", byte_size(found.repo_bytes)),
        ("default config", found.default_config),
        *(fact for config in found.configs for fact in _config_facts(config)),
    ]


def _config_facts(config: inspection_pb2.InspectedConfig) -> list[tuple[str, str]]:
    if config.problem:
        return [(f"config {config.name}", f"cannot be downloaded: {config.problem}")]
    return [
        (f"config {config.name}", f"{config.format}, {byte_size(config.download_bytes)}"),
        ("  splits", ", ".join(map(_split, config.splits))),
        ("  columns", ", ".join(f"{column.name}: {column.type}" for column in config.columns)),
    ]


def _split(split: inspection_pb2.InspectedSplit) -> str:
    rows = f"{number(split.rows)} rows" if split.HasField("rows") else "rows not told"
    return f"{split.name} ({rows}, {number(split.files)} files, {byte_size(split.size_bytes)})"
