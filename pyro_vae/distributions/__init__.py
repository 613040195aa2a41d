"""Densities with no networks."""

from pyro_vae.distributions.grey_bernoulli import GreyBernoulli
from pyro_vae.distributions.moments import normal_moments, optimal_prior_variance

__all__ = ["GreyBernoulli", "normal_moments", "optimal_prior_variance"]
