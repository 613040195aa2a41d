"""One whole training step — loss, gradient, clipping, update — as one graph over flat tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from pyro_vae.training.compiled.gradient import Graph
from pyro_vae.training.compiled.programs import UntraceableError, pointers
from pyro_vae.training.compiled.storage import Layout
from pyro_vae.training.compiled.update import ELEMENTWISE, state_keys, updated

__all__ = ["Block", "Gradient", "Storage", "in_place", "lacks_state", "whole_step"]


_LARGE = 1 << 15  # elements


@dataclass(frozen=True)
class Gradient:
    """The loss of a pair and its gradient: a graph of ``[*parameters, scalars, *arguments]``.

    Args:
        graph: gives the loss and the gradients of ``trained``.
        parameters: the optimizer's; those not trained here have no gradient.
        trained: the others, in their order.
    """

    graph: Graph
    parameters: list[Tensor]
    trained: list[Tensor]

    def __call__(
        self, values: dict[int, Tensor], scalars: Tensor, arguments: Sequence[Tensor]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Loss and gradients by ``id`` of the parameter, at ``values`` of the trained ones."""
        at = [values[id(p)] if id(p) in values else p.detach() for p in self.parameters]
        loss, *gradients = self.graph(*at, scalars, *arguments)
        by_parameter = zip(map(id, self.trained), gradients, strict=True)
        return loss, dict(by_parameter)


@dataclass
class Block:
    """Parameters of one optimizer group, dtype and device, and their state, in flat tensors.

    ``moments`` are state tensors of the parameters' shapes, ``counts`` those that are numbers (the
    steps taken): [parameters], all equal.
    """

    group: int
    parameters: list[Tensor]
    layout: Layout
    values: Tensor
    moments: dict[str, Tensor]
    counts: dict[str, Tensor]

    def tensors(self) -> list[Tensor]:
        """What a step changes."""
        return [self.values, *self.moments.values(), *self.counts.values()]


class Storage:
    """The optimizer's parameters and state, laid side by side; the optimizer sees views of it.

    Args:
        optimizer: whose state is initialised.
        parameters: those with a gradient, in the optimizer's order.

    Raises:
        UntraceableError: parameters of one group that took different numbers of steps.
    """

    def __init__(self, optimizer: Optimizer, parameters: Sequence[Tensor]) -> None:
        self._optimizer = optimizer
        trained = {id(p) for p in parameters}
        self.blocks: list[Block] = []
        for index, group in enumerate(optimizer.param_groups):
            own = [p for p in group["params"] if id(p) in trained]
            large = [p for p in own if _is_large(p)]
            small = sorted((p for p in own if not _is_large(p)), key=_kind)
            alike = [list(found) for _, found in groupby(small, key=_kind)]
            self.blocks += [self._block(index, block) for block in (*alike, *([p] for p in large))]
        self._pointers = self._where()

    @property
    def parameters(self) -> list[Tensor]:
        """All of them, block after block."""
        return [p for block in self.blocks for p in block.parameters]

    def tensors(self) -> list[Tensor]:
        """All that a step changes."""
        return [tensor for block in self.blocks for tensor in block.tensors()]

    def is_current(self) -> bool:
        """Whether parameters and state still lie here: not after ``to(device)``, ``.data = ``, or
        ``optimizer.load_state_dict``."""
        return self._where() == self._pointers

    def _where(self) -> list[int]:
        state = self._optimizer.state
        tensors = [
            tensor
            for block in self.blocks
            for p in block.parameters
            for tensor in (p, *(state[p].get(k) for k in (*block.moments, *block.counts)))
        ]
        return pointers([t for t in tensors if t is not None])

    def _block(self, index: int, parameters: list[Tensor]) -> Block:
        group, state = self._optimizer.param_groups[index], self._optimizer.state
        layout = Layout.of(parameters)
        moments, counts = {}, {}
        for key in state_keys(self._optimizer, group):
            tensors = [state[p][key] for p in parameters]
            if all(t.shape == p.shape for t, p in zip(tensors, parameters, strict=True)):
                moments[key] = layout.gather(tensors)
            if key not in moments or all(p.dim() == 0 for p in parameters):
                counts[key] = _counts(key, tensors, parameters[0].device)
                moments.pop(key, None)
        values = layout.gather(parameters)
        return Block(index, parameters, layout, values, moments, counts)


def _is_large(parameter: Tensor) -> bool:
    """Whether to lay its gradient beside the others' would take longer than a loop of its own."""
    return parameter.device.type == "cpu" and parameter.numel() > _LARGE


def _kind(parameter: Tensor) -> str:
    return f"{parameter.dtype} {parameter.device}"


