"""Draws, importance weights and predictions of a model/guide pair, in arviz's container."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_vae._modes import evaluation_mode, forked_rng
from pyro_vae.diagnostics._arrays import (
    DRAW_PLATE,
    Groups,
    concatenate,
    dataset,
    per_datum,
    site_array,
)
from pyro_vae.diagnostics._container import Container, build
from pyro_vae.diagnostics._sites import (
    check_pair,
    data_sites,
    latent_sites,
    log_probs,
    subsample_trace,
)

Program = Callable[[Tensor], object]

_DESCRIPTIONS = {
    "posterior": "Draws from the guide q(z|x), the approximate posterior, not from p(z|x).",
    "sample_stats": "log_weight: log p(x, z) - log q(z|x) per draw and datum, in nats.",
    "log_likelihood": "log p(x|z) per draw and datum, in nats. Not for leave-one-out: with latent "
    "variables per datum that needs log p(x), estimated from log_weight.",
    "log_prior": "log p(z) per draw and datum, in nats.",
    "observed_data": "The data x.",
    "posterior_predictive": "Draws of x from p(x|z), one for each draw of z from q(z|x).",
}


def to_arviz(
    model: Program,
    guide: Program,
    x: Tensor,
    num_samples: int = 1000,
    *,
    seed: int | None = None,
    max_plate_nesting: int = 1,
    chunk_size: int = 100,
) -> Container:
    """What a guide believes about the data ``x``, as arviz wants it for its plots and statistics.

    With z ~ q(z|x) drawn ``num_samples`` times for every datum, the groups are, with the dims
    ``[chain=1, draw=num_samples, datum=len(x), …]`` where nothing else is said:

    ==================== ==================================================================
    group                holds
    ==================== ==================================================================
    posterior            each latent site of the guide: draws from q(z|x), an *approximate*
                         posterior
    sample_stats         ``log_weight`` = log p(x, z) − log q(z|x), in nats: per datum, its
                         logsumexp over draws less log ``num_samples`` estimates log p(x)
    log_likelihood       log p(x|z) of each observed site, its event dims summed, in nats
    log_prior            log p(z) of each latent site of the model, likewise
    observed_data        each observed site's data, [datum, …]
    posterior_predictive each observed site drawn anew from p(x|z)
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
        seed: of the draws, which depend on ``chunk_size`` too; ``None`` draws from torch's global
            generator.
        max_plate_nesting: dims that the pair's own plates take up.
        chunk_size: draws that are made at once; bounds the memory of a pass.

    Returns:
        ``InferenceData`` under arviz 0.x, xarray's ``DataTree`` under arviz 1.x: the same groups.

    Raises:
        PairError: a ``ValueError``: a guide without latent sites, a model without observed ones,
            latent sites that are in one of the two only, or a site outside the plate over the
            data.
        ValueError: a count below 1, or, from Pyro, a site whose shape its plates do not declare.

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
    _check_counts(
        num_samples=num_samples, max_plate_nesting=max_plate_nesting, chunk_size=chunk_size
    )
    rng = nullcontext() if seed is None else forked_rng(seed, x.device)
    with torch.no_grad(), evaluation_mode(*_modules(model, guide)), rng:
        pair = _Pair(model, guide, x, max_plate_nesting)
        chunks = [pair.draw(count) for count in _chunks(num_samples, chunk_size)]
    groups = {**concatenate(chunks), "observed_data": pair.observed_data}
    attrs = _attributes(num_samples, seed)
    return build(
        {
            name: dataset(groups[name], {**attrs, "description": description})
            for name, description in _DESCRIPTIONS.items()
        },
        attrs,
    )


class _Pair:
    """A model and a guide on the data ``x``, checked by one run as they are."""

    def __init__(self, model: Program, guide: Program, x: Tensor, max_plate_nesting: int) -> None:
        self.x = x
        self.max_plate_nesting = max_plate_nesting
        guide_trace, model_trace = self._traces(model, guide)
        check_pair(model_trace, guide_trace)
        for trace in (guide_trace, model_trace):
            log_probs(trace, max_plate_nesting)  # for its checks
        self.observed_data = {n: site_array(n, s) for n, s in data_sites(model_trace).items()}
        # A plate that subsamples at random must choose the same data for all chunks of draws.
        indices = subsample_trace(guide_trace, model_trace)
        self.model = poutine.replay(model, trace=indices)
        self.guide = poutine.replay(guide, trace=indices)

    def draw(self, num_samples: int) -> Groups:
        """The groups that hold draws, all made at once in a plate around the programs."""
        model = self._in_plate(self.model, num_samples)
        guide_trace, model_trace = self._traces(model, self._in_plate(self.guide, num_samples))
        # Without `uncondition` the observed sites would give the data back.
        predicted = self._replayed(poutine.uncondition(model), guide_trace)
        nesting = self.max_plate_nesting + 1
        log_p, log_q = log_probs(model_trace, nesting), log_probs(guide_trace, nesting)
        latent, data = latent_sites(guide_trace), data_sites(model_trace)
        log_weight = torch.stack([*log_p.values()]).sum(0) - torch.stack([*log_q.values()]).sum(0)
        return {
            "posterior": {name: site_array(name, site) for name, site in latent.items()},
            "sample_stats": {"log_weight": per_datum(log_weight)},
            "log_likelihood": {name: per_datum(log_p[name]) for name in data},
            "log_prior": {name: per_datum(log_p[name]) for name in latent_sites(model_trace)},
            "posterior_predictive": {n: site_array(n, predicted.nodes[n]) for n in data},
        }

    def _traces(self, model: Program, guide: Program) -> tuple[poutine.Trace, poutine.Trace]:
        """The guide's trace, and the model's at the guide's latents."""
        guide_trace = poutine.trace(guide).get_trace(self.x)
        return guide_trace, self._replayed(model, guide_trace)

    def _replayed(self, model: Program, guide_trace: poutine.Trace) -> poutine.Trace:
        return poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(self.x)

    def _in_plate(self, program: Program, size: int) -> Program:
        """The program with a plate of draws around it, left of all its own plates."""

        def run(x: Tensor) -> object:
            with pyro.plate(DRAW_PLATE, size, dim=-1 - self.max_plate_nesting):
                return program(x)

        return run


def _modules(*programs: Program) -> list[nn.Module]:
    """The modules among the programs; a bound method stands for its module."""
    owners = [getattr(program, "__self__", program) for program in programs]
    return [owner for owner in owners if isinstance(owner, nn.Module)]


def _chunks(num_samples: int, chunk_size: int) -> list[int]:
    """The sizes of the chunks that make up ``num_samples``."""
    return [min(chunk_size, num_samples - done) for done in range(0, num_samples, chunk_size)]


def _attributes(num_samples: int, seed: int | None) -> dict[str, str | int]:
    return {
        "created_by": "pyro_vae",
        "inference_library": "pyro",
        "inference_library_version": pyro.__version__,
        "num_samples": num_samples,
        "seed": "none: torch's global generator" if seed is None else seed,
    }


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"to_arviz: expected {name} ≥ 1, an integer; got {count!r}.")
