from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pyro_vae._shapes import Data
from pyro_vae.evaluation.latents import posterior_moments

__all__ = ["ActiveUnits", "active_units"]


@dataclass(frozen=True)
class ActiveUnits:
    """The variance over the data of each latent's posterior mean, and which exceed a threshold."""

    variance: Tensor
    threshold: float

    @property
    def active(self) -> Tensor:
        """Whether each latent dimension is active, [latent]."""
        return self.variance > self.threshold

    @property
    def count(self) -> int:
        """How many are."""
        return int(self.active.sum())


def active_units(
    guide: nn.Module, x: Data, *, threshold: float = 0.01, site: str = "z"
) -> ActiveUnits:
    """Which latent dimensions carry information (Burda et al., 2016, section 5.2):

    .. math:: A_j = Cov_x(E_{q(z_j|x)}[z_j]) > 0.01

    in squared units of z; the threshold is meant for a prior of unit variance.

    Args:
        guide: the guide.
        x: data, [data, *event], at least two.
        threshold: on A.
        site: the latent site.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian(latent_dim=2)
    >>> active_units(pair.guide, pair.x).count
    2
    """
    mean, _ = posterior_moments(guide, x, site=site)
    return ActiveUnits(mean.var(0), threshold)
