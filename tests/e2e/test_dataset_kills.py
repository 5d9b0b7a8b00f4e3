"""Workers and the service killed with -9 while datasets are put to use: the work ends once, as if undisturbed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import grpc
import psutil
import psycopg
import pytest

from mistudio.datasets.v1 import (
    datasets_service_pb2,
    exports_service_pb2,
    tokenization_pb2,
    tokenizations_service_pb2,
    view_pb2,
)
from mistudio.jobs.v1 import job_pb2
from mistudio_local.stack import Stack
from mistudio_servicekit.storage import Area
from tests.e2e.killing import assert_second_attempt_won, kill_the_runner, settled
from tests.e2e.research import (
    CHAT_MODEL,
    DATASET,
    ENDLESS_MODEL,
    found,
    start_export,
    statistics,
    tokenized,
    uploaded,
    wide_parquet,
)
from tests.e2e.support import BIG_DATASET, Product, until

WINDOWS = view_pb2.View(mode=view_pb2.VIEW_MODE_WINDOWS, context_length=32, stride=2)
"""Overlap so much that there are many times the tokens of the documents."""

NAMED_FOLDERS = """
    SELECT 'tokenizations', id, epoch FROM datasets.tokenizations UNION ALL
    SELECT 'derived', id, epoch FROM datasets.derived UNION ALL
    SELECT 'exports', id, epoch FROM datasets.exports
"""

pytestmark = pytest.mark.faults


@dataclass(frozen=True)
class Making:
    """Something that is being made of a dataset.

    Attributes:
        job: makes it.
        area: of its folder.
        result: what came out, in a form that is equal for equal ones.
        forget: deletes it.
    """

    job: job_pb2.Job
    area: Area
    result: Callable[[], Awaitable[object]]
    forget: Callable[[], Awaitable[object]]


class Makers:
    """Start to make things that take some seconds, the same each time."""

    def __init__(self, product: Product, tokenization_id: str, big: bytes) -> None:
        self._product, self._tokenization_id, self._big = product, tokenization_id, big
        self._wide = wide_parquet()

    async def export(self) -> Making:
        answer = await start_export(self._product, self._tokenization_id, WINDOWS, shuffle_seed=7)

        async def digest() -> object:
            return self._product.digest(Area.EXPORTS, answer.export.id)

        async def delete() -> None:
            request = exports_service_pb2.DeleteExportRequest(id=answer.export.id)
            await self._product.succeeded((await self._product.exports.DeleteExport(request)).job.id)

        return Making(answer.job, Area.EXPORTS, digest, delete)

    async def word_index(self) -> Making:
        dataset_id = (await uploaded(self._product, self._big)).id
        request = datasets_service_pb2.CreateWordIndexRequest(dataset_id=dataset_id)
        answer = await self._product.datasets.CreateWordIndex(request)

        async def search() -> object:
            page = await found(self._product, dataset_id, {"words": 'loop "else clause" 17'}, page_size=200)
            return page.ranking, page.total_size, [sample.row for sample in page.samples]

        return Making(answer.job, Area.DERIVED, search, lambda: self._product.delete_dataset(dataset_id))

    async def column_statistics(self) -> Making:
        dataset_id = (await uploaded(self._product, self._wide)).id
        request = datasets_service_pb2.CreateColumnStatisticsRequest(dataset_id=dataset_id)
        answer = await self._product.datasets.CreateColumnStatistics(request)

        return Making(
            answer.job,
            Area.DERIVED,
            lambda: statistics(self._product, dataset_id),
            lambda: self._product.delete_dataset(dataset_id),
        )

    @property
    def all(self) -> tuple[Callable[[], Awaitable[Making]], ...]:
        return self.export, self.word_index, self.column_statistics


async def undisturbed(product: Product, make: Callable[[], Awaitable[Making]]) -> object:
    """What comes out when nothing happens."""
    making = await make()
    await product.succeeded(making.job.id)
    result = await making.result()
    await making.forget()
    return result


async def killed_in_the_middle(product: Product, stack: Stack, make: Callable[[], Awaitable[Making]]) -> object:
    """What comes out when the worker is killed while it writes."""
    making = await make()
    folder = product.folder(making.area, making.job.resource_id)
    await until(lambda: any(folder.glob("*/*")))
    await kill_the_runner(product, stack, making.job.id)
    assert_second_attempt_won(await product.ended(making.job.id))
    assert len(product.epochs(making.area, making.job.resource_id)) == 1
    result = await making.result()
    await making.forget()
    return result


async def assert_no_folder_is_left_over(product: Product, superuser: psycopg.Connection) -> None:
    """Wait until every folder of what is made of datasets is named by a row."""

    def nameless() -> set[tuple[str, UUID, int]]:
        named = set(superuser.execute(NAMED_FOLDERS).fetchall())
        superuser.rollback()
        areas = (Area.TOKENIZATIONS, Area.DERIVED, Area.EXPORTS)
        folders = [path for area in areas for path in (product.store.root / area).glob("*/*")]
        return {(path.parts[-3], UUID(path.parts[-2]), int(path.name)) for path in folders} - named

    await until(lambda: not nameless())


async def test_what_is_made_of_datasets_is_the_same_after_a_workers_death(
    product: Product, stack: Stack, superuser: psycopg.Connection, hub_root: Path
) -> None:
    dataset, model = await product.ready_dataset(BIG_DATASET), await product.ready_model(CHAT_MODEL)
    tokenization = await tokenized(product, dataset.id, model.id)
    big = (hub_root / "datasets" / BIG_DATASET / "train.parquet").read_bytes()
    makers = Makers(product, tokenization.id, big).all
    expected = await asyncio.gather(*(undisturbed(product, make) for make in makers))
    # At once, since each takes as long as it takes to miss a worker.
    results = await asyncio.gather(*(killed_in_the_middle(product, stack, make) for make in makers))
    assert results == expected
    await assert_no_folder_is_left_over(product, superuser)
    await product.delete_tokenization(tokenization.id)


async def test_no_tokenizer_outlives_the_service_that_a_preview_asked(product: Product, stack: Stack) -> None:
    dataset, model = await product.ready_dataset(DATASET), await product.ready_model(CHAT_MODEL)
    endless = await product.ready_model(ENDLESS_MODEL)
    await _preview(product, dataset.id, model.id)
    tokenizers = psutil.Process(stack.process("datasets").pid).children(recursive=True)
    idle = _processor_seconds(tokenizers)
    preview = asyncio.create_task(_preview(product, dataset.id, endless.id))
    await until(lambda: _processor_seconds(tokenizers) > idle + 0.3)
    stack.process("datasets").kill()
    await until(lambda: not any(process.is_running() for process in tokenizers))
    preview.cancel()
    with pytest.raises((asyncio.CancelledError, grpc.RpcError)):
        await preview

    await asyncio.to_thread(stack.process("datasets").wait_ready)
    await settled(stack)


def _processor_seconds(processes: list[psutil.Process]) -> float:
    return sum(process.cpu_times().user for process in processes)


async def _preview(
    product: Product, dataset_id: str, model_id: str
) -> tokenizations_service_pb2.PreviewTokenizationResponse:
    request = tokenizations_service_pb2.PreviewTokenizationRequest(
        dataset_id=dataset_id,
        model_id=model_id,
        settings=tokenization_pb2.TokenizationSettings(chat=tokenization_pb2.ChatSettings()),
    )
    return await product.tokenizations.PreviewTokenization(request)
