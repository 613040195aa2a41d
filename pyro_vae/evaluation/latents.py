from __future__ import annotations

import torch
from pyro import poutine
from torch import Tensor

from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae._shapes import Data, check_some
from pyro_vae.distributions import mean_and_variance
from pyro_vae.evaluation.curvature import check_there
from pyro_vae.objectives._objective import Program

__all__ = ["posterior_moments"]


@torch.no_grad()
def posterior_moments(
    guide: Program, x: Data, *, site: str = "z", batch_size: int = 1000
) -> tuple[Tensor, Tensor]:
    """Mean and variance of q(z|x), each [data, *event] (of a vector [data, latent]), in
    evaluation mode.

    Of 1,000 draws where the posterior knows none in closed form, as a flow does not.

    Args:
        guide: a guide, a module or a function of x.
        x: data, [data, *event].
        site: the latent site.
        batch_size: data at a time.

    Raises:
        PairError: a guide without that site.
        ShapeError: no data.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> mean, variance = posterior_moments(pair.guide, pair.x)
    >>> torch.allclose(mean, pair.posterior(pair.x).mean, atol=1e-5)
    True
    """
    check_some(x)
    with evaluation_mode(*modules_of(guide)), forked_rng(0, x.device):
        traces = [poutine.trace(guide).get_trace(batch) for batch in x.split(batch_size)]
        for trace in traces:
            check_there(trace, "guide", site)
        moments = [mean_and_variance(trace.nodes[site]["fn"]) for trace in traces]
    mean, variance = (torch.cat(part) for part in zip(*moments, strict=True))
    return mean, variance
