"""Makes the graphs of one pair, objective and optimizer, and keeps them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.training.compiled.backends import Backend, replay
from pyro_vae.training.compiled.calls import Call, Source
from pyro_vae.training.compiled.eager import Eager, no_gradient
from pyro_vae.training.compiled.gradient import Graph, record, record_pair, with_numbers_apart
from pyro_vae.training.compiled.programs import (
    UntraceableError,
    Watched,
    modules_of,
    replaced,
    restored,
)
from pyro_vae.training.compiled.step import Gradient, Storage, in_place, lacks_state, whole_step

__all__ = ["Compiler", "NoStateError"]

_MOST = 16  # graphs for values of one kind, before something is seen to change at every step


class NoStateError(RuntimeError):
    """The optimizer has no state yet: its first step makes it, in eager mode."""


@dataclass(frozen=True)
class _Compiled:
    run: Callable[..., Any]
    captured: list[Tensor]

    def __call__(self, *inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return self.run(*inputs, *self.captured)[0]


class Compiler:
    """The graphs of a pair, by the arguments and the plain values that they were made for.

    Args:
        eager: the pair, the objective, the optimizer and how a step goes.
        backend: carries out what was recorded.
    """

    def __init__(self, eager: Eager, backend: Backend) -> None:
        self._eager, self.backend = eager, backend
        self._device = eager.parameters[0].device
        self._modules = modules_of(eager.model, eager.guide)
        self._annealed = _annealed(eager.objective)
        self._watched = Watched(eager.model, eager.guide, others=self._constants())
        self._values = self._watched.values()
        self._by_values: dict[Any, dict[Any, Any]] = {}
        self._numbers: list[float] = []
        self._scalars = torch.zeros(0)
        self._storage: Storage | None = None
        self.bad = torch.zeros((), dtype=torch.bool, device=self._device)
        """Set once a loss or gradient was not finite: from then on steps update nothing."""
        self.seconds = 0.0
        """The time spent recording and compiling."""

    def step(self, call: Call, source: Source) -> Callable[..., Tensor]:
        """A whole step as a function of ``source.tensors``; it returns the loss.

        Raises:
            UntraceableError: for a pair or an optimizer that does not become a graph.
            NoStateError: before the optimizer's first step.
        """
        self.refresh(call.floats)
        graph = self._kept(("step", call.key, source.key), lambda: self._whole_step(call, source))
        assert self._storage is not None
        held = [*self._storage.tensors(), self.bad, self._scalars]
        return lambda *tensors: graph(*held, *tensors)

    def loss(self, call: Call) -> Tensor:
        """The loss, with nothing updated; raises as :meth:`step`."""
        self.refresh(call.floats)
        graph = self._kept(("loss", call.key), lambda: self._loss(call))
        parameters = [p.detach() for p in self._eager.parameters]
        return graph(*parameters, self._scalars, *call.tensors)

    def refresh(self, floats: list[float]) -> None:
        """Take learning rates, annealed numbers and ``floats`` as they are now, and see whether
        weights or plain values of the programs were replaced."""
        self.set_numbers(floats)
        self._values = self._watched.values()
        if self._storage is not None and not self._storage.is_current():
            self._storage = None
            self._by_values.clear()

    def set_numbers(self, floats: list[float]) -> None:
        """Take learning rates, annealed numbers and ``floats`` as they are now."""
        groups, objective = self._eager.optimizer.param_groups, self._eager.objective
        numbers = [float(group["lr"]) for group in groups]
        numbers += [float(getattr(objective, name)) for name in self._annealed]
        numbers += floats
        if len(numbers) != len(self._numbers):
            self._scalars = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        elif numbers != self._numbers:
            self._scalars.copy_(torch.tensor(numbers, dtype=torch.float64))
        self._numbers = numbers

    # -- graphs -------------------------------------------------------------------------------

    def _kept(self, key: Any, make: Callable[[], Any]) -> Any:
        graphs = self._by_values.setdefault(self._values, {})
        if key not in graphs:
            if len(self._by_values) > _MOST:
                first, *_ = self._by_values
                raise UntraceableError(
                    f"{', '.join(self._watched.changed(first))} changed {_MOST} times, each time "
                    "for another graph: pass it as an argument or keep it in a buffer"
                )
            started = time.perf_counter()
            graphs[key] = make()
            self.seconds += time.perf_counter() - started
        return graphs[key]

    def recorded(self, call: Call, source: Source) -> tuple[Graph, list[Tensor]]:
        """The graph of a whole step that changes nothing in place, and its inputs; raises as
        :meth:`step`."""
        self.refresh(call.floats)
        step, held = self._step(call, source)
        return self._record(torch.func.functionalize(step), held, source), [*held, *source.tensors]

    def _whole_step(self, call: Call, source: Source) -> _Compiled:
        step, held = self._step(call, source)
        graph = with_numbers_apart(self._record(in_place(step), held, source))
        return self._compiled(graph, [*held, *source.example()])

    def _record(self, step: Callable[..., Any], held: list[Tensor], source: Source) -> Graph:
        with self._unchanged():
            return record(step, [*(tensor.clone() for tensor in held), *source.tensors])

    def _step(self, call: Call, source: Source) -> tuple[Callable[..., Any], list[Tensor]]:
        """The step as a function, and the first of its inputs."""
        eager = self._eager
        with self._unchanged():
            arguments = source.make(*source.tensors)
        gradient = self._kept(("gradient", call.key), lambda: self._gradient(call, arguments))
        if self._storage is None:
            if lacks_state(eager.optimizer, gradient.trained):
                raise NoStateError
            self._storage = Storage(eager.optimizer, gradient.trained)
        step = whole_step(
            gradient,
            eager.optimizer,
            self._storage,
            source.make,
            clip_norm=eager.clip_norm,
            scale=1 / len(arguments[0]) if eager.per_datum else 1.0,
        )
        return step, [*self._storage.tensors(), self.bad, self._scalars]

    def _loss(self, call: Call) -> _Compiled:
        eager = self._eager
        inputs = [*eager.parameters, self._scalars, *call.tensors]

        def run(model: Any, guide: Any) -> list[Tensor]:
            with self._annealed_by(self._scalars.unbind()) as floats:
                args, kwargs = call.rebuilt(call.tensors, floats)
                return [eager.loss(model, guide, *args, **kwargs)]

        with self._unchanged():
            graph = record_pair(run, eager.model, eager.guide, inputs)
        return self._compiled(graph, [t.detach() for t in inputs])

    def _gradient(self, call: Call, arguments: list[Tensor]) -> Gradient:
        eager = self._eager
        trained: list[Tensor] = []

        def run(model: Any, guide: Any) -> list[Tensor]:
            with self._annealed_by(self._scalars.unbind()) as floats:
                args, kwargs = call.rebuilt(arguments, floats)
                loss = eager.differentiate(model, guide, *args, **kwargs)
            trained.extend(p for p in eager.parameters if p.grad is not None)
            gradients = [p.grad for p in trained if p.grad is not None]
            return [loss, *gradients]

        with self._unchanged():
            for parameter in eager.parameters:
                parameter.grad = None
            inputs = [*eager.parameters, self._scalars, *arguments]
            graph = record_pair(run, eager.model, eager.guide, inputs)
        if not trained:
            raise no_gradient()
        gradient = Gradient(graph, eager.parameters, trained)
        self._check(gradient, call, arguments)
        return gradient

    def _check(self, gradient: Gradient, call: Call, arguments: list[Tensor]) -> None:
        """The graph gives eager's loss on other data: nothing of the first was frozen into it."""
        flipped = [t.flip(0) if t.dim() else t for t in arguments]
        args, kwargs = call.rebuilt(flipped, call.floats)
        eager = self._eager
        with self._unchanged():
            expected = float(eager.loss(eager.model, eager.guide, *args, **kwargs))
        with self._unchanged(), torch.no_grad():
            values = {id(p): p.detach() for p in gradient.trained}
            loss = float(gradient(values, self._scalars, flipped)[0])
        if abs(loss - expected) > 1e-3 * (1 + abs(expected)):  # NaN: the first step will tell
            raise UntraceableError(
                f"the recorded graph gives the loss {loss:.6g} where eager mode gives "
                f"{expected:.6g}: the programs depend on something beside their tensors"
            )

    def _compiled(self, graph: Graph, inputs: list[Tensor]) -> _Compiled:
        inputs = [*inputs, *graph.captured]
        try:
            run = self.backend(graph.module, inputs)
        except Exception as error:  # whatever a missing or a failing compiler raises
            told = str(error).strip().splitlines()
            warnings.warn(
                f"CompiledSVI: expected a working compiler; got {type(error).__name__}: "
                f"{told[0] if told else ''}. The recorded operations run one by one, slower. "
                "Install a C++ compiler (g++), or Triton for a GPU.",
                stacklevel=2,
            )
            run = replay(graph.module, inputs)
        return _Compiled(run, graph.captured)

    # -- the state a recording borrows --------------------------------------------------------

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Buffers, gradients and random numbers are put back after."""
        devices = [self._device] if self._device.type == "cuda" else []
        with restored(self._modules, self._eager.parameters), torch.random.fork_rng(devices):
            yield

    @contextmanager
    def _annealed_by(self, scalars: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
        """The objective's annealed numbers are tensors inside; the scalars left for arguments."""
        start = len(self._eager.optimizer.param_groups)
        end = start + len(self._annealed)
        with ExitStack() as stack:
            for name, value in zip(self._annealed, scalars[start:end], strict=True):
                stack.enter_context(replaced(self._eager.objective, name, value))
            yield scalars[end:]

    def _constants(self) -> dict[str, tuple[dict[str, Any], tuple[str, ...]]]:
        """What else a graph holds as constants: the optimizer's and the objective's settings."""
        groups = enumerate(self._eager.optimizer.param_groups)
        constants = {f"optimizer group {i}": (g, ("lr", "initial_lr")) for i, g in groups}
        return constants | {"objective": (vars(self._eager.objective), self._annealed)}


def _annealed(objective: Any) -> tuple[str, ...]:
    """The objective's numbers that may change from step to step."""
    names = getattr(objective, "annealed", ())
    return tuple(name for name in names if isinstance(getattr(objective, name), int | float))
