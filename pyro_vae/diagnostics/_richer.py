"""A richer family: a flow on top of each datum's distribution, with numbers of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Delta, TransformedDistribution
from torch import Tensor
from torch.distributions import AffineTransform, Distribution, Transform, constraints
from torch.distributions.transforms import ReshapeTransform

from pyro_vae._errors import PairError
from pyro_vae.diagnostics._families import innermost
from pyro_vae.diagnostics._programs import in_plate, values
from pyro_vae.diagnostics._refine import PerDatumGuide, Run
from pyro_vae.diagnostics._sites import latent_sites
from pyro_vae.evaluation._unconstrained import to_support

__all__ = ["Bend", "RicherGuide", "Triangular", "flow", "flow_numbers", "richer"]

_BENDS = 2
_DRAWS = 200  # by which a posterior's mean and deviation are known


@dataclass(frozen=True)
class _Flow:
    """A flow on top of a site's distribution, of vectors of ``size``; others, by name and size,
    are added to them by matrices."""

    site: str
    size: int
    beside: tuple[tuple[str, int], ...]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of what the datum's numbers are: those of :func:`flow`, and the matrices."""
        return flow_numbers(self.size) + [(self.size, size) for _, size in self.beside]

    def split(self, numbers: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Both, of all a datum's numbers in a row."""
        parts = numbers.split([prod(shape) for shape in self.shapes], -1)
        whole = [
            part.reshape(*part.shape[:-1], *shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]
        own = len(whole) - len(self.beside)
        return whole[:own], whole[own:]


class RicherGuide(PerDatumGuide[_Flow]):
    """A flow on top of the distribution of each site, whose values are taken as vectors: without
    constraints, less their mean, over their deviation (``fixed``).

    With linear maps of the vectors of earlier sites added: without the flows' bends, all of a
    datum's latents together get any covariance.
    """

    def changed(self, name: str, fn: Distribution, of: Run) -> Distribution:
        part, numbers, moments = self._of(name, of)
        own, matrices = part.split(numbers)
        for (other, _), matrix in zip(part.beside, matrices, strict=True):
            own[1] = own[1] + torch.einsum("...ij,...j->...i", matrix, self._vector(other, of))
        back = [step.inv for step in reversed(_to_vector(fn, moments))]
        return TransformedDistribution(fn, [*_to_vector(fn, moments), *flow(own), *back])

    def _of(self, name: str, of: Run) -> tuple[_Flow, Tensor, Tensor]:
        """The flow of a site, its numbers, [*batch, …], and its moments, [*batch, 2, size]."""
        i = [part.site for part in self.parts].index(name)
        return self.parts[i], of.rows(self.free[i], -2), of.rows(self.fixed[i], -3)

    def _vector(self, name: str, of: Run) -> Tensor:
        """The vector of what was drawn at a site."""
        fn, value = of.drawn[name]
        for step in _to_vector(fn, self._of(name, of)[2]):
            value = step(value)
        return value


@torch.no_grad()
def richer(guide: PerDatumGuide[Any], x: Tensor, max_plate_nesting: int) -> RicherGuide:
    """The guide with flows on top that change nothing yet."""
    sites = {
        name: site
        for name, site in latent_sites(poutine.trace(guide).get_trace(x)).items()
        if not isinstance(innermost(site["fn"]), Delta)
    }
    trace = poutine.trace(in_plate(guide, _DRAWS, max_plate_nesting)).get_trace(x)
    drawn = values(latent_sites(trace), sites)
    moments = {name: _moments(name, site["fn"], drawn[name]) for name, site in sites.items()}
    parts: list[_Flow] = []
    for name, site in sites.items():
        shape = site["fn"].batch_shape
        beside = [(p.site, p.size) for p in parts if _broadcasts(sites[p.site], shape)]
        parts.append(_Flow(name, moments[name].shape[-1], tuple(beside)))
    free = [
        moments[part.site].new_zeros(*moments[part.site].shape[:-2], sum(map(prod, part.shapes)))
        for part in parts
    ]
    return RicherGuide(guide, x, parts, free, list(moments.values()))


def _to_vector(fn: Distribution, moments: Tensor) -> list[Transform]:
    """From a site's values to vectors without constraints, whitened; each knows its last values,
    as a distribution needs them to whose transforms there is no inverse."""
    free = to_support(fn.support).with_cache(1)
    batch = len(fn.batch_shape)
    shape = torch.Size(free.inverse_shape(fn.batch_shape + fn.event_shape)[batch:])
    mean, deviation = moments.unbind(-2)
    return [
        free.inv,
        ReshapeTransform(shape, torch.Size([shape.numel()]), cache_size=1),
        AffineTransform(mean, deviation, event_dim=1, cache_size=1).inv,
    ]


def _moments(name: str, fn: Distribution, drawn: Tensor) -> Tensor:
    """Mean and deviation of draws as vectors without constraints, [data, *plates, 2, size]."""
    try:
        vectors = to_support(fn.support).inv(drawn)
    except NotImplementedError as error:
        raise PairError(
            f"site {name!r}: expected a support that can be mapped to the real numbers; got that "
            f"of {type(fn).__name__}. Register a transform: torch.distributions.biject_to.register."
        ) from error
    vectors = vectors.reshape(len(drawn), *fn.batch_shape, -1)
    deviation = vectors.std(0)
    usable = deviation.isfinite() & (deviation > 0)
    moments = torch.stack([vectors.mean(0), deviation.where(usable, 1.0)], -2)
    return moments.movedim(len(fn.batch_shape) - 1, 0).contiguous()


def _broadcasts(site: dict[str, Any], shape: torch.Size) -> bool:
    """Whether the site has no plate that one of the batch shape has not."""
    own = site["fn"].batch_shape
    return len(own) <= len(shape) and torch.broadcast_shapes(own, shape) == shape


# --- the flow ------------------------------------------------------------------------------------


def flow_numbers(size: int) -> list[tuple[int, ...]]:
    """The shapes of the numbers that :func:`flow` takes a datum; at zero it changes nothing."""
    return [(size, size), (size,), (2, size)] * _BENDS + [(size, size), (size,)]


def flow(numbers: Sequence[Tensor]) -> list[Transform]:
    """Lower and upper triangular matrices in turn with a :class:`Bend` after each but the last.

    Without its bends it makes any covariance; with them skewness, tails, and curves: each
    dimension comes to depend on each.

    Args:
        numbers: [*batch, *shape] for each shape of :func:`flow_numbers`.
    """
    transforms: list[Transform] = []
    for i in range(0, len(numbers), 3):
        matrix, shift, *bend = numbers[i : i + 3]
        transforms.append(Triangular(matrix, shift, upper=i % 2 == 1))
        transforms.extend(Bend(*each.unbind(-2)) for each in bend)
    return transforms


class Triangular(Transform):
    """v ↦ Av + b, A triangular with a positive diagonal: vectors [..., size].

    Args:
        matrix: of which the triangle is taken off the diagonal, and exp of the diagonal,
            [*batch, size, size].
        shift: b, [*batch, size].
        upper: which triangle.
    """

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, matrix: Tensor, shift: Tensor, *, upper: bool) -> None:
        super().__init__(cache_size=1)
        self.log_diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        beside = matrix.triu(1) if upper else matrix.tril(-1)
        self.matrix = beside + torch.diag_embed(self.log_diagonal.exp())
        self.shift, self.upper = shift, upper

    def _call(self, v: Tensor) -> Tensor:
        return _from_columns(self.matrix @ self._columns(v), v) + self.shift

    def _inverse(self, v: Tensor) -> Tensor:
        columns = self._columns(v - self.shift)
        solved = torch.linalg.solve_triangular(self.matrix, columns, upper=self.upper)
        return _from_columns(solved, v)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Σ_j log A_jj."""
        return self.log_diagonal.sum(-1).expand(x.shape[:-1])

    def _columns(self, v: Tensor) -> Tensor:
        """What a matrix of the batch is for, side by side: [*batch, size, number of draws]."""
        return v.reshape(-1, *self.matrix.shape[:-1]).movedim(0, -1)


def _from_columns(columns: Tensor, like: Tensor) -> Tensor:
    return columns.movedim(-1, 0).reshape(like.shape)


class Bend(Transform):
    """v ↦ sinh(δ (asinh v + ε)) in each dimension: ε skews, δ makes tails heavier or lighter
    (Jones and Pewsey, "Sinh-Arcsinh Distributions", 2009).

    Args:
        skew, log_tail: ε and log δ, [*batch, size].
    """

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, skew: Tensor, log_tail: Tensor) -> None:
        super().__init__(cache_size=1)
        self.skew, self.log_tail = skew, log_tail

    def _call(self, v: Tensor) -> Tensor:
        return self._inner(v).sinh()

    def _inverse(self, v: Tensor) -> Tensor:
        return (v.asinh() / self.log_tail.exp() - self.skew).sinh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Σ_j log δ_j + log cosh(δ_j (asinh x_j + ε_j)) − ½ log(1 + x_j²)."""
        slope = self.log_tail + self._inner(x).cosh().log() - 0.5 * x.square().log1p()
        return slope.sum(-1)

    def _inner(self, v: Tensor) -> Tensor:
        return self.log_tail.exp() * (v.asinh() + self.skew)
