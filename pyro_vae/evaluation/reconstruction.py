from __future__ import annotations

import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae._shapes import Data, PerDatum, check_some
from pyro_vae.distributions import mean_and_variance
from pyro_vae.objectives._objective import Program

__all__ = ["reconstruction_error"]


@torch.no_grad()
def reconstruction_error(
    model: Program, guide: Program, x: Data, *, site: str = "x", batch_size: int = 1000
) -> PerDatum:
    """Mean squared error of the reconstruction, over the dimensions of each datum, [data]:

    .. math:: \\tfrac1d\\,|x - E[x|z = E_q[z]]|^2

    the decoder's mean at the posterior's mean (of 1,000 draws where a posterior, such as a flow,
    knows none in closed form), in squared units of the data. It says how close,
    not how likely: for that see :func:`bound_terms` (Yu, section 5.1).

    Args:
        model, guide: the pair, modules or functions of x.
        x: data, [data, *event].
        site: the observed site.
        batch_size: data at a time.

    Raises:
        ShapeError: no data.
    """
    check_some(x)
    with evaluation_mode(*modules_of(model, guide)), forked_rng(0, x.device):
        return torch.cat([_errors(model, guide, batch, site) for batch in x.split(batch_size)])


def _errors(model: Program, guide: Program, x: Tensor, site: str) -> Tensor:
    sampled = prune_subsample_sites(poutine.trace(guide).get_trace(x))
    posteriors = {name: sampled.nodes[name]["fn"] for name in sampled.stochastic_nodes}
    means = {name: mean_and_variance(q)[0] for name, q in posteriors.items()}
    trace = poutine.trace(poutine.condition(model, data=means)).get_trace(x)
    return (x - trace.nodes[site]["fn"].mean).square().flatten(1).mean(1)
