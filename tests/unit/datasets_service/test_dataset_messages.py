"""Datasets and tokenizations as clients see them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from google.protobuf.json_format import MessageToDict

from mistudio.datasets.v1 import dataset_pb2, tokenization_pb2
from mistudio_datasets.api.conversion import (
    dataset_message,
    statistics_message,
    tokenization_message,
    upload_format,
)
from mistudio_datasets.api.inspection_messages import inspection_message
from mistudio_datasets.api.sample_messages import sample_message
from mistudio_datasets.data.browsing.samples import CutCell, SampleRow
from mistudio_datasets.domain.datasets import (
    Column,
    ColumnKind,
    DamagedLine,
    DataFormat,
    Dataset,
    DatasetStatus,
    Layout,
    SplitInfo,
)
from mistudio_datasets.domain.inspection import DatasetInspection, InspectedConfig
from mistudio_datasets.domain.statistics import LengthBin, LengthPercentile, TokenCount, TokenizationStatistics
from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.domain.tokenizations import Tokenization, TokenizationSettings
from mistudio_servicekit.channel import MAX_MESSAGE_BYTES
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import MalformedFile

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LAYOUT = Layout(
    config="",
    format=DataFormat.JSONL,
    splits=(SplitInfo("train", 3, 500, ("rows/train/part-00000.parquet",), (3,)),),
    columns=(Column("text", "string", ColumnKind.TEXT),),
    damaged_count=7,
    damaged=(DamagedLine("a.jsonl", 4, 1, 99, 5000, "not JSON", "x" * 4096, None),),
)
DATASET = Dataset(
    id=new_id(),
    name="rows",
    status=DatasetStatus.READY,
    repo_id="",
    revision="",
    commit="",
    config="",
    splits=(),
    epoch=4,
    layout=LAYOUT.summary(),
    size_bytes=777,
    error=None,
    job_id=new_id(),
    create_time=NOW,
    update_time=NOW,
    labels={"team": "blue"},
    version=9,
)


def test_a_dataset_shows_its_layout_without_files() -> None:
    message = dataset_message(DATASET)
    assert message.splits == [dataset_pb2.Split(name="train", rows=3, size_bytes=500)]
    assert message.columns == [dataset_pb2.Column(name="text", type="string")]
    assert (message.rows, message.damaged_lines, len(message.damaged[0].text)) == (3, 7, 200)
    assert (message.etag, dict(message.labels), message.create_time.ToDatetime(UTC)) == ("v9", {"team": "blue"}, NOW)
    assert not message.HasField("error")
    assert "part-00000" not in str(DATASET.layout and DATASET.layout.to_json())


def test_an_error_shows_the_text_of_its_job() -> None:
    error = MalformedFile("rows.csv is broken", next_step="Mend it")
    failed = replace(DATASET, status=DatasetStatus.ERROR, layout=None, error=error.to_record())
    message = dataset_message(failed)
    assert message.error.message == error.message
    assert message.error.reason == "MALFORMED_FILE"
    assert (message.rows, list(message.splits)) == (0, [])


@pytest.mark.parametrize("status", DatasetStatus)
def test_every_status_of_a_dataset_has_its_value(status: DatasetStatus) -> None:
    message = dataset_message(replace(DATASET, status=status))
    assert dataset_pb2.DatasetStatus.Name(message.status) == f"DATASET_STATUS_{status}"


@pytest.mark.parametrize("status", WorkStatus)
def test_every_status_of_a_tokenization_has_its_value_and_only_a_ready_one_a_path(status: WorkStatus) -> None:
    made = Tokenization(
        id=new_id(),
        dataset_id=new_id(),
        model_id=new_id(),
        settings=TokenizationSettings("train", "text"),
        status=status,
        epoch=3,
        documents=1,
        tokens=2,
        size_bytes=3,
        engine="tokenizers",
        tokenizer_sha256="ab",
        error=None,
        job_id=new_id(),
        create_time=NOW,
        update_time=NOW,
    )
    message = tokenization_message(made)
    assert tokenization_pb2.TokenizationStatus.Name(message.status) == f"TOKENIZATION_STATUS_{status}"
    expected = f"tokenizations/{made.id}/3" if status is WorkStatus.READY else ""
    assert message.store_path == expected


def test_statistics_keep_every_figure() -> None:
    figures = TokenizationStatistics(
        documents=5,
        empty_documents=1,
        tokens=2**40,
        min_tokens=0,
        mean_tokens=1.5,
        median_tokens=2.0,
        max_tokens=9,
        percentiles=(LengthPercentile(99.0, 8.5),),
        histogram=(LengthBin(0, 1, 5),),
        vocabulary_size=100,
        vocabulary_used=50,
        top_tokens=(TokenCount(3, " the", 40),),
    )
    message = statistics_message(figures)
    assert (message.tokens, message.mean_tokens, message.max_tokens) == (2**40, 1.5, 9)
    assert message.percentiles == [tokenization_pb2.LengthPercentile(percentile=99, tokens=8.5)]
    assert message.histogram == [tokenization_pb2.LengthBin(from_tokens=0, to_tokens=1, documents=5)]
    assert message.top_tokens == [tokenization_pb2.TokenCount(token_id=3, token=" the", count=40)]


def test_samples_keep_nested_values_and_mark_what_was_cut() -> None:
    values = {"n": 1, "none": None, "list": [1, "a", {"b": True}], "text": "cut"}
    message = sample_message(SampleRow(5, values, (CutCell("text", 9000),)))
    seen = MessageToDict(message.values)
    assert seen["list"][2]["b"] is True
    assert seen["none"] is None
    assert (message.row, message.cut_cells[0].column, message.cut_cells[0].size_bytes) == (5, "text", 9000)


def test_upload_formats_are_found_out_unless_named() -> None:
    assert upload_format(dataset_pb2.UPLOAD_FORMAT_UNSPECIFIED) is None
    assert upload_format(dataset_pb2.UPLOAD_FORMAT_CSV) is DataFormat.CSV


def test_a_hub_dataset_of_many_wide_configurations_is_told_in_one_message() -> None:
    columns = tuple(Column(f"c{number}", "x" * 2000, ColumnKind.OTHER) for number in range(1000))
    configs = tuple(InspectedConfig(f"config {number}", columns=columns) for number in range(100))
    found = DatasetInspection("owner/name", "main", "c" * 40, False, False, "", "", configs, 0)
    told = inspection_message(found)
    assert told.ByteSize() < MAX_MESSAGE_BYTES
    for config in told.configs:
        assert 100 < len(config.columns) < 1000
        assert {len(column.type) for column in config.columns} == {1000}
