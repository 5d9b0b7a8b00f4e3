"""What models need and are made of, found out in a child process: it takes torch, which the service does without."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from mistudio_jobs.questions import QuestionProcess, QuestionSettings, Wording
from mistudio_models.domain.architecture import Architecture
from mistudio_models.domain.weights import LoadSettings, Need
from mistudio_servicekit.errors import MistudioError
from mistudio_servicekit.singleflight import SingleFlight

_REQUESTS = "mistudio_models.engine.requests"
_SECONDS = 60.0
_MEMORY_BYTES = 4 << 30
_KEPT_ANSWERS = 256

_WORDING = Wording(
    process="model process",
    work="Examining the model",
    things="model's modules",
    when_slow="Ask for fewer settings; if one takes so long as well, choose another model",
    when_large="Choose another model: no configuration of a real one takes so much",
)


@dataclass(frozen=True)
class Subject:
    """A model as the child process gets it.

    Attributes:
        identity: what it is and always will be: a model's id and epoch, or a repository's name and commit.
        where: `{"folder": path}` in the store, or `{"outline": Outline.to_json()}`.
    """

    identity: tuple[str, ...]
    where: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Workload:
    """What a model runs at once.

    Attributes:
        batch_size: sequences.
        sequence_length: tokens of each.
    """

    batch_size: int
    sequence_length: int


@dataclass(frozen=True)
class Needs:
    """What a model needs in every asked way.

    Attributes:
        parameters: of the model, each counted once where weights are tied.
        by_way: by device type, workload and settings.
    """

    parameters: int
    by_way: Mapping[tuple[str, Workload, LoadSettings], Need]


class Examiner:
    """Examines models in a child process, inside its block; the same question is worked out once.

    Args:
        log_level: of the child.
        seconds: the longest that a question may take, once its turn has come.
    """

    def __init__(self, log_level: str, seconds: float = _SECONDS) -> None:
        settings = QuestionSettings(
            module=_REQUESTS,
            wording=_WORDING,
            process="models-examiner",
            log_level=log_level,
            seconds=seconds,
            memory_bytes=_MEMORY_BYTES,
        )
        self._process = QuestionProcess(settings)
        self._flights: SingleFlight[Mapping[str, Any]] = SingleFlight()
        self._answers: OrderedDict[tuple[str, ...], Mapping[str, Any]] = OrderedDict()

    async def needs(
        self,
        subject: Subject,
        settings: Sequence[LoadSettings],
        workloads: Sequence[Workload],
        device_types: Sequence[str],
    ) -> Needs:
        """What the model needs in each of these ways.

        Args:
            subject: the model.
            settings: how it is held, with every default filled in.
            workloads: what it runs.
            device_types: `cpu`, `cuda`.

        Raises:
            MalformedFile: its configuration or weight headers cannot be those of a model.
            TimedOut, OutOfMemory: it takes too much to be examined.
            Unavailable: the child does not start, or ended in the middle.
        """
        loads = [(kind, workload) for kind in device_types for workload in workloads]
        asked = {"settings": [each.to_json() for each in settings], "loads": [_load_json(*load) for load in loads]}
        answer = await self._ask("estimate", subject, asked)
        by_way = {
            (*load, each): Need.from_json(need)
            for load, found in zip(loads, answer["needs"], strict=True)
            for each, need in zip(settings, found, strict=True)
        }
        return Needs(answer["parameters"], by_way)

    async def architecture(self, subject: Subject) -> Architecture:
        """The model's architecture.

        Raises:
            ArchitectureUnsupported: no installed code knows it.
            MalformedFile, TimedOut, OutOfMemory, Unavailable: as `needs` says.
        """
        return Architecture.from_json((await self._ask("architecture", subject, {}))["architecture"])

    async def quantization_refusals(self, subject: Subject, device_types: Sequence[str]) -> Mapping[str, MistudioError]:
        """Why a model whose files are quantized already cannot be loaded, by the device types where it cannot.

        Raises:
            MalformedFile, TimedOut, OutOfMemory, Unavailable: as `needs` says.
        """
        answer = await self._ask("quantization", subject, {"device_types": list(device_types)})
        return {kind: MistudioError.from_record(record) for kind, record in answer["refusals"].items()}

    async def __aenter__(self) -> Self:
        await self._process.__aenter__()
        return self

    async def __aexit__(self, *exit_arguments: object) -> None:
        """End the child."""
        await self._process.__aexit__(*exit_arguments)

    async def _ask(self, function: str, subject: Subject, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        question = (function, *subject.identity, json.dumps(arguments))
        if question not in self._answers:
            payload = {**subject.where, **arguments}
            answer = await self._flights.do(question, lambda: self._process.ask(function, payload))
            self._answers[question] = answer
        self._answers.move_to_end(question)
        found = self._answers[question]
        if len(self._answers) > _KEPT_ANSWERS:
            self._answers.popitem(last=False)
        return found


def _load_json(device_type: str, workload: Workload) -> dict[str, Any]:
    return {"device_type": device_type, **asdict(workload)}
