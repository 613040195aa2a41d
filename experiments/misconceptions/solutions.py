"""Section 5.2: two VAEs that are optimal for normal data, built and not trained, and one that is
not: that of a reader who takes the latent for a parameter."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent, kl_divergence

from pyro_vae import (
    VAE,
    ConstantNormalGuide,
    FixedVariance,
    NormalLikelihood,
    StandardNormalPrior,
)

__all__ = ["EPSILONS", "MEAN", "SCALE", "measure_solutions"]

MEAN, SCALE, SIZE = 3.0, 2.0, 2
"""The data are N(3, 2² I) on the plane."""
EPSILONS = (1.0, 0.3, 0.1, 0.03, 0.01)

_POINTS = 20_000


class _Affine(nn.Module):
    """slope·v + intercept."""

    def __init__(self, slope: float, intercept: float) -> None:
        super().__init__()
        self.slope, self.intercept = slope, intercept

    def forward(self, v: Tensor) -> Tensor:
        return self.slope * v + self.intercept


def ignoring() -> VAE:
    """q(z|x) = p(z), p(x|z) = p(x): the latents are not used."""
    return _vae(_Affine(0.0, MEAN), SCALE, _Affine(0.0, 0.0), 1.0)


def autoencoding(epsilon: float) -> VAE:
    """q(z|x) = N((x − μ)/σ, ε² I), p(x|z) = N(σz + μ, σ²ε² I): optimal as ε → 0."""
    encoder = _Affine(1 / SCALE, -MEAN / SCALE)
    return _vae(_Affine(SCALE, MEAN), SCALE * epsilon, encoder, epsilon)


def mistaken() -> VAE:
    """q(z|x) = N(μ, σ² I) = p(x), as if z were to learn the distribution: it says nothing of x, and
    costs its divergence from the prior."""
    return _vae(_Affine(0.0, MEAN), SCALE, _Affine(0.0, MEAN), SCALE)


def measure_solutions() -> dict[str, Any]:
    """Minus the mean ELBO less the entropy, in nats, of each on the same data."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        noise = torch.randn(_POINTS // 2, SIZE, dtype=torch.float64)
        x = MEAN + SCALE * torch.cat([noise, -noise])
        # What the finite sample has for its entropy under the true density is taken off, not H.
        true = torch.distributions.Normal(MEAN, SCALE).log_prob(x).sum(-1).mean().item()
        gaps = {f"autoencoding, ε = {e:g}": _gap(autoencoding(e), x, true) for e in EPSILONS}
        return {
            "entropy": SIZE / 2 * math.log(2 * math.pi * math.e * SCALE**2),
            "gaps": {
                "ignoring z": _gap(ignoring(), x, true),
                **gaps,
                "z as a parameter": _gap(mistaken(), x, true),
            },
        }


def _vae(decoder: nn.Module, noise: float, encoder: nn.Module, scale: float) -> VAE:
    return VAE(
        prior=StandardNormalPrior(SIZE),
        likelihood=NormalLikelihood(decoder, FixedVariance(noise**2)),
        guide=ConstantNormalGuide(encoder, scale),
    ).double()


@torch.no_grad()
def _gap(vae: VAE, x: Tensor, true: float) -> float:
    """By sigma points in place of draws: log p(x|z) is quadratic in z here, so that its mean over
    the posterior is exact. Draws would have left noise many times the ε² that is to be seen."""
    q = vae.guide.posterior(x)
    assert isinstance(q, Independent)
    nodes = math.sqrt(SIZE) * torch.cat([torch.eye(SIZE), -torch.eye(SIZE)]).to(x)
    z = q.mean + q.stddev * nodes[:, None]
    elbo = vae.likelihood(z).log_prob(x).mean(0) - kl_divergence(q, vae.prior())
    return true - elbo.mean().item()
