"""Datasets, tokenizations, jobs, workers and events as rows of tables and as lists of facts."""

from __future__ import annotations

from collections.abc import Sequence

from mistudio.datasets.v1 import dataset_pb2, derived_data_pb2, tokenization_pb2
from mistudio.jobs.v1 import job_pb2
from mistudio_client.cli.rendering import progress as words
from mistudio_client.cli.rendering.facts import Facts, ending, known_count, known_size, origin
from mistudio_client.cli.rendering.formats import moment, number
from mistudio_client.cli.rendering.settings import settings_facts
from mistudio_client.jobs import has_ended

DATASET_COLUMNS = ("id", "name", "status", "rows", "size", "created")
DATASET_NUMERIC = "rows size"
TOKENIZATION_COLUMNS = ("id", "dataset", "model", "status", "documents", "tokens", "created")
TOKENIZATION_NUMERIC = "documents tokens"
JOB_COLUMNS = ("id", "kind", "state", "attempt", "progress", "created")
JOB_NUMERIC = "attempt"
WORKER_COLUMNS = ("worker", "service", "pool", "host", "runs", "started", "heard of")
EVENT_COLUMNS = ("time", "attempt", "what")


def dataset_row(dataset: dataset_pb2.Dataset) -> Sequence[str]:
    """A dataset's cells for `DATASET_COLUMNS`."""
    status, size = dataset_status(dataset), known_size(dataset.size_bytes)
    return (dataset.id, dataset.name, status, known_count(dataset.rows), size, moment(dataset.create_time))


def dataset_facts(dataset: dataset_pb2.Dataset) -> Facts:
    """Everything about a dataset."""
    return [
        ("id", dataset.id),
        ("name", dataset.name),
        ("status", dataset_status(dataset)),
        ("error", dataset.error.message),
        *origin(dataset.repo_id, dataset.revision, dataset.commit),
        ("config", dataset.config),
        ("splits", ", ".join(f"{split.name} ({number(split.rows)} rows)" for split in dataset.splits)),
        ("columns", ", ".join(f"{column.name}: {column.type}" for column in dataset.columns)),
        ("rows", known_count(dataset.rows)),
        ("size", known_size(dataset.size_bytes)),
        ("with all made of it", known_size(dataset.disk_use.total_bytes)),
        ("word index", derived_status(dataset.word_index)),
        ("column statistics", derived_status(dataset.column_statistics)),
        ("damaged lines", known_count(dataset.damaged_lines)),
        *((f"  line {number(each.line)}", f"{each.reason}: {each.text}") for each in dataset.damaged),
        *ending(dataset.labels, dataset.job_id),
    ]


def dataset_status(dataset: dataset_pb2.Dataset) -> str:
    """The status without its prefix."""
    return dataset_pb2.DatasetStatus.Name(dataset.status).removeprefix("DATASET_STATUS_")


def derived_status(derived: derived_data_pb2.DerivedData) -> str:
    """The status without its prefix; empty where there is none."""
    name = derived_data_pb2.DerivedStatus.Name(derived.status).removeprefix("DERIVED_STATUS_")
    return "" if derived.status == derived_data_pb2.DERIVED_STATUS_UNSPECIFIED else name


def tokenization_row(tokenization: tokenization_pb2.Tokenization) -> Sequence[str]:
    """A tokenization's cells for `TOKENIZATION_COLUMNS`."""
    parents = (tokenization.dataset_id, tokenization.model_id, tokenization_status(tokenization))
    counts = (known_count(tokenization.documents), known_count(tokenization.tokens))
    return (tokenization.id, *parents, *counts, moment(tokenization.create_time))


def tokenization_facts(tokenization: tokenization_pb2.Tokenization) -> Facts:
    """Everything about a tokenization but its statistics."""
    return [
        ("id", tokenization.id),
        ("dataset", tokenization.dataset_id),
        ("model", tokenization.model_id),
        ("model deleted", moment(tokenization.model_delete_time)),
        ("status", tokenization_status(tokenization)),
        ("error", tokenization.error.message),
        *settings_facts(tokenization.settings),
        ("documents", known_count(tokenization.documents)),
        ("tokens", known_count(tokenization.tokens)),
        ("size", known_size(tokenization.size_bytes)),
        ("engine", tokenization.engine),
        ("tokenizer sha256", tokenization.tokenizer_sha256),
        ("folder in the store", tokenization.store_path),
        ("job", tokenization.job_id),
    ]


def tokenization_status(tokenization: tokenization_pb2.Tokenization) -> str:
    """The status without its prefix."""
    return tokenization_pb2.TokenizationStatus.Name(tokenization.status).removeprefix("TOKENIZATION_STATUS_")


def job_label(job: job_pb2.Job) -> str:
    """What a job is called in a live view."""
    return f"{job.kind} {job.id}"


def job_row(job: job_pb2.Job) -> Sequence[str]:
    """A job's cells for `JOB_COLUMNS`."""
    return (job.id, job.kind, job_state(job), number(job.attempt), _progress(job), moment(job.create_time))


def job_facts(job: job_pb2.Job) -> Facts:
    """Everything about a job, with its attempts where they are known."""
    return [
        ("id", job.id),
        ("kind", job.kind),
        ("works for", f"{job.resource_type} {job.resource_id}"),
        ("state", job_state(job)),
        ("attempt", f"{job.attempt} of at most {job.max_attempts}"),
        ("progress", _progress(job)),
        ("error", job.error.message),
        ("created", moment(job.create_time)),
        ("started", moment(job.start_time)),
        ("ended", moment(job.end_time)),
        *((f"attempt {each.attempt}", _attempt(each)) for each in job.attempts),
    ]


def job_state(job: job_pb2.Job) -> str:
    """The state without its prefix."""
    return job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_")


def worker_row(worker: job_pb2.Worker) -> Sequence[str]:
    """A worker's cells for `WORKER_COLUMNS`."""
    place = (worker.name, worker.service, worker.pool, worker.host)
    runs = f"job {worker.job_id}" if worker.job_id else ""
    return (*place, runs, moment(worker.start_time), moment(worker.seen_time))


def event_row(event: job_pb2.JobEvent) -> Sequence[str]:
    """An event's cells for `EVENT_COLUMNS`."""
    if event.HasField("state_changed"):
        what = "  ".join(part for part in (job_state(event.state_changed), event.state_changed.error.message) if part)
    else:
        progress = event.progress
        figures = (progress.stage, words.amount(progress), words.percent(progress), words.rate(progress))
        what = "  ".join(part for part in figures if part)
    return (moment(event.time), number(event.attempt), what)


def _progress(job: job_pb2.Job) -> str:
    return words.outcome(job) if has_ended(job) else words.running_line(job)


def _attempt(attempt: job_pb2.JobAttempt) -> str:
    parts = (attempt.outcome or "running", f"on {attempt.worker}", f"from {moment(attempt.start_time)}")
    return ", ".join([*parts, attempt.error.message] if attempt.error.message else parts)
