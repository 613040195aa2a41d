"""The sample sites of a model/guide pair: which there are, and their log-probabilities per datum.

A site is what Pyro's trace holds of one ``pyro.sample`` statement.
"""

from __future__ import annotations

from typing import Any

from pyro.distributions import Unit
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from pyro.util import check_site_shape
from torch import Tensor

from pyro_vae._errors import PairError

Sites = dict[str, dict[str, Any]]


def sample_sites(trace: Trace) -> Sites:
    """The sites that have a density: neither plates' indices nor deterministic values."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample"
        and not site_is_subsample(site)
        and not site["infer"].get("_deterministic")
    }


def latent_sites(trace: Trace) -> Sites:
    """The sites that were drawn."""
    return {name: site for name, site in sample_sites(trace).items() if not site["is_observed"]}


def data_sites(trace: Trace) -> Sites:
    """The sites that were given data. A ``pyro.factor`` is observed too, but holds none."""
    return {
        name: site
        for name, site in sample_sites(trace).items()
        if site["is_observed"] and not isinstance(site["fn"], Unit)
    }


def subsample_trace(*traces: Trace) -> Trace:
    """A trace of nothing but the indices that the plates of ``traces`` chose."""
    indices = Trace()
    for trace in traces:
        for name, site in trace.nodes.items():
            if site_is_subsample(site) and name not in indices:
                indices.add_node(name, **site)
    return indices


def plate_over_data(sites: Sites) -> tuple[set[str], int]:
    """The names and the size of the plates at dim −1 around sites that :func:`check_pair` saw."""
    frames = [f for site in sites.values() for f in site["cond_indep_stack"] if f.dim == -1]
    return {frame.name for frame in frames}, frames[0].size


def log_probs(trace: Trace, max_plate_nesting: int) -> dict[str, Tensor]:
    """Each site's log-probability in nats, masked and unscaled, summed to [leftmost plate, datum].

    The leftmost plate is the one at dim ``-max_plate_nesting``.
    """
    trace.compute_log_prob()
    sites = sample_sites(trace)
    for site in sites.values():
        check_site_shape(site, max_plate_nesting)
    # Not `site["log_prob"]`: that carries subsampling scales, which are no part of a weight.
    masked = {n: scale_and_mask(s["unscaled_log_prob"], mask=s["mask"]) for n, s in sites.items()}
    return {name: _sum_to(values, (-max_plate_nesting, -1)) for name, values in masked.items()}


def check_pair(model: Trace, guide: Trace, where: str) -> None:
    """Raise :class:`PairError` for a pair that has no log-weight per datum; ``where`` is asked."""
    _check_latent_and_observed(model, guide, where)
    _check_the_same_latents(model, guide, where)
    _check_plate_over_data({**sample_sites(guide), **sample_sites(model)}, where)


def _sum_to(values: Tensor, dims: tuple[int, int]) -> Tensor:
    others = [dim for dim in range(-values.dim(), 0) if dim not in dims]
    return values.sum(others) if others else values  # given no dims, torch sums over all


def _check_latent_and_observed(model: Trace, guide: Trace, where: str) -> None:
    if not latent_sites(guide):
        raise PairError(
            f"{where}: expected a guide with at least one latent sample site; got none; "
            "sample the latent variables in the guide."
        )
    if not data_sites(model):
        raise PairError(
            f"{where}: expected a model with at least one observed sample site; got none; "
            'give the data to the model, pyro.sample("x", ..., obs=x).'
        )


def _check_the_same_latents(model: Trace, guide: Trace, where: str) -> None:
    in_model, in_guide = latent_sites(model), latent_sites(guide)
    auxiliary = {name for name, site in in_guide.items() if site["infer"].get("is_auxiliary")}
    if missing := sorted(in_model.keys() - in_guide.keys()):
        raise PairError(
            f"{where}: expected a guide that samples every latent site of the model; got a guide "
            f"without {missing}; sample them in the guide, or sum them out of the model."
        )
    if surplus := sorted(in_guide.keys() - in_model.keys() - auxiliary):
        raise PairError(
            f"{where}: expected a model that samples every latent site of the guide; got a model "
            f"without {surplus}; sample them in the model, or mark them in the guide as "
            'infer={"is_auxiliary": True}.'
        )


def _check_plate_over_data(sites: Sites, where: str) -> None:
    sizes = {
        name: next((f.size for f in site["cond_indep_stack"] if f.dim == -1), None)
        for name, site in sites.items()
    }
    if outside := sorted(name for name, size in sizes.items() if size is None):
        raise PairError(
            f"{where}: expected every sample site in a plate over the data at dim -1, since "
            f"weights are per datum; got {outside} outside of one; put them in "
            '`with pyro.plate("data", len(x), dim=-1):`.'
        )
    if len(set(sizes.values())) > 1:
        raise PairError(
            f"{where}: expected plates of one size at dim -1; got the sizes {sizes}; "
            "put every site in the same plate over the data."
        )
