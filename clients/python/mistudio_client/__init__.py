"""Python client of miStudio: typed stubs, errors with their causes, watches that resume by themselves."""

from mistudio_client.client import Client
from mistudio_client.errors import HistoryCompacted, LogReplaced, MistudioCallError
from mistudio_client.jobs import has_ended
from mistudio_client.watching import Watch

__all__ = ["Client", "HistoryCompacted", "LogReplaced", "MistudioCallError", "Watch", "has_ended"]
