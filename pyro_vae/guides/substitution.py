from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae.distributions import Substitution
from pyro_vae.guides._guide import Capabilities, Guide

__all__ = ["SubstitutionGuide"]


class SubstitutionGuide(Guide):
    """q(z|x) of z = g(x, ε) with noise ε ~ p(ε), for any g of your own that is invertible in ε:

    .. math:: \\log q(z|x) = \\log p(ε) - \\log |\\det ∂g(x, ε)/∂ε|

    the Jacobian by automatic differentiation, n backward passes of g for n latents: for small n.
    Source: Kingma and Welling (2014), section 2.4; the substitution rule. (Lecture notes that write
    − log|det|⁻¹ have the sign of the last term wrong: a g that stretches thins the density.)

    Args:
        g: a module, called with x [..., batch, *event] and ε [..., batch, latent], that gives
            z [..., batch, latent], each datum by itself.
        base: a module whose ``forward()`` gives p(ε), event shape ``(latent,)``: a prior.
        inverse: x, z ↦ ε; without it only samples of its own can be scored.

    Raises:
        PairError: when asked for the density of a z that it did not draw, without ``inverse``.

    >>> import pyro.distributions as dist
    >>> import torch
    >>> from pyro_vae import StandardNormalPrior
    >>> class Shift(nn.Module):
    ...     def forward(self, x, noise):
    ...         return x + 2 * noise
    >>> guide = SubstitutionGuide(Shift(), StandardNormalPrior(3))
    >>> q = guide.posterior(torch.zeros(5, 3))
    >>> z = q.rsample()
    >>> torch.allclose(q.log_prob(z), dist.Normal(0.0, 2.0).log_prob(z).sum(-1))
    True
    """

    def __init__(
        self,
        g: nn.Module,
        base: nn.Module,
        inverse: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.g, self.base, self.inverse = g, base, inverse
        self.latent_dim = base().event_shape[0]
        self.capabilities = Capabilities(scores_given=inverse is not None)

    def posterior(self, x: Tensor) -> Distribution:
        def beside(noise: Tensor) -> Tensor:
            return x.expand(*noise.shape[:-2], *x.shape)

        inverse = self.inverse
        return Substitution(
            self.base().expand(x.shape[:1]),
            lambda noise: self.g(beside(noise), noise),
            None if inverse is None else lambda z: inverse(beside(z), z),
        )
