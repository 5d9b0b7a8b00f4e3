"""A hub token is nowhere: no table, event, doorbell, log, error or file has it, while its job runs and after."""

import os

import nats
import psycopg

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_local.hub_mirror import Faults, Refusal
from mistudio_local.stack import Stack
from tests.e2e.support import GATED_DATASET, GATED_TOKEN, Product
from tests.refusals import refusal


def tables_with(connection: psycopg.Connection, secret: str) -> list[str]:
    """Tables of both schemas that show `secret` in any column, as text or as raw bytes."""
    names = connection.execute(
        "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables "
        "WHERE schemaname IN ('datasets', 'models')"
    ).fetchall()
    assert len(names) > 6
    hexadecimal = secret.encode().hex()
    found = []
    for (name,) in names:
        query = f"SELECT count(*) FROM {name} AS t WHERE t::text LIKE %s OR t::text LIKE %s"  # quoted names
        (count,) = connection.execute(query, (f"%{secret}%", f"%{hexadecimal}%")).fetchone() or (0,)
        if count:
            found.append(name)
    return found


def files_with(stack: Stack, secret: str) -> list[str]:
    """Files of the stack (store, logs, streams, database) that hold `secret`."""
    found = []
    for base, _, names in os.walk(stack.folder.root):
        for name in names:
            path = os.path.join(base, name)
            try:
                with open(path, "rb") as file:
                    if secret.encode() in file.read():
                        found.append(path)
            except FileNotFoundError:
                continue
    return found


async def events_with(stack: Stack, secret: str) -> int:
    """Messages in all streams that hold `secret`."""
    connection = await nats.connect(stack.nats_url)
    try:
        js = connection.jetstream()
        count = 0
        for info in await js.streams_info():
            for sequence in range(max(1, info.state.first_seq), info.state.last_seq + 1):
                try:
                    message = await js.get_msg(str(info.config.name), sequence)
                except nats.js.errors.NotFoundError:
                    continue
                count += secret.encode() in (message.data or b"") or secret in str(message.headers)
        return count
    finally:
        await connection.close()


async def forget_gated_dataset(product: Product) -> None:
    """Have the gated dataset neither here nor on its way."""
    answer = await product.download_dataset(GATED_DATASET, hub_token=GATED_TOKEN)
    await product.ended(answer.job.id)
    await product.delete_dataset(answer.dataset.id)


async def test_a_hub_token_is_nowhere(
    product: Product, stack: Stack, faults: Faults, superuser: psycopg.Connection
) -> None:
    await forget_gated_dataset(product)
    faults.refusals.append(Refusal(503, times=None, path="*.parquet"))  # the download waits, and tries again
    answer = await product.download_dataset(GATED_DATASET, hub_token=GATED_TOKEN)
    await product.until(answer.job.id, lambda progress: progress.total > 0)
    assert tables_with(superuser, GATED_TOKEN) == []
    sealed = superuser.execute("SELECT secrets FROM datasets.jobs WHERE id = %s", (answer.job.id,)).fetchone()
    assert sealed is not None
    assert sealed[0]
    faults.clear()
    await product.succeeded(answer.job.id)
    assert tables_with(superuser, GATED_TOKEN) == []
    assert superuser.execute("SELECT count(*) FROM datasets.jobs WHERE secrets IS NOT NULL").fetchone() == (0,)
    assert await events_with(stack, GATED_TOKEN) == 0
    assert files_with(stack, GATED_TOKEN) == []


async def test_a_hub_token_that_is_refused_in_the_middle_is_nowhere_either(
    product: Product, stack: Stack, faults: Faults, superuser: psycopg.Connection
) -> None:
    await forget_gated_dataset(product)
    faults.refusals.append(Refusal(401, times=None, path="*.parquet"))
    answer = await product.download_dataset(GATED_DATASET, hub_token=GATED_TOKEN)
    job = await product.ended(answer.job.id)
    assert (job.state, job.error.reason) == (job_pb2.JOB_STATE_FAILED, "HUB_TOKEN_INVALID")
    dataset = await product.dataset(answer.dataset.id)
    assert dataset.error == job.error
    assert GATED_TOKEN not in f"{job}{dataset}"
    assert tables_with(superuser, GATED_TOKEN) == []
    assert await events_with(stack, GATED_TOKEN) == 0
    assert files_with(stack, GATED_TOKEN) == []
    error = await refusal(product.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=job.id)))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "JOB_NOT_RETRYABLE")
