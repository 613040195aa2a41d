"""The shape vocabulary of every public signature, checked when the tests run (jaxtyping).

========== ==================================================================
axis       meaning
========== ==================================================================
particles  Monte-Carlo samples of the latents, the dimension left of the batch
batch      data in a mini-batch, plate ``"data"`` at dim −1
event      the shape of one datum, e.g. 784 or 1 28 28
latent     the dimension of z
========== ==================================================================
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from pyro_vae._errors import ShapeError

__all__ = ["Data", "Latents", "PerDatum", "PerParticle", "check_some"]

Data = Float[Tensor, "batch *event"]
"""A batch of data."""

Latents = Float[Tensor, "*particles_batch latent"]
"""Latent vectors with any leading shape."""

PerDatum = Float[Tensor, "batch"]
"""One number a datum, in nats."""

PerParticle = Float[Tensor, "particles batch"]
"""One number a particle and datum, in nats."""


def check_some(x: Tensor, name: str = "x") -> None:
    """``ShapeError`` where there are no data."""
    if not len(x):
        raise ShapeError(
            f"{name}: expected one datum or more; got shape {list(x.shape)}. Check the selection."
        )
