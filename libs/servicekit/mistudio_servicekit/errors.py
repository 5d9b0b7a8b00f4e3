"""Typed errors: one class per cause, each with its gRPC code, its machine-readable reason and its job failure class.

An error's text always says what is wrong, with what value, and what to do next. Errors travel as plain records
(`to_record`, `from_record`) over the pipe from a job's child process, into the jobs table, and back to a client.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Self

# All of an error, told several times over, fits into the 8 KiB that the head of an answer may have.
_MOST_PROBLEM_BYTES = 1000
_MOST_NEXT_STEP_BYTES = 600
_MOST_METADATA_BYTES = 1000


def _told(text: str, most_bytes: int) -> str:
    """`text` as every answer, database and log can hold it: not too long, without NUL and lone surrogates."""
    content = text.replace("\0", "\\0").encode(errors="backslashreplace")
    if len(content) > most_bytes:
        return f"{content[:most_bytes].decode(errors='ignore')}…"
    return content.decode()


class Reason(StrEnum):
    """Machine-readable cause, sent as `google.rpc.ErrorInfo.reason`; mirrors `mistudio.errors.v1.ErrorReason`."""

    MALFORMED_ID = "MALFORMED_ID"
    INVALID_FIELD = "INVALID_FIELD"
    MISSING_FIELD = "MISSING_FIELD"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"  # noqa: S105  # the name of a reason, no password
    INVALID_FILTER = "INVALID_FILTER"
    INVALID_ORDER_BY = "INVALID_ORDER_BY"
    INVALID_RESUME_TOKEN = "INVALID_RESUME_TOKEN"  # noqa: S105  # the name of a reason, no password
    UNSAFE_PATH = "UNSAFE_PATH"
    DATASET_NOT_FOUND = "DATASET_NOT_FOUND"
    TOKENIZATION_NOT_FOUND = "TOKENIZATION_NOT_FOUND"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    REPO_NOT_FOUND = "REPO_NOT_FOUND"
    REVISION_NOT_FOUND = "REVISION_NOT_FOUND"
    ENTRY_NOT_FOUND = "ENTRY_NOT_FOUND"
    CONFIG_NOT_FOUND = "CONFIG_NOT_FOUND"
    SPLIT_NOT_FOUND = "SPLIT_NOT_FOUND"
    REPO_GATED = "REPO_GATED"
    HUB_TOKEN_INVALID = "HUB_TOKEN_INVALID"  # noqa: S105  # the name of a reason, no password
    HUB_UNAVAILABLE = "HUB_UNAVAILABLE"
    HUB_RATE_LIMITED = "HUB_RATE_LIMITED"
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"
    DISK_FULL = "DISK_FULL"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    DATASET_NOT_READY = "DATASET_NOT_READY"
    MODEL_NOT_READY = "MODEL_NOT_READY"
    TOKENIZATION_NOT_READY = "TOKENIZATION_NOT_READY"
    RESOURCE_IN_USE = "RESOURCE_IN_USE"
    JOB_NOT_CANCELLABLE = "JOB_NOT_CANCELLABLE"
    JOB_NOT_RETRYABLE = "JOB_NOT_RETRYABLE"
    TEXT_COLUMN_MISSING = "TEXT_COLUMN_MISSING"
    DATASET_EMPTY = "DATASET_EMPTY"
    MALFORMED_FILE = "MALFORMED_FILE"
    UNSUPPORTED_FORMAT = "UNSUPPORTED_FORMAT"
    TOKENIZER_MISSING = "TOKENIZER_MISSING"
    TOKENIZER_INVALID = "TOKENIZER_INVALID"
    HISTORY_COMPACTED = "HISTORY_COMPACTED"
    LOG_REPLACED = "LOG_REPLACED"
    SLOW_READER = "SLOW_READER"
    BACKEND_UNAVAILABLE = "BACKEND_UNAVAILABLE"
    DRAINING = "DRAINING"
    WORKER_LOST = "WORKER_LOST"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"
    NOT_SERVED_HERE = "NOT_SERVED_HERE"
    UPLOAD_NOT_FOUND = "UPLOAD_NOT_FOUND"
    EXPORT_NOT_FOUND = "EXPORT_NOT_FOUND"
    COLUMN_NOT_FOUND = "COLUMN_NOT_FOUND"
    ROW_NOT_FOUND = "ROW_NOT_FOUND"
    INVALID_SEARCH = "INVALID_SEARCH"
    UPLOAD_OFFSET_MISMATCH = "UPLOAD_OFFSET_MISMATCH"
    COLUMN_STATISTICS_NOT_READY = "COLUMN_STATISTICS_NOT_READY"
    CHAT_TEMPLATE_MISSING = "CHAT_TEMPLATE_MISSING"
    CONVERSATION_MISSING = "CONVERSATION_MISSING"
    EXPORT_NOT_READY = "EXPORT_NOT_READY"
    VIEW_EMPTY = "VIEW_EMPTY"
    PICKLE_REFUSED = "PICKLE_REFUSED"
    REMOTE_CODE_REFUSED = "REMOTE_CODE_REFUSED"
    MODEL_NOT_LOADED = "MODEL_NOT_LOADED"
    ARCHITECTURE_UNSUPPORTED = "ARCHITECTURE_UNSUPPORTED"
    WEIGHTS_MISSING = "WEIGHTS_MISSING"
    INTERNAL = "INTERNAL"


class FailureClass(StrEnum):
    """Why a job failed, as shown to its user; mirrors `mistudio.jobs.v1.FailureClass`."""

    OOM = "OOM"
    VALIDATION = "VALIDATION"
    TIMEOUT = "TIMEOUT"
    NETWORK = "NETWORK"
    DISK_FULL = "DISK_FULL"
    NOT_FOUND = "NOT_FOUND"
    GATED = "GATED"
    UNKNOWN = "UNKNOWN"


class MistudioError(Exception):
    """Base of every expected error.

    Args:
        problem: what is wrong, naming the thing and its value; one clause without a final full stop. Texts that are
            too long to be told are cut.
        next_step: what the reader should do, one clause without a final full stop.
        field: request field at fault in proto path form (`splits[0]`), or empty.
        retry_after_seconds: when a retry may help, after how long.
        metadata: further facts for programs; never secrets.
    """

    code: str = "INTERNAL"
    reason: Reason = Reason.INTERNAL
    failure: FailureClass = FailureClass.UNKNOWN
    transient: bool = False

    def __init__(
        self,
        problem: str,
        *,
        next_step: str,
        field: str = "",
        retry_after_seconds: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.problem = _told(problem, _MOST_PROBLEM_BYTES)
        self.next_step = _told(next_step, _MOST_NEXT_STEP_BYTES)
        super().__init__(f"{self.problem}. {self.next_step}.")
        self.field = field
        self.retry_after_seconds = retry_after_seconds
        self.metadata = {key: _told(value, _MOST_METADATA_BYTES) for key, value in (metadata or {}).items()}

    @property
    def message(self) -> str:
        """The whole text for a person: the problem and the next step."""
        return str(self)

    def to_record(self) -> dict[str, Any]:
        """This error as JSON-ready values."""
        return {
            "code": self.code,
            "reason": self.reason.value,
            "failure": self.failure.value,
            "transient": self.transient,
            "problem": self.problem,
            "next_step": self.next_step,
            "field": self.field,
            "retry_after_seconds": self.retry_after_seconds,
            "metadata": self.metadata,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> MistudioError:
        """The error that `to_record` described, with its code and reason (as a plain `MistudioError`)."""
        error = MistudioError(
            record["problem"],
            next_step=record["next_step"],
            field=record.get("field", ""),
            retry_after_seconds=record.get("retry_after_seconds"),
            metadata=record.get("metadata"),
        )
        error.code = record["code"]
        error.reason = Reason(record["reason"])
        error.failure = FailureClass(record["failure"])
        error.transient = bool(record["transient"])
        return error


class InvalidArgument(MistudioError):
    """A request field has a value that can never be right."""

    code = "INVALID_ARGUMENT"
    reason = Reason.INVALID_FIELD
    failure = FailureClass.VALIDATION


class MalformedId(InvalidArgument):
    """An id is not a UUID in canonical text."""

    reason = Reason.MALFORMED_ID

    @classmethod
    def of(cls, field: str, value: str) -> Self:
        """The error for `value` given in `field`."""
        return cls(
            f"{field} is {value!r}, which is not a UUID",
            next_step="Give an id as the service returned it, like 0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e",
            field=field,
            metadata={"value": value},
        )


class MissingField(InvalidArgument):
    """A required request field is empty."""

    reason = Reason.MISSING_FIELD

    @classmethod
    def of(cls, field: str, example: str) -> Self:
        """The error for the empty `field`, with an example value."""
        return cls(f"{field} is empty", next_step=f"Set {field}, for example {example!r}", field=field)


class InvalidPageToken(InvalidArgument):
    """A page token is damaged or belongs to another query."""

    reason = Reason.INVALID_PAGE_TOKEN


class InvalidFilter(InvalidArgument):
    """A filter does not parse or names an unknown field."""

    reason = Reason.INVALID_FILTER


class InvalidOrderBy(InvalidArgument):
    """An order names a field that lists cannot be ordered by."""

    reason = Reason.INVALID_ORDER_BY


class InvalidResumeToken(InvalidArgument):
    """A resume token is damaged or belongs to another watch."""

    reason = Reason.INVALID_RESUME_TOKEN


class UnsafePath(InvalidArgument):
    """A file name would leave the folder it belongs to."""

    reason = Reason.UNSAFE_PATH


class MalformedFile(InvalidArgument):
    """A data file cannot be read as its format."""

    reason = Reason.MALFORMED_FILE


class UnsupportedFormat(InvalidArgument):
    """No reader exists for these files."""

    reason = Reason.UNSUPPORTED_FORMAT


class TextColumnMissing(InvalidArgument):
    """The dataset has no such, or no recognisable, text column."""

    reason = Reason.TEXT_COLUMN_MISSING


class ConversationMissing(InvalidArgument):
    """The dataset has no such, or no recognisable, column of conversations."""

    reason = Reason.CONVERSATION_MISSING


class InvalidSearch(InvalidArgument):
    """A search cannot be done as it is asked for, for example with a regular expression that does not parse."""

    reason = Reason.INVALID_SEARCH


class NotFound(MistudioError):
    """A named thing does not exist."""

    code = "NOT_FOUND"
    failure = FailureClass.NOT_FOUND
    noun: ClassVar[str] = "resource"

    @classmethod
    def of(cls, identifier: str) -> Self:
        """The error for the unknown `identifier`."""
        return cls(
            f"There is no {cls.noun} {identifier!r}",
            next_step=f"List the {cls.noun}s to see which exist",
            metadata={"id": identifier},
        )


class DatasetNotFound(NotFound):
    """No dataset has this id."""

    reason = Reason.DATASET_NOT_FOUND
    noun = "dataset"


class TokenizationNotFound(NotFound):
    """No tokenization has this id."""

    reason = Reason.TOKENIZATION_NOT_FOUND
    noun = "tokenization"


class ModelNotFound(NotFound):
    """No model has this id."""

    reason = Reason.MODEL_NOT_FOUND
    noun = "model"


class JobNotFound(NotFound):
    """No job has this id."""

    reason = Reason.JOB_NOT_FOUND
    noun = "job"


class UploadNotFound(NotFound):
    """No upload was begun with this request_id, or it has expired."""

    reason = Reason.UPLOAD_NOT_FOUND
    noun = "upload"


class ExportNotFound(NotFound):
    """No export has this id."""

    reason = Reason.EXPORT_NOT_FOUND
    noun = "export"


class ColumnNotFound(NotFound):
    """The dataset has no such column."""

    reason = Reason.COLUMN_NOT_FOUND


class RowNotFound(NotFound):
    """The split has no row of this number."""

    reason = Reason.ROW_NOT_FOUND


class ModelNotLoaded(NotFound):
    """The model is not loaded, or not on this worker, or not in this way."""

    reason = Reason.MODEL_NOT_LOADED


class RepoNotFound(NotFound):
    """The Hub has no such repository, or hides it from this token."""

    reason = Reason.REPO_NOT_FOUND


class RevisionNotFound(NotFound):
    """The repository has no such branch, tag or commit."""

    reason = Reason.REVISION_NOT_FOUND


class EntryNotFound(NotFound):
    """The repository has no such file."""

    reason = Reason.ENTRY_NOT_FOUND


class ConfigNotFound(NotFound):
    """The dataset has no such configuration."""

    reason = Reason.CONFIG_NOT_FOUND


class SplitNotFound(NotFound):
    """The dataset has no such split."""

    reason = Reason.SPLIT_NOT_FOUND


class RepoGated(MistudioError):
    """The repository asks for accepted terms and a token that has them."""

    code = "PERMISSION_DENIED"
    reason = Reason.REPO_GATED
    failure = FailureClass.GATED


class HubTokenInvalid(MistudioError):
    """The Hub refused the token itself."""

    code = "PERMISSION_DENIED"
    reason = Reason.HUB_TOKEN_INVALID
    failure = FailureClass.GATED


class PickleRefused(MistudioError):
    """Weights are there as pickles only, which can run code, and the request or the operator does not allow them."""

    code = "PERMISSION_DENIED"
    reason = Reason.PICKLE_REFUSED
    failure = FailureClass.VALIDATION


class RemoteCodeRefused(MistudioError):
    """Code from the repository would be run, and the request or the operator does not allow it."""

    code = "PERMISSION_DENIED"
    reason = Reason.REMOTE_CODE_REFUSED
    failure = FailureClass.VALIDATION


class HubUnavailable(MistudioError):
    """The Hub cannot be reached, or answers with server errors."""

    code = "UNAVAILABLE"
    reason = Reason.HUB_UNAVAILABLE
    failure = FailureClass.NETWORK
    transient = True


class HubRateLimited(HubUnavailable):
    """The Hub asks to come back later (HTTP 429)."""

    reason = Reason.HUB_RATE_LIMITED


class ChecksumMismatch(MistudioError):
    """Received bytes differ from the Hub's checksum, also after fetching them again."""

    code = "DATA_LOSS"
    reason = Reason.CHECKSUM_MISMATCH
    failure = FailureClass.NETWORK
    transient = True


