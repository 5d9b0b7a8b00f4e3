"""Reading what goes into a module and what comes out of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from mistudio_models.domain.architecture import HookSide


def hook(module: torch.nn.Module, side: HookSide, receive: Callable[[torch.Tensor], None]) -> RemovableHandle:
    """Give `receive` the module's activations on `side` at every call, until the handle is removed.

    Side INPUT is the module's first argument, also where it is passed by name; OUTPUT is its result or the result's
    first part. Whoever keeps the tensor copies it: some layers (Falcon's) add to a module's output in place afterwards.
    What is no tensor is not given.
    """

    def before(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        _give(receive, _first_argument(module, args, kwargs))

    def after(_module: torch.nn.Module, _args: tuple[Any, ...], result: Any) -> None:
        _give(receive, _first_part(result))

    if side is HookSide.INPUT:
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


def _give(receive: Callable[[torch.Tensor], None], value: object) -> None:
    if isinstance(value, torch.Tensor):
        receive(value)


def _first_argument(module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
    if args:
        return args[0]
    return kwargs.get(next(iter(inspect.signature(module.forward).parameters), ""))


def _first_part(result: Any) -> object:
    """The result, or the first part of a tuple or of transformers' `ModelOutput`, which is a mapping."""
    parts = list(result.values()) if isinstance(result, Mapping) else result
    return next(iter(parts), None) if isinstance(parts, tuple | list) else parts
