"""Likelihoods p(x|z): modules whose ``forward(z)`` returns a distribution over data."""

from pyro_vae.likelihoods._likelihood import Likelihood
from pyro_vae.likelihoods.baggins import BAGGINS
from pyro_vae.likelihoods.bernoulli import BernoulliLikelihood
from pyro_vae.likelihoods.continuous_bernoulli import ContinuousBernoulliLikelihood
from pyro_vae.likelihoods.discretised_logistic import DiscretisedLogisticLikelihood
from pyro_vae.likelihoods.laplace import LaplaceLikelihood
from pyro_vae.likelihoods.logistic import LogisticLikelihood
from pyro_vae.likelihoods.normal import NormalLikelihood
from pyro_vae.likelihoods.student_t import StudentTLikelihood
from pyro_vae.likelihoods.variances import (
    DecodedVariance,
    FixedVariance,
    LearnedVariance,
    OptimalVariance,
    Variance,
)

__all__ = [
    "BAGGINS",
    "BernoulliLikelihood",
    "ContinuousBernoulliLikelihood",
    "DecodedVariance",
    "DiscretisedLogisticLikelihood",
    "FixedVariance",
    "LaplaceLikelihood",
    "LearnedVariance",
    "Likelihood",
    "LogisticLikelihood",
    "NormalLikelihood",
    "OptimalVariance",
    "StudentTLikelihood",
    "Variance",
]
