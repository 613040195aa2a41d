from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from pyro_vae.distributions import GreyBernoulli
from pyro_vae.likelihoods._likelihood import Likelihood, event_dims

__all__ = ["BernoulliLikelihood"]


class BernoulliLikelihood(Likelihood):
    """p(x|z) = ∏ Bernoulli(x_d; σ(ℓ_d(z))), the decoder gives the logits ℓ.

    Takes binary data and grey values in [0, 1] (then a cross entropy, not a density: see
    :class:`~pyro_vae.distributions.GreyBernoulli`). Sources: Kingma and Welling (2014), appendix
    C.1; Fyffe, section 7.

    Args:
        decoder: latents [..., latent] to logits [..., *event].

    >>> import torch
    >>> likelihood = BernoulliLikelihood(torch.nn.Linear(2, 3))
    >>> likelihood(torch.zeros(5, 2)).log_prob(torch.ones(5, 3)).shape
    torch.Size([5])
    """

    def forward(self, z: Tensor) -> Distribution:
        logits = self._decoded(z)
        return GreyBernoulli(logits=logits).to_event(event_dims(logits, z))
