"""Jobs whose files are taken from under them, because what they work for is deleted: no fault of anybody."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mistudio_jobs.tables import Job
from mistudio_jobs.testing import PLAIN, QUICK, Stand
from mistudio_servicekit.storage import Area

PATIENT = replace(QUICK, cancel_grace=600.0)
"""A handler that does not look whether its job was cancelled is not killed for that."""


async def exists(path: Path) -> None:
    """Wait until a file is there."""
    async with asyncio.timeout(100):
        while not path.exists():
            await asyncio.sleep(0.01)


async def abandon(stand: Stand, job: Job) -> None:
    """Cancel the job as the deletion of its resource does."""
    async with stand.engine.transaction() as session:
        await stand.engine.lock(session, [job.id])
        await stand.engine.abandon(session, [job.id])


def errors(stderr: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the job's process and its worker have logged as errors."""
    told = [line for line in stderr.splitlines() if '"level": "error"' in line]
    return told + [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


async def test_a_job_whose_files_go_with_its_resource_ends_cancelled_without_an_incident(
    stand: Stand, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = [["signal", str(tmp_path / "on")], ["wait_deaf", str(tmp_path / "go")], ["write", "part", "x"]]
    async with stand.worker(timing=PATIENT):
        job = await stand.submit(steps)
        await exists(tmp_path / "on")
        await abandon(stand, job)
        shutil.rmtree(stand.store.resource(Area.DATASETS, job.resource_id))
        (tmp_path / "go").write_text("go")
        ended = await stand.ended(job)
    assert (ended.state, ended.error) == ("CANCELLED", None)
    assert errors(capfd.readouterr().err, caplog) == []


async def test_a_fault_of_a_job_that_is_wanted_is_logged_once_under_the_incident_that_its_user_sees(
    stand: Stand, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async with stand.worker():
        failed = await stand.ended(await stand.submit([["fault", "details of a driver"]], kind=PLAIN))
    assert failed.error
    (told,) = errors(capfd.readouterr().err, caplog)
    assert failed.error["metadata"]["incident"] in told and "RuntimeError: details of a driver" in told
