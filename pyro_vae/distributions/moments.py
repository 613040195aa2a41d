"""Reading a diagonal normal distribution."""

from __future__ import annotations

from pyro.distributions import Independent, Normal
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions import Independent as TorchIndependent

from pyro_vae._errors import PairError

__all__ = ["normal_moments", "optimal_prior_variance"]


def normal_moments(q: Distribution) -> tuple[Tensor, Tensor]:
    """Mean and variance [..., latent] of a diagonal normal ``Normal(loc, scale).to_event(1)``.

    Raises:
        PairError: for any other distribution.

    >>> import torch
    >>> mean, variance = normal_moments(Normal(torch.zeros(2), 3 * torch.ones(2)).to_event(1))
    >>> variance
    tensor([9., 9.])
    """
    base = q.base_dist if isinstance(q, Independent | TorchIndependent) else q
    if not isinstance(base, Normal):
        raise PairError(
            f"posterior: expected a diagonal Normal(loc, scale).to_event(1); got {q}. Fyffe's "
            "floating prior and bounds are made of normal posteriors; use ELBO or IWAE here."
        )
    return base.loc, base.scale.square()


def optimal_prior_variance(posterior: Distribution) -> Tensor:
    """S² = E[Σ + μ²], the diagonal of Fyffe, eq. 4, [latent]; the mean is over all data given.

    >>> import torch
    >>> q = Normal(torch.tensor([[-2.0], [2.0]]), torch.ones(2, 1)).to_event(1)
    >>> optimal_prior_variance(q)
    tensor([5.])
    """
    mean, variance = normal_moments(posterior)
    return (variance + mean.square()).flatten(0, -2).mean(0)
