from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae._errors import ShapeError
from pyro_vae.priors._prior import Prior

__all__ = ["VampPrior"]


class VampPrior(Prior):
    """p(z) = 1/K Σ_k q(z|u_k): the guide's posteriors at learned pseudo-inputs u (Tomczak and
    Welling, 2018).

    The best prior of an ELBO is the aggregate posterior, the mean of q(z|x) over the data; this one
    has K inputs of its own in the data's place. The guide's parameters are in the model, too: its
    gradient is that of both.

    Args:
        guide: the guide of the VAE this prior goes into; its ``posterior`` must score a given z.
        pseudo_inputs: where u starts, [K, *event]: data, or noise like them.
        to_data: brings u to the data's range, such as ``torch.nn.Sigmoid()``; none by default. u
            starts as given, before it: of a sigmoid, at the logits of data.

    Raises:
        ShapeError: pseudo-inputs that are not several data.

    >>> import torch
    >>> from pyro_vae import NormalGuide
    >>> guide = NormalGuide(nn.Linear(4, 2 * 3))
    >>> VampPrior(guide, torch.rand(10, 4))().log_prob(torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    _guide: Any

    def __init__(self, guide: Any, pseudo_inputs: Tensor, to_data: nn.Module | None = None) -> None:
        if pseudo_inputs.dim() < 2:
            raise ShapeError(
                "VampPrior: expected pseudo-inputs of shape [K, *event], several data; got "
                f"{list(pseudo_inputs.shape)}."
            )
        posterior = guide.posterior(pseudo_inputs)
        super().__init__(posterior.event_shape[0])
        # Held without registering it: the guide's parameters are not the prior's.
        object.__setattr__(self, "_guide", guide)
        self.pseudo_inputs = nn.Parameter(pseudo_inputs.detach().clone())
        self.to_data = nn.Identity() if to_data is None else to_data

    @property
    def guide(self) -> Any:
        """The guide whose posteriors it is made of."""
        return self._guide

    def _apply(self, function: Any, recurse: bool = True) -> VampPrior:
        # Where this goes, the guide goes: their tensors meet.
        self._guide._apply(function, recurse)
        return super()._apply(function, recurse)

    def forward(self) -> Distribution:
        components = self._guide.posterior(self.to_data(self.pseudo_inputs))
        weights = self.pseudo_inputs.new_zeros(len(self.pseudo_inputs))
        return dist.MixtureSameFamily(dist.Categorical(logits=weights), components)
