"""Files that only their owner may read."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

_KEY_BYTES = 32


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all, readable by its owner only from the first byte on."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def ensure_key_file(path: Path) -> Path:
    """Make the key that seals secrets (32 random bytes in base64) unless `path` holds one already."""
    if not path.exists():
        write_private(path, base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode())
    return path
