"""What a worker and its child process say to each other: frames of JSON over a socket pair."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Task:
    """One attempt of a job, as its child process needs to know it.

    Attributes:
        job_id: UUID of the job.
        resource_id: UUID of its resource.
        attempt: number of the try.
        epoch: number of the claim.
        handler: `module:function`.
        folder: this attempt's folder, which exists; empty for a job that writes none.
        payload: what the handler gets.
        secrets: in clear.
    """

    job_id: str
    resource_id: str
    attempt: int
    epoch: int
    handler: str
    folder: str
    payload: dict[str, Any]
    secrets: dict[str, str] = field(repr=False)

    def to_frame(self) -> dict[str, Any]:
        """The frame that starts it."""
        return {"run": vars(self)}


@dataclass(frozen=True)
class Report:
    """How far a handler said it is. `position` counts its reports from 1."""

    done: int
    total: int
    unit: str
    stage: str
    metrics: dict[str, float]
    position: int


def encode(frame: dict[str, Any]) -> bytes:
    """A frame as bytes: its length in four bytes, then JSON."""
    body = json.dumps(frame).encode()
    return _LENGTH.pack(len(body)) + body


async def receive(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next frame; None at the end of the stream."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        frame: dict[str, Any] = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return frame


def receive_blocking(connection: socket.socket) -> dict[str, Any] | None:
    """The next frame; None at the end of the stream."""
    head = _exactly(connection, _LENGTH.size)
    body = _exactly(connection, _LENGTH.unpack(head)[0]) if head else None
    if body is None:
        return None
    frame: dict[str, Any] = json.loads(body)
    return frame


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)