class DiskFull(MistudioError):
    """The store has too little free space."""

    code = "RESOURCE_EXHAUSTED"
    reason = Reason.DISK_FULL
    failure = FailureClass.DISK_FULL


class AlreadyExists(MistudioError):
    """The request clashes with something that exists."""

    code = "ALREADY_EXISTS"
    failure = FailureClass.VALIDATION


class RequestIdReused(AlreadyExists):
    """A request_id was used before with other content."""

    reason = Reason.REQUEST_ID_REUSED


class Aborted(MistudioError):
    """The request lost against a concurrent change."""

    code = "ABORTED"
    reason = Reason.ETAG_MISMATCH


class FailedPrecondition(MistudioError):
    """A state forbids the request; `metadata["subject"]` names whose."""

    code = "FAILED_PRECONDITION"
    failure = FailureClass.VALIDATION


class DatasetNotReady(FailedPrecondition):
    """The dataset's files are not complete."""

    reason = Reason.DATASET_NOT_READY


class ModelNotReady(FailedPrecondition):
    """The model's files are not complete."""

    reason = Reason.MODEL_NOT_READY


class TokenizationNotReady(FailedPrecondition):
    """The tokenization is not complete."""

    reason = Reason.TOKENIZATION_NOT_READY


class DatasetEmpty(FailedPrecondition):
    """The dataset (or split) has no rows to work on."""

    reason = Reason.DATASET_EMPTY


