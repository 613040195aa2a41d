"""Training: one loop for any pair and objective, resumable at any moment."""

from pyro_vae.training.checkpoint import Checkpoints
from pyro_vae.training.compiled import CompiledSVI
from pyro_vae.training.early_stopping import EarlyStopping
from pyro_vae.training.fit import fit
from pyro_vae.training.fit_many import Member, fit_many
from pyro_vae.training.history import History
from pyro_vae.training.optimizers import MakeOptimizer, adam
from pyro_vae.training.schedules import Schedule, cosine_decay, step_decay
from pyro_vae.training.statistics import update_statistics

__all__ = [
    "Checkpoints",
    "CompiledSVI",
    "EarlyStopping",
    "History",
    "MakeOptimizer",
    "Member",
    "Schedule",
    "adam",
    "cosine_decay",
    "fit",
    "fit_many",
    "step_decay",
    "update_statistics",
]
