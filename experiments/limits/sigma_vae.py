"""Section 3.3: with a full posterior covariance a VAE tends to a normalising flow."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pyro.distributions.torch_transform import ComposeTransformModule
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from experiments.limits.config import Config
from experiments.limits.flow import negative_log_likelihood, train_flow
from experiments.limits.rates import rate_errors, rates
from pyro_vae import VAE, FixedVariance, InverseFlowGuide, NormalLikelihood, StandardNormalPrior
from pyro_vae.data.densities import DENSITIES

__all__ = ["gaps", "measure_limit", "sigma_vae"]

_QUARTILES = (0.25, 0.5, 0.75)


def measure_limit(
    config: Config, name: str, checkpoints: Path, progress: bool
) -> tuple[dict[str, Any], nn.Module]:
    """Train a flow on a density by maximum likelihood, and measure, for every ε, how far minus the
    ELBO of the Σ-VAE around it is above its exact negative log-likelihood, nats a point."""
    density = DENSITIES[name]()
    flow, history = train_flow(config, density, checkpoints, progress)
    started = time.perf_counter()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        x = density.sample(config.points, device=config.device).double()
        flow.double()
        found = torch.stack([gaps(flow, x, epsilon, config.draws) for epsilon in config.epsilons])
    result = {
        "nll": negative_log_likelihood(flow, x).mean().item(),
        "gaps": found.mean(1).tolist(),
        "gap_errors": (found.std(1) / math.sqrt(config.points)).tolist(),
        "quartiles": found.quantile(found.new_tensor(_QUARTILES), 1).T.tolist(),
        **_rates(config, found),
        "training_seconds": sum(history["seconds"]),
        "measuring_seconds": time.perf_counter() - started,
    }
    return result, flow


def _rates(config: Config, found: Tensor) -> dict[str, list[float]]:
    by_point = found.cpu().numpy()
    return {
        "rates": rates(config.epsilons, np.median(by_point, 1)).tolist(),
        "rate_errors": rate_errors(config.epsilons, by_point).tolist(),
    }


class _Decoder(nn.Module):
    """f, as a decoder."""

    def __init__(self, flow: ComposeTransformModule) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, z: Tensor) -> Tensor:
        return self.flow(z)


def sigma_vae(flow: ComposeTransformModule, epsilon: float) -> VAE:
    """The prior N(0, I), the likelihood N(f(z), ε²I) and the guide of eq. 19."""
    return VAE(
        prior=StandardNormalPrior(2),
        likelihood=NormalLikelihood(_Decoder(flow), FixedVariance(epsilon**2)),
        guide=InverseFlowGuide(flow, epsilon),
    ).double()


@torch.no_grad()
def gaps(flow: ComposeTransformModule, x: Tensor, epsilon: float, draws: int) -> Tensor:
    """−ELBO less the flow's −log p(x), [points], nats.

    The noise u of z = μ + L u and its opposite −u, and ½|u|² as a control variate, cancel what is
    of order 1 and ε in the error, as large as the gap itself, of order ε², is small.
    """
    vae = sigma_vae(flow, epsilon)
    q = cast(MultivariateNormal, vae.guide.posterior(x))
    u = torch.randn(draws // 2, *x.shape, dtype=x.dtype, device=x.device)
    u = torch.cat([u, -u])
    z = q.mean + (q.scale_tril @ u[..., None])[..., 0]
    noise = 0.5 * (u.square().sum(-1) - x.shape[-1])
    reconstruction = (vae.likelihood(z).log_prob(x) + noise).mean(0)
    elbo = reconstruction - kl_divergence(q, vae.prior())
    return -elbo - negative_log_likelihood(flow, x)
