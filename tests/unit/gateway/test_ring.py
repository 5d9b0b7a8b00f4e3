"""The bounded memory of the latest events."""

from mistudio.jobs.v1 import job_pb2
from mistudio_gateway.entries import Entry, Ring, read_entry


def entry(sequence: int, job: str = "a", size: int = 100) -> Entry:
    return Entry(sequence, job_pb2.JobEvent(job_id=job), size)


def sequences(entries) -> list[int]:
    return [each.sequence for each in entries]


def test_entries_are_found_by_place_for_one_job_and_for_all():
    ring = Ring(10, 10_000)
    for sequence, job in ((11, "a"), (13, "b"), (14, "a")):
        ring.add(entry(sequence, job))
    assert sequences(ring.after(10, None)) == [11, 13, 14]
    assert sequences(ring.after(11, "a")) == [14]
    assert sequences(ring.after(12, None, most=1)) == [13]
    assert sequences(ring.after(0, "unknown")) == []


def test_a_full_ring_forgets_the_oldest_and_says_up_to_where():
    ring = Ring(0, 1000)
    for sequence in range(1, 101):
        ring.add(entry(sequence, "a" if sequence % 2 else "b"))
        kept = sequences(ring.after(ring.oldest, None, most=1000))
        assert kept == list(range(ring.oldest + 1, sequence + 1))
    assert 85 < ring.oldest < 95
    assert min(sequences(ring.after(0, "a"))) > ring.oldest


def test_one_entry_larger_than_the_ring_is_still_kept():
    ring = Ring(0, 10)
    ring.add(entry(1))
    ring.add(entry(2))
    assert sequences(ring.after(1, None)) == [2]


def test_a_response_is_made_once_for_all_who_share_its_shape():
    one = entry(1)
    first = one.rendered((str, b"x"), lambda: b"made first")
    again = one.rendered((str, b"x"), lambda: b"made again")
    other = one.rendered((str, b"y"), lambda: b"made for others")
    assert (first, again, other) == (b"made first", b"made first", b"made for others")


def test_messages_that_are_no_known_event_are_passed_over():
    assert read_entry(1, b"\xff\xff") is None
    assert read_entry(1, job_pb2.JobEvent(job_id="a").SerializeToString()) is None
    assert read_entry(1, job_pb2.JobEvent(progress=job_pb2.Progress()).SerializeToString()) is not None
