"""What a job's process logs is for machines to read, and tells no secret."""

from __future__ import annotations

import json

import pytest

from mistudio_jobs.testing import Stand


async def test_lines_of_a_jobs_process_are_json_and_no_requested_address_is_among_them(
    stand: Stand, capfd: pytest.CaptureFixture[str]
) -> None:
    async with stand.worker():
        await stand.ended(await stand.submit([["log", "mistudio", "counted"], ["log", "httpx", "GET /signed?token=1"]]))
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    logged = [line for line in lines if line["process"] == "datasets-job"]
    assert [(line["logger"], line["event"]) for line in logged] == [("mistudio", "counted")]
