"""A model's forward pass over token ids, followed on the meta device: which module was given what and made what."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from mistudio_models.domain.architecture import HookSide
from mistudio_models.engine.dataflow import MAX_OPERATIONS, Dataflow, Value
from mistudio_models.engine.hooks import hook

BATCH = 2
TOKENS = 11
"""Length of the sequences: no model has a width of 11, so that dimensions can be told apart."""

_PROBLEM_LENGTH = 200

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        path: of the module.
        given: its first argument; None where that is no tensor.
        given_shape: of that.
        made: its result, or the result's first part; None where that is no tensor.
        made_shape: of that.
    """

    path: str
    given: Value | None = None
    given_shape: tuple[int, ...] = ()
    made: Value | None = None
    made_shape: tuple[int, ...] = ()

    def side(self, side: HookSide) -> tuple[Value | None, tuple[int, ...]]:
        """What a hook on `side` reads, and its shape."""
        return (self.given, self.given_shape) if side is HookSide.INPUT else (self.made, self.made_shape)


@dataclass
class Forward:
    """A forward pass.

    Attributes:
        calls: of modules, in the order in which they began.
        problem: why it could not be followed to its end; empty where it was.
    """

    calls: list[Call] = field(default_factory=list)
    problem: str = ""

    def by_path(self) -> Mapping[str, list[Call]]:
        """The calls of each module."""
        calls: dict[str, list[Call]] = {}
        for call in self.calls:
            calls.setdefault(call.path, []).append(call)
        return calls


def followed(model: torch.nn.Module, layers: Collection[str], most_operations: int = MAX_OPERATIONS) -> Forward:
    """The forward pass of `model`, which lies on the meta device, over token ids.

    Args:
        model: is put into evaluation mode.
        layers: paths of modules whose input begins a value of its own, so that sums end with each layer.
        most_operations: that are followed before it is given up.
    """
    forward = Forward()
    flow = Dataflow(TOKENS, most_operations)
    model.eval()
    with _recording(model, layers, flow, forward), torch.no_grad(), torch.device("meta"), flow:
        try:
            model(**_inputs(model))
        except Exception as error:  # noqa: BLE001  # code of any architecture runs here and may fail in any way
            forward.problem = f"{type(error).__name__}: {error}".splitlines()[0][:_PROBLEM_LENGTH]
            log.info("The forward pass of %s could not be followed: %s", type(model).__name__, forward.problem)
    return forward


def _inputs(model: torch.nn.Module) -> dict[str, Any]:
    tokens = torch.zeros((BATCH, TOKENS), dtype=torch.long, device="meta")
    possible = {"input_ids": tokens, "decoder_input_ids": tokens, "use_cache": False}
    known = inspect.signature(model.forward).parameters
    return {name: value for name, value in possible.items() if name in known}


@contextmanager
def _recording(model: torch.nn.Module, layers: Collection[str], flow: Dataflow, forward: Forward) -> Iterator[None]:
    with ExitStack() as hooks:
        for path, module in model.named_modules():
            recorder = _Recorder(path, path in layers, flow, forward)
            for handle in (
                module.register_forward_pre_hook(recorder.begin),
                hook(module, HookSide.INPUT, recorder.given),
                hook(module, HookSide.OUTPUT, recorder.made),
            ):
                hooks.callback(handle.remove)
        yield


class _Recorder:
    """Writes down the calls of one module."""

    def __init__(self, path: str, is_layer: bool, flow: Dataflow, forward: Forward) -> None:
        self._path = path
        self._flow = flow
        self._forward = forward
        self._read = flow.restart if is_layer else flow.value
        self._call = Call(path)

    def begin(self, _module: torch.nn.Module, _args: object) -> None:
        self._call = Call(self._path)
        self._forward.calls.append(self._call)

    def given(self, tensor: torch.Tensor) -> None:
        self._call.given = self._read(tensor)
        self._call.given_shape = tuple(tensor.shape)

    def made(self, tensor: torch.Tensor) -> None:
        self._call.made = self._flow.value(tensor)
        self._call.made_shape = tuple(tensor.shape)
