from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae._module import EstimatedMean
from pyro_vae.distributions import optimal_prior_variance
from pyro_vae.priors._prior import Prior

__all__ = ["FloatingPrior"]


class FloatingPrior(Prior):
    """p(z) = N(0, S²) with the variance that is optimal for the posteriors, Fyffe, eq. 4:

    .. math:: S^2 = E_{p(x)}[Σ + μμ^⊤], \\text{ diagonal.}

    While training, the expectation is over the batch ("the floating prior trick", section 4.3) and
    gradients flow through it. For evaluation and generation it is over the whole training set, as
    :func:`pyro_vae.update_statistics` last found it: an average over a batch flatters the bound by
    about n/(2B) nats. Needs a guide with a diagonal normal posterior.

    Args:
        latent_dim: the dimension n of z.

    Raises:
        RuntimeError: in evaluation mode, before S² was estimated.

    >>> prior = FloatingPrior(1)
    >>> q = dist.Normal(torch.tensor([[-2.0], [2.0]]), torch.ones(2, 1)).to_event(1)
    >>> prior.during_inference(lambda: q).variance  # 1 + (4 + 4)/2
    tensor([5.])
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.variance = EstimatedMean((latent_dim,), "FloatingPrior's variance S²")

    def forward(self) -> Distribution:
        return self._normal(self.variance.population())

    def during_inference(self, posterior: Callable[[], Distribution]) -> Distribution:
        if not self.variance.training:
            return self()
        q = posterior()
        return self._normal(self.variance(optimal_prior_variance(q), q.batch_shape.numel()))

    def _normal(self, variance: Tensor) -> Distribution:
        return dist.Normal(torch.zeros_like(variance), variance.sqrt()).to_event(1)
