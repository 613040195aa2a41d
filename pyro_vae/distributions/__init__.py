"""Densities with no networks."""

from pyro_vae.distributions import kl  # noqa: F401 (registers closed forms with torch)
from pyro_vae.distributions.continuous_bernoulli import ContinuousBernoulli
from pyro_vae.distributions.discretised_logistic import DiscretisedLogistic
from pyro_vae.distributions.flow import Flip, Flow, forget_samples
from pyro_vae.distributions.grey_bernoulli import GreyBernoulli
from pyro_vae.distributions.information import location_and_information
from pyro_vae.distributions.jacobian import Mode, jacobian
from pyro_vae.distributions.logistic import Logistic
from pyro_vae.distributions.moments import (
    mean_and_variance,
    normal_moments,
    optimal_prior_variance,
)
from pyro_vae.distributions.pairwise import log_prob_of_each
from pyro_vae.distributions.substitution import Substitution

__all__ = [
    "ContinuousBernoulli",
    "DiscretisedLogistic",
    "Flip",
    "Flow",
    "GreyBernoulli",
    "Logistic",
    "Mode",
    "Substitution",
    "forget_samples",
    "jacobian",
    "location_and_information",
    "log_prob_of_each",
    "mean_and_variance",
    "normal_moments",
    "optimal_prior_variance",
]
