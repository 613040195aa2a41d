"""Priors p(z): modules whose ``forward()`` returns a distribution over one latent vector."""

from pyro_vae.priors._prior import Prior
from pyro_vae.priors.fixed import FixedPrior
from pyro_vae.priors.floating import FloatingPrior
from pyro_vae.priors.flow import FlowPrior
from pyro_vae.priors.mixture import MixturePrior
from pyro_vae.priors.standard_normal import StandardNormalPrior
from pyro_vae.priors.vamp import VampPrior

__all__ = [
    "FixedPrior",
    "FloatingPrior",
    "FlowPrior",
    "MixturePrior",
    "Prior",
    "StandardNormalPrior",
    "VampPrior",
]
