"""The modules at which a transformer layer's residual stream, and what is added to it, can be read.

A module counts only where what it is given or makes equals what is asked for exactly, in the very architecture's
forward pass: where no module gives what is added (Granite multiplies it afterwards), nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mistudio_models.domain.architecture import HookPoint, HookPointKind, HookSide
from mistudio_models.engine.additions import additions
from mistudio_models.engine.dataflow import Terms
from mistudio_models.engine.following import Call


@dataclass(frozen=True)
class Residual:
    """Where a layer's residual stream is read.

    Attributes:
        points: the hook points.
        parallel: whether attention and MLP read the same stream side by side.
        notes: what there is to know of the layer, in words that are the same for layers alike.
    """

    points: tuple[HookPoint, ...]
    parallel: bool = False
    notes: tuple[str, ...] = ()


def residual(layer: Call, inside: Sequence[Call]) -> Residual:
    """The hook points of a layer.

    Args:
        layer: its only call in a forward pass, with the stream going in and out.
        inside: calls of the modules in it that were called once, in order.
    """
    if layer.given is None or layer.made is None:
        return Residual(())
    added = additions(layer.given, layer.made, inside)
    search = _Search(layer, inside)
    points = (
        search.end(HookPointKind.RESID_PRE, HookSide.INPUT),
        search.find(HookPointKind.ATTN_OUT, added.attention, HookSide.OUTPUT),
        search.find(HookPointKind.RESID_MID, added.middle, HookSide.INPUT, HookSide.OUTPUT),
        search.find(HookPointKind.MLP_OUT, added.mlp, HookSide.OUTPUT),
        search.end(HookPointKind.RESID_POST, HookSide.OUTPUT),
    )
    found = tuple(point for point in points if point)
    return Residual(found, added.parallel, (*added.notes, *search.notes))


class _Search:
    """Looks for modules of a layer that are given or make what is asked for; notes what no module does."""

    def __init__(self, layer: Call, inside: Sequence[Call]) -> None:
        self._layer = layer
        self._inside = sorted(inside, key=lambda call: call.path.count("."))
        self.notes: list[str] = []

    def end(self, kind: HookPointKind, side: HookSide) -> HookPoint:
        """The hook point at the layer's own input or output."""
        return HookPoint(kind, self._layer.path, side, self._layer.given_shape[-1])

    def find(self, kind: HookPointKind, asked: Terms | None, *sides: HookSide) -> HookPoint | None:
        """The outermost module that has what is `asked` for; the first of the `sides` that finds one."""
        if not asked:
            return None
        batch, tokens, width = self._layer.given_shape
        for side in sides:
            having = [call for call in self._inside if _is(asked, call, side)]
            for shape in ((batch, tokens, width), (batch * tokens, width)):
                for call in having:
                    if call.side(side)[1] == shape:
                        self._note_shape(kind, shape)
                        return HookPoint(kind, call.path, side, width)
        self.notes.append(f"{kind.lower()} is left out, as {self._why(asked)}")
        return None

    def _note_shape(self, kind: HookPointKind, shape: tuple[int, ...]) -> None:
        if len(shape) == 2:
            self.notes.append(f"{kind.lower()} is read as [batch x tokens, width], as its module has it")

    def _why(self, asked: Terms) -> str:
        for call in self._inside:
            factor = _ratio(asked, call.made.terms) if call.made else None
            if factor and factor != 1:
                name = call.path.removeprefix(f"{self._layer.path}.")
                return f"{factor:g} times the output of {name} is added, and no module gives that product"
        return "no module gives exactly that"


def _is(asked: Terms, call: Call, side: HookSide) -> bool:
    value, _ = call.side(side)
    return value is not None and value.terms == asked


def _ratio(asked: Terms, given: Terms) -> float | None:
    """What `given` is multiplied by to be what is `asked` for."""
    ratios = {asked[value] / given[value] for value in asked if value in given}
    return ratios.pop() if asked.keys() == given.keys() and len(ratios) == 1 else None
