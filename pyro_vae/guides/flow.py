from __future__ import annotations

from collections.abc import Sequence

from pyro.distributions.conditional import ConditionalTransform
from torch import Tensor, nn
from torch.distributions import Distribution, Transform

from pyro_vae.distributions import Flow
from pyro_vae.guides._guide import Capabilities, Guide

__all__ = ["FlowGuide"]


class FlowGuide(Guide):
    """q(z|x) of z = f_T(… f_1(z_0; h) …; h) with z_0 ~ q_0(z_0|x), a normalising flow:

    .. math:: \\log q(z|x) = \\log q_0(z_0|x) - \\sum_t \\log |\\det ∂f_t/∂z_{t-1}|

    on transforms of ``pyro.distributions.transforms``; conditional ones see h = context(x).
    Sources: Rezende and Mohamed (2015), planar flows; Kingma et al. (2016), inverse autoregressive
    flows; Durkan et al. (2019), splines.

    Args:
        base: the guide that q_0 is the posterior of; usually a :class:`NormalGuide`.
        transforms: flows, the first one next to the base.
        context: data [batch, *event] to h [batch, context]; by default h is x itself, flattened.

    Raises:
        PairError: when asked for the density of a z that it did not draw, where a transform has no
            inverse (planar, radial, …); see ``capabilities``.

    >>> import torch
    >>> from pyro.distributions.transforms import conditional_affine_autoregressive
    >>> from pyro_vae import NormalGuide
    >>> flow = conditional_affine_autoregressive(3, context_dim=4, hidden_dims=[16])
    >>> guide = FlowGuide(NormalGuide(nn.Linear(4, 2 * 3)), [flow])
    >>> guide(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        base: Guide,
        transforms: Sequence[Transform | ConditionalTransform],
        context: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.base = base
        self.flow = Flow(transforms)
        self.context = nn.Flatten() if context is None else context
        self.latent_dim, self._in_features = base.latent_dim, base._in_features
        self.capabilities = Capabilities(
            scores_given=base.capabilities.scores_given and self.flow.has_inverse,
            reparameterised=base.capabilities.reparameterised,
        )

    def posterior(self, x: Tensor) -> Distribution:
        return self.flow.distribution(self.base.posterior(x), self.context(x))
