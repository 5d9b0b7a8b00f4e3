"""The job that loads a model into the memory of its worker. Runs in the worker's child process.

Importing it brings torch along: workers without a GPU do so with the first load.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from mistudio_jobs.handler import JobContext
from mistudio_models.domain.loading import Host
from mistudio_models.domain.policy import Policy
from mistudio_models.domain.weights import LoadSettings
from mistudio_models.engine.cache import Key, ModelCache, Wanted
from mistudio_models.engine.keeper import POOL, WORKER, operator_policy
from mistudio_models.engine.loader import ModelLoader
from mistudio_models.service.remedies import format_change, smaller_formats
from mistudio_models.service.verdicts import Alternative, device_verdict, in_words, targets
from mistudio_servicekit.errors import OutOfMemory
from mistudio_servicekit.storage import Area

_UNIT = "bytes"


def run(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Load the job's model, from the folder of `payload["epoch"]`, with `payload["load_settings"]`.

    A model that the worker holds already is not loaded again.

    Returns:
        The model as it is held (`domain.loading.LoadedModel` as JSON), the name of its `worker`, and the models that
        the job had to let go for it, `evicted` (each a `domain.loading.Eviction` as JSON).

    Raises:
        OutOfMemory: it does not fit; the text says what would.
        JobCancelled: the job was cancelled; and what `engine.loader.ModelLoader.load` raises.
    """
    cache = cast(ModelCache, context.keeper)
    settings = LoadSettings.from_json(payload["load_settings"])
    key = Key(context.resource_id, payload["epoch"], settings)
    wanted = Wanted(key, payload["repo_id"], pin=payload["pin"], job_id=context.job_id)
    folder = context.store.epoch(Area.MODELS, key.model_id, key.epoch)
    loader = ModelLoader(folder, settings, cache.kind, _allowed(payload, context))
    try:
        loaded = cache.hold(wanted, loader, _Progress(context))
    except OutOfMemory as error:
        raise _advised(error, settings, loader, _host(cache, context)) from None
    return {**loaded.to_json(), "worker": context.settings[WORKER], "evicted": _evicted(cache, context)}


class _Progress:
    """Tells the job's progress, and stops its load when it is cancelled."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._total = 0

    def waiting(self) -> None:
        self._context.check()

    def reading(self, done: int, total: int) -> None:
        self._total = total
        self._context.report(done, total, _UNIT, "loading")
        self._context.check()

    def proving(self) -> None:
        self._context.report(self._total, self._total, _UNIT, "proving")
        self._context.check()


def _allowed(payload: Mapping[str, Any], context: JobContext) -> Policy:
    """What request and operator both allow. Whoever brought pickles in has asked for them then."""
    operator = operator_policy(context.settings)
    return Policy(operator.allow_pickle, operator.allow_remote_code and payload["trust_remote_code"])


def _evicted(cache: ModelCache, context: JobContext) -> list[dict[str, Any]]:
    evictions = cache.host_state().evictions
    return [eviction.to_json() for eviction in evictions if eviction.job_id == context.job_id]


def _host(cache: ModelCache, context: JobContext) -> Host:
    return Host(context.settings[WORKER], context.settings[POOL], host="", state=cache.host_state())


def _advised(error: OutOfMemory, settings: LoadSettings, loader: ModelLoader, host: Host) -> OutOfMemory:
    """`error`, with the change that costs least quality and makes the model fit as the next step."""
    need = loader.need()
    smaller = () if loader.outline.quantization else smaller_formats(settings)
    alternatives = [Alternative(format_change(each), loader.need_in(each)) for each in smaller]
    roomiest = max(targets([host]), key=lambda target: target.room.available_bytes)
    verdict = device_verdict(need, alternatives, roomiest)
    return OutOfMemory(
        error.problem,
        next_step=verdict.remedy or _smaller(alternatives, need.peak_bytes),
        metadata={"needed_bytes": str(need.peak_bytes), "available_bytes": str(verdict.available_bytes)},
    )


def _smaller(alternatives: list[Alternative], peak: int) -> str:
    """What to try where nothing is known to fit, or all that was predicted did not hold."""
    for alternative in alternatives:
        if alternative.need.peak_bytes < peak:
            return f"{alternative.change}: it then needs {in_words(alternative.need.peak_bytes)}"
    return "Load it on a worker with more memory, or choose a smaller model"
