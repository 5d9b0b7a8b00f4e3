"""Whether a model can be loaded at all, whatever room there is: as far as that is known before it is tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mistudio_models.domain.loading import Host
from mistudio_models.domain.policy import Policy
from mistudio_models.service.hosts import live_hosts
from mistudio_models.service.permissions import Source, obstacles
from mistudio_models.service.subjects import Found
from mistudio_models.service.tools import Tools
from mistudio_models.service.verdicts import targets
from mistudio_servicekit.errors import MistudioError

CPU = "cpu"
_NOTHING = Policy()
_EVERYTHING = Policy(allow_pickle=True, allow_remote_code=True)


@dataclass(frozen=True)
class Loadability:
    """What stands in the way of loading a model.

    Attributes:
        source: the model.
        permitted: what the operator allows.
        by_device_type: why installed code cannot load it, for each type of devices that counts; None where it can.
    """

    source: Source
    permitted: Policy
    by_device_type: Mapping[str, MistudioError | None] = field(default_factory=dict)

    @property
    def problems(self) -> Sequence[MistudioError]:
        """Why a load that asks for nothing would be refused on every device."""
        refusals = [refusal for refusal in self.by_device_type.values() if refusal]
        on_every_device = refusals if len(refusals) == len(self.by_device_type) else []
        return [*obstacles(self.source, requested=_NOTHING, permitted=self.permitted), *on_every_device]

    def refusal(self, device_type: str) -> MistudioError | None:
        """Why no load works on devices of a type, with all that it lacks; None where one may, if it asks for it."""
        final = {each.reason for each in obstacles(self.source, requested=_EVERYTHING, permitted=self.permitted)}
        told = (each for each in self.problems if each.reason in final)
        return next(told, self.by_device_type.get(device_type))


async def loadability(tools: Tools, found: Found, device_types: Sequence[str]) -> Loadability:
    """What stands in the way of loading a model whose architecture installed code knows.

    Raises:
        MalformedFile, TimedOut, OutOfMemory, Unavailable: as `Examiner.needs` says, of files that are quantized.
    """
    if not found.quantization:
        return Loadability(found.source, tools.policy)
    refusals = await tools.examiner.quantization_refusals(found.subject, device_types)
    by_device_type = {device_type: refusals.get(device_type) for device_type in device_types}
    return Loadability(found.source, tools.policy, by_device_type)


def device_types_of(hosts: Iterable[Host]) -> Sequence[str]:
    """The types of the workers' devices; a CPU where there is no worker."""
    return sorted({target.device_type for target in targets(hosts)}) or [CPU]


async def device_types_there(tools: Tools) -> Sequence[str]:
    """The types of the devices of the workers that are there; a CPU where there is none."""
    async with tools.database.transaction() as session:
        return device_types_of(await live_hosts(tools, session))
