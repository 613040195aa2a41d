"""How good is the model: bounds and their terms, log evidence, active units, reconstruction."""

from pyro_vae.evaluation.active_units import ActiveUnits, active_units
from pyro_vae.evaluation.bits import bits_per_dim
from pyro_vae.evaluation.evidence import LogEvidence, log_evidence, log_weights
from pyro_vae.evaluation.gradient_snr import GradientSNR, gradient_snr
from pyro_vae.evaluation.latents import posterior_moments
from pyro_vae.evaluation.reconstruction import reconstruction_error
from pyro_vae.evaluation.terms import BoundTerms, bound_terms

__all__ = [
    "ActiveUnits",
    "BoundTerms",
    "GradientSNR",
    "LogEvidence",
    "active_units",
    "bits_per_dim",
    "bound_terms",
    "gradient_snr",
    "log_evidence",
    "log_weights",
    "posterior_moments",
    "reconstruction_error",
]
