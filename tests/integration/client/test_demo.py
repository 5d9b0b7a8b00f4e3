"""The demo shows the main job with real figures, a second time as well."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from mistudio_local.demo_hub import HUB_DATASET_ID, find_origin
from mistudio_local.hub_mirror import HubMirror, Refusal
from mistudio_local.hub_mirror.shelf import DATASET_ID, MODEL_ID

# Nothing listens there: the Hub cannot be reached.
NO_HUB = {"MISTUDIO_HUB_ENDPOINT": "http://127.0.0.1:1"}


async def run_demo(data_dir: Path) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mistudio_local.demo", "--data-dir", str(data_dir)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **NO_HUB},
    )
    out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    text = out.decode()
    assert all(character == "\n" or character.isprintable() for character in text)
    return text.splitlines()


def figures(lines: list[str]) -> list[str]:
    """Everything from the statistics to the samples."""
    return lines[lines.index("Token statistics") : lines.index("Stopping the stack …")]


async def test_the_demo_ends_with_statistics_and_samples_and_so_does_a_second_one(tmp_path: Path) -> None:
    first = await run_demo(tmp_path / "var")
    assert any("hub mirror" in line for line in first[:2])
    for label in (f"dataset {DATASET_ID}", f"model   {MODEL_ID}", "tokens"):
        assert any(line.startswith(f"{label}  done") for line in first), label
    shown = figures(first)
    for name in ("documents ", "tokens ", "percentiles ", "vocabulary used "):
        assert any(line.startswith(name) for line in shown), name
    assert sum("█" in line for line in shown) > 5
    assert sum(line.startswith("document ") for line in shown) == 3
    assert sum(line.startswith("  ids ") for line in shown) == 3
    assert "make up" in first[-1]

    second = await run_demo(tmp_path / "var")
    assert figures(second) == shown
    assert sum("(here since 20" in line for line in second) == 3


async def test_the_hub_is_used_where_it_answers(tmp_path: Path) -> None:
    async with HubMirror(tmp_path) as hub:
        origin = await asyncio.to_thread(find_origin, "", "", {"HF_ENDPOINT": hub.url})
    assert (origin.endpoint, origin.model, origin.dataset) == (hub.url, MODEL_ID, HUB_DATASET_ID)


@pytest.mark.parametrize("status", [403, 503])
async def test_a_proxy_that_refuses_is_no_hub(tmp_path: Path, status: int) -> None:
    async with HubMirror(tmp_path) as hub:
        hub.faults.refusals.append(Refusal(status, times=None))
        origin = await asyncio.to_thread(find_origin, "", "", {"HF_ENDPOINT": hub.url})
    assert (origin.endpoint, origin.dataset) == (None, DATASET_ID)


def test_wished_repositories_are_taken_from_the_mirror_too() -> None:
    origin = find_origin("a/model", "a/dataset", NO_HUB)
    assert (origin.endpoint, origin.model, origin.dataset) == (None, "a/model", "a/dataset")
