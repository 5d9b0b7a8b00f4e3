"""The layers of a model's main stack, with their hook points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from mistudio_models.domain.architecture import HookPoint, HookPointKind, HookSide, Layer
from mistudio_models.engine.blocks import Stack, experts, final_norm, follows, largest_stack, main_stack, stacks
from mistudio_models.engine.following import Call, Forward, followed
from mistudio_models.engine.residual import Residual, residual

NOT_RUN = "it is not run on text alone, so it has no hook points"
RUN_AGAIN = "it is run {times} times in a forward pass, with the same weights, so it has no hook points"
CHANGED_BETWEEN = "its resid_pre is not the resid_post of the layer before: the stream is changed between them"


@dataclass(frozen=True)
class Layers:
    """The layers of a model.

    Attributes:
        stack: path of the list that they are; empty where none was found.
        layers: in order.
        notes: what there is to know of each, in words that are the same for layers alike.
        width: of the residual stream; 0 where no layer was found.
        parallel: whether attention and MLP of a layer read the same stream side by side.
        final_norm: path of the norm after the last layer; empty where there is none.
        proven: whether they were seen in a forward pass.
        problem: why the forward pass could not be followed to its end; empty where it was.
    """

    stack: str = ""
    layers: tuple[Layer, ...] = ()
    notes: tuple[tuple[str, ...], ...] = ()
    width: int = 0
    parallel: bool = False
    final_norm: str = ""
    proven: bool = False
    problem: str = ""


def find_layers(model: torch.nn.Module, hidden_size: int) -> Layers:
    """The layers of a model on the meta device.

    Args:
        model: the skeleton.
        hidden_size: width of the residual stream as the configuration says it, for a model whose forward pass cannot be
            followed; 0 where it says none.
    """
    found = stacks(model)
    forward = followed(model, {path for stack in found for path in stack.blocks})
    calls = forward.by_path()
    if stack := main_stack(found, calls):
        return _seen(model, stack, forward, calls)
    likely = largest_stack(found) if forward.problem else None
    return _likely(likely, hidden_size, forward.problem) if likely else Layers(problem=forward.problem)


def _seen(model: torch.nn.Module, stack: Stack, forward: Forward, calls: Mapping[str, Sequence[Call]]) -> Layers:
    runs = [call for path in stack.blocks for call in calls.get(path, ())]
    width = runs[-1].made_shape[-1]
    residuals = [_residual(path, calls) for path in stack.blocks]
    changed = {call.path: (CHANGED_BETWEEN,) for before, call in pairwise(runs) if not follows(call, before)}
    return Layers(
        stack.path,
        _layers(stack, [each.points for each in residuals], width),
        tuple((*each.notes, *changed.get(path, ())) for path, each in zip(stack.blocks, residuals, strict=True)),
        width,
        any(each.parallel for each in residuals),
        final_norm(forward, runs[-1], model),
        proven=True,
        problem=forward.problem,
    )


def _residual(path: str, calls: Mapping[str, Sequence[Call]]) -> Residual:
    own = calls.get(path, ())
    if len(own) != 1:
        return Residual((), notes=(RUN_AGAIN.format(times=len(own)) if own else NOT_RUN,))
    inside = [each[0] for module, each in calls.items() if module.startswith(f"{path}.") and len(each) == 1]
    return residual(own[0], inside)


def _likely(stack: Stack, width: int, problem: str) -> Layers:
    """What the structure alone says: the stream goes through the layers of the largest stack."""
    points = [_ends(path, width) if width else () for path in stack.blocks]
    return Layers(stack.path, _layers(stack, points, width), tuple(() for _ in points), width, problem=problem)


def _ends(path: str, width: int) -> tuple[HookPoint, ...]:
    return (
        HookPoint(HookPointKind.RESID_PRE, path, HookSide.INPUT, width),
        HookPoint(HookPointKind.RESID_POST, path, HookSide.OUTPUT, width),
    )


def _layers(stack: Stack, points: Sequence[tuple[HookPoint, ...]], width: int) -> tuple[Layer, ...]:
    return tuple(
        Layer(
            index,
            path,
            type(block).__name__,
            sum(parameter.numel() for parameter in block.parameters()),
            points[index],
            experts(block, width),
        )
        for index, (path, block) in enumerate(stack.blocks.items())
    )
