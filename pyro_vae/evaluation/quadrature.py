"""Log evidence by quadrature: exact where there are few latents, to hold estimates against."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pyro
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from pyro_vae._errors import NonFiniteError, PairError
from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae._shapes import Data, check_some
from pyro_vae.evaluation._unconstrained import (
    Coordinates,
    Program,
    check_pair,
    log_joint,
    unconstrained,
)
from pyro_vae.evaluation.annealing import prior_guide
from pyro_vae.evaluation.evidence import LogEvidence, rows_at_once

__all__ = ["QuadratureEvidence", "quadrature_log_evidence"]

Counts = Int[Tensor, "batch"]
Coordinate = Float[Tensor, "latent"]
PerCell = Float[Tensor, "cells"]

_MOST_COORDINATES = 3
_PRIOR_DRAWS = 1_000  # that say where latents may be; a normal's reach to 3.2 deviations
_WIDENINGS = 2
_WINDOW = 30.0  # nats below the highest cell: what is less is not refined
_MOST_EVALUATIONS = 2_000_000


@dataclass(frozen=True)
class QuadratureEvidence(LogEvidence):
    """log p(x) of each datum by quadrature, in nats.

    ``error`` is no Monte-Carlo error: it is what the last refinement changed ``value`` by.
    """

    evaluations: Counts
    """How often p(x, z) was evaluated."""


def quadrature_log_evidence(
    model: Program,
    x: Data,
    *,
    cells: int = 128,
    tolerance: float = 1e-3,
    max_plate_nesting: int = 1,
    progress: bool = False,
) -> QuadratureEvidence:
    """log p(x) of each datum by the midpoint rule on a grid that is refined where the mass is:

    .. math:: p(x) = \\int p(x, z)\\,dz \\approx \\sum_c p(x, z_c)\\, v_c

    for models of one to three latents, where it is exact to ``error`` and asks no guide: all that
    importance sampling, Pareto smoothing and annealing estimate, they can be held against here. A
    posterior's second mode, which a guide may miss and its weights then do not show, is a cell
    like others.

    The grid has ``cells`` a coordinate and twice the width of the range of 1,000 draws of the
    prior: ±6.5 deviations of a normal. It is widened where a posterior goes on at its edge. Then
    all cells of midpoints z_c within 30 nats of the highest are halved in each coordinate, as often
    as it takes until two refinements in a row change log p(x) by no more than ``tolerance``, or two
    million evaluations are made: ``error`` then is above it. A mode
    narrower than about an eighth of the first cells may fall between their midpoints: raise
    ``cells`` and see whether the values stay. Latents of any continuous support are taken in
    unconstrained coordinates.

    In evaluation mode, a datum at a time, in passes of bounded memory. With two latents it takes
    tens of thousands of evaluations a datum, of a network with kinks up to a million.

    Args:
        model: any Pyro program, called as ``model(x)``, every site in a plate over the data.
        x: data, [data, *event].
        cells: of the first grid, a coordinate.
        tolerance: nats.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.
        progress: whether to show a bar.

    Raises:
        ValueError: fewer than two cells, or a tolerance that is not positive.
        ShapeError: no data.
        PairError: more than three latents a datum: take :func:`annealed_log_evidence`; discrete
            or masked latents; a site that data share; a subsample; mass that goes on at the edge.
        NonFiniteError: a NaN or +∞ in log p(x, z), or a datum that has no density anywhere.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian(orthogonal=False)  # two latents
    >>> found = quadrature_log_evidence(pair.model, pair.x)
    >>> torch.allclose(found.value, pair.log_evidence(pair.x), atol=1e-3)
    True
    """
    if cells < 2:
        raise ValueError(f"cells: expected ≥ 2; got {cells}.")
    if not tolerance > 0:
        raise ValueError(f"tolerance: expected a positive number of nats; got {tolerance}.")
    check_some(x)
    with torch.no_grad(), evaluation_mode(*modules_of(model)):
        with forked_rng(0, x.device):
            check_pair(model, prior_guide(model), x[:2], max_plate_nesting)
        with pyro.validation_enabled(False):
            of_each = [
                _Quadrature(model, x, datum, max_plate_nesting).run(cells, tolerance)
                for datum in tqdm(range(len(x)), unit="datum", disable=not progress)
            ]
    values, errors, evaluations = zip(*of_each, strict=True)
    return QuadratureEvidence(
        torch.tensor(values, dtype=x.dtype, device=x.device),
        torch.tensor(errors, dtype=x.dtype, device=x.device),
        torch.tensor(evaluations, device=x.device),
    )


@dataclass(frozen=True)
class _Cells:
    """Boxes of one size, and log p(x, z) at their midpoints."""

    midpoints: Float[Tensor, "cells latent"]
    size: Coordinate
    log_density: PerCell

    @property
    def log_mass(self) -> float:
        """log Σ p(x, z_c) v."""
        return (self.log_density.double().logsumexp(0) + self.size.double().log().sum()).item()

    @property
    def high(self) -> Tensor:
        """Which are to be refined."""
        return self.log_density > self.log_density.max() - _WINDOW

    def only(self, chosen: Tensor) -> _Cells:
        return _Cells(self.midpoints[chosen], self.size, self.log_density[chosen])


class _Quadrature:
    """Of one datum."""

    def __init__(self, model: Program, x: Tensor, datum: int, max_plate_nesting: int) -> None:
        self._model, self._x, self._datum = model, x[datum : datum + 1], datum
        self._coordinates, draws = self._prior(max_plate_nesting)
        low, high = draws.amin(0), draws.amax(0)
        self._centre, self._half = (low + high) / 2, high - low
        self._evaluations = 0

    def run(self, cells: int, tolerance: float) -> tuple[float, float, int]:
        """log p(x), what the last refinement changed it by, and the evaluations."""
        current, settled = self._coarse(cells), -math.inf
        value, changes = current.log_mass, [math.inf]
        while not self._done(changes, tolerance):
            settled = _log_add(settled, current.only(~current.high).log_mass)
            current = self._refined(current.only(current.high))
            before, value = value, _log_add(settled, current.log_mass)
            changes.append(abs(value - before))
        return value, changes[-1], self._evaluations

    def _done(self, changes: list[float], tolerance: float) -> bool:
        return max(changes[-2:]) <= tolerance or self._evaluations > _MOST_EVALUATIONS

    def _prior(self, max_plate_nesting: int) -> tuple[Coordinates, Tensor]:
        guide = prior_guide(self._model)
        with forked_rng(0, self._x.device):
            coordinates, draws = unconstrained(guide, self._x, _PRIOR_DRAWS, max_plate_nesting)
        if draws.shape[-1] > _MOST_COORDINATES:
            raise PairError(
                f"model: expected one to {_MOST_COORDINATES} latents a datum; got "
                f"{draws.shape[-1]}, of which no grid can be made. Take annealed_log_evidence."
            )
        return coordinates, draws[:, 0]

    def _coarse(self, cells: int) -> _Cells:
        """The first grid that has the mass inside."""
        for widening in range(_WIDENINGS + 1):
            found, at_edge = self._grid(cells * 2**widening, self._half * 2**widening)
            if not bool((found.high & at_edge).any()):
                return found
        raise PairError(
            f"model: expected a posterior near the prior's draws; got mass at datum {self._datum} "
            f"that goes on at {2**_WIDENINGS} times as far from them. Latents that x says nothing "
            "about have no density that falls off where their prior has none: give them one that "
            "does, or take annealed_log_evidence."
        )

    def _grid(self, cells: int, half: Tensor) -> tuple[_Cells, Tensor]:
        """Equal boxes, and which of them are at the edge."""
        size = 2 * half / cells
        steps = [torch.arange(cells, device=half.device)] * len(half)
        index = torch.cartesian_prod(*steps).reshape(-1, len(half))
        midpoints = self._centre - half + (index.to(size) + 0.5) * size
        at_edge = ((index == 0) | (index == cells - 1)).any(-1)
        return self._evaluated(midpoints, size), at_edge

    def _refined(self, parents: _Cells) -> _Cells:
        """Halves in each coordinate."""
        signs = list(itertools.product([-0.25, 0.25], repeat=len(parents.size)))
        offsets = torch.tensor(signs).to(parents.size) * parents.size
        midpoints = (parents.midpoints[:, None] + offsets).flatten(0, 1)
        return self._evaluated(midpoints, parents.size / 2)

    def _evaluated(self, midpoints: Tensor, size: Tensor) -> _Cells:
        parts = [
            log_joint(self._model, self._x, self._coordinates, u[:, None])[:, 0]
            for u in midpoints.split(rows_at_once(self._x))
        ]
        log_density = torch.cat(parts)
        self._evaluations += len(midpoints)
        highest = log_density.max().item()  # a NaN, if there is one
        if not math.isfinite(highest):
            raise NonFiniteError(
                f"log p(x, z): expected finite numbers, or −∞ at some z; got {highest} at the "
                f"highest of datum {self._datum}. Check that datum, and the networks' outputs."
            )
        return _Cells(midpoints, size, log_density)


def _log_add(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
