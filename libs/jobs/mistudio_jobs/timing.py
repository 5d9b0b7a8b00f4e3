"""Every period and limit of the engine, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Periods and limits, all in seconds. The defaults are for production; tests shrink them.

    Attributes:
        lease: how long a claim holds without being renewed.
        renew: period of renewals.
        self_kill: after this long without a renewal the worker gives its job up.
        cancel_grace: how long a child may take to notice a cancellation before it is killed.
        keeping_grace: the same for a child that keeps something, which would be lost with it.
        relay_poll: period at which the relay looks for rows it was not told of.
        publish: how long one publication may wait for its acknowledgement.
        held: how long the relay leaves a worker's rows to the worker, which publishes them itself.
        fetch: how long a worker waits for a doorbell before it asks again.
        schedule: period of the scheduler.
        dispatch: age at which a queued job without a doorbell is dispatched again.
        backoff_first: wait before the first retry; it doubles with each.
        backoff_most: the longest wait before a retry.
        progress: least time between two progress events of one job.
        rate_window: span over which the rate of progress is measured.
        drain: how long a stopping worker lets its job run on.
        sweep: period of the folder sweeper.
        sweep_age: age below which a folder is never swept.
        look: period at which a child looks whether what it keeps has changed.
        beat: period at which a worker says that it is there.
        silent: how long a worker may say nothing before it is not there any more.
    """

    lease: float = 15.0
    renew: float = 4.0
    self_kill: float = 11.0
    cancel_grace: float = 0.5
    keeping_grace: float = 15.0
    relay_poll: float = 0.5
    publish: float = 5.0
    held: float = 2.0
    fetch: float = 2.0
    schedule: float = 1.0
    dispatch: float = 5.0
    backoff_first: float = 2.0
    backoff_most: float = 300.0
    progress: float = 0.1
    rate_window: float = 5.0
    drain: float = 30.0
    sweep: float = 600.0
    sweep_age: float = 3600.0
    look: float = 2.0
    beat: float = 4.0
    silent: float = 15.0


PRODUCTION = Timing()
