"""What is timed: models, sizes and particles, and the matrix products of a training step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

__all__ = [
    "AXES",
    "CASES",
    "LEARNING_RATE",
    "VARIANCE",
    "Case",
    "Layer",
    "case_of",
    "growth_cases",
    "layers",
    "networks",
    "shrunk",
]

VARIANCE = 0.25
"""Of the normal likelihood."""
LEARNING_RATE = 1e-3
"""Of Adam, whose other settings are the usual ones: 0.9, 0.999, 1e-8."""


@dataclass(frozen=True)
class Case:
    """A VAE with ReLU networks, q(z|x) a diagonal normal whose scale is a softplus, p(z) = N(0, I).

    Args:
        name: what tables call it.
        about: the same in words.
        data_dim: values a datum.
        latent: dimensions of z.
        hidden: the hidden layers of the encoder and of the decoder.
        batch: data a step.
        particles: samples of z a datum: one is the ELBO with a sampled KL, more are the IWAE bound.
        pixels: a Bernoulli likelihood on grey values; otherwise a normal one with a fixed variance.
        flows: inverse autoregressive flows that follow the guide's normal.
    """

    name: str
    about: str
    data_dim: int
    latent: int
    hidden: tuple[int, ...]
    batch: int
    particles: int = 1
    pixels: bool = False
    flows: int = 0


_PLANE = Case(
    "a",
    "2-D data, three hidden layers of 64, batch 200, z = 2; ELBO",
    data_dim=2,
    latent=2,
    hidden=(64, 64, 64),
    batch=200,
)
_IMAGES = Case(
    "c2",
    "MNIST, four hidden layers of 200, batch 300, z = 2; ELBO",
    data_dim=784,
    latent=2,
    hidden=(200, 200, 200, 200),
    batch=300,
    pixels=True,
)
_FLOWS = Case(
    "d",
    "2-D data, two hidden layers of 64, batch 200, z = 10, two inverse autoregressive flows; ELBO",
    data_dim=2,
    latent=10,
    hidden=(64, 64),
    batch=200,
    flows=2,
)

CASES = {
    case.name: case
    for case in (
        _PLANE,
        replace(
            _PLANE,
            name="b",
            about=_PLANE.about.replace("ELBO", "IWAE with 10 particles"),
            particles=10,
        ),
        _IMAGES,
        replace(_IMAGES, name="c100", about=_IMAGES.about.replace("2;", "100;"), latent=100),
        _FLOWS,
    )
}

AXES: dict[str, tuple[int, ...]] = {
    "batch": (50, 200, 800, 3200),
    "latent": (2, 10, 50, 200),
    "width": (32, 64, 128, 256, 512),
    "particles": (1, 5, 20, 50),
}
"""Case (e): what grows, from case (a), one at a time."""


def growth_cases(quick: bool) -> dict[tuple[str, int], Case]:
    """Case (a) at every point of every axis; points that are the same case are equal."""
    start = shrunk(_PLANE) if quick else _PLANE
    axes = {axis: values[:2] for axis, values in AXES.items()} if quick else AXES
    return {(axis, v): _grown(start, axis, v) for axis, values in axes.items() for v in values}


def _grown(case: Case, axis: str, value: int) -> Case:
    change = {"hidden": (value,) * len(case.hidden)} if axis == "width" else {axis: value}
    grown = replace(case, **change)
    if grown == case:
        return case
    return replace(grown, name=f"{axis} {value}", about=f"case a with {axis} {value}")


def shrunk(case: Case) -> Case:
    """The same in a size that takes no time, to see that everything works."""
    return replace(
        case,
        about=f"{case.about} (made smaller)",
        hidden=tuple(16 for _ in case.hidden),
        batch=case.batch // 10,
        particles=min(case.particles, 3),
        latent=min(case.latent, 5),
    )


def case_of(stored: dict[str, Any]) -> Case:
    """A case from its fields as JSON has them."""
    return Case(**stored | {"hidden": tuple(stored["hidden"])})


def networks(case: Case) -> dict[str, tuple[int, ...]]:
    """Name → layer sizes, inputs first. The encoder gives mean, scale and the flows' context."""
    context = case.latent if case.flows else 0
    flow = (context + case.latent, *case.hidden, 2 * case.latent)
    return {
        "encoder": (case.data_dim, *case.hidden, 2 * case.latent + context),
        **{f"flow{number}": flow for number in range(case.flows)},
        "decoder": (case.latent, *case.hidden, case.data_dim),
    }


@dataclass(frozen=True)
class Layer:
    """A linear layer in a step: ``rows`` inputs, and whether their gradient is needed."""

    rows: int
    inputs: int
    outputs: int
    input_gradient: bool = True

    @property
    def flops(self) -> int:
        """Multiplications and additions, forward and backward."""
        products = 3 if self.input_gradient else 2
        return products * 2 * self.rows * self.inputs * self.outputs


def layers(case: Case) -> list[Layer]:
    """Every linear layer of a step. Only the data need no gradient."""
    return list(_layers(case))


def _layers(case: Case) -> Iterator[Layer]:
    for name, sizes in networks(case).items():
        rows = case.batch if name == "encoder" else case.batch * case.particles
        for number, (inputs, outputs) in enumerate(pairwise(sizes)):
            yield Layer(rows, inputs, outputs, name != "encoder" or number > 0)
