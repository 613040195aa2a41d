"""How good is the model: bounds and their terms, log evidence, active units, reconstruction."""

from pyro_vae.evaluation.active_units import ActiveUnits, active_units
from pyro_vae.evaluation.evidence import LogEvidence, log_evidence, log_weights
from pyro_vae.evaluation.latents import posterior_moments
from pyro_vae.evaluation.reconstruction import reconstruction_error
from pyro_vae.evaluation.terms import BoundTerms, bound_terms

__all__ = [
    "ActiveUnits",
    "BoundTerms",
    "LogEvidence",
    "active_units",
    "bound_terms",
    "log_evidence",
    "log_weights",
    "posterior_moments",
    "reconstruction_error",
]
