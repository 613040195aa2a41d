"""Draws, importance weights and predictions of a model/guide pair, in arviz's container."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import pyro
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor
from tqdm import tqdm

from pyro_vae._errors import NonFiniteError
from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae._shapes import check_some
from pyro_vae.diagnostics._arrays import (
    Groups,
    dataset,
    latent_dim,
    numbered,
    per_datum,
    site_array,
)
from pyro_vae.diagnostics._container import Container, build
from pyro_vae.diagnostics._programs import Program, check_counts
from pyro_vae.diagnostics._psis import LEAST_SAMPLES, smooth
from pyro_vae.diagnostics._sites import Sites
from pyro_vae.diagnostics._units import (
    Block,
    Drawn,
    Pair,
    draws_of_unit,
    end_to_end,
    pair_and_blocks,
    seed_of,
)
from pyro_vae.evaluation.evidence import check_densities
from pyro_vae.objectives import run_particles

_WHERE = "to_arviz"
# Draws and data that are scored at once: a few MB of activations, which a cache can hold.
_ROWS = 4_000
# Weights that k̂ is fitted to at once: 8 MB a copy.
_WEIGHTS = 1_000_000
# Of what a unit's random numbers are.
_POSTERIOR, _PREDICTIVE, _PRIOR = range(3)

_DESCRIPTIONS = {
    "posterior": "Draws from the guide q(z|x), the approximate posterior, not from p(z|x).",
    "sample_stats": "Per draw and datum, in nats: lp = log p(x, z), log_q = log q(z|x), log_weight "
    "= lp - log_q. pareto_k: the Pareto shape of each datum's weights.",
    "log_likelihood": "log p(x|z) per draw and datum, in nats. Not for leave-one-out: with latent "
    "variables per datum that needs log p(x), estimated from log_weight.",
    "log_prior": "log p(z) per draw and datum, in nats.",
    "observed_data": "The data x.",
    "constant_data": "What is known of the data beside them.",
    "posterior_predictive": "Draws of x from p(x|z), one for each draw of z from q(z|x).",
    "prior": "Draws of z from p(z), in as many data as there are.",
    "prior_predictive": "Draws of x from p(x|z), one for each draw of z from p(z).",
}


def to_arviz(
    model: Program,
    guide: Program,
    x: Tensor,
    num_samples: int = 1000,
    *,
    labels: ArrayLike | Tensor | None = None,
    coords: Mapping[str, ArrayLike] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    predictive: bool = True,
    seed: int = 0,
    max_plate_nesting: int = 1,
    chunk_size: int = 100,
    max_memory: float = 4.0,
    progress: bool = False,
) -> Container:
    """What a guide believes about the data ``x``, as arviz wants it for its plots and statistics.

    With z ~ q(z|x) drawn ``num_samples`` times for every datum, the groups are, with the dims
    ``[chain=1, draw=num_samples, datum=len(x), …]`` where nothing else is said:

    ==================== ==================================================================
    group                holds
    ==================== ==================================================================
    posterior            each latent site of the guide: draws from q(z|x), an *approximate*
                         posterior
    sample_stats         ``lp`` = log p(x, z), ``log_q`` = log q(z|x) and ``log_weight``, the
                         first less the second, in nats: per datum, its logsumexp over draws less
                         log ``num_samples`` estimates log p(x); and ``pareto_k`` of each datum's
                         weights, [datum], where there are enough draws for it
    log_likelihood       log p(x|z) of each observed site, its event dims summed, in nats
    log_prior            log p(z) of each latent site of the model, likewise
    observed_data        each observed site's data, [datum, …]
    constant_data        ``label`` of each datum, [datum], where ``labels`` are given
    posterior_predictive each observed site drawn anew from p(x|z)
    prior                each latent site of the model: draws from p(z)
    prior_predictive     each observed site drawn from p(x|z) at those
    ==================== ==================================================================

    The dim of a latent vector is named ``latent``, where no other latent site has event dims. Other
    event dims are ``x_dim_0``, ``x_dim_1``, …, or as ``dims`` has them; a plate beside the one over
    the data gives a dim its name. Weights are unscaled: the scale of a subsampling plate is not in
    them, masks are.

    A draw depends on the ``seed``, on its number and on the datum, with its place in ``x``: not on
    how many draws there are, on ``chunk_size``, ``predictive`` or the data that come after. (What a
    program makes of it is the same to rounding. A sampler that rejects, such as a gamma's, has
    other numbers where the few data before it change.) The pair is run on 20 data at a time, the
    last ones padded by repeating the last. One that takes no other data than ``x`` as a whole, for
    masks or parameters of its size, a subsample of it, or since data depend on each other, is run
    on all at once: its draws are another with other data, and memory is bounded in the draws alone.

    Do not give the result to ``az.loo``: it takes log p(x|z) for the pointwise likelihood, which
    is wrong where every datum has latent variables of its own. Smooth ``log_weight`` instead.

    Nothing is changed: no gradients, modules are in evaluation mode for the duration (a module
    that a plain function merely calls is not seen: call ``.eval()`` on it yourself), and torch's
    global generator is left as it was.

    Args:
        model: a Pyro program called as ``model(x)``, every sample site in a plate over the data
            at dim −1. It must let a plate be put around it, as ``num_particles`` does.
        guide: the same for q(z|x), called as ``guide(x)``.
        x: the data, [datum, …].
        num_samples: draws per datum.
        labels: one a datum, e.g. digits.
        coords: for some of the dims, the coordinates that stand in place of 0, 1, …, e.g.
            ``{"datum": names, "latent": ["width", "slant"]}``.
        dims: for some of the sites, the names of their event dims, e.g. ``{"x": ["pixel"]}``.
        predictive: whether posterior_predictive, prior and prior_predictive are there, which are
            as many numbers as the data have for each draw. They are not computed otherwise.
        seed: of the draws.
        max_plate_nesting: dims that the pair's own plates take up.
        chunk_size: draws, of 20 data, that are scored at once, at most: bounds the memory of a
            pass. Predictions are made at 1,000 draws and data at once, or fewer of large data.
        max_memory: GiB that the result may take, estimated from one draw of a few data.
        progress: show a bar with the draws that are made, of each datum.

    Returns:
        ``InferenceData`` under arviz 0.x, xarray's ``DataTree`` under arviz 1.x: the same groups.

    Raises:
        PairError: a ``ValueError``: a guide without latent sites, a model without observed ones,
            latent sites that are in one of the two only, a site outside the plate over the data, or
            a guide of one value (``Delta``) where the model has a density.
        ShapeError: no data.
        ValueError: a count below 1; labels or coordinates of another length than their
            dim; ``dims`` for a site that is not there, or as many as it does not have; a result of
            more than ``max_memory``; or, from Pyro, a site whose shape its plates do not declare.
        NonFiniteError: a NaN, +∞, or a datum whose weights are all zero; it names the term.

    Source:
        The groups: arviz's InferenceData schema, https://python.arviz.org. The weights: Burda,
        Grosse & Salakhutdinov 2016, "Importance Weighted Autoencoders".

    Example:
        The posterior of z ~ N(0, 1), x ~ N(z, 1) is N(x/2, 1/2). At an exact guide every weight
        is p(x), here N(0; 0, 2):

        >>> import pyro, pyro.distributions as dist, torch
        >>> from pyro_vae.diagnostics import to_arviz
        >>> def guide(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         return pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> def model(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        ...         return pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> data = to_arviz(model, guide, torch.zeros(3), num_samples=2)
        >>> data.posterior["z"].dims
        ('chain', 'draw', 'datum')
        >>> data.sample_stats["log_weight"].values.round(3)
        array([[[-1.266, -1.266, -1.266],
                [-1.266, -1.266, -1.266]]], dtype=float32)
    """
    check_counts(
        _WHERE,
        num_samples=num_samples,
        max_plate_nesting=max_plate_nesting,
        chunk_size=chunk_size,
    )
    check_some(x, f"{_WHERE}: x")
    rng = forked_rng(seed, x.device)
    with torch.no_grad(), evaluation_mode(*modules_of(model, guide)), rng:
        pair, blocks = pair_and_blocks(model, guide, x, max_plate_nesting)
        check_densities(
            run_particles(model, guide, blocks[0].x, max_plate_nesting=max_plate_nesting)
        )
        run = _Run(pair, _event_dims(pair, dims or {}), predictive, seed, chunk_size)
        data = blocks[-1].where.stop
        result = _Result(num_samples, data)
        _check_memory(result.bytes_of(run.probe(blocks[0])), max_memory)
        with tqdm(total=num_samples * data, unit="draw", disable=not progress) as bar:
            for index, block in enumerate(blocks):
                for found, draws in run.of(block, index, num_samples):
                    result.put(found, draws, block.where)
                _check_finite(result.groups, block.where)
                bar.update(num_samples * (block.where.stop - block.where.start))
    groups = result.groups
    groups["sample_stats"] |= _pareto_k(groups["sample_stats"]["log_weight"])
    if labels is not None:
        groups["constant_data"] = {"label": _of_data(labels, data)}
    attrs = _attributes(num_samples, seed)
    built = {
        name: dataset(groups[name], {**attrs, "description": description}, coords or {})
        for name, description in _DESCRIPTIONS.items()
        if name in groups
    }
    _check_coords(coords or {}, built)
    return build(built, attrs)


@dataclass(frozen=True)
class _Run:
    """What is computed of a block of data."""

    pair: Pair
    dims: Mapping[str, Sequence[str]]
    predictive: bool
    seed: int
    chunk_size: int

    def probe(self, block: Block) -> Iterator[Groups]:
        """Everything at one draw."""
        posterior, drawn = self._posterior(block.x, 1)
        yield from (posterior, self._observed(block.x, drawn), self._scored(block.x, drawn))
        if self.predictive:
            yield from (self._predicted(block.x, drawn), self._prior(block.x, 1))

    def of(self, block: Block, index: int, num_samples: int) -> Iterator[tuple[Groups, slice]]:
        """Everything, and which draws it is of; there may be more draws, to be left out."""
        count, parts = draws_of_unit(block), []
        for unit, draws in enumerate(_slices(num_samples, count)):
            with self._rng(block, _POSTERIOR, index, unit):
                posterior, drawn = self._posterior(block.x, count)
            yield posterior, draws
            parts.append(drawn)
            if self.predictive:
                with self._rng(block, _PREDICTIVE, index, unit):
                    predicted = self._predicted(block.x, drawn)
                yield predicted, draws
                with self._rng(block, _PRIOR, index, unit):
                    prior = self._prior(block.x, count)
                yield prior, draws
        drawn = end_to_end(parts)
        yield self._observed(block.x, drawn), slice(0, num_samples)
        for draws in _slices(num_samples, min(self.chunk_size, max(1, _ROWS // block.size))):
            yield self._scored(block.x, drawn[draws]), draws

    def _posterior(self, x: Tensor, count: int) -> tuple[Groups, Drawn]:
        sites, drawn = self.pair.draw(x, count)
        return {"posterior": self._arrays(sites, self.pair.drawn)}, drawn

    def _observed(self, x: Tensor, drawn: Drawn) -> Groups:
        arrays = self._arrays(self.pair.observed(x, drawn), self.pair.data)
        return {"observed_data": {n: a.isel(chain=0, draw=0) for n, a in arrays.items()}}

    def _scored(self, x: Tensor, drawn: Drawn) -> Groups:
        log_p = self.pair.log_joint(x, drawn)
        joint = torch.stack([*log_p.values()]).sum(0)
        stats = {"lp": joint, "log_q": drawn.log_q, "log_weight": joint - drawn.log_q}
        return {
            "sample_stats": {name: per_datum(values) for name, values in stats.items()},
            "log_likelihood": {name: per_datum(log_p[name]) for name in self.pair.data},
            "log_prior": {name: per_datum(log_p[name]) for name in self.pair.latents},
        }

    def _predicted(self, x: Tensor, drawn: Drawn) -> Groups:
        sites = self.pair.predict(x, drawn)
        return {"posterior_predictive": self._arrays(sites, self.pair.data)}

    def _prior(self, x: Tensor, count: int) -> Groups:
        sites = self.pair.generate(x, count)
        return {
            "prior": self._arrays(sites, self.pair.latents),
            "prior_predictive": self._arrays(sites, self.pair.data),
        }

    def _arrays(self, sites: Sites, names: Sequence[str]) -> dict[str, xr.DataArray]:
        return {name: site_array(name, sites[name], self.dims) for name in names}

    def _rng(self, block: Block, *unit: int) -> AbstractContextManager[None]:
        return forked_rng(seed_of(self.seed, *unit), block.x.device)


class _Result:
    """The groups with room for all draws and data, filled bit by bit."""

    def __init__(self, draws: int, data: int) -> None:
        self.sizes = {"draw": draws, "datum": data}
        self.groups: dict[str, dict[str, xr.DataArray]] = {}

    def bytes_of(self, probes: Iterable[Groups]) -> int:
        """What the result takes whose groups at some draws and data are ``probes``."""
        arrays = [array for found in probes for group in found.values() for array in group.values()]
        return sum(array.dtype.itemsize * math.prod(self._shape(array)) for array in arrays)

    def put(self, found: Groups, draws: slice, data: slice) -> None:
        """Keep as many of the ``found`` draws and data as the slices say."""
        for group, arrays in found.items():
            kept = self.groups.setdefault(group, {})
            for name, array in arrays.items():
                if name not in kept:
                    room = np.empty(self._shape(array), array.dtype)
                    kept[name] = xr.DataArray(room, dims=array.dims)
                _copy(array, kept[name], {"draw": draws, "datum": data})

    def _shape(self, array: xr.DataArray) -> list[int]:
        return [self.sizes.get(str(dim), size) for dim, size in array.sizes.items()]


def _copy(found: xr.DataArray, kept: xr.DataArray, where: Mapping[str, slice]) -> None:
    to = tuple(where.get(str(dim), slice(0, size)) for dim, size in kept.sizes.items())
    kept.values[to] = found.values[tuple(slice(each.stop - each.start) for each in to)]


def _slices(total: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def _event_dims(pair: Pair, given: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Names of sites' event dims, where they are not the usual ones."""
    taken = {frame.name for site in pair.sites.values() for frame in site["cond_indep_stack"]}
    taken |= {"chain", "draw", "datum"}
    sites = {name: pair.sites[name] for name in [*pair.drawn, *pair.data]}
    for name, names in given.items():
        if name not in sites:
            raise ValueError(f"dims: expected sites among {sorted(sites)}; got {name!r}.")
        count = len(sites[name]["fn"].event_shape)
        if isinstance(names, str) or len({*names} - taken) != count or len(names) != count:
            raise ValueError(
                f"dims: expected {count} different names for the event dims of {name!r}, none of "
                f"{sorted(taken)}; got {names!r}. For example {numbered(name, count)}."
            )
    of_latents = latent_dim({name: sites[name] for name in pair.drawn})
    return of_latents | {name: [*names] for name, names in given.items()}


def _check_memory(size: int, max_memory: float) -> None:
    if size > max_memory * 2**30:
        raise ValueError(
            f"{_WHERE}: expected a result of at most {max_memory:g} GiB; got one of "
            f"{_readable(size)}. Give fewer data or draws, leave out the predictions "
            "(predictive=False), or raise max_memory."
        )


def _readable(size: int) -> str:
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f} {unit}"
    return f"{size} bytes"


def _check_finite(groups: Groups, data: slice) -> None:
    """Of some data, all of whose draws are there."""
    weights = groups["sample_stats"]["log_weight"].values[0][:, data]
    bad = np.isnan(weights).any(0) | np.isinf(weights.max(0))
    if bad.any():
        datum = data.start + int(bad.argmax())
        term = _not_finite(groups, datum)
        error = NonFiniteError(
            f"{_WHERE}: expected log-weights that are numbers, or −∞ for some draws of a datum; "
            f"got NaN, +∞ or only −∞ at datum {datum}, in {term}. Check that datum, and the "
            "outputs of the networks for it; or leave it out of x."
        )
        error.term = term
        raise error


def _not_finite(groups: Groups, datum: int) -> str:
    """The first term of a datum's weights that is NaN or infinite."""
    terms = {f"log p({name}|…)": values for name, values in groups["log_likelihood"].items()}
    terms |= {f"log p({name})": values for name, values in groups["log_prior"].items()}
    terms[f"log q({', '.join(groups['posterior'])}|…)"] = groups["sample_stats"]["log_q"]
    bad = (name for name, v in terms.items() if not np.isfinite(v.values[0, :, datum]).all())
    return next(bad, "log p of a factor")


def _pareto_k(log_weight: xr.DataArray) -> dict[str, xr.DataArray]:
    """k̂ of each datum; nothing where the draws are too few for it."""
    draws = log_weight.sizes["draw"]
    if draws < LEAST_SAMPLES:
        return {}
    parts = torch.from_numpy(log_weight.values[0]).split(max(1, _WEIGHTS // draws), dim=1)
    k = torch.cat([smooth(part)[1] for part in parts])
    return {"pareto_k": xr.DataArray(k.numpy(), dims="datum")}


def _of_data(labels: ArrayLike | Tensor, data: int) -> xr.DataArray:
    values = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.shape != (data,):
        raise ValueError(f"labels: expected one for each of {data} data; got shape {values.shape}.")
    return xr.DataArray(values, dims="datum")


def _check_coords(coords: Mapping[str, ArrayLike], built: Mapping[str, xr.Dataset]) -> None:
    sizes = {str(dim): size for group in built.values() for dim, size in group.sizes.items()}
    for dim in coords:
        if dim not in sizes:
            raise ValueError(f"coords: expected dims among {sorted(sizes)}; got {dim!r}.")


def _attributes(num_samples: int, seed: int) -> dict[str, str | int]:
    return {
        "created_by": "pyro_vae",
        "inference_library": "pyro",
        "inference_library_version": pyro.__version__,
        "num_samples": int(num_samples),
        "seed": seed,
    }
