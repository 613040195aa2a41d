"""The compiled step: a pair, an objective and an optimizer as one graph."""

from pyro_vae.training.compiled.backends import Backend, inductor, replay
from pyro_vae.training.compiled.ensemble import Ensemble
from pyro_vae.training.compiled.svi import CompiledSVI

__all__ = ["Backend", "CompiledSVI", "Ensemble", "inductor", "replay"]
