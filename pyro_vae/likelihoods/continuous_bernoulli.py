from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from pyro_vae.distributions import ContinuousBernoulli
from pyro_vae.likelihoods._likelihood import Likelihood, event_dims

__all__ = ["ContinuousBernoulliLikelihood"]


class ContinuousBernoulliLikelihood(Likelihood):
    """p(x|z) = ∏_d C(λ_d) λ_d^{x_d} (1 − λ_d)^{1−x_d}, λ = σ(ℓ(z)), for grey values in [0, 1]
    (Loaiza-Ganem and Cunningham, 2019).

    :class:`BernoulliLikelihood` on grey values leaves out the normaliser C and is no density; this
    one is. Numbers of the two cannot be compared. The mean is not λ: ``vae.decode`` gives the mean.
    C(λ) is in :class:`~pyro_vae.distributions.ContinuousBernoulli`.

    Args:
        decoder: latents [..., latent] to logits [..., *event].

    >>> import torch
    >>> likelihood = ContinuousBernoulliLikelihood(torch.nn.Linear(2, 3))
    >>> likelihood(torch.zeros(5, 2)).log_prob(torch.rand(5, 3)).shape
    torch.Size([5])
    """

    def forward(self, z: Tensor) -> Distribution:
        logits = self._decoded(z)
        return ContinuousBernoulli(logits).to_event(event_dims(logits, z))
