"""Likelihoods p(x|z): modules whose ``forward(z)`` returns a distribution over data."""

from pyro_vae.likelihoods._likelihood import Likelihood
from pyro_vae.likelihoods.bernoulli import BernoulliLikelihood
from pyro_vae.likelihoods.normal import NormalLikelihood
from pyro_vae.likelihoods.variances import (
    FixedVariance,
    LearnedVariance,
    OptimalVariance,
    Variance,
)

__all__ = [
    "BernoulliLikelihood",
    "FixedVariance",
    "LearnedVariance",
    "Likelihood",
    "NormalLikelihood",
    "OptimalVariance",
    "Variance",
]
