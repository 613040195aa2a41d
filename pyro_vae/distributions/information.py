"""What a likelihood's parameter says about the data: the metric it gives to the latent space."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import torch.distributions as torch_dist
from pyro.distributions import Independent
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae._errors import PairError
from pyro_vae.distributions.continuous_bernoulli import ContinuousBernoulli
from pyro_vae.distributions.logistic import Logistic

__all__ = ["location_and_information"]


def location_and_information(p: Distribution) -> tuple[Tensor, Tensor]:
    """The parameter θ of p(x|θ) that a decoder gives, and its Fisher information for each value,

    .. math:: F = E_{p(x|θ)}[(∂ \\log p(x|θ) / ∂θ)^2]

    both [..., *event]: "any likelihood function that induces a Riemannian metric" (Fyffe, section
    4.1) does so by F. θ is the mean of a location-scale family — F = 1/σ² of a normal, so that
    with σ² = 1 the metric is the Euclidean one — and the logits of a Bernoulli, F = p(1 − p).

    Raises:
        PairError: for a family whose information is not known here, or values that are not
            independent of one another.

    >>> import torch
    >>> location_and_information(torch_dist.Bernoulli(logits=torch.zeros(2)))
    (tensor([0., 0.]), tensor([0.2500, 0.2500]))
    """
    base = p
    while isinstance(base, Independent | torch_dist.Independent):
        base = base.base_dist
    location, information = _of(base)
    return location, information.expand_as(location)


@singledispatch
def _of(p: Any) -> tuple[Tensor, Tensor]:
    raise PairError(
        "information: expected independent values of a family whose Fisher information is known "
        f"(normal, Bernoulli, continuous Bernoulli, Laplace, logistic, Student-t); got {p}."
    )


@_of.register
def _normal(p: torch_dist.Normal) -> tuple[Tensor, Tensor]:
    return p.loc, p.scale.square().reciprocal()


@_of.register
def _bernoulli(p: torch_dist.Bernoulli) -> tuple[Tensor, Tensor]:
    return p.logits, p.probs * (1 - p.probs)


@_of.register
def _continuous_bernoulli(p: ContinuousBernoulli) -> tuple[Tensor, Tensor]:
    # An exponential family in its natural parameter: the information is the variance of x.
    return p.logits, p.variance


@_of.register
def _laplace(p: torch_dist.Laplace) -> tuple[Tensor, Tensor]:
    return p.loc, p.scale.square().reciprocal()


@_of.register
def _logistic(p: Logistic) -> tuple[Tensor, Tensor]:
    return p.loc, p.scale.square().reciprocal() / 3


@_of.register
def _student_t(p: torch_dist.StudentT) -> tuple[Tensor, Tensor]:
    return p.loc, (p.df + 1) / ((p.df + 3) * p.scale.square())
