"""Draws, importance weights and predictions of a model/guide pair, in arviz's container."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import pyro
import torch
import xarray as xr
from numpy.typing import ArrayLike
from pyro import poutine
from torch import Tensor
from tqdm import tqdm

from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae.diagnostics._arrays import (
    Groups,
    concatenate,
    dataset,
    per_datum,
    site_array,
)
from pyro_vae.diagnostics._container import Container, build
from pyro_vae.diagnostics._programs import Program, check_counts, chunks, in_plate
from pyro_vae.diagnostics._psis import LEAST_SAMPLES, smooth
from pyro_vae.diagnostics._sites import (
    check_pair,
    data_sites,
    latent_sites,
    log_probs,
    subsample_trace,
)

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
    predictive: bool = True,
    seed: int | None = None,
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

    Event dims are named ``z_dim_0``, ``z_dim_1``, …; a plate beside the one over the data gives a
    dim its name. Weights are unscaled: the scale of a subsampling plate is not in them, masks are.

    Do not give the result to ``az.loo``: it takes log p(x|z) for the pointwise likelihood, which
    is wrong where every datum has latent variables of its own. Smooth ``log_weight`` instead.

    Nothing is changed: no gradients, modules are in evaluation mode for the duration (a module
    that a plain function merely calls is not seen: call ``.eval()`` on it yourself), and with a
    ``seed`` torch's global generator is left as it was.

    Args:
        model: a Pyro program called as ``model(x)``, every sample site in a plate over the data
            at dim −1. It must let a plate be put around it, as ``num_particles`` does.
        guide: the same for q(z|x), called as ``guide(x)``.
        x: the data, [datum, …].
        num_samples: draws per datum.
        labels: one a datum, e.g. digits.
        coords: for some of the dims, the coordinates that stand in place of 0, 1, …, e.g.
            ``{"datum": names, "z_dim_0": ["width", "slant"]}``.
        predictive: whether posterior_predictive, prior and prior_predictive are there, which are
            as many numbers as the data have for each draw.
        seed: of the draws, which depend on ``chunk_size`` too; ``None`` draws from torch's global
            generator.
        max_plate_nesting: dims that the pair's own plates take up.
        chunk_size: draws that are made at once; bounds the memory of a pass.
        max_memory: GiB that the result may take.
        progress: show a bar with the draws that are made.

    Returns:
        ``InferenceData`` under arviz 0.x, xarray's ``DataTree`` under arviz 1.x: the same groups.

    Raises:
        PairError: a ``ValueError``: a guide without latent sites, a model without observed ones,
            latent sites that are in one of the two only, or a site outside the plate over the
            data.
        ValueError: a count below 1; labels or coordinates of another length than their dim; a
            result of more than ``max_memory``; or, from Pyro, a site whose shape its plates do not
            declare.

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
        >>> data = to_arviz(model, guide, torch.zeros(3), num_samples=2, seed=0)
        >>> data.posterior["z"].dims
        ('chain', 'draw', 'datum')
        >>> data.sample_stats["log_weight"].values.round(3)
        array([[[-1.266, -1.266, -1.266],
                [-1.266, -1.266, -1.266]]], dtype=float32)
    """
    check_counts(
        "to_arviz",
        num_samples=num_samples,
        max_plate_nesting=max_plate_nesting,
        chunk_size=chunk_size,
    )
    rng = nullcontext() if seed is None else forked_rng(seed, x.device)
    with torch.no_grad(), evaluation_mode(*modules_of(model, guide)), rng:
        pair = _Pair(model, guide, x, max_plate_nesting)
        passes = [(pair.draw, num_samples)] + [(pair.draw_prior, num_samples)] * predictive
        groups: dict[str, Any] = {"observed_data": pair.observed_data}
        with tqdm(total=len(passes) * num_samples, unit="draw", disable=not progress) as bar:
            for draw, count in passes:
                groups |= _in_chunks(draw, count, chunk_size, max_memory, predictive, bar)
    groups["sample_stats"] |= _pareto_k(groups["sample_stats"]["log_weight"])
    if labels is not None:
        groups["constant_data"] = {"label": _of_data(labels, len(x))}
    attrs = _attributes(num_samples, seed)
    built = {
        name: dataset(groups[name], {**attrs, "description": description}, coords or {})
        for name, description in _DESCRIPTIONS.items()
        if name in groups
    }
    _check_coords(coords or {}, built)
    return build(built, attrs)


