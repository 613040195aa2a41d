"""A pair's samples, and the densities of latents that are given to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)

from pyro_vae._errors import PairError
from pyro_vae._modes import evaluation_mode, modules_of
from pyro_vae.evaluation.evidence import rows_at_once
from pyro_vae.objectives import Particles, run_particles
from pyro_vae.objectives._particles import PARTICLE_PLATE, LatentSite
from pyro_vae.objectives.elbo import closed_form_kl

Program = Callable[..., Any]
Values = dict[str, Tensor]
"""Latents by site, [draws, *plates, *event]."""
Draws = Float[Tensor, "draws latent"]


@contextmanager
def undisturbed(*programs: Program) -> Iterator[list[nn.Module]]:
    """Evaluation mode of the programs that are modules, or methods of one, and no gradients."""
    modules = modules_of(*programs)
    with torch.no_grad(), evaluation_mode(*modules):
        yield modules


class Samples:
    """A pair run once on a batch, with some samples z ~ q(z|x) of each datum.

    Args:
        model, guide, x: the pair and the batch.
        num_samples: two or more.
        max_plate_nesting: how many dimensions the pair's own plates take.

    Raises:
        PairError: a site outside the plate over the data, or an auxiliary one.
    """

    def __init__(
        self, model: Program, guide: Program, x: Tensor, num_samples: int, max_plate_nesting: int
    ) -> None:
        self._nesting = max_plate_nesting
        self.run = run_particles(
            model, guide, x, num_particles=num_samples, max_plate_nesting=max_plate_nesting
        )
        _check_sites(self.run, len(x))

    @cached_property
    def reconstruction(self) -> Tensor:
        """log p(x|z), [samples, data]."""
        return torch.stack([site.log_p for site in self.run.observed]).sum(0)

    @cached_property
    def log_q(self) -> Tensor:
        """log q(z|x), [samples, data]."""
        return torch.stack([site.log_q for site in self.run.latents]).sum(0)

    @property
    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ p(z)) as each sample has it, [samples, data]: alike where it is closed."""
        return torch.stack([total for total, _ in self._kl]).sum(0)

    @property
    def kl_per_dimension(self) -> Tensor | None:
        """The same of each dimension, averaged over the samples, [data, latent]."""
        return _side_by_side([each for _, each in self._kl])

    @cached_property
    def values(self) -> Values:
        """z by site, [samples, data, *plates, *event]."""
        return {
            site.name: site.value.expand(_whole(site)).movedim(self._nesting, 1)
            for site in self.run.latents
        }

    @property
    def means(self) -> Tensor:
        """E z where the posterior knows it, else z itself, [samples, data, latent]."""
        return torch.cat([self._rows(_mean_or_value(site), site) for site in self.run.latents], -1)

    @cached_property
    def _kl(self) -> list[tuple[Tensor, Tensor | None]]:
        # Of q(b|a) and p(b|a) there is a closed form; if the guide has q(a|b), there is none.
        ordered = self.run.model_order == tuple(site.name for site in self.run.latents)
        return [self._kl_of(site, ordered) for site in self.run.latents]

    def _kl_of(self, site: LatentSite, ordered: bool) -> tuple[Tensor, Tensor | None]:
        q, p = _factors(site.q), _factors(site.p)
        if ordered and q is not None and p is not None:
            each = _closed(site.name, q, p)
            if each is None:
                each = q.log_prob(site.value) - p.log_prob(site.value)
            rows = self._rows(each, site)
            return rows.sum(-1), rows.mean(0)
        closed = _closed(site.name, site.q, site.p) if ordered else None
        return (site.log_q - site.log_p if closed is None else site.per_datum(closed)), None

    def _rows(self, values: Tensor, site: LatentSite) -> Tensor:
        return _rows(values.expand(_whole(site)), self._nesting)


def prior_draws(model: Program, x: Tensor, count: int, max_plate_nesting: int) -> Values:
    """z ~ p(z)."""
    parts: list[Values] = []
    for chunk in torch.arange(count).split(rows_at_once(x)):
        with pyro.plate(PARTICLE_PLATE, len(chunk), dim=-1 - max_plate_nesting):
            trace = prune_subsample_sites(poutine.trace(model).get_trace(x[:1]))
        sites = {name: trace.nodes[name] for name in trace.stochastic_nodes}
        whole = {n: site["value"].expand(site["fn"].shape()) for n, site in sites.items()}
        parts.append({n: value.movedim(max_plate_nesting, 1)[:, 0] for n, value in whole.items()})
    return end_to_end(parts)


def table(values: Values) -> Tensor:
    """All dimensions of the latents side by side, [draws, latent]."""
    whole = torch.cat([value.reshape(len(value), -1) for value in values.values()], -1)
    return whole if whole.is_floating_point() else whole.to(torch.get_default_dtype())


def latent_names(values: Values) -> tuple[str, ...]:
    """The names of the dimensions in :func:`table`."""
    return tuple(
        name + (f"[{', '.join(map(str, place))}]" if place else "")
        for name, value in values.items()
        for place in itertools.product(*map(range, value.shape[1:]))
    )


