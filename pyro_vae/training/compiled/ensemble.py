"""Pairs of the same programs with different weights, trained side by side in one graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_vae._errors import NonFiniteError
from pyro_vae._modes import random_state, set_random_state
from pyro_vae.data import Examples
from pyro_vae.training.compiled.backends import Backend
from pyro_vae.training.compiled.calls import Call, Source
from pyro_vae.training.compiled.compiler import Compiler, NoStateError
from pyro_vae.training.compiled.gradient import record, with_numbers_apart
from pyro_vae.training.compiled.noise import split_noise
from pyro_vae.training.compiled.programs import UntraceableError
from pyro_vae.training.compiled.step import in_place
from pyro_vae.training.compiled.svi import CompiledSVI

__all__ = ["Ensemble"]


class _Together:
    """The step of all members as one graph.

    Args:
        members: their inputs to the graph ``module``, in its order; tensors that are one and the
            same for all are shared, the others stacked.
        index: the position of the data's index among them.
        sources: the positions that random numbers may depend on.
        backend: carries the graph out.
    """

    def __init__(
        self,
        module: GraphModule,
        members: list[list[Tensor]],
        index: int,
        sources: range,
        backend: Backend,
    ) -> None:
        self._members, self._index = members, index
        split = split_noise(module, sources)
        self._draw = split.draw
        by_position = list(zip(*members, strict=True))
        own = [len({tensor.data_ptr() for tensor in alike}) > 1 for alike in by_position]
        self._own = [position for position, differs in enumerate(own) if differs]
        self._inputs = [
            torch.stack(alike) if differs else alike[0]
            for alike, differs in zip(by_position, own, strict=True)
        ]
        noise = self._noise(split.draw(*inputs) for inputs in members)
        dims = tuple(0 if differs else None for differs in own) + (0,) * len(noise)
        step = in_place(torch.vmap(lambda *tensors: split.rest(*tensors), in_dims=dims))
        example = [tensor.clone() for tensor in self._inputs]
        graph = with_numbers_apart(record(step, [*example, *noise]), len(members))
        self._captured = graph.captured
        self._run = backend(graph.module, [*self._inputs, *noise, *graph.captured])

    @torch.no_grad()
    def step(self, index: Tensor, random: list[list[Tensor]]) -> Tensor:
        """One update of all, on the data at ``index`` [members, batch]; the losses, [members]."""
        noise = self._noise(self.drawn(m, i, random) for m, i in enumerate(index))
        inputs = self._inputs.copy()
        inputs[self._index] = index
        return self._run(*inputs, *noise, *self._captured)[0]

    def drawn(self, member: int, index: Tensor, random: list[list[Tensor]]) -> list[Tensor]:
        """The member's random tensors for its next step."""
        inputs = self._members[member].copy()
        inputs[self._index] = index
        set_random_state(index.device, random[member])
        drawn = self._draw(*inputs)
        random[member] = random_state(index.device)
        return drawn

    @staticmethod
    def _noise(drawn: Iterable[list[Tensor]]) -> list[Tensor]:
        return [torch.stack(alike) for alike in zip(*drawn, strict=True)]

    @torch.no_grad()
    def gather(self) -> None:
        """Take the members' tensors as they are."""
        for position in self._own:
            if position != self._index:
                torch.stack(
                    [inputs[position] for inputs in self._members], out=self._inputs[position]
                )

    @torch.no_grad()
    def scatter(self) -> None:
        """Give the members' tensors back."""
        for position in self._own:
            if position != self._index:
                for inputs, value in zip(self._members, self._inputs[position], strict=True):
                    inputs[position].copy_(value)