def _in_chunks(
    draw: Callable[[int], Groups],
    num_samples: int,
    chunk_size: int,
    max_memory: float,
    predictive: bool,
    bar: tqdm,
) -> Groups:
    """All draws, a chunk after the other; the first one tells whether there is room for them."""
    made: list[Groups] = []
    for count in chunks(num_samples, chunk_size):
        found = draw(count)
        if not predictive:
            found = {name: arrays for name, arrays in found.items() if "predictive" not in name}
        if not made:
            _check_memory(found, num_samples / count, max_memory)
        made.append(found)
        bar.update(count)
    return concatenate(made)


def _check_memory(chunk: Groups, times: float, max_memory: float) -> None:
    size = times * sum(array.nbytes for group in chunk.values() for array in group.values()) / 2**30
    if size > max_memory:
        raise ValueError(
            f"to_arviz: expected a result of at most {max_memory:g} GiB; got one of {size:.1f} "
            "GiB. Give fewer data or draws, leave out the predictions (predictive=False), or raise "
            "max_memory."
        )


def _pareto_k(log_weight: xr.DataArray) -> dict[str, xr.DataArray]:
    """k̂ of each datum; nothing where the draws are too few for it."""
    if log_weight.sizes["draw"] < LEAST_SAMPLES:
        return {}
    _, k = smooth(torch.from_numpy(log_weight.values[0]))
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


class _Pair:
    """A model and a guide on the data ``x``, checked by one run as they are."""

    def __init__(self, model: Program, guide: Program, x: Tensor, max_plate_nesting: int) -> None:
        self.x = x
        self.max_plate_nesting = max_plate_nesting
        guide_trace, model_trace = self._traces(model, guide)
        check_pair(model_trace, guide_trace, "to_arviz")
        for trace in (guide_trace, model_trace):
            log_probs(trace, max_plate_nesting)  # for its checks
        self.observed_data = {n: site_array(n, s) for n, s in data_sites(model_trace).items()}
        self.latents = list(latent_sites(model_trace))
        # A plate that subsamples at random must choose the same data for all chunks of draws.
        indices = subsample_trace(guide_trace, model_trace)
        self.model = poutine.replay(model, trace=indices)
        self.guide = poutine.replay(guide, trace=indices)

    def draw(self, num_samples: int) -> Groups:
        """The groups that hold draws, all made at once in a plate around the programs."""
        model = in_plate(self.model, num_samples, self.max_plate_nesting)
        guide_trace, model_trace = self._traces(
            model, in_plate(self.guide, num_samples, self.max_plate_nesting)
        )
        # Without `uncondition` the observed sites would give the data back.
        predicted = self._replayed(poutine.uncondition(model), guide_trace)
        nesting = self.max_plate_nesting + 1
        log_p, log_q = log_probs(model_trace, nesting), log_probs(guide_trace, nesting)
        latent, data = latent_sites(guide_trace), data_sites(model_trace)
        joint, log_q_of_all = (torch.stack([*found.values()]).sum(0) for found in (log_p, log_q))
        stats = {"lp": joint, "log_q": log_q_of_all, "log_weight": joint - log_q_of_all}
        return {
            "posterior": {name: site_array(name, site) for name, site in latent.items()},
            "sample_stats": {name: per_datum(values) for name, values in stats.items()},
            "log_likelihood": {name: per_datum(log_p[name]) for name in data},
            "log_prior": {name: per_datum(log_p[name]) for name in latent_sites(model_trace)},
            "posterior_predictive": {n: site_array(n, predicted.nodes[n]) for n in data},
        }

    def draw_prior(self, num_samples: int) -> Groups:
        """Latents and data as the model makes them."""
        model = poutine.uncondition(in_plate(self.model, num_samples, self.max_plate_nesting))
        nodes = poutine.trace(model).get_trace(self.x).nodes
        return {
            "prior": {name: site_array(name, nodes[name]) for name in self.latents},
            "prior_predictive": {
                name: site_array(name, nodes[name]) for name in self.observed_data
            },
        }

    def _traces(self, model: Program, guide: Program) -> tuple[poutine.Trace, poutine.Trace]:
        """The guide's trace, and the model's at the guide's latents."""
        guide_trace = poutine.trace(guide).get_trace(self.x)
        return guide_trace, self._replayed(model, guide_trace)

    def _replayed(self, model: Program, guide_trace: poutine.Trace) -> poutine.Trace:
        return poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(self.x)


def _attributes(num_samples: int, seed: int | None) -> dict[str, str | int]:
    return {
        "created_by": "pyro_vae",
        "inference_library": "pyro",
        "inference_library_version": pyro.__version__,
        "num_samples": num_samples,
        "seed": "none: torch's global generator" if seed is None else seed,
    }
