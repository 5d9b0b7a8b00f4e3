"""How tensors of a forward pass are made of each other, followed without computing a single number.

On PyTorch's meta device tensors have shapes and no contents, so a model of any size runs in a moment and needs no
memory. Every tensor is written down as a linear combination of others: a residual stream is then a sum in which the
layer's input still stands with the factor 1, and what a module adds to it can be told exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

MAX_OPERATIONS = 400_000
"""Longest forward pass that is followed: some 4,000 layers, about half a minute."""

_aten = torch.ops.aten
_ADDING = {_aten.add.Tensor: 1.0, _aten.add_.Tensor: 1.0, _aten.sub.Tensor: -1.0, _aten.sub_.Tensor: -1.0}
_MULTIPLYING = frozenset({_aten.mul.Tensor, _aten.mul_.Tensor, _aten.mul.Scalar})
_DIVIDING = frozenset({_aten.div.Tensor, _aten.div_.Tensor, _aten.div.Scalar})
# The same numbers in other memory, or rounded to another dtype of floating point.
_COPYING = frozenset({_aten.clone.default, _aten._to_copy.default})
_SOFTMAX = frozenset({_aten._softmax.default, _aten._safe_softmax.default})
_OTHER_MIXING = frozenset(
    {_aten.convolution.default, _aten.constant_pad_nd.default, _aten.roll.default, _aten._fft_c2c.default}
)

Terms = Mapping["Value", float]
"""A linear combination: factors by value, none of them 0."""


class Mixing(StrEnum):
    """How an operation carries information from one token to another."""

    ATTENTION = "ATTENTION"
    OTHER = "OTHER"


class Value:
    """What some tensors of the forward pass hold; several tensors may hold the same.

    Attributes:
        number: grows in the order in which values came about.
        parents: the values it was made of.
        mixing: how the operation that made it mixes tokens, if it does.
    """

    __slots__ = ("_terms", "mixing", "number", "parents")

    def __init__(
        self, number: int, parents: Sequence[Value] = (), terms: Terms | None = None, mixing: Mixing | None = None
    ) -> None:
        self.number = number
        self.parents = tuple(parents)
        self.mixing = mixing
        # Its own only term is not kept: thousands of values that hold themselves would be work for the collector.
        self._terms = terms

    @property
    def terms(self) -> Terms:
        """The linear combination it is; a value that is none is its own only term."""
        return {self: 1.0} if self._terms is None else self._terms

    def made_of(self, stop: Callable[[Value], bool]) -> Iterator[Value]:
        """This value and all it was made of, without those at which to `stop` and what lies behind them."""
        seen: set[Value] = set()
        waiting = [self]
        while waiting:
            value = waiting.pop()
            if value not in seen and not stop(value):
                seen.add(value)
                waiting.extend(value.parents)
                yield value


def combined(one: Terms, other: Terms, factor: float) -> Terms:
    """`one + factor * other`."""
    sums = dict(one)
    for value, times in other.items():
        sums[value] = sums.get(value, 0.0) + factor * times
    return {value: times for value, times in sums.items() if times}


class TooLong(Exception):
    """The forward pass has more operations than are followed."""


class Dataflow(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base class is untyped
    """Follows every operation while it is the active mode.

    Reading a number from a meta tensor gives 0 and searching it finds nothing, where PyTorch would give up: such
    numbers steer masks, caches and the choice of experts, not what is added to what.

    Args:
        tokens: length of the sequences, a number that no other width of the model has.
        most_operations: that are followed before `TooLong` is raised.
    """

    def __init__(self, tokens: int, most_operations: int = MAX_OPERATIONS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's base class is untyped
        self._tokens = tokens
        # By storage, so that all views of a tensor see what is added to one of them in place. Storages are kept,
        # since another one could otherwise get the same address.
        self._values: dict[int, Value] = {}
        self._storages: list[torch.UntypedStorage] = []
        self._made = 0
        self._operations_left = most_operations

    def value(self, tensor: torch.Tensor) -> Value:
        """What `tensor` holds; a part of another tensor is a value of its own."""
        whole = self._of_storage(tensor.untyped_storage())
        return whole if _is_whole(tensor) else self._new([whole])

    def restart(self, tensor: torch.Tensor) -> Value:
        """Take what `tensor` holds as a new value, made of the one it held, from here on."""
        self._keep(tensor, self._new([self.value(tensor)]))
        return self.value(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation and write down what its results are made of."""
        self._operations_left -= 1
        if self._operations_left < 0:
            raise TooLong("it has more operations than any model's")
        kwargs = kwargs or {}
        parents = [self.value(tensor) for tensor in _tensors([*args, *kwargs.values()])]
        answer = _answer_without_contents(func, args, kwargs)
        result = func(*args, **kwargs) if answer is None else answer
        for made in _tensors([result]):
            # A view shares the storage of what it views, which is known by now.
            if func._schema.is_mutable or made.untyped_storage()._cdata not in self._values:
                self._keep(made, self._made_by(func, args, kwargs, parents))
        return result

    def _made_by(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], parents: Sequence[Value]) -> Value:
        match args:
            case [torch.Tensor(), *_] if func in _COPYING and kwargs.get("dtype", torch.float32).is_floating_point:
                return parents[0]
            case [torch.Tensor(), torch.Tensor(), *_] if func in _ADDING:
                factor = _ADDING[func] * kwargs.get("alpha", 1)
                return self._new(parents, combined(parents[0].terms, parents[1].terms, factor))
            case [torch.Tensor(), (int() | float()) as factor, *_] if func in _MULTIPLYING:
                return self._new(parents, combined({}, parents[0].terms, factor))
            case [torch.Tensor(), (int() | float()) as divisor, *_] if func in _DIVIDING and divisor:
                return self._new(parents, combined({}, parents[0].terms, 1 / divisor))
        return self._new(parents, mixing=self._mixing(func, args))

    def _mixing(self, func: Any, args: Sequence[Any]) -> Mixing | None:
        if func in _SOFTMAX:
            return Mixing.ATTENTION if self._are_scores(args[0].shape) else None
        if func in _OTHER_MIXING or (func is _aten.bmm.default and args[0].shape[-1] == self._tokens):
            return Mixing.OTHER
        return None

    def _are_scores(self, shape: torch.Size) -> bool:
        """Whether these are attention's scores: of each token for each, maybe with a sink; a router's are by expert."""
        each_for_each = shape[-2:] == (self._tokens, self._tokens)
        return each_for_each or (len(shape) > 3 and shape[-2] == self._tokens)

    def _new(self, parents: Sequence[Value], terms: Terms | None = None, mixing: Mixing | None = None) -> Value:
        self._made += 1
        return Value(self._made, parents, terms, mixing)

    def _of_storage(self, storage: torch.UntypedStorage) -> Value:
        if storage._cdata not in self._values:
            self._values[storage._cdata] = self._new([])
            self._storages.append(storage)
        return self._values[storage._cdata]

    def _keep(self, tensor: torch.Tensor, value: Value) -> None:
        """Write down that `tensor` holds `value`; the tensor that it is a part of then holds something new."""
        storage = tensor.untyped_storage()
        before = self._of_storage(storage)
        self._values[storage._cdata] = value if _is_whole(tensor) else self._new([before, value])


def _is_whole(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous() and tensor.nbytes == tensor.untyped_storage().nbytes()


def _answer_without_contents(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What an operation on a meta tensor answers that would need contents, or bfloat16; None for any other one."""
    if not (args and isinstance(args[0], torch.Tensor) and args[0].is_meta):
        return None
    if func is _aten._local_scalar_dense.default:
        return torch.zeros((), dtype=args[0].dtype, device="cpu").item()
    if func is _aten._to_copy.default and kwargs.get("device") == torch.device("cpu"):
        return torch.zeros((), dtype=kwargs.get("dtype") or args[0].dtype, device="cpu").expand(args[0].shape)
    if func is _aten.nonzero.default:
        return args[0].new_empty((0, args[0].dim()), dtype=torch.long)
    if func is _aten._grouped_mm.default:
        return args[0].new_empty((*args[0].shape[:-1], args[1].shape[-1]))
    return None


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
