"""The process that outlives a killed stack and leaves none of its processes behind.

It holds one end of a pipe, whose other end only the stack has; the kernel closes that one however the stack ends.
It also holds the lock of the data folder, so that the next stack waits until the last one is cleared away.
"""

from __future__ import annotations

import signal
import sys

from mistudio_local.orphans import end_all

GRACE_SECONDS = 3.0


def main(stack_id: str) -> None:
    """Wait for the stack's end of the pipe on stdin to close, then end all that the stack has left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_all(stack_id, GRACE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
