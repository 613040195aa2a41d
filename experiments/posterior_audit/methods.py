"""What is audited: guides of several families, each trained by two objectives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pyro.distributions import transforms
from pyro.nn import ConditionalAutoRegressiveNN
from torch import nn

from pyro_vae import (
    ELBO,
    IWAE,
    VAE,
    BernoulliLikelihood,
    ConstantNormalGuide,
    FloatingPrior,
    FlowGuide,
    FullCovarianceGuide,
    Guide,
    NormalGuide,
    Objective,
    Prior,
    StandardNormalPrior,
)
from pyro_vae.distributions import Flip
from pyro_vae.nn import MLP

__all__ = ["BASELINE", "CONSTANT", "GUIDES", "OBJECTIVES", "PARTICLES", "Method", "build"]

PARTICLES = 10


@dataclass(frozen=True)
class Method:
    """A guide's family and an objective, both by name."""

    guide: str
    objective: str

    @property
    def name(self) -> str:
        """As tables and figures call it."""
        return f"{self.guide}, {self.objective}"


@dataclass(frozen=True)
class _Networks:
    """The networks of a data set, all of the same layers."""

    size: int
    hidden: tuple[int, ...]
    latent: int

    def encoder(self, outputs: int) -> MLP:
        return MLP(self.size, self.hidden, outputs)

    def decoder(self) -> MLP:
        return MLP(self.latent, self.hidden, self.size)


def _flow(networks: _Networks) -> Guide:
    """Two inverse autoregressive flows, with features of the image as their context."""
    width, latent = networks.hidden[-1], networks.latent
    context = nn.Sequential(nn.Linear(networks.size, width), nn.ReLU())

    def flow() -> transforms.ConditionalAffineAutoregressive:
        network = ConditionalAutoRegressiveNN(
            latent, width, [width], permutation=torch.arange(latent)
        )
        return transforms.ConditionalAffineAutoregressive(network)

    base = NormalGuide(networks.encoder(2 * latent))
    return FlowGuide(base, [flow(), Flip(), flow()], context)


def _full_covariance(networks: _Networks) -> Guide:
    latent = networks.latent
    return FullCovarianceGuide(networks.encoder(latent + latent * (latent + 1) // 2))


BASELINE, CONSTANT = "normal", "constant"
GUIDES: dict[str, Callable[[_Networks], Guide]] = {
    BASELINE: lambda networks: NormalGuide(networks.encoder(2 * networks.latent)),
    CONSTANT: lambda networks: ConstantNormalGuide(networks.encoder(networks.latent)),
    "full covariance": _full_covariance,
    "flow": _flow,
}
"""By name: q(z|x)."""

OBJECTIVES: dict[str, Callable[[Guide], Objective]] = {
    "ELBO": lambda guide: ELBO(analytic_kl=guide.capabilities.closed_form_kl),
    f"IWAE-{PARTICLES}": lambda _: IWAE(PARTICLES),
}
"""By name: what is maximised."""


def build(
    method: Method, seed: int, size: int, hidden: tuple[int, ...], latent: int
) -> tuple[VAE, Objective]:
    """A method's VAE, initialised from ``seed``, and its objective.

    The decoder is drawn first, so that all methods start from the same one. A constant variance has
    the prior's variance float (Fyffe, eq. 4); the others have N(0, I).

    Args:
        method: which.
        seed: of the weights.
        size: data dimensions.
        hidden, latent: layers of all networks, and z.
    """
    networks = _Networks(size, hidden, latent)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        likelihood = BernoulliLikelihood(networks.decoder())
        guide = GUIDES[method.guide](networks)
    floating = method.guide == CONSTANT
    prior: Prior = FloatingPrior(latent) if floating else StandardNormalPrior(latent)
    vae = VAE(prior=prior, likelihood=likelihood, guide=guide)
    return vae, OBJECTIVES[method.objective](guide)