def _check_sites(run: Particles, data: int) -> None:
    if not (run.latents and run.observed):
        raise PairError("pair: expected a latent and an observed site; got none. Add pyro.sample.")
    sites: list[Any] = [*run.latents, *run.observed]
    for site in sites:
        if site.log_p.shape[-1] != data:
            raise PairError(
                f"site {site.name!r}: expected a log-probability for each of {data} data; got "
                f"{site.log_p.shape[-1]}. Put every sample site of model and guide in "
                '`with pyro.plate("data", len(x), dim=-1):`.'
            )
    if auxiliary := [site.name for site in run.latents if site.p is None]:
        raise PairError(
            f"guide: expected latents that the model samples too; got {auxiliary}, beside which "
            "z has no density that is known. Sum them out."
        )


def _whole(site: LatentSite) -> torch.Size:
    return site.q.batch_shape + site.q.event_shape


def _mean_or_value(site: LatentSite) -> Tensor:
    try:
        return site.q.mean
    except NotImplementedError:
        return site.value


def _closed(name: str, q: Distribution, p: Distribution | None) -> Tensor | None:
    try:
        return None if p is None else closed_form_kl(name, q, p)
    except PairError:
        return None


# --- densities of given latents -------------------------------------------------------------------


class Given(Messenger):
    """Latents are as given; what each would have been drawn from is kept."""

    def __init__(self, values: Values) -> None:
        super().__init__()
        self.values = values
        self.drawn_from: dict[str, Distribution] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        name = msg["name"]
        if msg["done"] or name not in self.values:
            return
        if isinstance(msg["mask"], Tensor) or msg["mask"] is False:
            raise PairError(
                f"site {name!r}: expected a latent of every datum; got a masked one, so that q(z) "
                "is of no one space. Leave out the mask, or the data."
            )
        self.drawn_from[name] = msg["fn"]
        msg["value"], msg["done"] = self.values[name], True


class Density(NamedTuple):
    """Log-densities of latents for each datum, [draws, data], and those of each dimension by
    itself, [draws, data, latent], or ``None``."""

    joint: Tensor
    each: Tensor | None


def score(program: Program, x: Tensor, values: Values, max_plate_nesting: int) -> Density:
    """log q(z|x_n) of each z and datum; of a model, log p(z).

    Raises:
        PairError: a program that can score only what it drew itself, or a masked latent.
    """
    given = Given({n: _for_each(value, len(x), max_plate_nesting) for n, value in values.items()})
    with given:
        program(x)
    found = [
        _density(program, name, given.drawn_from[name], value, max_plate_nesting)
        for name, value in given.values.items()
    ]
    joint = torch.stack([density.joint for density in found]).sum(0)
    return Density(joint, _side_by_side([density.each for density in found]))


def _for_each(value: Tensor, data: int, nesting: int) -> Tensor:
    """[draws, *plates, *event] as [draws, *plates, data, *event]."""
    return value.unsqueeze(nesting).expand(*value.shape[:nesting], data, *value.shape[nesting:])


def _density(program: Program, name: str, q: Distribution, value: Tensor, nesting: int) -> Density:
    # Draws in the batch shape say that a site depends on another: it is no marginal then.
    marginals = _marginals(q) if len(q.batch_shape) <= nesting else None
    try:
        each = None if marginals is None else _rows(marginals.log_prob(value), nesting)
        if each is not None and _factors(q) is not None:
            return Density(each.sum(-1), each)
        return Density(_rows(q.log_prob(value), nesting).sum(-1), each)
    except (PairError, KeyError, NotImplementedError) as error:  # Pyro's signs of no inverse
        who = getattr(program, "__name__", type(program).__name__)
        raise PairError(
            f"{who}, site {name!r}: expected a distribution that scores a given z; got one that "
            f"scores its own samples only, {q}. q(z) is made of log q(z|x) at other data's z: take "
            "transforms that have an inverse."
        ) from error


def _factors(d: Distribution | None) -> Distribution | None:
    """The distribution of single values, where they are independent."""
    if d is None or not d.event_shape:
        return d
    base = d.base_dist if isinstance(d, Independent) else d
    return None if base.event_shape else base


def _marginals(d: Distribution) -> Distribution | None:
    """The distribution of single values, whatever the others are, where it is known."""
    if isinstance(d, MultivariateNormal | LowRankMultivariateNormal):
        return Normal(d.loc, d.variance.sqrt())
    return _factors(d)


def _rows(values: Tensor, nesting: int) -> Tensor:
    """[draws, *plates, data, *event] as [draws, data, …] in one dimension."""
    values = values.movedim(nesting, 1)
    return values.reshape(*values.shape[:2], -1)


def _side_by_side(parts: Sequence[Tensor | None]) -> Tensor | None:
    """In one row, where all are known."""
    known = [part for part in parts if part is not None]
    return torch.cat(known, -1) if len(known) == len(parts) else None


def chosen_rows(values: Values, rows: Tensor) -> Values:
    return {name: value[rows.to(value.device)] for name, value in values.items()}


def end_to_end(parts: Sequence[Any]) -> Any:
    """Tensors of chunks as one, also within tuples and dicts."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, dict):
        return {name: end_to_end([part[name] for part in parts]) for name in first}
    joined = [end_to_end(fields) for fields in zip(*parts, strict=True)]
    return type(first)(*joined) if hasattr(first, "_fields") else tuple(joined)
