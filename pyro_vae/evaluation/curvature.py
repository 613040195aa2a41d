"""The decoder's Jacobian, and what it says of the posterior, in closed form."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae._errors import PairError, ShapeError
from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae._shapes import Data, Latents, check_some
from pyro_vae.distributions import Mode, normal_moments
from pyro_vae.objectives import Decoded, decode
from pyro_vae.objectives._objective import Program

__all__ = ["decoder_jacobian", "information_metric", "posterior_precision"]

# Numbers of the Jacobians in one pass: 4 MB, and some times that within, which a processor's cache
# can hold; enough to occupy a GPU.
_AT_ONCE, _AT_ONCE_ON_GPU = 1_000_000, 50_000_000

Matrices = Float[Tensor, "data rows latent"]
Pass = tuple[Tensor, Tensor, Decoded]
"""Data, their latents, and what the model makes of them."""


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
        PairError: a family whose location is not known; a model with another latent site, or
            without one of the two sites.
        ShapeError: no data, latents of another number than the data, or a decoder that does not
            take directions side by side (see :class:`~pyro_vae.nn.LeadingShape`).
        ValueError: another mode.

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
        passes = parts(model, x, z, latent, site, mode)
        return torch.cat([part.precision() for _, _, part in of_normal_prior(passes)])


def of_normal_prior(passes: Iterator[Pass]) -> Iterator[Pass]:
    """The same passes; ``PairError`` for a prior that is no diagonal normal."""
    for data, latents, part in passes:
        normal_moments(part.prior, "prior")
        yield data, latents, part


def check_positive(variance: Tensor, where: str) -> None:
    """``ValueError`` for a variance that is not positive and finite."""
    if not ((variance > 0) & variance.isfinite()).all():
        low, high = variance.aminmax()  # NaN where one is
        raise ValueError(
            f"{where}: expected positive, finite variances; got values between {low:.6g} and "
            f"{high:.6g}. Take variances, not their logarithms, and none of zero."
        )


def parts(
    model: Program,
    x: Tensor,
    z: Tensor,
    latent: str = "z",
    site: str = "x",
    mode: Mode | None = None,
) -> Iterator[Pass]:
    """Data and latents in passes of bounded memory, each with what the model makes of it."""
    check_some(x)
    _check_one_each(x, z)
    most = _AT_ONCE_ON_GPU if x.device.type == "cuda" else _AT_ONCE
    size = max(1, most // (z.shape[-1] * x[0].numel()))
    _check_sites(model, x[:size], z[:size], latent, site)
    for data, latents in zip(x.split(size), z.split(size), strict=True):
        yield data, latents, decode(model, data, latents, latent, site, mode)


def _check_one_each(x: Tensor, z: Tensor) -> None:
    if z.dim() != 2 or len(z) != len(x):
        raise ShapeError(
            f"z: expected one latent vector for each of {len(x)} data, [{len(x)}, latent]; got "
            f"shape {list(z.shape)}. Take e.g. the means of posterior_moments(guide, x)."
        )


def _check_sites(model: Program, x: Tensor, z: Tensor, latent: str, site: str) -> None:
    given = poutine.condition(model, data={latent: z})
    with forked_rng(0, x.device):
        trace = prune_subsample_sites(poutine.trace(given).get_trace(x))
    check_there(trace, "model", latent, site)
    if trace.stochastic_nodes:
        raise PairError(
            f"model: expected one latent site, {latent!r}; got {sorted(trace.stochastic_nodes)} "
            "beside it, of which the decoder has no derivative here. Condition the model on it "
            "(poutine.condition), or make one site of them."
        )


def check_there(trace: Trace, where: str, *names: str) -> None:
    """``PairError`` for a site that a program does not have; it lists those it has."""
    nodes = prune_subsample_sites(trace).nodes
    there = [name for name, node in nodes.items() if node["type"] == "sample"]
    for name in names:
        if name not in there:
            raise PairError(
                f"{where}: expected a site {name!r}; got {there}. Name one of them: latent= for "
                "what is drawn, site= for what is observed."
            )