class TokenizerMissing(FailedPrecondition):
    """The model's repository carries no tokenizer."""

    reason = Reason.TOKENIZER_MISSING


class TokenizerInvalid(FailedPrecondition):
    """The model's tokenizer files cannot be loaded."""

    reason = Reason.TOKENIZER_INVALID


class UploadOffsetMismatch(FailedPrecondition):
    """An upload goes on from another offset."""

    reason = Reason.UPLOAD_OFFSET_MISMATCH


class ColumnStatisticsNotReady(FailedPrecondition):
    """The statistics of the columns are not made yet."""

    reason = Reason.COLUMN_STATISTICS_NOT_READY


class ExportNotReady(FailedPrecondition):
    """The export is just being cancelled."""

    reason = Reason.EXPORT_NOT_READY


class ViewEmpty(FailedPrecondition):
    """The view has no sequence of its full length."""

    reason = Reason.VIEW_EMPTY


class ArchitectureUnsupported(FailedPrecondition):
    """No installed code knows the model's architecture, or its files do not fit it."""

    reason = Reason.ARCHITECTURE_UNSUPPORTED


class WeightsMissing(FailedPrecondition):
    """The model's repository has no weights that can be loaded."""

    reason = Reason.WEIGHTS_MISSING


class ChatTemplateMissing(FailedPrecondition):
    """The model has no chat template to render conversations with, or a broken one."""

    reason = Reason.CHAT_TEMPLATE_MISSING


