"""What can go wrong with the embedded stack."""

from __future__ import annotations

from mistudio_servicekit.errors import FailedPrecondition, Unavailable


class DataFolderInUse(FailedPrecondition):
    """Another stack works on the same data folder."""


class CannotRunHere(FailedPrecondition):
    """This machine lacks something that the stack cannot do without."""


class ProcessNotRunning(FailedPrecondition):
    """A process that should be signalled, or asked for its pid, has ended."""


class StartFailed(Unavailable):
    """A process of the stack did not come up; its log says why."""