class Ensemble:
    """Members that differ in weights, data order and random numbers, and take each step together.

    Each member's losses and weights are those of its own run up to the rounding of fused
    arithmetic, since its random numbers are drawn, for each step, from its own stream.

    Args:
        members: of pairs that run the same operations on tensors of the same shapes.
    """

    def __init__(self, members: Sequence[CompiledSVI]) -> None:
        self._members = members
        self._graphs: dict[Any, _Together] = {}

    def run(
        self,
        data: Examples,
        batches: Tensor,
        random: list[list[Tensor]],
        schedules: Sequence[Any],
    ) -> Tensor:
        """Many updates of all members.

        Args:
            data: the data of all.
            batches: int64 [members, steps, batch].
            random: the states of the members' random numbers, moved on.
            schedules: of the members' learning rates, all alike; stepped after each update.

        Returns:
            The losses, [members, steps], in nats.

        Raises:
            NonFiniteError: at a NaN or infinity in one of the members.
            UntraceableError: for pairs that cannot run together.
        """
        losses: list[Tensor] = []
        together, before = None, random.copy()
        for step in batches.unbind(1):
            together = together or self._together(data, step)
            if together is None:  # the optimizers have no state yet
                losses.append(self._apart(data, step, random))
            else:
                losses.append(together.step(step, random))
            for compiler, schedule in zip(self._compilers(), schedules, strict=True):
                if schedule is not None:
                    schedule.step()
                    compiler.set_numbers([])
        if together is not None:
            together.scatter()
            self._check_finite(together, data, batches, before, torch.stack(losses, 1))
        return torch.stack(losses, 1)

    def _check_finite(
        self,
        together: _Together,
        data: Examples,
        batches: Tensor,
        random: list[list[Tensor]],
        losses: Tensor,
    ) -> None:
        bad = [number for number, compiler in enumerate(self._compilers()) if compiler.bad]
        if not bad:
            return
        for compiler in self._compilers():
            compiler.bad.zero_()
        number = bad[0]
        failed = int(losses[number].isnan().nonzero()[0])
        for index in batches[number, :failed]:
            together.drawn(number, index, random)
        set_random_state(batches.device, random[number])
        term = self._members[number].explain(data.batch(batches[number, failed]))
        error = NonFiniteError(
            f"member {number}, step {failed + 1} of this call: expected finite numbers; got a NaN "
            f"or infinity in {term}. Its weights are those before that step."
        )
        error.member, error.steps, error.term = number, failed, term
        raise error

    def _compilers(self) -> list[Compiler]:
        compilers = [member.compiler for member in self._members]
        if None in compilers:
            raise UntraceableError("a member runs in eager mode")
        return [compiler for compiler in compilers if compiler is not None]

    def _apart(self, data: Examples, step: Tensor, random: list[list[Tensor]]) -> Tensor:
        """One update of each by itself."""
        losses = []
        for number, (member, index) in enumerate(zip(self._members, step, strict=True)):
            set_random_state(index.device, random[number])
            losses.append(member.run(data, index[None])[0])
            random[number] = random_state(index.device)
        return torch.stack(losses)

    def _together(self, data: Examples, step: Tensor) -> _Together | None:
        """The graph for batches like these, with the members' tensors as they are."""
        key = (step.shape, len(data))
        if key not in self._graphs:
            made = self._made(data, step)
            if made is None:
                return None
            self._graphs[key] = made
        self._graphs[key].gather()
        return self._graphs[key]

    def _made(self, data: Examples, step: Tensor) -> _Together | None:
        recorded = []
        for compiler, index in zip(self._compilers(), step, strict=True):
            with torch.random.fork_rng():
                call = Call.of(data.batch(index))
            source = Source.gathered(data, index, [])
            try:
                recorded.append(compiler.recorded(call, source))
            except NoStateError:
                return None
        modules = [graph.module for graph, _ in recorded]
        if any(module.code != modules[0].code for module in modules):
            raise UntraceableError("the members' programs are not the same operations")
        inputs = [[*own, *graph.captured] for graph, own in recorded]
        position = len(recorded[0][1]) - 1  # of the index: the last before what is captured
        sources = range(position - 1, len(inputs[0]))
        for own in inputs:  # learning rates and the like are the same for all
            own[position - 2] = inputs[0][position - 2]
        try:
            return _Together(modules[0], inputs, position, sources, self._compilers()[0].backend)
        except RuntimeError as error:
            if "batching rule" not in str(error):
                raise
            reason = f"an operation cannot be done for several members at once: {error}"
            raise UntraceableError(reason) from error
