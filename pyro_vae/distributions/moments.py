"""Means and variances of posteriors."""

from __future__ import annotations

import torch
from pyro.distributions import Independent, Normal
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions import Independent as TorchIndependent

from pyro_vae._errors import PairError

__all__ = ["mean_and_variance", "normal_moments", "optimal_prior_variance"]


def normal_moments(q: Distribution, what: str = "posterior") -> tuple[Tensor, Tensor]:
    """Mean and variance [..., latent] of a diagonal normal ``Normal(loc, scale).to_event(1)``.

    Args:
        q: the normal.
        what: what it is in its pair, for the error message: the posterior, the prior.

    Raises:
        PairError: for any other distribution.

    >>> mean, variance = normal_moments(Normal(torch.zeros(2), 3 * torch.ones(2)).to_event(1))
    >>> variance
    tensor([9., 9.])
    """
    base = q.base_dist if isinstance(q, Independent | TorchIndependent) else q
    if not isinstance(base, Normal):
        raise PairError(
            f"{what}: expected a diagonal Normal(loc, scale).to_event(1); got {q}. Fyffe's "
            f"closed forms are made of normals; take a normal {what}, or use ELBO or IWAE here."
        )
    return base.loc, base.scale.square()


@torch.no_grad()
def mean_and_variance(q: Distribution, num_samples: int = 1000) -> tuple[Tensor, Tensor]:
    """Mean and variance [..., latent] of any posterior; where it knows none in closed form, as a
    flow does not, those of ``num_samples`` draws.

    >>> mean_and_variance(Normal(torch.zeros(2), 3 * torch.ones(2)).to_event(1))
    (tensor([0., 0.]), tensor([9., 9.]))

    Raises:
        PairError: a posterior that has no mean, such as a Student-t of one degree of freedom.
    """
    try:
        mean, variance = q.mean, q.variance
    except NotImplementedError:
        z = q.sample((num_samples,))
        return z.mean(0), z.var(0)
    if bool(mean.isnan().any()):
        raise PairError(
            f"posterior: expected one with a mean; got {q}, whose mean is no number. Give it "
            "finite parameters, and a Student-t more than one degree of freedom."
        )
    return mean, variance


def optimal_prior_variance(posterior: Distribution) -> Tensor:
    """S² = E[Σ + μ²], the diagonal of Fyffe, eq. 4, [latent]; the mean is over all data given.

    >>> q = Normal(torch.tensor([[-2.0], [2.0]]), torch.ones(2, 1)).to_event(1)
    >>> optimal_prior_variance(q)
    tensor([5.])
    """
    mean, variance = normal_moments(posterior)
    return (variance + mean.square()).flatten(0, -2).mean(0)
