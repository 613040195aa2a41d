"""Pyro programs that are run for many draws at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Integral

import pyro
from torch import Tensor, nn

from pyro_vae.diagnostics._arrays import DRAW_PLATE
from pyro_vae.diagnostics._sites import Sites

Program = Callable[[Tensor], object]


class _Called(nn.Module):
    """A function as a module; a bound method with the module that it belongs to."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.owner = getattr(program, "__self__", None)

    def forward(self, x: Tensor) -> object:
        return self.program(x)


def as_module(program: Program) -> nn.Module:
    """A program as a module, for what asks for one; a module is itself."""
    return program if isinstance(program, nn.Module) else _Called(program)


def in_plate(program: Program, size: int, max_plate_nesting: int) -> Program:
    """The program with a plate of draws around it, left of all its own plates."""

    def run(x: Tensor) -> object:
        with pyro.plate(DRAW_PLATE, size, dim=-1 - max_plate_nesting):
            return program(x)

    return run


def values(sites: Sites, names: Iterable[str]) -> dict[str, Tensor]:
    """The values of the sites ``names`` of a program in a plate, [draw, *plates, *event]."""
    return {name: sites[name]["value"].expand(sites[name]["fn"].shape()) for name in names}


def chunks(total: int, size: int) -> list[int]:
    """The sizes of the chunks that make up ``total``."""
    return [min(size, total - done) for done in range(0, total, size)]


def check_counts(where: str, **counts: object) -> None:
    """Raise a ``ValueError`` for a count below 1, or one that is no integer, be it NumPy's."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
            raise ValueError(f"{where}: expected {name} ≥ 1, an integer; got {count!r}.")
