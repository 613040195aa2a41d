from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.distributions import Distribution, Transform

from pyro_vae.distributions import Flow
from pyro_vae.priors._prior import Prior
from pyro_vae.priors.standard_normal import StandardNormalPrior

__all__ = ["FlowPrior"]


class FlowPrior(Prior):
    """p(z) of z = f_T(… f_1(z_0)), z_0 ~ N(0, I): a normalising flow (Chen et al., 2017).

    Args:
        latent_dim: the dimension n of z.
        transforms: of ``pyro.distributions.transforms``, the first one next to N(0, I); they must
            have inverses (affine or spline, coupling or autoregressive).
        inverted: whether each f_t is the inverse of the transform given: autoregressive transforms
            score fast that way.

    Raises:
        ValueError: a transform without inverse, conditional, or of another size: no prior can be
            made of it.

    >>> import torch
    >>> from pyro.distributions.transforms import affine_coupling
    >>> prior = FlowPrior(2, [affine_coupling(2, [16])])
    >>> prior().log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """

    def __init__(
        self, latent_dim: int, transforms: Sequence[Transform], *, inverted: bool = False
    ) -> None:
        super().__init__(latent_dim)
        self.base = StandardNormalPrior(latent_dim)
        self.flow = Flow(transforms, inverted=inverted)
        if not self.flow.has_inverse:
            raise ValueError(
                "transforms: expected transforms with an inverse, since a prior scores what the "
                f"guide draws; got {[type(t).__name__ for t in transforms]}. Use affine or spline "
                "ones."
            )

        self._check(transforms)

    def _check(self, transforms: Sequence[object]) -> None:
        """Score one latent: what is conditional, or of another size, is found here."""
        try:
            with torch.no_grad():
                self().log_prob(torch.zeros(self.latent_dim))
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"transforms: expected ones that take {self.latent_dim} latents and no context; "
                f"got {[type(t).__name__ for t in transforms]}, of which one fails: {error}."
            ) from error

    def forward(self) -> Distribution:
        return self.flow.distribution(self.base())
