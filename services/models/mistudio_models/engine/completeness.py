"""Whether a model has got every weight that it needs, as its files have them: never a layer of random numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt
from torch import nn

from mistudio_servicekit.errors import ArchitectureUnsupported, MalformedFile
from mistudio_servicekit.naming import first_of

_MOST_NAMED = 5
Mismatch = tuple[str, Sequence[int], Sequence[int]]
"""A weight's name, its shape in the files, and the shape that the model needs."""


def check_complete(model: nn.Module, info: Mapping[str, Any]) -> None:
    """Raise unless the model holds exactly what its files hold for it.

    Weights in the files for parts that the model has not, such as another task's head, are no error.

    Args:
        model: as it was loaded.
        info: what transformers says of the loading (`output_loading_info`).

    Raises:
        MalformedFile: the files lack a weight, or have it in another shape.
        ArchitectureUnsupported: the files have a weight for a part of the model that takes none: the installed code
            would compute something else than what was trained.
    """
    if missing := sorted(info["missing_keys"]):
        raise _unfit(f"lack {first_of(missing, _MOST_NAMED)}, which {type(model).__name__} needs")
    if mismatched := sorted([*info["mismatched_keys"], *_mismatched_when_quantized(model)]):
        shapes = [f"{name} as {tuple(stored)} instead of {tuple(needed)}" for name, stored, needed in mismatched]
        raise _unfit(f"hold {first_of(shapes, _MOST_NAMED)}")
    if ignored := sorted(name for name in info["unexpected_keys"] if _changes_the_model(model, name)):
        raise ArchitectureUnsupported(
            f"The model's files hold {first_of(ignored, _MOST_NAMED)}, "
            f"for which the installed {type(model).__name__} has no place",
            next_step="Choose a model whose architecture the installed transformers knows as it was trained",
        )


def _unfit(problem: str) -> MalformedFile:
    return MalformedFile(
        f"The model's weight files {problem}",
        next_step="Choose another revision, or tell the repository's owner: its weights do not fit its config.json",
    )


def _mismatched_when_quantized(model: nn.Module) -> Iterable[Mismatch]:
    """Quantized weights of another shape than their layers: transformers compares those of plain ones only."""
    for path, module in model.named_modules():
        if isinstance(module, Linear4bit | Linear8bitLt):
            weight: Any = module.weight
            stored = tuple(weight.quant_state.shape if isinstance(module, Linear4bit) else weight.shape)
            if stored != (needed := (module.out_features, module.in_features)):
                yield f"{path}.weight", stored, needed


def _changes_the_model(model: nn.Module, name: str) -> bool:
    """Whether a weight without a place belongs to a module that the model has, or lies within its layers.

    The others are whole parts of their own, such as the head of another task.
    """
    path, _, _ = name.rpartition(".")
    modules = dict(model.named_modules())
    if path in modules:
        return True
    while path not in modules:
        path = path.rpartition(".")[0]
    return any(isinstance(modules[part], nn.ModuleList) for part in _and_parents(path))


def _and_parents(path: str) -> Iterable[str]:
    parts = path.split(".") if path else []
    return (".".join(parts[:count]) for count in range(len(parts) + 1))
