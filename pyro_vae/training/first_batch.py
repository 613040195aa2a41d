"""A dry run on the first data: what does not fit is said before training begins."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae._handlers import PosteriorMessenger
from pyro_vae.objectives import Objective
from pyro_vae.vae import Pair

__all__ = ["check_data"]


@torch.no_grad()
def check_data(pair: Pair, objective: Objective, x: Tensor, batch_size: int) -> None:
    """Run the pair and objective on one batch, and hold all of ``x`` against p(x|z)'s support.

    Raises:
        ValueError: data off the support, shapes that do not fit, or what Pyro's own validation
            finds.
    """
    batch = x[:batch_size]
    with pyro.validation_enabled(True):
        for site in _observed_sites(pair, batch):
            _check_support(site, x if site["value"] is batch else site["value"])
        objective.particles(pair.model, pair.guide, batch)


def _observed_sites(pair: Pair, batch: Tensor) -> list[dict[str, Any]]:
    guide_trace = poutine.trace(pair.guide).get_trace(batch)
    replayed = PosteriorMessenger(guide_trace)(poutine.replay(pair.model, trace=guide_trace))
    nodes = prune_subsample_sites(poutine.trace(replayed).get_trace(batch)).nodes.values()
    return [node for node in nodes if node["type"] == "sample" and node["is_observed"]]


def _check_support(site: dict[str, Any], x: Tensor) -> None:
    support = site["fn"].support
    inside = torch.cat([support.check(chunk) for chunk in x.split(1000)])
    if not inside.all():
        datum = int((~inside).nonzero()[0, 0])
        raise ValueError(
            f"data at site {site['name']!r}: expected values in the likelihood's support, "
            f"{support}; got values between {x[datum].min():.6g} and {x[datum].max():.6g} in datum "
            f"{datum}. Rescale or binarise the data, or take another likelihood."
        )
