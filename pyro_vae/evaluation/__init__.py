"""How good is the model: bounds and their terms, log evidence, active units, reconstruction."""

from pyro_vae.evaluation.active_units import ActiveUnits, active_units
from pyro_vae.evaluation.bits import bits_per_dim
from pyro_vae.evaluation.closed_form import (
    ConstantVariance,
    closed_form_evidence,
    constant_variance,
    optimal_prior,
    variance_gap,
    variance_gap_expanded,
)
from pyro_vae.evaluation.curvature import (
    decoder_jacobian,
    information_metric,
    posterior_precision,
)
from pyro_vae.evaluation.evidence import LogEvidence, log_evidence, log_weights
from pyro_vae.evaluation.gradient_snr import GradientSNR, gradient_snr
from pyro_vae.evaluation.latents import posterior_moments
from pyro_vae.evaluation.log_determinant import LogDeterminant, stochastic_log_determinant
from pyro_vae.evaluation.optimal_decoder import OptimalDecoder
from pyro_vae.evaluation.reconstruction import reconstruction_error
from pyro_vae.evaluation.terms import BoundTerms, bound_terms

__all__ = [
    "ActiveUnits",
    "BoundTerms",
    "ConstantVariance",
    "GradientSNR",
    "LogDeterminant",
    "LogEvidence",
    "OptimalDecoder",
    "active_units",
    "bits_per_dim",
    "bound_terms",
    "closed_form_evidence",
    "constant_variance",
    "decoder_jacobian",
    "gradient_snr",
    "information_metric",
    "log_evidence",
    "log_weights",
    "optimal_prior",
    "posterior_moments",
    "posterior_precision",
    "reconstruction_error",
    "stochastic_log_determinant",
    "variance_gap",
    "variance_gap_expanded",
]
