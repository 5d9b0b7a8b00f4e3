"""Pages of a job's events, as the log has them."""

from __future__ import annotations

from mistudio.jobs.v1 import jobs_service_pb2
from mistudio_gateway.entries import Entry, read_entry
from mistudio_gateway.eventlog import EventLog, ReaderLost, log_unavailable
from mistudio_gateway.selection import Selection
from mistudio_servicekit.pagination import PageRequest, encode_token, offset_token


async def list_job_events(
    event_log: EventLog, request: jobs_service_pb2.ListJobEventsRequest
) -> jobs_service_pb2.ListJobEventsResponse:
    """A page of what the log still has of a job, oldest first; empty for a job it knows nothing of.

    Raises:
        MissingField, MalformedId, InvalidArgument, InvalidPageToken: the request is wrong.
        Unavailable: the log cannot be reached.
    """
    selection = Selection.of_job(request.id)
    size = PageRequest(page_size=request.page_size).size()
    state = await event_log.state()
    # Bound to the log: a place in one that was lost means nothing in its successor.
    query = (selection.job_id, state.identity.hex())
    after = offset_token(query, request.page_token, 0)
    entries = await _read(event_log, selection.subject, after, size + 1)
    token = encode_token(query, [entries[size - 1].sequence]) if len(entries) > size else ""
    events = [entry.event for entry in entries[:size]]
    return jobs_service_pb2.ListJobEventsResponse(events=events, next_page_token=token)


async def _read(event_log: EventLog, subject: str, after: int, most: int) -> list[Entry]:
    """At most `most` entries of `subject` behind the sequence `after`."""
    entries: list[Entry] = []
    async with event_log.reader(subject, after) as reader:
        pending = reader.pending
        while pending and len(entries) < most:
            try:
                messages = await reader.read()
            except ReaderLost:
                raise log_unavailable() from None
            if not messages:
                break
            pending = messages[-1].pending
            found = (read_entry(message.sequence, message.data) for message in messages)
            entries += [entry for entry in found if entry]
    return entries[:most]
