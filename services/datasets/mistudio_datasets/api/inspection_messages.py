"""What the Hub says of a dataset, as messages."""

from __future__ import annotations

from mistudio.datasets.v1 import inspection_pb2
from mistudio_datasets.api.layout_messages import ANSWER_BYTES, Room, column_message
from mistudio_datasets.domain.inspection import DatasetInspection, InspectedConfig


def inspection_message(found: DatasetInspection) -> inspection_pb2.DatasetInspection:
    """The findings as clients see them."""
    share = ANSWER_BYTES // max(1, len(found.configs))
    return inspection_pb2.DatasetInspection(
        repo_id=found.repo_id,
        revision=found.revision,
        commit=found.commit,
        gated=found.gated,
        private=found.private,
        accessible=found.accessible,
        access_problem=found.access_problem,
        default_config=found.default_config,
        configs=[_config_message(config, share) for config in found.configs],
        repo_bytes=found.repo_bytes,
    )


def _config_message(config: InspectedConfig, most_bytes: int) -> inspection_pb2.InspectedConfig:
    return inspection_pb2.InspectedConfig(
        name=config.name,
        format="" if config.format is None else config.format.value,
        problem=config.problem,
        splits=[
            inspection_pb2.InspectedSplit(
                name=split.name, rows=split.rows, files=split.files, size_bytes=split.size_bytes
            )
            for split in config.splits
        ],
        columns=Room(most_bytes).fitting(map(column_message, config.columns)),
        download_bytes=config.download_bytes,
    )
