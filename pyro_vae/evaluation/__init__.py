"""How good is the model: bounds, log evidence, what latents carry, active units, reconstruction."""

from pyro_vae.evaluation.active_units import ActiveUnits, active_units
from pyro_vae.evaluation.annealing import (
    AnnealedEvidence,
    BidirectionalEvidence,
    annealed_log_evidence,
    bidirectional_log_evidence,
    linear_schedule,
    prior_guide,
    sigmoidal_schedule,
)
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
from pyro_vae.evaluation.grid import grid_log_evidence
from pyro_vae.evaluation.information import Estimate, Information, information
from pyro_vae.evaluation.latents import posterior_moments
from pyro_vae.evaluation.log_determinant import LogDeterminant, stochastic_log_determinant
from pyro_vae.evaluation.optimal_decoder import OptimalDecoder
from pyro_vae.evaluation.quadrature import QuadratureEvidence, quadrature_log_evidence
from pyro_vae.evaluation.reconstruction import reconstruction_error
from pyro_vae.evaluation.terms import BoundTerms, bound_terms

__all__ = [
    "ActiveUnits",
    "AnnealedEvidence",
    "BidirectionalEvidence",
    "BoundTerms",
    "ConstantVariance",
    "Estimate",
    "GradientSNR",
    "Information",
    "LogDeterminant",
    "LogEvidence",
    "OptimalDecoder",
    "QuadratureEvidence",
    "active_units",
    "annealed_log_evidence",
    "bidirectional_log_evidence",
    "bits_per_dim",
    "bound_terms",
    "closed_form_evidence",
    "constant_variance",
    "decoder_jacobian",
    "gradient_snr",
    "grid_log_evidence",
    "information",
    "information_metric",
    "linear_schedule",
    "log_evidence",
    "log_weights",
    "optimal_prior",
    "posterior_moments",
    "posterior_precision",
    "prior_guide",
    "quadrature_log_evidence",
    "reconstruction_error",
    "sigmoidal_schedule",
    "stochastic_log_determinant",
    "variance_gap",
    "variance_gap_expanded",
]
