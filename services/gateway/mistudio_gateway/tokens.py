"""Resume tokens: a place in one log, for one selection, with the floors that still matter there.

A token is the URL-safe base64 of: format (1 byte), identity of the log (8), key of the selection (8), sequence (8),
flags (1), floors (36 each: job id 16, version 8, attempt 4, position 8), CRC-32 of all that (4).
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from mistudio_gateway.floors import Floor
from mistudio_gateway.selection import Selection
from mistudio_servicekit.errors import InvalidResumeToken

_FORMAT = 1
_ENDED = 1
_HEAD = struct.Struct(">B8s8sQB")
_FLOOR = struct.Struct(">16sqiq")
_CHECK = struct.Struct(">I")


@dataclass(frozen=True)
class ResumeToken:
    """Everything that matches, up to here, has been sent.

    Attributes:
        identity: of the log; see `LogState`.
        sequence: of the last event that was sent or passed over.
        ended: whether the watched job's end has been sent, so that nothing follows.
        floors: what snapshots told, by job id.
    """

    identity: bytes
    sequence: int
    ended: bool = False
    floors: Mapping[str, Floor] = field(default_factory=dict)

    def encode(self, selection: Selection) -> str:
        """The token's text, bound to `selection`."""
        return encode(self.identity, self.sequence, selection, ended=self.ended, floors=packed(self.floors))


def packed(floors: Mapping[str, Floor]) -> bytes:
    """The bytes of `floors` in a token."""
    return b"".join(_FLOOR.pack(UUID(job).bytes, floor.version, *floor.progress) for job, floor in floors.items())


def encode(identity: bytes, sequence: int, selection: Selection, *, ended: bool, floors: bytes) -> str:
    """The text of a token whose floors are already `packed`."""
    body = _HEAD.pack(_FORMAT, identity, selection.key, sequence, _ENDED if ended else 0) + floors
    return base64.urlsafe_b64encode(body + _CHECK.pack(binascii.crc32(body))).decode().rstrip("=")


def decode(text: str, selection: Selection) -> ResumeToken:
    """The token in `text`.

    Raises:
        InvalidResumeToken: it is damaged, or was given by a watch with another selection.
    """
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        body, check = whole[: -_CHECK.size], whole[-_CHECK.size :]
        form, identity, key, sequence, flags = _HEAD.unpack_from(body)
        floors = {
            str(UUID(bytes=job)): Floor(version, (attempt, position))
            for job, version, attempt, position in _FLOOR.iter_unpack(body[_HEAD.size :])
        }
    except (ValueError, struct.error):
        raise _invalid(text, "is damaged", "Give the token of an earlier response unchanged") from None
    if form != _FORMAT or _CHECK.pack(binascii.crc32(body)) != check:
        raise _invalid(text, "is damaged", "Give the token of an earlier response unchanged")
    if key != selection.key:
        raise _invalid(text, "belongs to another watch", "Repeat the job or filter that gave it unchanged")
    return ResumeToken(identity, sequence, bool(flags & _ENDED), floors)


def _invalid(text: str, problem: str, next_step: str) -> InvalidResumeToken:
    return InvalidResumeToken(
        f"resume_token {text[:60]!r} {problem}",
        next_step=f"{next_step}, or leave it empty to begin with a snapshot",
        field="resume_token",
    )
