"""The service and its worker as processes of their own, set up by their environment."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import grpc
import pytest

from mistudio.models.v2 import model_pb2, models_service_pb2_grpc
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_local.ports import choose_port


@pytest.fixture
def environment(database, nats_url, hub, tmp_path) -> dict[str, str]:
    (tmp_path / "key").write_text(base64.b64encode(bytes(range(32))).decode())
    return {
        **os.environ,
        "MISTUDIO_DATABASE_URL": database.url("models"),
        "MISTUDIO_NATS_URL": nats_url,
        "MISTUDIO_STORE_DIR": str(tmp_path / "store"),
        "MISTUDIO_SECRET_KEY_FILE": str(tmp_path / "key"),
        "MISTUDIO_HUB_ENDPOINT": hub.mirror.url,
    }


async def _run(module: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"mistudio_models.{module}", env=environment, stderr=asyncio.subprocess.PIPE
    )


@asynccontextmanager
async def _running(module: str, environment: dict[str, str]) -> AsyncIterator[str]:
    """The process while it is healthy; gives the address of its metrics, and wants a clean end."""
    address = f"127.0.0.1:{choose_port(0)}"
    process = await _run(module, {**environment, "MISTUDIO_METRICS_LISTEN": address})
    assert process.stderr is not None
    output = asyncio.create_task(process.stderr.read())
    try:
        await _healthy(address, process)
        yield address
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        killing = asyncio.get_running_loop().call_later(100, process.kill)
        code = await process.wait()
        killing.cancel()
        assert code == 0, (await output).decode()


async def _healthy(address: str, process: asyncio.subprocess.Process) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(100):
        while process.returncode is None:
            try:
                async with session.get(f"http://{address}/healthz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def test_migrated_started_and_stopped_by_the_environment_alone_they_bring_a_model_in(environment, hub):
    assert await (await _run("migrate", environment)).wait() == 0
    target = f"127.0.0.1:{choose_port(0)}"
    async with (
        _running("server", {**environment, "MISTUDIO_LISTEN": target}) as address,
        _running("worker", environment),
    ):
        async with grpc.aio.insecure_channel(target) as channel, asyncio.timeout(100):
            stub = models_service_pb2_grpc.ModelsServiceStub(channel)
            model = (await stub.DownloadModel(pb.DownloadModelRequest(repo_id=hub.gpt))).model
            while model.status == model_pb2.MODEL_STATUS_DOWNLOADING:
                await asyncio.sleep(0.02)
                model = (await stub.GetModel(pb.GetModelRequest(id=model.id))).model
        assert model.status == model_pb2.MODEL_STATUS_READY
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as answer:
            assert "mistudio_grpc_calls_total" in await answer.text()


async def test_a_process_without_its_settings_names_what_is_missing(environment):
    for module in ("server", "worker", "migrate"):
        process = await _run(module, {**environment, "MISTUDIO_DATABASE_URL": ""})
        _, error = await process.communicate()
        assert process.returncode != 0
        assert b"MISTUDIO_DATABASE_URL is not set" in error
