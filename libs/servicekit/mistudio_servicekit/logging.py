"""Structured logs: one JSON object a line on standard error, with the ids of the request at hand."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

_context: ContextVar[dict[str, Any] | None] = ContextVar("log_context", default=None)
_BUILT_IN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Add `fields` to every line logged inside the block (in this task)."""
    token = _context.set({**(_context.get() or {}), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def context_field(name: str) -> str:
    """The value that the surrounding `log_context` gives `name`, or an empty text."""
    return str((_context.get() or {}).get(name, ""))


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON: time, level, logger, event, `extra` fields, and the exception if any."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process
        self._encode = json.JSONEncoder(default=str, ensure_ascii=False).encode

    def format(self, record: logging.LogRecord) -> str:
        """The line for `record`."""
        extra = {key: value for key, value in vars(record).items() if key not in _BUILT_IN}
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": record.getMessage(),
            **(_context.get() or {}),
            **extra,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return self._encode(line)


def setup_logging(process: str, level: str = "INFO") -> None:
    """Send all logs of this process to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("alembic", "httpx", "httpx2", "nats", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
