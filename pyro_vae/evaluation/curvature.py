"""The decoder's Jacobian, and what it says of the posterior, in closed form."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae._errors import PairError
from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae._shapes import Data, Latents
from pyro_vae.distributions import Mode
from pyro_vae.objectives import Decoded, decode
from pyro_vae.objectives._objective import Program

__all__ = ["decoder_jacobian", "information_metric", "posterior_precision"]

# Numbers of the Jacobians in one pass: 4 MB, and some times that within, which a processor's cache
# can hold; enough to occupy a GPU.
_AT_ONCE, _AT_ONCE_ON_GPU = 1_000_000, 50_000_000

Matrices = Float[Tensor, "data rows latent"]


def decoder_jacobian(
    model: Program,
    x: Data,
    z: Latents,
    *,
    latent: str = "z",
    site: str = "x",
    mode: Mode | None = None,
) -> Matrices:
    """J = ∂ν/∂z of each datum at its z (Fyffe, eq. 8), [data, m, n], in evaluation mode.

    ν is the parameter that the decoder gives p(x|z): the mean of a normal, the logits of a
    Bernoulli (:func:`~pyro_vae.distributions.location_and_information`), flat, m values. Data go
    through in passes of bounded memory; the result itself takes data · m · n numbers, which
    :func:`information_metric` does without.

    Args:
        model: a Pyro model with one latent vector a datum.
        x: data, [data, *event].
        z: where, [data, latent]: usually the posterior means.
        latent, site: the names of the two sites.
        mode: ``"forward"``, n passes side by side, or ``"reverse"``, m of them; by default what
            takes fewer.

    Raises:
        PairError: a family whose location is not known; a model with another latent site.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> j = decoder_jacobian(pair.model, pair.x, torch.zeros(20, 2))
    >>> torch.allclose(j, pair.weight.expand(20, -1, -1))
    True
    """
    with torch.no_grad(), evaluation_mode(*modules_of(model)):
        passes = parts(model, x, z, latent, site, mode)
        return torch.cat([part.jacobian for _, _, part in passes])


def information_metric(
    model: Program,
    x: Data,
    z: Latents,
    *,
    latent: str = "z",
    site: str = "x",
    mode: Mode | None = None,
) -> Matrices:
    """G = JᵀT⁻¹J of each datum at its z, [data, n, n]: the metric that p(x|z) gives the latents.

    JᵀJ of Fyffe, eq. 10, for unit variances; T⁻¹ is in general the Fisher information of the
    parameter that is decoded, so that Bernoulli likelihoods have a metric as well (the paper's
    "proof of extension", section 4.1). That T may depend on z is left out, as there.

    Arguments and errors as of :func:`decoder_jacobian`.
    """
    with torch.no_grad(), evaluation_mode(*modules_of(model)):
        passes = parts(model, x, z, latent, site, mode)
        return torch.cat([part.metric() for _, _, part in passes])


def posterior_precision(
    model: Program,
    x: Data,
    z: Latents,
    *,
    latent: str = "z",
    site: str = "x",
    mode: Mode | None = None,
) -> Matrices:
    """Λ = S⁻² + JᵀT⁻¹J of each datum at its z, [data, n, n] (Fyffe, eq. 12 and 25).

    At the posterior mean, Λ⁻¹ is the covariance a posterior has where the decoder is linear over
    its width, and which the ELBO's optimum tends to.

    Arguments and errors as of :func:`decoder_jacobian`; and

    Raises:
        PairError: a prior that is not a diagonal normal.
    """
    with torch.no_grad(), evaluation_mode(*modules_of(model)):
        return torch.cat(
            [part.precision() for _, _, part in parts(model, x, z, latent, site, mode)]
        )


def parts(
    model: Program,
    x: Tensor,
    z: Tensor,
    latent: str = "z",
    site: str = "x",
    mode: Mode | None = None,
) -> Iterator[tuple[Tensor, Tensor, Decoded]]:
    """Data and latents in passes of bounded memory, each with what the model makes of it."""
    most = _AT_ONCE_ON_GPU if x.device.type == "cuda" else _AT_ONCE
    size = max(1, most // (z.shape[-1] * x[0].numel()))
    _check_that_no_other_is_drawn(model, x[:size], z[:size], latent)
    for data, latents in zip(x.split(size), z.split(size), strict=True):
        yield data, latents, decode(model, data, latents, latent, site, mode)


def _check_that_no_other_is_drawn(model: Program, x: Tensor, z: Tensor, latent: str) -> None:
    given = poutine.condition(model, data={latent: z})
    with forked_rng(0, x.device):
        trace = prune_subsample_sites(poutine.trace(given).get_trace(x))
    if trace.stochastic_nodes:
        raise PairError(
            f"model: expected one latent site, {latent!r}; got {sorted(trace.stochastic_nodes)} "
            "beside it, of which the decoder has no derivative here. Condition the model on it "
            "(poutine.condition), or make one site of them."
        )
