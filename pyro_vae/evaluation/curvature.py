"""The decoder's Jacobian, and what it says of the posterior, in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae._modes import evaluation_mode
from pyro_vae._shapes import Data, Latents
from pyro_vae.distributions import Mode, jacobian, location_and_information, normal_moments

__all__ = ["decoder_jacobian", "information_metric", "posterior_precision"]

# Numbers of the Jacobians in one pass: 4 MB, and some times that within, which a processor's cache
# can hold; enough to occupy a GPU.
_AT_ONCE, _AT_ONCE_ON_GPU = 1_000_000, 50_000_000

Matrices = Float[Tensor, "data rows latent"]


def decoder_jacobian(
    model: nn.Module,
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
        PairError: a family whose location is not known.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> j = decoder_jacobian(pair.model, pair.x, torch.zeros(20, 2))
    >>> torch.allclose(j, pair.weight.expand(20, -1, -1))
    True
    """
    with torch.no_grad(), evaluation_mode(model):
        passes = parts(model, x, z, latent, site, mode)
        return torch.cat([part.jacobian for _, _, part in passes])


def information_metric(
    model: nn.Module,
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
    with torch.no_grad(), evaluation_mode(model):
        passes = parts(model, x, z, latent, site, mode)
        return torch.cat([part.metric() for _, _, part in passes])


def posterior_precision(
    model: nn.Module,
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
    with torch.no_grad(), evaluation_mode(model):
        return torch.cat(
            [part.precision() for _, _, part in parts(model, x, z, latent, site, mode)]
        )


@dataclass(frozen=True)
class Decoded:
    """A model run at given latents, and its derivative there."""

    prior: Distribution
    likelihood: Distribution
    jacobian: Tensor
    """[batch, m, n]."""

    def metric(self) -> Tensor:
        """JᵀT⁻¹J, [batch, n, n]."""
        _, information = location_and_information(self.likelihood)
        return self.jacobian.mT @ (information.flatten(1).unsqueeze(-1) * self.jacobian)

    def precision(self) -> Tensor:
        """S⁻² + JᵀT⁻¹J, [batch, n, n]."""
        _, variance = normal_moments(self.prior)
        return torch.diag_embed(variance.reciprocal()) + self.metric()


def decode(
    model: Callable[..., object],
    x: Tensor,
    z: Tensor,
    latent: str = "z",
    site: str = "x",
    mode: Mode | None = None,
) -> Decoded:
    """One batch; differentiable where gradients are on."""
    outputs = x[0].numel()
    chosen: Mode = mode or ("forward" if z.shape[-1] <= outputs else "reverse")
    location = partial(_location, model, x, latent=latent, site=site)
    nodes = _nodes(model, x, z, latent)
    return Decoded(nodes[latent]["fn"], nodes[site]["fn"], jacobian(location, z, mode=chosen))


def parts(
    model: nn.Module,
    x: Tensor,
    z: Tensor,
    latent: str = "z",
    site: str = "x",
    mode: Mode | None = None,
) -> Iterator[tuple[Tensor, Tensor, Decoded]]:
    """Data and latents in passes of bounded memory, each with what the model makes of it."""
    most = _AT_ONCE_ON_GPU if x.device.type == "cuda" else _AT_ONCE
    size = max(1, most // (z.shape[-1] * x[0].numel()))
    for data, latents in zip(x.split(size), z.split(size), strict=True):
        yield data, latents, decode(model, data, latents, latent, site, mode)


def _location(
    model: Callable[..., object], x: Tensor, z: Tensor, *, latent: str, site: str
) -> Tensor:
    """The decoded parameter at latents [..., batch, n], flat: [..., batch, m]."""
    p = _nodes(model, x, z, latent)[site]["fn"]
    location, _ = location_and_information(p)
    return location.flatten(z.dim() - 1)


def _nodes(model: Callable[..., object], x: Tensor, z: Tensor, latent: str) -> dict[str, dict]:
    """The model's sites, with latents [..., batch, n] for the batch x; at most one more plate."""
    given = poutine.condition(model, data={latent: z})
    if z.dim() == 2:
        return poutine.trace(given).get_trace(x).nodes
    with pyro.plate("directions", z.shape[0], dim=-2):
        return poutine.trace(given).get_trace(x).nodes
