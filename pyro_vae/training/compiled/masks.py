"""Elements chosen by a mask, as a graph can have them: all of them, and a choice between two."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyro_vae.training.compiled.programs import UntraceableError

__all__ = ["MaskedAssignments"]


class MaskedAssignments(TorchFunctionMode):
    """``y[mask] = x[mask]`` and ``y[mask] = 0.0`` without the number of elements chosen, which
    would depend on values. Pyro's spline transforms have it, whose tails are the identity.

    Raises:
        UntraceableError: where ``x[mask]`` goes anywhere else.
    """

    def __init__(self) -> None:
        super().__init__()
        self._chosen: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is Tensor.__getitem__ and _is_mask(args[1], args[0]):
            return self._choose(*args)
        if function is Tensor.__setitem__ and _is_mask(args[1], args[0]):
            return self._assign(*args)
        if any(id(value) in self._chosen for value in args):
            raise UntraceableError("it chooses elements by a mask, how many depends on values")
        return function(*args, **(kwargs or {}))

    def _choose(self, x: Tensor, mask: Tensor) -> Tensor:
        chosen = x.view_as(x)
        self._chosen[id(chosen)] = (chosen, mask)
        return chosen

    def _assign(self, y: Tensor, mask: Tensor, value: Any) -> None:
        if isinstance(value, Tensor) and value.numel() > 1:
            _, of = self._chosen.get(id(value), (None, None))
            if of is not mask:
                raise UntraceableError("it assigns by a mask what was not chosen by the same one")
        y.copy_(torch.where(mask, value, y))


def _is_mask(index: Any, of: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype == torch.bool and index.shape == of.shape
