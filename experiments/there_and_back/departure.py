"""Where eq. 16 and 26 depart from log p(x): the encoder's mean, the posterior's curvature, rank."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from experiments.there_and_back.equations import Trained
from experiments.there_and_back.evidence import joint_and_slope, posterior_mode
from pyro_vae import VAE
from pyro_vae.evaluation import LogEvidence, posterior_moments, posterior_precision

__all__ = ["Departure", "departure"]

_FEW = 200  # data
_DRAWS = 10


@dataclass(frozen=True)
class Departure:
    """How far the closed form is from log p(x), in nats, means over data, and by what.

    The closed form is Laplace's approximation, taken at the encoder's mean. What moving it to the
    posterior's mode changes is the encoder's doing; what is left there is that the posterior is no
    normal one of the curvature at its mode.
    """

    at_mean: float
    """Closed form at the encoder's mean, less log p(x)."""
    at_mode: float
    """Closed form at the posterior's mode, less log p(x)."""
    error: float
    """Standard error of the mean of log p(x)."""
    distance: float
    """Of the mean from the mode, in the posterior's standard deviations, root mean square."""
    bend: float
    """How much log|Λ| changes from the mode to a draw from N(mode, Λ⁻¹), in nats: ½ of the root
    mean square difference. Zero for a linear decoder."""
    rank: float
    """Latent directions that the data determine better than the prior: the mean number of
    eigenvalues of S JᵀT⁻¹J S above 1."""


def departure(trained: Trained) -> Departure:
    """Split the difference between the closed form and log p(x)."""
    vae, x = trained.vae, trained.x[:_FEW]
    mean, _ = posterior_moments(vae.guide, x)
    mode = posterior_mode(vae, x, mean)
    precision = posterior_precision(vae.model, x, mode)
    evidence = LogEvidence(trained.log_evidence.value[:_FEW], trained.log_evidence.error[:_FEW])

    def less_evidence(z: Tensor) -> float:
        return (_laplace(vae, x, z) - evidence.value).mean().item()

    return Departure(
        at_mean=less_evidence(mean),
        at_mode=less_evidence(mode),
        error=evidence.mean_error(),
        distance=_distance(mean - mode, precision),
        bend=_bend(vae, x, mode, precision),
        rank=_rank(trained.prior_variance, precision),
    )


def _laplace(vae: VAE, x: Tensor, z: Tensor) -> Tensor:
    """Eq. 16 and 26 at any z, [data]."""
    precision = posterior_precision(vae.model, x, z)
    height = MultivariateNormal(z, precision_matrix=precision).log_prob(z)
    return joint_and_slope(vae, x, z)[0] - height


def _distance(difference: Tensor, precision: Tensor) -> float:
    squared = torch.einsum("bi,bij,bj->b", difference, precision, difference)
    return squared.mean().sqrt().item()


def _bend(vae: VAE, x: Tensor, mode: Tensor, precision: Tensor) -> float:
    q = MultivariateNormal(mode, precision_matrix=precision)
    at_mode = torch.linalg.slogdet(precision).logabsdet
    changes = [
        torch.linalg.slogdet(posterior_precision(vae.model, x, q.sample())).logabsdet - at_mode
        for _ in range(_DRAWS)
    ]
    return 0.5 * torch.stack(changes).square().mean().sqrt().item()


def _rank(s2: Tensor, precision: Tensor) -> float:
    deviation = s2.sqrt()
    scaled = deviation.unsqueeze(1) * precision * deviation  # I + S JᵀT⁻¹J S
    return (torch.linalg.eigvalsh(scaled) > 2).sum(1).double().mean().item()