class ResourceInUse(FailedPrecondition):
    """Another thing needs what should be deleted."""

    reason = Reason.RESOURCE_IN_USE


class JobNotCancellable(FailedPrecondition):
    """The job has ended already."""

    reason = Reason.JOB_NOT_CANCELLABLE


class JobNotRetryable(FailedPrecondition):
    """The job is running, or succeeded."""

    reason = Reason.JOB_NOT_RETRYABLE


class HistoryCompacted(MistudioError):
    """The event log no longer holds the asked position."""

    code = "OUT_OF_RANGE"
    reason = Reason.HISTORY_COMPACTED


class LogReplaced(MistudioError):
    """The event log was lost and begun anew."""

    code = "DATA_LOSS"
    reason = Reason.LOG_REPLACED


class SlowReader(MistudioError):
    """A watcher did not take its messages in time."""

    code = "RESOURCE_EXHAUSTED"
    reason = Reason.SLOW_READER


class Unavailable(MistudioError):
    """A part of the system cannot be reached just now."""

    code = "UNAVAILABLE"
    reason = Reason.BACKEND_UNAVAILABLE
    failure = FailureClass.NETWORK
    transient = True


class Draining(Unavailable):
    """This server is stopping; another replica will answer."""

    reason = Reason.DRAINING


class WorkerLost(MistudioError):
    """The process that ran the job died or fell silent."""

    code = "UNAVAILABLE"
    reason = Reason.WORKER_LOST
    transient = True


class OutOfMemory(MistudioError):
    """The job needs more memory than there is."""

    code = "RESOURCE_EXHAUSTED"
    reason = Reason.OUT_OF_MEMORY
    failure = FailureClass.OOM


class TimedOut(MistudioError):
    """Something took longer than its limit."""

    code = "DEADLINE_EXCEEDED"
    reason = Reason.TIMED_OUT
    failure = FailureClass.TIMEOUT
    transient = True


class JobCancelled(MistudioError):
    """Raised inside a job handler when its user has cancelled it; handlers let it pass."""

    code = "CANCELLED"
    reason = Reason.CANCELLED


class NotServedHere(MistudioError):
    """This process does not answer this call; the text says which does."""

    code = "UNIMPLEMENTED"
    reason = Reason.NOT_SERVED_HERE


class Internal(MistudioError):
    """An unexpected fault; the log has its details under the incident id."""

    code = "INTERNAL"
    reason = Reason.INTERNAL
