from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae._shapes import Data
from pyro_vae.evaluation.latents import posterior_moments
from pyro_vae.objectives._objective import Program

__all__ = ["ActiveUnits", "active_units"]


@dataclass(frozen=True)
class ActiveUnits:
    """The variance over the data of each latent's posterior mean, and what it must exceed."""

    variance: Tensor
    threshold: Tensor

    @property
    def active(self) -> Tensor:
        """Whether each latent dimension is active, [latent]."""
        return self.variance > self.threshold

    @property
    def count(self) -> int:
        """How many are."""
        return int(self.active.sum())


def active_units(
    guide: Program,
    x: Data,
    *,
    threshold: float = 0.01,
    prior_variance: Tensor | float = 1.0,
    site: str = "z",
) -> ActiveUnits:
    """Which latent dimensions carry information (Burda et al., 2016, section 5.2):

    .. math:: A_j = Cov_x(E_{q(z_j|x)}[z_j]) > 0.01 \\, S_j^2

    with S² = 1 there; a floating prior has another, and the scale of its latents means nothing.

    Args:
        guide: the guide.
        x: data, [data, *event], at least two.
        threshold: on A_j / S²_j.
        prior_variance: S², a number or [latent], e.g. ``vae.prior().variance``.
        site: the latent site.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian(latent_dim=2)
    >>> active_units(pair.guide, pair.x).count
    2
    """
    mean, _ = posterior_moments(guide, x, site=site)
    variance = mean.var(0)
    return ActiveUnits(variance, torch.as_tensor(threshold * prior_variance).to(variance))
