"""Densities on the plane, known exactly, to draw data from without end."""

from pyro_vae.data.densities._density import Density
from pyro_vae.data.densities.checkerboard import Checkerboard
from pyro_vae.data.densities.gaussian_ring import EightGaussians, GaussianRing
from pyro_vae.data.densities.two_spirals import TwoSpirals

__all__ = [
    "DENSITIES",
    "Checkerboard",
    "Density",
    "EightGaussians",
    "GaussianRing",
    "TwoSpirals",
]

DENSITIES: dict[str, type[Density]] = {
    "8gaussians": EightGaussians,
    "checkerboard": Checkerboard,
    "2spirals": TwoSpirals,
}
"""By the names of the command line."""
