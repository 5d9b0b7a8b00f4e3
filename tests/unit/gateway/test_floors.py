"""What a watcher was told never goes back, and floors leave the token when nothing can fall below them any more."""

from uuid import uuid4

from mistudio.jobs.v1 import job_pb2
from mistudio_gateway.floors import Floor, Progression

JOB = str(uuid4())


def state(
    version: int, attempt: int, value: job_pb2.JobState.ValueType = job_pb2.JOB_STATE_RUNNING
) -> job_pb2.JobEvent:
    job = job_pb2.Job(id=JOB, version=version, attempt=attempt, state=value)
    return job_pb2.JobEvent(job_id=JOB, attempt=attempt, state_changed=job)


def report(attempt: int, position: int) -> job_pb2.JobEvent:
    return job_pb2.JobEvent(job_id=JOB, attempt=attempt, progress=job_pb2.Progress(position=position))


def told(progression: Progression, *events: job_pb2.JobEvent) -> list[bool]:
    return [progression.admit(event) for event in events]


def snapshot(version: int, attempt: int, position: int | None) -> Progression:
    progression = Progression()
    progress = None if position is None else job_pb2.Progress(position=position)
    progression.snapshot(job_pb2.Job(id=JOB, version=version, attempt=attempt, progress=progress))
    return progression


def test_what_a_snapshot_had_is_not_told_again():
    progression = snapshot(3, 2, 10)
    events = (state(2, 1), report(1, 99), state(3, 2), report(2, 10), report(2, 11), state(4, 2))
    assert told(progression, *events) == [False, False, False, False, True, True]


def test_the_first_report_after_a_snapshot_without_progress_is_told_whatever_its_position():
    assert told(snapshot(3, 1, None), report(1, 0)) == [True]


def test_a_state_floor_outlives_reports_and_a_report_floor_outlives_states():
    progression = snapshot(3, 1, 10)
    assert told(progression, report(1, 11), state(3, 1)) == [True, False]
    assert progression.floors == {JOB: Floor(3)}
    progression = snapshot(3, 1, 10)
    assert told(progression, state(4, 1), report(1, 10), report(1, 11)) == [True, False, True]
    assert progression.floors == {}


def test_a_resumed_watch_with_the_tokens_floors_tells_the_same_as_the_uncut_one():
    events = [state(3, 1), report(1, 9), state(4, 1), report(1, 10), report(1, 11), state(5, 2), report(2, 1)]
    uncut = told(snapshot(3, 1, 10), *events)
    for cut in range(len(events)):
        first = snapshot(3, 1, 10)
        before = told(first, *events[:cut])
        assert before + told(Progression(first.floors), *events[cut:]) == uncut


def test_the_end_of_a_job_removes_its_floor_and_a_retry_is_told():
    progression = snapshot(3, 1, 10)
    ended = state(4, 1, job_pb2.JOB_STATE_FAILED)
    assert told(progression, ended, state(5, 1), state(6, 2)) == [True, True, True]
    assert progression.floors == {}


def test_a_lower_attempt_and_a_repeated_position_are_dropped():
    progression = Progression()
    assert told(progression, report(2, 5), report(2, 5), report(2, 4), report(1, 9), report(2, 6)) == [
        True,
        False,
        False,
        False,
        True,
    ]
