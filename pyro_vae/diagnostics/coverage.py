from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from pyro_vae.diagnostics._programs import Program
from pyro_vae.diagnostics._ranks import Quantity, Simulations
from pyro_vae.diagnostics._simulation import Rebuild
from pyro_vae.diagnostics._uniformity import UniformCounts
from pyro_vae.diagnostics._verdicts import PerQuantity, Verdicts, check_confidence
from pyro_vae.diagnostics.density import log_density

__all__ = ["CoverageResult", "expected_coverage"]

_JOINT: Final = "joint"
_LEVELS: Final = tuple(round(0.05 * step, 2) for step in range(1, 20))

PerLevel = Float[np.ndarray, "levels"]


@dataclass(frozen=True, eq=False)
class CoverageResult(Verdicts):
    """How often credible sets hold the truth: :func:`expected_coverage`.

    ``verdicts`` of what fails: ``"over-confident"``, sets that hold it too seldom at some level,
    ``"under-confident"``, too often, or both, at different levels.
    """

    levels: PerLevel
    """The nominal coverage of the sets, in (0, 1)."""
    counts: Int[np.ndarray, "levels quantities"]
    """How many simulations' truth lies in the set of each level."""
    simulations: int

    @property
    def num_simulations(self) -> int:
        return self.simulations

    @property
    def coverage(self) -> Float[np.ndarray, "levels quantities"]:
        """The share of them; ``levels`` if calibrated."""
        return self.counts / self.simulations

    @property
    def error(self) -> Float[np.ndarray, "levels quantities"]:
        """The binomial standard error of ``coverage``, √(c (1 − c) / simulations)."""
        return np.sqrt(self.coverage * (1 - self.coverage) / self.simulations)

    def band(self) -> tuple[PerLevel, PerLevel]:
        """The least and the largest coverage of calibrated sets at each level: simultaneous over
        levels and quantities at ``confidence``."""
        lower, upper = self._uniform.band(self.confidence_of_each)
        return lower / self.simulations, upper / self.simulations

    @cached_property
    def p_values(self) -> PerQuantity:
        return np.array([self._uniform.p_value(counts) for counts in self.counts.T])

    @cached_property
    def _uniform(self) -> UniformCounts:
        return UniformCounts(self.simulations, self.levels)

    def _heading(self) -> str:
        return "Expected coverage"

    def _faults(self) -> list[str]:
        lower, upper = self._uniform.band(self.confidence_of_each)
        return [_in_words(bool((c < lower).any()), bool((c > upper).any())) for c in self.counts.T]


def expected_coverage(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    levels: Sequence[float] | PerLevel = _LEVELS,
    joint: bool = True,
    num_simulations: int = 1000,
    num_draws: int = 99,
    quantities: Mapping[str, Quantity] | None = None,
    rebuild: Rebuild | None = None,
    confidence: float = 0.95,
    max_plate_nesting: int = 1,
    chunk_size: int = 100,
    seed: int = 0,
    progress: bool = False,
) -> CoverageResult:
    """How often credible sets of q(z|x) hold the z* that x was made of, at each nominal level c:

    .. math:: E_{p(z^*, x)}[\\mathbb 1\\{z^* \\in C_c(x)\\}], \\qquad q(C_c(x)\\,|\\,x) = c

    For each latent dimension (and quantity) C is the central interval, from the (1 − c)/2 quantile
    of q to the (1 + c)/2 one. For ``"joint"`` it is the region of highest density of all latents
    together (Hermans et al., 2022): z* is in it where a share of draws below c has a higher
    log q(z|x). Below nominal, q is over-confident: its error bars are too short to be believed.

    The posterior has nominal coverage, but so has the prior: a guide that ignores the data is not
    found out (see :func:`simulation_based_calibration`). The ends of a set are known to the gap
    between two draws, 1 / (L + 1) in probability; z* is put in its gap at random.

    Arguments as of :func:`simulation_based_calibration`, of which the same seed gives the same
    ranks; and

    Args:
        levels: [levels], increasing, in (0, 1); by default 0.05, 0.10, …, 0.95.
        joint: whether to have ``"joint"``, last: ``False`` for guides that cannot score a z that
            they did not draw, such as flows without inverse.

    Raises:
        PairError: ``joint``, of a guide with auxiliary sites.
        ValueError: ``joint``, of a guide that cannot score a given z; levels that do not increase
            in (0, 1). Others as there.

    Source:
        Hermans, Delaunoy, Rozet, Wehenkel, Begy and Louppe, "A Crisis In Simulation-Based
        Inference? Beware, Your Posterior Approximations Can Be Unfaithful" (2022).

    Of a normal posterior, a guide with its mean and s times its deviation covers with
    2Φ(s Φ⁻¹((1 + c)/2)) − 1, for s = ½ and c = 0.9 with 0.59:

    >>> import pyro, pyro.distributions as dist, torch
    >>> def guide(x):
    ...     with pyro.plate("data", len(x), dim=-1):
    ...         return pyro.sample("z", dist.Normal(x / 2, 0.5 * 0.5**0.5))
    >>> def model(x):
    ...     with pyro.plate("data", len(x), dim=-1):
    ...         z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
    ...         return pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    >>> x = torch.zeros(1000)
    >>> result = expected_coverage(model, guide, x, levels=[0.5, 0.9], num_simulations=10_000)
    >>> result.verdicts
    {'z': 'over-confident', 'joint': 'over-confident'}
    >>> result.coverage.round(2)
    array([[0.26, 0.26],
           [0.59, 0.59]])
    """
    where = "expected_coverage"
    check_confidence(where, confidence)
    nominal = _checked_levels(levels)
    ranked = dict(quantities or {})
    if joint:
        _check_that_joint_is_free(ranked)
        ranked[_JOINT] = log_density(guide, max_plate_nesting=max_plate_nesting)
    options = (num_simulations, num_draws, rebuild, max_plate_nesting, chunk_size, seed, progress)
    found = Simulations(where, model, guide, x, *options).ranks(ranked)
    below = found.probabilities
    needed = np.abs(2 * below - 1)  # the level of the smallest set that holds the truth
    if joint:
        needed[:, -1] = 1 - below[:, -1]
    counts = (needed <= nominal[:, None, None]).sum(1)
    return CoverageResult(found.names, confidence, nominal, counts, num_simulations)


def _in_words(below: bool, above: bool) -> str:
    if below and above:
        return "over- and under-confident"
    return "over-confident" if below else "under-confident"


def _check_that_joint_is_free(quantities: Mapping[str, Quantity]) -> None:
    if _JOINT in quantities:
        raise ValueError(
            f"expected_coverage: expected quantities of other names than {_JOINT!r}; got "
            f"{list(quantities)}. Rename it, or give joint=False."
        )


def _checked_levels(levels: Sequence[float] | np.ndarray) -> PerLevel:
    array = np.asarray(levels, dtype=float)
    inside = array.ndim == 1 and array.size > 0 and bool(((array > 0) & (array < 1)).all())
    if not inside or bool((np.diff(array) <= 0).any()):
        raise ValueError(
            f"expected_coverage: expected levels that increase, in (0, 1); got {array}. "
            "Give nominal coverages, such as [0.5, 0.9]."
        )
    return array
