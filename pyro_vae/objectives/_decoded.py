"""A model run at given latents, and the derivative of its decoder there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae.distributions import Mode, jacobian, location_and_information, normal_moments

__all__ = ["Decoded", "decode"]

Site = dict[str, Any]


@dataclass(frozen=True)
class Decoded:
    """A model run at given latents, and its derivative there."""

    prior: Distribution
    likelihood: Distribution
    jacobian: Tensor
    """[batch, m, n]."""

    def metric(self) -> Tensor:
        """JᵀT⁻¹J, [batch, n, n]."""
        _, information = location_and_information(self.likelihood)
        return self.jacobian.mT @ (information.flatten(1).unsqueeze(-1) * self.jacobian)

    def precision(self) -> Tensor:
        """Λ = S⁻² + JᵀT⁻¹J, [batch, n, n]."""
        _, variance = normal_moments(self.prior, "prior")
        return torch.diag_embed(variance.reciprocal()) + self.metric()

    def log_height(self) -> Tensor:
        """log N(μ; μ, Λ⁻¹) = ½ log|Λ| − (n/2) log 2π, [batch]: Laplace's posterior at its top."""
        precision = self.precision()
        log_determinant = torch.linalg.slogdet(precision).logabsdet
        return 0.5 * (log_determinant - precision.shape[-1] * math.log(2 * math.pi))


def decode(
    model: Callable[..., Any],
    x: Tensor,
    z: Tensor,
    latent: str = "z",
    site: str = "x",
    mode: Mode | None = None,
) -> Decoded:
    """One batch; differentiable where gradients are on."""
    outputs = x[0].numel()
    chosen: Mode = mode or ("forward" if z.shape[-1] <= outputs else "reverse")
    location = partial(_location, model, x, latent=latent, site=site)
    nodes = _nodes(model, x, z, latent)
    return Decoded(nodes[latent]["fn"], nodes[site]["fn"], jacobian(location, z, mode=chosen))


def _location(model: Callable[..., Any], x: Tensor, z: Tensor, *, latent: str, site: str) -> Tensor:
    """The decoded parameter at latents [..., batch, n], flat: [..., batch, m]."""
    p = _nodes(model, x, z, latent)[site]["fn"]
    location, _ = location_and_information(p)
    return location.flatten(z.dim() - 1)


def _nodes(
    model: Callable[..., Any], x: Tensor, z: Tensor, latent: str
) -> dict[str, dict[str, Any]]:
    """The model's sites, with latents [..., batch, n] for the batch x; at most one more plate."""
    given = poutine.condition(model, data={latent: z})
    if z.dim() == 2:
        return poutine.trace(given).get_trace(x).nodes
    with pyro.plate("directions", z.shape[0], dim=-2):
        return poutine.trace(given).get_trace(x).nodes
