"""The stack of transformer layers in a model, found by what its modules do, whatever they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from mistudio_models.engine.following import BATCH, TOKENS, Call, Forward


@dataclass(frozen=True)
class Stack:
    """A list of blocks.

    Attributes:
        path: of the list.
        blocks: the blocks in order, by their paths.
    """

    path: str
    blocks: Mapping[str, torch.nn.Module]

    @property
    def parameters(self) -> int:
        """In all blocks, each counted once."""
        return sum(each.numel() for each in {each for block in self.blocks.values() for each in block.parameters()})


def stacks(model: torch.nn.Module) -> list[Stack]:
    """The model's lists of modules that have parts of their own, without the lists within them (such as experts)."""
    found: list[Stack] = []
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and not any(path.startswith(f"{outer.path}.") for outer in found):
            blocks = {f"{path}.{name}": block for name, block in module.named_children()}
            if blocks and all(list(block.children()) for block in blocks.values()):
                found.append(Stack(path, blocks))
    return found


def main_stack(found: Sequence[Stack], calls: Mapping[str, Sequence[Call]]) -> Stack | None:
    """The largest stack that text passes through.

    Args:
        found: the model's stacks.
        calls: of each module, from its forward pass over token ids. A stack counts where its blocks pass a stream of
            [batch, tokens, width] from one to the next; that of a vision tower, which is not run on text, does not.
    """
    running = [
        stack for stack in found if _passes_stream([call for path in stack.blocks for call in calls.get(path, ())])
    ]
    return max(running, key=lambda stack: stack.parameters, default=None)


def largest_stack(found: Sequence[Stack]) -> Stack | None:
    """The largest stack of blocks of one class: the likely one, where the forward pass could not be followed."""
    alike = [stack for stack in found if len({type(block) for block in stack.blocks.values()}) == 1]
    return max(alike, key=lambda stack: stack.parameters, default=None)


def follows(call: Call, before: Call) -> bool:
    """Whether a block is given exactly what the one before it made; its input has become a value of its own since."""
    return call.given is not None and before.made is not None and call.given.parents[0].terms == before.made.terms


def final_norm(forward: Forward, last: Call, model: torch.nn.Module) -> str:
    """Path of the norm that is given what the last block made; empty where there is none.

    A norm has no parts, no weights but vectors of the stream's width, and gives something else than it was given.
    """
    for call in forward.calls[forward.calls.index(last) + 1 :]:
        if call.given and call.made and last.made and call.given.terms == last.made.terms != call.made.terms:
            module = model.get_submodule(call.path)
            vectors = all(weight.shape == last.made_shape[-1:] for weight in module.parameters())
            if vectors and call.made_shape == last.made_shape and not list(module.children()):
                return call.path
    return ""


def experts(block: torch.nn.Module, width: int) -> int:
    """Experts of the block's mixture; 0 where it has none.

    Experts are equal modules in a list, or weights with one more dimension than others, as many as a router beside
    them has rows, which reads a stream of that `width`.
    """
    own = [weight for module in block.modules() for weight in module.parameters(recurse=False)]
    routed = {weight.shape[0] for weight in own if weight.dim() == 2 and weight.shape[1] == width}
    return max((count for count in _equal_parts(block) if count > 1 and count in routed), default=0)


def _equal_parts(block: torch.nn.Module) -> Iterator[int]:
    """How many equal parts the lists and the three-dimensional weights of the block have."""
    for module in block.modules():
        if isinstance(module, torch.nn.ModuleList) and len({type(part) for part in module}) == 1:
            yield len(module)
        elif not isinstance(module, torch.nn.Conv1d):
            yield from (weight.shape[0] for weight in module.parameters(recurse=False) if weight.dim() == 3)


def _passes_stream(calls: Sequence[Call]) -> bool:
    """Whether calls of blocks, in order, pass a stream on; now and then something may be done to it between them."""
    kept = all(call.given_shape[:2] == (BATCH, TOKENS) and call.made_shape == call.given_shape for call in calls)
    links = [follows(call, before) for before, call in pairwise(calls)]
    return bool(calls) and kept and all(len(call.given_shape) == 3 for call in calls) and 2 * sum(links) >= len(links)
