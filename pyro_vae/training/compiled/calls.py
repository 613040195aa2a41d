"""The arguments of a pair, apart: tensors and numbers that vary, and what a graph is made for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from pyro_vae.data import Examples

__all__ = ["Call", "Source"]


class _Slot:
    """Stands where a tensor or a float was."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Slot) and self.kind is other.kind

    def __hash__(self) -> int:
        return hash(self.kind)


_TENSOR, _FLOAT = _Slot(Tensor), _Slot(float)


@dataclass(frozen=True)
class Call:
    """``(*args, **kwargs)`` taken apart.

    Tensors and floats become inputs of the graph; integers, strings and whatever else there is are
    part of it: another value, another graph.
    """

    tensors: list[Tensor]
    floats: list[float]
    rest: tuple[Any, ...]
    structure: Any
    key: Any
    """What a graph is made for: the same key, the same graph."""

    @classmethod
    def of(cls, *args: Any, **kwargs: Any) -> Call:
        """Take a call's arguments apart."""
        leaves, structure = pytree.tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        floats = [leaf for leaf in leaves if type(leaf) is float]
        rest = tuple(map(_rest, leaves))
        kinds = tuple((t.dtype, t.shape, t.device) for t in tensors)
        return cls(tensors, floats, rest, structure, (kinds, rest, str(structure)))

    def rebuilt(self, tensors: Sequence[Tensor], floats: Sequence[Any]) -> tuple[Any, Any]:
        """``args, kwargs`` with other tensors and numbers."""
        of_kind = {_TENSOR: iter(tensors), _FLOAT: iter(floats)}
        leaves = [next(of_kind[leaf]) if isinstance(leaf, _Slot) else leaf for leaf in self.rest]
        return pytree.tree_unflatten(leaves, self.structure)


def _rest(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return _TENSOR
    return _FLOAT if type(leaf) is float else leaf


@dataclass(frozen=True)
class Source:
    """Where a step's tensor arguments come from: ``make(*tensors)``, inside the graph.

    The first ``resident`` of the tensors are the same at each step, as data on a device are.
    """

    tensors: list[Tensor]
    make: Callable[..., list[Tensor]]
    key: Any
    resident: int = 0

    def example(self) -> list[Tensor]:
        """Tensors like those of each step, which a graph may take for its own."""
        start = self.resident
        return [*self.tensors[:start], *(tensor.clone() for tensor in self.tensors[start:])]

    @classmethod
    def given(cls, call: Call) -> Source:
        """The arguments themselves."""
        return cls(call.tensors, lambda *tensors: list(tensors), None)

    @classmethod
    def gathered(cls, data: Examples, index: Tensor, others: list[Tensor]) -> Source:
        """The first is a batch of ``data``: gathered where they live, and drawn for this use."""
        draw = data.binarisation.draw

        def make(values: Tensor, index: Tensor, *others: Tensor) -> list[Tensor]:
            return [draw(values.index_select(0, index)), *others]

        key = (repr(data.binarisation), data.values.shape, data.values.dtype)
        return cls([data.values, index, *others], make, key, resident=1)
