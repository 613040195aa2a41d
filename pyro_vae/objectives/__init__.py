"""Objectives: lower bounds on log p(x), each a ``pyro.infer.ELBO`` for any model/guide pair."""

from pyro_vae.objectives._objective import Objective
from pyro_vae.objectives._particles import Particles, run_particles
from pyro_vae.objectives.bilbo import BILBO
from pyro_vae.objectives.elbo import ELBO
from pyro_vae.objectives.floating import FloatingPriorELBO
from pyro_vae.objectives.iwae import IWAE

__all__ = [
    "BILBO",
    "ELBO",
    "IWAE",
    "FloatingPriorELBO",
    "Objective",
    "Particles",
    "run_particles",
]
