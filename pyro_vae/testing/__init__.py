"""Reference VAEs whose log p(x), posterior and bounds are known exactly, and contract checks.

For the tests of this library and for those of your own models.
"""

from pyro_vae.testing.contracts import (
    check_guide,
    check_likelihood,
    check_objective,
    check_prior,
)
from pyro_vae.testing.linear_gaussian import LinearGaussian, linear_gaussian

__all__ = [
    "LinearGaussian",
    "check_guide",
    "check_likelihood",
    "check_objective",
    "check_prior",
    "linear_gaussian",
]
