"""The methods: each a VAE for points on the plane, its objective, and how it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from pyro.distributions import transforms
from pyro.nn import ConditionalAutoRegressiveNN, DenseNN
from torch import Tensor, nn

from experiments.networks import dense_block
from pyro_vae import (
    ELBO,
    IWAE,
    VAE,
    DecodedVariance,
    DReG,
    FixedVariance,
    FlowGuide,
    FlowPrior,
    FullCovarianceGuide,
    Guide,
    NormalGuide,
    NormalLikelihood,
    Objective,
    StandardNormalPrior,
)
from pyro_vae.distributions import Flip
from pyro_vae.nn import DenseBlock, Scale
from pyro_vae.training import MakeOptimizer, Schedule, adam, cosine_decay, step_decay

if TYPE_CHECKING:
    from experiments.toy2d.config import Config

__all__ = ["METHODS", "Method", "build"]

LATENT = 2


_HALVED = step_decay(0.6, 0.7, 0.8, 0.9)


def _adam(config: Config, *, half: bool = False) -> MakeOptimizer:
    rate = config.half_rate if half else config.learning_rate
    return adam(rate, betas=(0.9, config.beta2), amsgrad=config.amsgrad)


@dataclass(frozen=True)
class Method:
    """How a VAE is made, what it maximises, and which of the run's settings it takes.

    Args:
        make: the VAE of a configuration.
        objective: what is maximised.
        batch_size: points a step.
        steps: in all.
        optimizer: of the parameters.
        schedule: of the learning rate; the default is the paper's.
        points, samples: fresh points, and latents a point, of its evaluation.
    """

    make: Callable[[Config], VAE]
    objective: Callable[[Config], Objective]
    batch_size: Callable[[Config], int] = attrgetter("batch_size")
    steps: Callable[[Config], int] = attrgetter("steps")
    optimizer: Callable[[Config], MakeOptimizer] = _adam
    schedule: Schedule = _HALVED
    points: Callable[[Config], int] = attrgetter("points")
    samples: Callable[[Config], int] = attrgetter("evidence_samples")


def build(name: str, seed: int, config: Config) -> tuple[VAE, Objective]:
    """A method's VAE, initialised from ``seed``, and its objective."""
    method = METHODS[name]
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return method.make(config), method.objective(config)


# -- VAEs with the paper's networks ---------------------------------------------------------------


def _network(config: Config, outputs: int) -> DenseBlock:
    return dense_block(2, growth=config.growth, depth=config.depth, out_features=outputs)


def _encoder(config: Config, outputs: int) -> nn.Module:
    return nn.Sequential(Scale(config.unit), _network(config, outputs))


def _typical(config: Config, guide: Guide) -> VAE:
    """Yu, section 2.3: prior N(0, I), the decoder's own mean and variance for each coordinate."""
    return VAE(
        prior=StandardNormalPrior(LATENT),
        likelihood=NormalLikelihood(_network(config, 2 * 2), DecodedVariance()),
        guide=guide,
    )


def _normal(config: Config) -> VAE:
    return _typical(config, NormalGuide(_encoder(config, 2 * LATENT)))


def _full_covariance(config: Config) -> VAE:
    return _typical(config, FullCovarianceGuide(_encoder(config, LATENT + 3)))


def _flow_guide(config: Config) -> VAE:
    """Two inverse autoregressive flows, their context two layers of features of the point."""
    width = config.growth
    context = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    def flow() -> transforms.ConditionalAffineAutoregressive:
        network = ConditionalAutoRegressiveNN(
            LATENT, width, [width, width], permutation=torch.arange(LATENT)
        )
        return transforms.ConditionalAffineAutoregressive(network)

    base = NormalGuide(_encoder(config, 2 * LATENT))
    return _typical(config, FlowGuide(base, [flow(), Flip(), flow()], context))


# -- a VAE whose prior is a flow ------------------------------------------------------------------


class _Around(nn.Module):
    """The mean scale·x, and one raw scale for all points."""

    def __init__(self, scale: float, raw_scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.raw_scale = nn.Parameter(torch.tensor(raw_scale))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x * self.scale, self.raw_scale.expand_as(x)], -1)


def _flow_prior(config: Config) -> VAE:
    """z is the point, but for a little noise; the prior, a spline flow, has its density."""

    def flow() -> transforms.SplineCoupling:
        bins = config.flow_bins
        sizes = [bins, bins, bins - 1, bins]
        network = DenseNN(1, [config.growth] * 2, param_dims=sizes)
        found = transforms.SplineCoupling(2, 1, network, bins, config.flow_bound, identity=True)
        del found.lower_spline  # no part of it: the other coordinate stays as it is
        return found

    flows = [part for _ in range(config.flow_couplings) for part in (flow(), Flip())]
    unit, noise = config.flow_unit, config.flow_noise
    raw_scale = torch.tensor(unit * noise).expm1().log().item()
    return VAE(
        prior=FlowPrior(LATENT, flows, inverted=True),
        likelihood=NormalLikelihood(Scale(1 / unit), FixedVariance(noise**2)),
        guide=NormalGuide(_Around(unit, raw_scale)),
    )


def _elbo(config: Config) -> Objective:
    """With free bits of each point, as the paper's notebook has them."""
    nats = config.free_bits * math.log(2)
    return ELBO(analytic_kl=True, free_bits=nats, free_each_datum=True)


_HALF: dict[str, Any] = {
    "steps": attrgetter("half_steps"),
    "optimizer": partial(_adam, half=True),
}

METHODS = {
    "VAE": Method(_normal, _elbo),
    "VAE, large batch": Method(
        _normal,
        _elbo,
        batch_size=attrgetter("large_batch"),
        steps=attrgetter("large_steps"),
        optimizer=partial(_adam, half=True),
    ),
    "IWAE-10": Method(_normal, lambda config: IWAE(config.particles), **_HALF),
    "IWAE-10, DReG": Method(_normal, lambda config: DReG(config.particles), **_HALF),
    "full covariance": Method(_full_covariance, lambda _: ELBO(analytic_kl=True)),
    "flow guide": Method(_flow_guide, lambda _: ELBO()),
    "flow prior": Method(
        _flow_prior,
        lambda _: ELBO(),
        batch_size=attrgetter("flow_batch"),
        optimizer=lambda config: adam(config.flow_rate),
        schedule=cosine_decay(),
        points=attrgetter("flow_points"),
        samples=attrgetter("flow_samples"),
    ),
}
"""By name, in the order of tables and figures."""
