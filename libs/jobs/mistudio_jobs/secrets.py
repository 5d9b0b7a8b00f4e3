"""Sealing of a job's secrets: in clear they are in a worker's memory only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mistudio_servicekit.errors import Internal

KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True, repr=False)
class SecretKeys:
    """Keys of the sealing, 32 bytes each.

    Attributes:
        current: seals, and opens.
        previous: opens only, so that keys can be rotated while jobs wait.
    """

    current: bytes
    previous: bytes | None = None

    def __post_init__(self) -> None:
        for key in (self.current, self.previous):
            if key is not None and len(key) != KEY_BYTES:
                raise ValueError(f"A sealing key has {len(key)} bytes; make one of {KEY_BYTES} bytes")

    @classmethod
    def of(cls, keys: Sequence[bytes]) -> SecretKeys:
        """From one or two keys, the current one first."""
        return cls(*keys[:2])

    def seal(self, job_id: UUID, secrets: Mapping[str, str]) -> bytes | None:
        """`secrets` sealed for the job `job_id` alone; None where there are none."""
        if not secrets:
            return None
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.current).encrypt(nonce, json.dumps(dict(secrets)).encode(), job_id.bytes)

    def open(self, job_id: UUID, sealed: bytes | None) -> dict[str, str]:
        """The secrets that `seal` sealed.

        Raises:
            Internal: neither key opens them.
        """
        if sealed is None:
            return {}
        for key in (self.current, self.previous):
            opened = _opened(key, job_id, sealed) if key else None
            if opened is not None:
                return opened
        raise Internal(
            f"The secrets of job {job_id} were sealed with a key that this worker does not have",
            next_step="Give service and workers the same key file, and submit the job again",
        )


def _opened(key: bytes, job_id: UUID, sealed: bytes) -> dict[str, str] | None:
    try:
        plain = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], job_id.bytes)
    except InvalidTag:
        return None
    return {str(name): str(value) for name, value in json.loads(plain).items()}
