"""Objectives: lower bounds on log p(x), each a ``pyro.infer.ELBO`` for any model/guide pair."""

from pyro_vae.objectives._decoded import Decoded, decode
from pyro_vae.objectives._objective import Objective
from pyro_vae.objectives._particles import Particles, run_particles
from pyro_vae.objectives.bilbo import BILBO
from pyro_vae.objectives.dreg import DReG
from pyro_vae.objectives.elbo import ELBO
from pyro_vae.objectives.floating import FloatingPriorELBO
from pyro_vae.objectives.iwae import IWAE
from pyro_vae.objectives.laplace import LaplaceEvidence
from pyro_vae.objectives.miwae import MIWAE
from pyro_vae.objectives.renyi import Renyi
from pyro_vae.objectives.sticking_the_landing import StickingTheLanding

__all__ = [
    "BILBO",
    "ELBO",
    "IWAE",
    "MIWAE",
    "DReG",
    "Decoded",
    "FloatingPriorELBO",
    "LaplaceEvidence",
    "Objective",
    "Particles",
    "Renyi",
    "StickingTheLanding",
    "decode",
    "run_particles",
]
