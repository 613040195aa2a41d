"""Guides q(z|x): Pyro programs; an ordinary one implements ``posterior(x)``."""

from pyro_vae.guides._guide import Guide
from pyro_vae.guides.constant_normal import ConstantNormalGuide
from pyro_vae.guides.normal import NormalGuide

__all__ = ["ConstantNormalGuide", "Guide", "NormalGuide"]