def _counts(key: str, tensors: list[Tensor], device: torch.device) -> Tensor:
    """Numbers of the state in one tensor, of which they become elements."""
    together = torch.stack([tensor.detach().to(device) for tensor in tensors])
    if not (together == together[0]).all():
        raise UntraceableError(
            f"in the optimizer: its state {key!r} differs between parameters of one group"
        )
    for tensor, view in zip(tensors, together, strict=True):
        tensor.data = view
    return together


def lacks_state(optimizer: Optimizer, parameters: Sequence[Tensor]) -> bool:
    """Whether the optimizer has still to make the state of one of the parameters.

    Raises:
        UntraceableError: an optimizer that does not update each element by itself.
    """
    if type(optimizer) not in ELEMENTWISE:
        raise UntraceableError(
            f"in the optimizer: {type(optimizer).__name__} is none of those that update each "
            "element by itself (Adam, AdamW, SGD, RMSprop, …)"
        )
    keys = {key for group in optimizer.param_groups for key in state_keys(optimizer, group)}
    return any(key not in optimizer.state.get(p, {}) for p in parameters for key in keys)


def whole_step(
    gradient: Gradient,
    optimizer: Optimizer,
    storage: Storage,
    batch: Callable[..., list[Tensor]],
    *,
    clip_norm: float | None,
    scale: float,
) -> Callable[..., list[Tensor]]:
    """The step as a function of tensors alone, to be recorded and compiled.

    Its inputs are ``[*storage.tensors(), bad, scalars, *sources]``, its outputs the loss before the
    update and ``[*storage.tensors(), bad]`` after it. ``bad`` (bool) is set once the loss or the
    gradient is not finite; from then on nothing is updated, and the loss returned is NaN.

    Args:
        gradient: of the pair's loss.
        optimizer: whose update is taken; the first of the scalars are its groups' learning rates.
        storage: the tensors' layout.
        batch: makes the model's tensor arguments from ``sources``.
        clip_norm: the largest norm of the gradient, after ``scale``.
        scale: of the gradient.
    """
    sizes = [len(block.tensors()) for block in storage.blocks]

    def step(*inputs: Tensor) -> list[Tensor]:
        state, (bad, scalars), sources = _split(inputs, sum(sizes), 2)
        blocks = list(_consecutive(state, sizes))
        parameters = {
            id(p): view
            for block, tensors in zip(storage.blocks, blocks, strict=True)
            for p, view in zip(block.parameters, block.layout.views(tensors[0]), strict=True)
        }
        loss, gradients = gradient(parameters, scalars, batch(*sources))
        flat = [
            block.layout.flatten([gradients[id(p)] for p in block.parameters]) * scale
            for block in storage.blocks
        ]
        norm = torch.stack([g.square().sum() for g in flat]).sum().sqrt()
        good = ~bad & loss.isfinite() & norm.isfinite()
        if clip_norm is not None:
            flat = [g * (clip_norm / (norm + 1e-6)).clamp(max=1.0) for g in flat]
        after = []
        for block, tensors, g in zip(storage.blocks, blocks, flat, strict=True):
            new = _updated(optimizer, block, tensors, g, scalars[block.group])
            pairs = zip(new, tensors, strict=True)
            after += [torch.where(good, value, old) for value, old in pairs]
        return [torch.where(good, loss, torch.nan), *after, ~good]

    return step


def in_place(step: Callable[..., Sequence[Tensor]]) -> Callable[..., Tensor]:
    """``step``, which writes all of its outputs but the first into its first inputs."""

    def run(*inputs: Tensor) -> Tensor:
        loss, *after = step(*inputs)
        for old, value in zip(inputs, after, strict=False):
            old.copy_(value)
        return loss

    return run


def _updated(
    optimizer: Optimizer, block: Block, tensors: Sequence[Tensor], gradient: Tensor, lr: Tensor
) -> list[Tensor]:
    """``block.tensors()`` after the optimizer's step."""
    values, *state = tensors
    names = [*block.moments, *block.counts]
    given = dict(zip(names, state, strict=True))
    # One count stands for all of them; in float64, as eager computes with numbers of Python.
    alone = {k: v[0].double() if k in block.counts else v for k, v in given.items()}
    group = optimizer.param_groups[block.group]
    parameter, after = updated(optimizer, group, values, gradient, alone, lr)
    return [parameter, *(after[n].to(given[n].dtype).expand_as(given[n]) for n in names)]


def _split(values: Sequence[Any], first: int, second: int) -> tuple[Any, Any, Any]:
    return values[:first], values[first : first + second], values[first + second :]


def _consecutive(values: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Parts of these sizes, one after another."""
    start = 0
    for size in sizes:
        yield values[start : start + size]
        start += size
