"""A dry run on the first data: what does not fit is said before training begins."""

from __future__ import annotations

import re
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions.constraints import Constraint

from pyro_vae._errors import ShapeError, without_trace
from pyro_vae._handlers import PosteriorMessenger
from pyro_vae.data import Examples
from pyro_vae.objectives import Objective
from pyro_vae.vae import Pair

__all__ = ["check_data"]

# What torch's messages speak of, where shapes are at fault.
_SHAPES = re.compile(r"\b(shapes?|sizes?|dim|dims|[1-9]D|dimensions?|channels?|elements)\b", re.I)
_DTYPES = re.compile(r"dtype|scalar type|type \(.*should be the same", re.I)


@torch.no_grad()
def check_data(
    pair: Pair, objective: Objective, data: Examples, batch_size: int, name: str = "data"
) -> None:
    """Run the pair and objective on one batch, and hold all data against p(x|z)'s support.

    The pair is left as it was: also what a batch normalisation has counted.

    Raises:
        ValueError: data off the support, shapes or dtypes that do not fit, or what Pyro's own
            validation finds. Any other error of the pair is its own.
    """
    batch = data.batch(slice(0, batch_size))
    before = [(buffer, buffer.clone()) for buffer in pair.buffers()]
    try:
        with pyro.validation_enabled(True):
            for site in _observed_sites(pair, batch):
                if site["value"] is batch:
                    _check_support(site, pair, data, name)
            objective.particles(pair.model, pair.guide, batch)
    except RuntimeError as error:
        if type(error) is not RuntimeError:  # e.g. too little memory on a GPU
            raise
        _raise_if_of_data(error, pair, batch, name)
        raise
    finally:
        for buffer, value in before:
            buffer.copy_(value)


def _raise_if_of_data(error: RuntimeError, pair: Pair, batch: Tensor, name: str) -> None:
    """In words of the data, if it is their dtype or their shape that the pair does not take."""
    told = without_trace(error)
    own = {p.dtype for p in pair.parameters() if p.is_floating_point()}
    if _DTYPES.search(told) and own and own != {batch.dtype}:
        dtypes = ", ".join(sorted(map(str, own)))
        raise ValueError(
            f"{name}: expected the dtype of the networks, {dtypes}; got {batch.dtype}, with which "
            f"the pair ended in: {told}. Convert the data, x.to(…), or the pair, vae.to(…)."
        ) from error
    if _SHAPES.search(told):
        raise ShapeError(
            f"{name}: expected what the pair takes; got shape {list(batch.shape)} in a batch, with "
            f"which it ended in: {told}. Reshape the data or change the networks."
        ) from error


def _observed_sites(pair: Pair, batch: Tensor) -> list[dict[str, Any]]:
    guide_trace = poutine.trace(pair.guide).get_trace(batch)
    replayed = PosteriorMessenger(guide_trace)(poutine.replay(pair.model, trace=guide_trace))
    nodes = prune_subsample_sites(poutine.trace(replayed).get_trace(batch)).nodes.values()
    return [node for node in nodes if node["type"] == "sample" and node["is_observed"]]


def _check_support(site: dict[str, Any], pair: Pair, data: Examples, name: str) -> None:
    own, batch = site["fn"].support, site["value"]
    shared = own.check(batch[0]).dim() == 0  # else each datum may have a support of its own
    start = 0
    for chunk in data.pieces(1000 if shared else len(batch)):
        support = own if shared else _support_for(site["name"], pair, chunk)
        outside = ~support.check(chunk).reshape(len(chunk), -1).all(1)
        if outside.any():
            datum = int(outside.nonzero()[0, 0])
            low, high = chunk[datum].aminmax()
            raise ValueError(
                f"{name} at site {site['name']!r}: expected values in the likelihood's support, "
                f"{support}; got values between {low:.6g} and {high:.6g} in datum "
                f"{start + datum}. Rescale, round or binarise them, or take another likelihood."
            )
        start += len(chunk)


def _support_for(name: str, pair: Pair, x: Tensor) -> Constraint:
    [site] = [site for site in _observed_sites(pair, x) if site["name"] == name]
    return site["fn"].support
