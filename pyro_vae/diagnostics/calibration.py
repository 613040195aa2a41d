from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from pyro_vae.diagnostics._programs import Program
from pyro_vae.diagnostics._ranks import Quantity, Simulations
from pyro_vae.diagnostics._simulation import Rebuild
from pyro_vae.diagnostics._uniformity import UniformCounts, symmetry_p_value
from pyro_vae.diagnostics._verdicts import PerQuantity, Verdicts, check_confidence

__all__ = ["CalibrationResult", "SymmetryResult", "simulation_based_calibration", "variational_sbc"]


PerDraw = Float[np.ndarray, "draws"]


@dataclass(frozen=True, eq=False)
class CalibrationResult(Verdicts):
    """Ranks of the truth among draws of the posterior: :func:`simulation_based_calibration`.

    ``verdicts`` of what fails: the guide's draws are ``"too low"`` or ``"too high"`` beside the
    truth, ``"too narrow"`` (over-confident) or ``"too wide"`` (under-confident), whichever shows
    most: the mean of the ranks, or their spread about it. The test is that of :meth:`band`:
    ``passed`` where :attr:`ecdf` is inside at all points.
    """

    ranks: Int[np.ndarray, "simulations quantities"]
    """How many draws are below the truth, 0 … num_draws; among equals, any place alike."""
    num_draws: int

    @property
    def num_simulations(self) -> int:
        return len(self.ranks)

    @property
    def points(self) -> PerDraw:
        """Where the ECDF is taken, i / (num_draws + 1) for i = 1 … num_draws."""
        return np.arange(1, self.num_draws + 1) / (self.num_draws + 1)

    @property
    def ecdf(self) -> Float[np.ndarray, "draws quantities"]:
        """The share of ranks below i, at each of ``points``; ``points`` themselves if uniform."""
        return self._counts / self.num_simulations

    def band(self) -> tuple[PerDraw, PerDraw]:
        """The least and the largest ECDF of uniform ranks, at each of ``points``: simultaneous over
        points and quantities at ``confidence``."""
        lower, upper = self._uniform.band(self.confidence_of_each)
        return lower / self.num_simulations, upper / self.num_simulations

    @cached_property
    def p_values(self) -> PerQuantity:
        return np.array([self._uniform.p_value(counts) for counts in self._counts.T])

    @cached_property
    def _uniform(self) -> UniformCounts:
        return UniformCounts(self.num_simulations, self.points)

    @property
    def _counts(self) -> Int[np.ndarray, "draws quantities"]:
        places = np.arange(1, self.num_draws + 1)
        return np.stack([np.searchsorted(np.sort(each), places) for each in self.ranks.T], axis=1)

    def _heading(self) -> str:
        return "Simulation-based calibration"

    def _faults(self) -> list[str]:
        off = (2 * self.ranks - self.num_draws) / (self.num_draws + 1)  # in (−1, 1)
        # Standard scores: of a uniform number on (−1, 1), the variance is ⅓, of its square 4/45.
        # About their own mean: draws that all lie on one side of the truth are not narrow by that.
        place = off.mean(0) * 3**0.5
        spread = (off.var(0) - 1 / 3) * (45 / 4) ** 0.5
        return [
            ("too low" if p > 0 else "too high")
            if abs(p) > abs(s)
            else ("too narrow" if s > 0 else "too wide")
            for p, s in zip(place, spread, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class SymmetryResult(Verdicts):
    """Whether posteriors lie too low or too high: :func:`variational_sbc`.

    ``verdicts`` of what fails: draws are ``"too low"`` or ``"too high"`` beside the truth.
    """

    probabilities: Float[np.ndarray, "simulations quantities"]
    """p, the share of draws above the truth."""

    @property
    def num_simulations(self) -> int:
        return len(self.probabilities)

    @cached_property
    def p_values(self) -> PerQuantity:
        return np.array([symmetry_p_value(each) for each in self.probabilities.T])

    def _heading(self) -> str:
        return "Symmetry (VSBC)"

    def _faults(self) -> list[str]:
        return ["too low" if p < 0.5 else "too high" for p in self.probabilities.mean(0)]


def simulation_based_calibration(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    num_simulations: int = 1000,
    num_draws: int = 99,
    quantities: Mapping[str, Quantity] | None = None,
    rebuild: Rebuild | None = None,
    confidence: float = 0.95,
    max_plate_nesting: int = 1,
    chunk_size: int = 100,
    seed: int = 0,
    progress: bool = False,
) -> CalibrationResult:
    """Simulation-based calibration of q(z|x) under the model's own prior (Talts et al., 2018):

    .. math:: z^* \\sim p(z), \\quad x \\sim p(x|z^*), \\quad z_1 \\dots z_L \\sim q(z|x), \\qquad
       r_j = \\#\\{l : z_{lj} < z^*_j\\}

    Were q the posterior, each rank would be uniform on 0 … L, whatever the model. The ECDF of a
    quantity's ranks is held against a simultaneous band (Säilynoja et al., 2022), and the p-value
    is the probability of lying as far out.

    The ranks are of each element of each latent site, and of ``quantities``. The latents alone are
    not enough: a guide that ignores the data and returns the prior is calibrated in every one of
    them. What depends on the data tells (Modrák et al., 2023), above all log p(x, z)::

        quantities = {"log p(x, z)": log_density(model)}

    It is a test of the guide on data *as the model makes them*: it says nothing of the model, nor
    of the guide on data unlike those. A trained guide is only nearly right, and fails it given
    enough simulations; how much that matters says :func:`expected_coverage`.

    Data are simulated in batches of as many as ``x`` has. The pair is in evaluation mode (a module
    that a plain function merely calls is not seen: call ``.eval()`` on it yourself); weights, modes
    and the global random state stay as they are.

    Args:
        model: a Pyro program called as ``model(x)``, every sample site in a plate over the data at
            dim −1, that lets a plate be put around it, as ``num_particles`` does.
        guide: the same for q(z|x), called as ``guide(x)``.
        x: data, for their shape and for covariates; a large batch is faster than many small ones.
        num_simulations: how many pairs of z* and x.
        num_draws: L.
        quantities: name → a function of the latents {site: [draw, datum, *event]} (further plates
            between the two) and data like ``x``, that returns [draw, datum].
        rebuild: makes data like ``x`` of {observed site: value}, each value of the shape it is
            observed in. Needed for several observed sites, or where ``x`` is more than the site's
            value, such as covariates.
        confidence: that a calibrated guide passes for all quantities at once.
        max_plate_nesting: dims that the pair's own plates take up.
        chunk_size: draws that are made at once, for a batch: bounds the memory of a pass.
        seed: of everything. What is simulated depends on it and the size of ``x`` alone; the draws
            on ``chunk_size`` too.
        progress: show a bar with the draws that are made, of a batch of data each.

    Raises:
        PairError: a ``ValueError``: a pair that :func:`to_arviz` refuses; plates beyond
            ``max_plate_nesting``; a ``pyro.factor`` in the model; several observed sites without
            ``rebuild``; simulated values that the type of the data does not hold.
        ShapeError: simulated data that are not of the shape of ``x``; a quantity of another shape
            than [draw, datum].
        ValueError: a count below 1; a confidence outside (0, 1); a quantity with a latent's name.
        NonFiniteError: NaN or an infinity in what is ranked; it names the site or the quantity.

    Sources:
        Talts, Betancourt, Simpson, Vehtari and Gelman, "Validating Bayesian Inference Algorithms
        with Simulation-Based Calibration" (2018), algorithm 1. Säilynoja, Bürkner and Vehtari,
        "Graphical Test for Discrete Uniformity and Its Applications in Goodness-of-Fit Evaluation
        and Multiple Sample Comparison" (2022). Modrák, Moon, Kim, Bürkner, Huurre, Faltejsková,
        Gelman and Vehtari, "Simulation-Based Calibration Checking for Bayesian Computation: The
        Choice of Test Quantities Shapes Sensitivity" (2023); also for ties.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()  # its guide is the exact posterior
    >>> result = simulation_based_calibration(pair.model, pair.guide, pair.x)
    >>> print(result)
    Simulation-based calibration, 1000 simulations: no fault in 2 quantities (least p 0.13).
    >>> result.verdicts
    {'z[0]': 'calibrated', 'z[1]': 'calibrated'}
    """
    where = "simulation_based_calibration"
    check_confidence(where, confidence)
    options = (num_simulations, num_draws, rebuild, max_plate_nesting, chunk_size, seed, progress)
    found = Simulations(where, model, guide, x, *options).ranks(quantities)
    return CalibrationResult(found.names, confidence, found.ranks, num_draws)


def variational_sbc(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    num_simulations: int = 1000,
    num_draws: int = 99,
    quantities: Mapping[str, Quantity] | None = None,
    rebuild: Rebuild | None = None,
    confidence: float = 0.95,
    max_plate_nesting: int = 1,
    chunk_size: int = 100,
    seed: int = 0,
    progress: bool = False,
) -> SymmetryResult:
    """Whether the centre of q(z|x) is right, be its width right or not (Yao et al., 2018):

    .. math:: z^* \\sim p(z), \\quad x \\sim p(x|z^*), \\qquad p_j = q(z_j > z^*_j \\,|\\, x)

    A variational posterior is usually too narrow, and fails
    :func:`simulation_based_calibration` for that alone. Its p is then U-shaped, but symmetric about
    ½ as long as its marginals are not shifted to one side on average over the model's data. Tested
    is the Kolmogorov–Smirnov distance of p and 1 − p, here by its exact distribution: the two are
    one sample, mirrored, for which the two-sample test rejects too often.

    A bias that changes its sign with x, such as a posterior mean shrunk to the prior's, averages
    out: that is not seen here, but makes the truth lie further out, as a narrow q does.

    p is the share of draws above z*, with a place at random in the gap between its two neighbours,
    (L − r + U) / (L + 1).

    Arguments and errors as of :func:`simulation_based_calibration`; the same seed gives the same
    ranks as there.

    Source:
        Yao, Vehtari, Simpson and Gelman, "Yes, but Did It Work?: Evaluating Variational Inference"
        (2018), algorithm 2. Butler, "A Test for Symmetry Using the Sample Distribution Function"
        (1969), for the distribution of the distance.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> print(variational_sbc(pair.model, pair.guide, pair.x))
    Symmetry (VSBC), 1000 simulations: no fault in 2 quantities (least p 0.26).
    """
    where = "variational_sbc"
    check_confidence(where, confidence)
    options = (num_simulations, num_draws, rebuild, max_plate_nesting, chunk_size, seed, progress)
    found = Simulations(where, model, guide, x, *options).ranks(quantities)
    return SymmetryResult(found.names, confidence, 1 - found.probabilities)
