"""The latents of a pair as one vector a datum, without constraints, and the pair's densities of it.

Of a site with values z on a support, u is what :func:`to_support` takes to z; densities of u carry
the volume element |dz/du|. The support is the guide's: no chain leaves where q is positive.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import sum_rightmost
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import Distribution, Transform, biject_to, constraints
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import IndependentTransform, StickBreakingTransform
from torch.nn.functional import logsigmoid, pad

from pyro_vae._errors import PairError
from pyro_vae.objectives import Particles, run_particles
from pyro_vae.objectives._particles import PARTICLE_PLATE, LatentSite

__all__ = [
    "Coordinates",
    "Density",
    "Point",
    "Program",
    "check_pair",
    "is_in_support",
    "log_joint",
    "to_support",
    "unconstrained",
]

Program = Callable[..., Any]


@dataclass(frozen=True)
class Coordinates:
    """How u, [chains, data, size], is made of the sites' unconstrained values.

    Args:
        shapes: by site, what one datum has of it: its other plates and its event.
        data_dim: where a site's values have the data: behind the chains and the other plates.
    """

    shapes: dict[str, torch.Size]
    data_dim: int

    def join(self, values: dict[str, Tensor]) -> Tensor:
        """u of the sites' values."""
        rows = (values[name].movedim(self.data_dim, 1) for name in self.shapes)
        return torch.cat([row.reshape(*row.shape[:2], -1) for row in rows], -1)

    def split(self, u: Tensor) -> dict[str, Tensor]:
        """The sites' values of u."""
        parts = u.split([shape.numel() for shape in self.shapes.values()], -1)
        return {
            name: part.reshape(*u.shape[:2], *shape).movedim(1, self.data_dim)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


def unconstrained(
    guide: Program, x: Tensor, num_chains: int, max_plate_nesting: int, at: Trace | None = None
) -> tuple[Coordinates, Tensor]:
    """A guide's coordinates, and u of draws from it, or of the latents of the trace ``at``."""
    given = nullcontext() if at is None else poutine.replay(trace=at)
    with given, pyro.plate(PARTICLE_PLATE, num_chains, dim=-1 - max_plate_nesting):
        trace = prune_subsample_sites(poutine.trace(guide).get_trace(x))
    values = {name: _free_value(trace.nodes[name]) for name in trace.stochastic_nodes}
    shapes = {n: value.movedim(max_plate_nesting, 0).shape[2:] for n, value in values.items()}
    coordinates = Coordinates(shapes, max_plate_nesting)
    return coordinates, coordinates.join(values)


def _free_value(site: dict[str, Any]) -> Tensor:
    q = site["fn"]
    return _to_support(site["name"], q).inv(site["value"].expand(q.batch_shape + q.event_shape))


@dataclass(frozen=True)
class Point:
    """u, both log-densities of it, [chains, data], in nats, and their gradients, shaped as u."""

    u: Tensor
    log_q: Tensor
    log_p: Tensor
    gradient_q: Tensor
    gradient_p: Tensor

    @property
    def log_weight(self) -> Tensor:
        """log p(x, z) − log q(z|x)."""
        return self.log_p - self.log_q

    def log_density(self, beta: float) -> Tensor:
        """(1 − β) log q(z|x) + β log p(x, z)."""
        return torch.lerp(self.log_q, self.log_p, beta)

    def gradient(self, beta: float) -> Tensor:
        """Of :meth:`log_density`."""
        return torch.lerp(self.gradient_q, self.gradient_p, beta)

    def or_else(self, chosen: Tensor, other: Point) -> Point:
        """This point, but the other one of the chains and data that are chosen, [chains, data]."""
        parts = zip(vars(self).values(), vars(other).values(), strict=True)
        return Point(*(torch.where(_of_rank(chosen, old), new, old) for old, new in parts))


def _of_rank(chosen: Tensor, like: Tensor) -> Tensor:
    return chosen if chosen.dim() == like.dim() else chosen[..., None]


@dataclass(frozen=True)
class Density:
    """q(z|x) and p(x, z) of a pair as densities of u, [chains, data, size].

    Args:
        model, guide: the pair.
        x: a batch.
        coordinates: the guide's.
    """

    model: Program
    guide: Program
    x: Tensor
    coordinates: Coordinates

    @torch.enable_grad()
    def __call__(self, u: Tensor) -> Point:
        u = u.detach().requires_grad_()
        run = self.particles(u)
        volume = _log_volume(run, self.coordinates.split(u))
        log_q = self._per_datum(volume + sum(site.log_q for site in run.latents))
        log_p = self._per_datum(volume + run.log_joint)
        gradients = _gradient(log_q, u), _gradient(log_p, u)
        return Point(u.detach(), log_q.detach(), log_p.detach(), *gradients)

    def particles(self, u: Tensor) -> Particles:
        """The pair run at u."""
        with _At(self.coordinates.split(u)):
            return run_particles(
                self.model,
                self.guide,
                self.x,
                num_particles=len(u),
                max_plate_nesting=self.coordinates.data_dim,
            )

    def _per_datum(self, log_prob: Tensor) -> Tensor:
        """The sum over what else all sites have a plate of."""
        return log_prob.reshape(len(log_prob), -1, len(self.x)).sum(1)


def log_joint(model: Program, x: Tensor, coordinates: Coordinates, u: Tensor) -> Tensor:
    """log p(x, z) of a model alone as a density of u, [chains, data].

    For models that :func:`check_pair` has passed with their own prior in the guide's place.
    """
    values = coordinates.split(u)
    with _At(values), pyro.plate(PARTICLE_PLATE, len(u), dim=-1 - coordinates.data_dim):
        trace = prune_subsample_sites(poutine.trace(model).get_trace(x))
    trace.compute_log_prob()
    observed = (trace.nodes[name] for name in trace.observation_nodes)
    terms = [s["log_prob"] for s in observed if not s["infer"].get("_deterministic")]
    terms += [_log_prior(trace.nodes[name], value) for name, value in values.items()]
    return torch.stack([t.reshape(len(u), -1, len(x)).sum(1) for t in terms]).sum(0)


def _log_prior(site: dict[str, Any], value: Tensor) -> Tensor:
    """A latent site's log-density as one of unconstrained values."""
    if site["mask"] is not None:
        raise PairError(
            f"site {site['name']!r}: expected a latent of every datum; got a masked one, whose "
            "density has no integral. Leave out the mask, or the data."
        )
    transform = _to_support(site["name"], site["fn"])
    volume = transform.log_abs_det_jacobian(value, site["value"])
    return site["log_prob"] + sum_rightmost(volume, volume.dim() - len(site["fn"].batch_shape))


def _gradient(log_prob: Tensor, u: Tensor) -> Tensor:
    if not log_prob.requires_grad:
        return torch.zeros_like(u)
    return torch.autograd.grad(log_prob.sum(), u, retain_graph=True, materialize_grads=True)[0]


def _log_volume(run: Particles, values: dict[str, Tensor]) -> Tensor:
    """log |dz/du| of all sites; of what is masked it counts as little as the densities."""
    volume = torch.zeros_like(run.log_weight)
    for site in run.latents:
        transform = _to_support(site.name, site.q)
        element = transform.log_abs_det_jacobian(values[site.name], site.value)
        beside = element.dim() - len(site.q.batch_shape)
        volume = volume + site.per_datum(sum_rightmost(element, beside))
    return volume


class _At(Messenger):
    """Latents are at the unconstrained values given, in place of draws."""

    def __init__(self, values: dict[str, Tensor]) -> None:
        super().__init__()
        self._values = values

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if not msg["done"] and msg["name"] in self._values:
            transform = _to_support(msg["name"], msg["fn"])
            msg["value"], msg["done"] = transform(self._values[msg["name"]]), True


def _to_support(name: str, q: Distribution) -> Transform:
    """From unconstrained values to the distribution's support, one to one."""
    try:
        support = _of_components(q.support)
        if not support.is_discrete:
            return to_support(support)
    except NotImplementedError as error:
        raise PairError(
            f"site {name!r}: expected a support that can be mapped to all real numbers; got {q}. "
            "Register its transform with torch.distributions.biject_to."
        ) from error
    raise PairError(
        f"site {name!r}: expected continuous latents, as trajectories follow a gradient; got {q}. "
        "Sum it out of the model, with a mixture (MixtureSameFamily) in place of an index, or take "
        "pyro.infer.TraceEnum_ELBO, which enumerates."
    )


def to_support(support: Constraint | None) -> Transform:
    """From unconstrained values to a support: ``biject_to(support)``, but of simplexes without the
    rounding of torch's, from which draws near a corner do not come back.

    Raises:
        NotImplementedError: a support that no transform is known for.
    """
    return _unrounded(biject_to(support))


def _unrounded(transform: Transform) -> Transform:
    if isinstance(transform, IndependentTransform):
        base = _unrounded(transform.base_transform)
        return IndependentTransform(base, transform.reinterpreted_batch_ndims)
    return StickBreaking() if type(transform) is StickBreakingTransform else transform


class StickBreaking(StickBreakingTransform):
    """torch's stick-breaking, computed such that small elements have as many digits as large ones.

    torch has what is left of the stick as 1 − Σ_{j≤k} z_j, of which nothing is right below the
    machine's precision, where one in 30 is of the elements of a Dirichlet(0.2, 0.2, 0.2, 0.2, 0.2)
    in floats. Here it is Σ_{j>k} z_j, and the products of the way back are sums of logarithms.
    """

    def _call(self, x: Tensor) -> Tensor:
        log_stays, log_goes = _of_breaks(x)
        log_z = pad(log_stays, [0, 1]) + pad(log_goes.cumsum(-1), [1, 0])
        return log_z.softmax(-1).clamp(min=_tiny(x))  # they add up to 1 but for rounding

    def _inverse(self, y: Tensor) -> Tensor:
        left = y.flip(-1).cumsum(-1).flip(-1)[..., 1:]
        log_z, log_left = (each.clamp(min=_tiny(y)).log() for each in (y[..., :-1], left))
        return log_z - log_left + _log_offset(y[..., :-1])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Σ_k log σ(t_k) + log σ(−t_k) + Σ_{j<k} log σ(−t_j), t the breaks' logits."""
        log_stays, log_goes = _of_breaks(x)
        return (log_stays + log_goes.cumsum(-1)).sum(-1)


def _of_breaks(x: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithms of the share of the stick that each break takes, and of what it leaves."""
    logits = x - _log_offset(x)
    return logsigmoid(logits), logsigmoid(-logits)


def _log_offset(like: Tensor) -> Tensor:
    """log(n), …, log(1), by which zeros are the middle of the simplex."""
    return torch.arange(like.shape[-1], 0, -1, dtype=like.dtype, device=like.device).log()


def _tiny(like: Tensor) -> float:
    return torch.finfo(like.dtype).tiny


def is_in_support(site: LatentSite) -> bool:
    """Whether all values of a site are where the guide has a density."""
    return bool(_of_components(site.q.support).check(site.value).all())


def _of_components(support: Any) -> Constraint:
    """The support, that of a mixture being its components'."""
    base = getattr(support, "base_constraint", None)
    if base is None:
        return support
    if isinstance(support, constraints.independent):
        return constraints.independent(_of_components(base), support.reinterpreted_batch_ndims)
    return _of_components(base)


def check_pair(model: Program, guide: Program, x: Tensor, max_plate_nesting: int) -> None:
    """Raise :class:`PairError` for a pair whose data have no evidence each, or no gradient."""
    run = run_particles(model, guide, x, num_particles=2, max_plate_nesting=max_plate_nesting)
    if not (run.latents and run.observed):
        raise PairError(
            "pair: expected a latent site in the guide and an observed one in the model; got "
            f"{len(run.latents)} and {len(run.observed)}. Sample latents in both, and give the "
            'data to the model: pyro.sample("x", …, obs=x).'
        )
    if run.uneven or bool(torch.as_tensor(run.scale != 1).any()):
        raise PairError(
            "pair: expected log-probabilities as they are; got scaled ones, from a plate that "
            "subsamples or poutine.scale: what they belong to is not p(x, z). Give the data "
            "themselves, a batch in place of a subsample."
        )
    for site in run.latents:
        _check_latent(site, len(x))
    if run.log_weight.shape[1] % len(x):
        raise PairError(
            "pair: expected every site in a plate over the data at dim −1, since an evidence is "
            f"of one datum; got log-weights {list(run.log_weight.shape)} of {len(x)} data. A site "
            "that data share makes them one datum: fix it at a value, or observe it."
        )


def _check_latent(site: LatentSite, data: int) -> None:
    if site.p is None:
        raise PairError(
            f"site {site.name!r}: expected latents that model and guide both sample; got an "
            "auxiliary one of the guide, whose density is not z's. Take a guide that samples the "
            "model's own sites from distributions with a density."
        )
    if site.q.batch_shape[-1:] != (data,):
        raise PairError(
            f"site {site.name!r}: expected latents of each datum, in a plate of {data} at dim −1; "
            f"got batch shape {list(site.q.batch_shape)}. What all data share has no evidence per "
            "datum: fix it at a value."
        )
    _to_support(site.name, site.q)
