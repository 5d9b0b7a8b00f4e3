"""Estimating the memory that models need, and whether they fit the devices that there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from mistudio_models.domain.weights import EVERY_FORMAT, LoadSettings, Need
from mistudio_models.service.examiner import Needs, Workload
from mistudio_models.service.hosts import live_hosts
from mistudio_models.service.load_settings import check_settings, settle
from mistudio_models.service.loadability import CPU, Loadability, device_types_of, loadability
from mistudio_models.service.remedies import (
    SMALLER_FORMATS,
    format_change,
    smaller_formats,
    smaller_workloads,
    workload_change,
)
from mistudio_models.service.subjects import Found, find_here, find_on_hub
from mistudio_models.service.tools import Tools
from mistudio_models.service.verdicts import (
    Alternative,
    DeviceVerdict,
    Target,
    device_verdict,
    refused_verdict,
    targets,
)
from mistudio_models.store import measurements
from mistudio_models.store.measurements import PastLoad
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import ArchitectureUnsupported, InvalidArgument, MistudioError

MAX_SETTINGS = 32
MAX_BATCH = 65_536
_DEFAULT_SEQUENCE = 2048
_MAX_SEQUENCE = 1 << 27
_MOST_BYTES = (1 << 63) - 1
_NAMED_LOADS = 5
_CUDA = "cuda"


@dataclass(frozen=True)
class EstimateRequest:
    """A model whose memory somebody wants to know; see `mistudio.models.v2.EstimateMemoryRequest` for each field."""

    model_id: UUID | None = None
    repo_id: str = ""
    revision: str = ""
    hub_token: str = field(default="", repr=False)
    settings: tuple[LoadSettings, ...] = ()
    batch_size: int = 0
    sequence_length: int = 0

    def check(self) -> None:
        """Raise `InvalidArgument` if it can never be right, whatever the model."""
        if len(self.settings) > MAX_SETTINGS:
            raise InvalidArgument(
                f"settings has {len(self.settings)} entries, more than {MAX_SETTINGS}",
                next_step="Ask for fewer, or for none to get every format",
                field="settings",
            )
        for index, settings in enumerate(self.settings):
            check_settings(f"settings[{index}]", settings)
        _check_range("batch_size", self.batch_size, MAX_BATCH, "sequences")
        _check_range("sequence_length", self.sequence_length, _MAX_SEQUENCE, "tokens")


@dataclass(frozen=True)
class Estimate:
    """The memory that a model needs under one setting.

    Attributes:
        need: on a GPU where a worker has one, otherwise on a CPU.
        verdicts: for every device of every worker that is there.
        measurements: what loading it so took before, newest first.
    """

    need: Need
    verdicts: tuple[DeviceVerdict, ...]
    measurements: tuple[PastLoad, ...]


@dataclass(frozen=True)
class Estimates:
    """The memory that a model needs; see `mistudio.models.v2.EstimateMemoryResponse` for its fields."""

    estimates: tuple[Estimate, ...]
    parameters: int
    batch_size: int
    sequence_length: int
    load_problems: Sequence[MistudioError]


async def estimate(tools: Tools, request: EstimateRequest) -> Estimates:
    """The memory that a model needs, and whether it fits.

    Raises:
        MissingField, InvalidArgument: the request can never be right, or its sequence is longer than the context.
        ModelNotFound, ModelNotReady: there is no such model, or its files are not complete.
        RepoNotFound, RevisionNotFound, RepoGated, HubTokenInvalid, HubUnavailable, HubRateLimited: as the Hub answers.
        MalformedFile, TimedOut, OutOfMemory: its configuration or weight headers cannot be those of a model.
        Unavailable: the child process that finds out does not start, or ended in the middle.
    """
    request.check()
    found = await _find(tools, request)
    workload = _workload(request, found.context_length)
    settings = _settled(request, found)
    async with tools.database.transaction() as session:
        hosts = await live_hosts(tools, session)
        past = await _past_loads(session, found, settings)
    there, types = targets(hosts), device_types_of(hosts)
    needs = _countable(await _needs(tools, found, settings, workload, there, types))
    main = _CUDA if _CUDA in types else CPU
    known = await _loadability(tools, found, needs.by_way[main, workload, settings[0]], types)
    estimates = (
        Estimate(
            need=needs.by_way[main, workload, each],
            verdicts=tuple(_verdict(needs, workload, each, target, known) for target in there),
            measurements=past.get(each, ()),
        )
        for each in settings
    )
    figures = needs.parameters, workload.batch_size, workload.sequence_length
    return Estimates(tuple(estimates), *figures, known.problems)


async def _loadability(tools: Tools, found: Found, need: Need, device_types: Sequence[str]) -> Loadability:
    if need.is_of_known_code or found.source.needs_remote_code:
        return await loadability(tools, found, device_types)
    return Loadability(found.source, tools.policy, dict.fromkeys(device_types, _unknown_architecture(found)))


def _unknown_architecture(found: Found) -> ArchitectureUnsupported:
    return ArchitectureUnsupported(
        f"{found.source.name} cannot be loaded: no installed code builds models of its type {found.model_type!r}",
        next_step="Choose a model whose type the installed transformers knows",
        metadata=found.source.metadata,
    )


async def _past_loads(
    session: Session, found: Found, settings: Iterable[LoadSettings]
) -> Mapping[LoadSettings, tuple[PastLoad, ...]]:
    if found.model_id is None:
        return {}
    return {
        each: tuple(await measurements.latest(session, found.model_id, each, _NAMED_LOADS)) for each in set(settings)
    }


async def _find(tools: Tools, request: EstimateRequest) -> Found:
    if request.model_id is not None:
        return await find_here(tools, request.model_id)
    return await find_on_hub(tools, request.repo_id, request.revision, request.hub_token)


def _settled(request: EstimateRequest, found: Found) -> Sequence[LoadSettings]:
    """The settings to estimate, every default filled in; files that are quantized already are held in one way only."""
    every = (LoadSettings(),) if found.quantization else EVERY_FORMAT
    return [
        settle(f"settings[{index}]", each, found.default_settings, found)
        for index, each in enumerate(request.settings or every)
    ]


def _check_range(name: str, value: int, most: int, unit: str) -> None:
    if not 0 <= value <= most:
        raise InvalidArgument(
            f"{name} is {value:,}", next_step=f"Give 1 to {most:,} {unit}, or 0 for the default", field=name
        )


def _workload(request: EstimateRequest, context_length: int) -> Workload:
    if context_length and request.sequence_length > context_length:
        raise InvalidArgument(
            f"sequence_length is {request.sequence_length:,}, but the model's context has {context_length:,} tokens",
            next_step=f"Give at most {context_length:,}",
            field="sequence_length",
        )
    default = min(context_length or _DEFAULT_SEQUENCE, _DEFAULT_SEQUENCE)
    return Workload(request.batch_size or 1, request.sequence_length or default)


async def _needs(
    tools: Tools,
    found: Found,
    settings: Sequence[LoadSettings],
    workload: Workload,
    there: Sequence[Target],
    types: Sequence[str],
) -> Needs:
    """What the model needs as it is wanted, in every smaller format, and with smaller workloads where these matter."""
    every = list(dict.fromkeys([*settings, *SMALLER_FORMATS]))
    needs = await tools.examiner.needs(found.subject, every, [workload], types)
    too_much_at_once = [
        each for each in dict.fromkeys(settings)
        if any(_only_running_is_too_much(needs.by_way[target.device_type, workload, each], target) for target in there)
    ]  # fmt: skip
    smaller = smaller_workloads(workload)
    if not too_much_at_once or not smaller:
        return needs
    more = await tools.examiner.needs(found.subject, too_much_at_once, smaller, types)
    return Needs(needs.parameters, {**needs.by_way, **more.by_way})


def _countable(needs: Needs) -> Needs:
    """`needs`, none of which may be more than a figure of the API holds."""
    most = max(need.peak_bytes for need in needs.by_way.values())
    if most <= _MOST_BYTES:
        return needs
    raise InvalidArgument(
        f"The model would need {most:,} bytes for that many tokens at once, more than any device ever has",
        next_step="Give a smaller batch_size or sequence_length",
        field="sequence_length",
    )


def _only_running_is_too_much(need: Need, target: Target) -> bool:
    return need.load_peak_bytes <= target.room.available_bytes < need.run_peak_bytes


def _verdict(
    needs: Needs, workload: Workload, settings: LoadSettings, target: Target, known: Loadability
) -> DeviceVerdict:
    ways, kind = needs.by_way, target.device_type
    need, refusal = ways[kind, workload, settings], known.refusal(kind)
    if refusal:
        return refused_verdict(need, refusal, target)
    of_workloads = [
        Alternative(workload_change(smaller, workload), ways[kind, smaller, settings])
        for smaller in smaller_workloads(workload)
        if (kind, smaller, settings) in ways
    ]
    of_formats = [
        Alternative(format_change(smaller), ways[kind, workload, smaller]) for smaller in smaller_formats(settings)
    ]
    return device_verdict(need, [*of_workloads, *of_formats], target)
