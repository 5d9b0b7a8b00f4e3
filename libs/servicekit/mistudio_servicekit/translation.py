"""Errors of any kind as typed ones. Whoever brings a library in says what that library's errors mean, by `register`."""

from __future__ import annotations

import logging
from functools import singledispatch

import uuid_utils

from mistudio_servicekit.errors import Internal, MistudioError, NotServedHere

log = logging.getLogger(__name__)


@singledispatch
def typed(error: BaseException) -> MistudioError:
    """`error` itself if it is typed; otherwise the typed error that stands for it, with the details in the log only."""
    incident = str(uuid_utils.uuid7())
    log.error("unexpected error", exc_info=error, extra={"incident_id": incident})
    return Internal(
        f"Something unexpected went wrong (incident {incident})",
        next_step="Look for the incident id in the service's log",
        metadata={"incident_id": incident},
    )


@typed.register
def _itself(error: MistudioError) -> MistudioError:
    return error


@typed.register
def _not_served(_: NotImplementedError) -> NotServedHere:
    return NotServedHere("This server does not answer this call", next_step="Call the gateway")
