"""Priors p(z): modules whose ``forward()`` returns a distribution over one latent vector."""

from pyro_vae.priors._prior import Prior
from pyro_vae.priors.floating import FloatingPrior
from pyro_vae.priors.standard_normal import StandardNormalPrior

__all__ = ["FloatingPrior", "Prior", "StandardNormalPrior"]
