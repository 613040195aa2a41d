"""Section 3.3: with a full posterior covariance a VAE tends to a normalising flow."""

from __future__ import annotations

import math
from typing import Any, cast

import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from pyro.distributions.torch_transform import ComposeTransformModule
from pyro.nn import DenseNN
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from experiments.limits.config import Config
from pyro_vae import VAE, FixedVariance, InverseFlowGuide, NormalLikelihood, StandardNormalPrior
from pyro_vae.data.densities import DENSITIES, Density

__all__ = ["gaps", "measure_limit", "sigma_vae", "train_flow"]

_BATCH, _RATE = 500, 2e-3
_QUARTILES = (0.25, 0.5, 0.75)


def measure_limit(config: Config, name: str) -> tuple[dict[str, Any], nn.Module]:
    """Train a flow on a density by maximum likelihood, and measure, for every ε, how far minus the
    ELBO of the Σ-VAE around it is above its exact negative log-likelihood, nats a point."""
    density = DENSITIES[name]()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        flow = train_flow(config, density)
        x = density.sample(config.points, device=config.device).double()
        flow.double()
        found = [gaps(flow, x, epsilon, config.draws) for epsilon in config.epsilons]
    nll = _negative_log_likelihood(flow, x).mean().item()
    result = {
        "nll": nll,
        "gaps": [gap.mean().item() for gap in found],
        "gap_errors": [gap.std().item() / math.sqrt(len(x)) for gap in found],
        "quartiles": [gap.quantile(gap.new_tensor(_QUARTILES)).tolist() for gap in found],
    }
    return result, flow


def train_flow(config: Config, density: Density) -> ComposeTransformModule:
    """Affine couplings of tanh networks: where f has kinks, the ELBO tends to the limit slower."""
    flow = ComposeTransformModule(_layers(config)).to(config.device)
    optimizer = torch.optim.Adam(flow.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.flow_steps)
    for _ in range(config.flow_steps):
        optimizer.zero_grad()
        x = density.sample(_BATCH, device=config.device)
        _negative_log_likelihood(flow, x).mean().backward()
        optimizer.step()
        schedule.step()
    return flow.requires_grad_(False)


def _layers(config: Config) -> list[Any]:
    parts: list[Any] = []
    for _ in range(config.couplings):
        network = DenseNN(1, [config.width] * 2, param_dims=[1, 1], nonlinearity=nn.Tanh())
        parts += [transforms.AffineCoupling(1, network), transforms.Permute(torch.tensor([1, 0]))]
    return parts


def _negative_log_likelihood(flow: ComposeTransformModule, x: Tensor) -> Tensor:
    base = dist.Normal(x.new_zeros(2), x.new_ones(2)).to_event(1)
    return -dist.TransformedDistribution(base, [flow]).log_prob(x)


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
    return -elbo - _negative_log_likelihood(flow, x)
