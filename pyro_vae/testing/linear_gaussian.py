from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae._shapes import Data, PerDatum
from pyro_vae.guides import NormalGuide
from pyro_vae.likelihoods import FixedVariance, NormalLikelihood
from pyro_vae.priors import StandardNormalPrior
from pyro_vae.vae import VAE

__all__ = ["LinearGaussian", "linear_gaussian"]


class LinearGaussian(VAE):
    """A VAE that is probabilistic PCA (Tipping and Bishop, 1999), with everything known exactly.

    .. math:: z \\sim N(0, I), \\quad x|z \\sim N(Wz + b, σ^2 I)
       \\quad\\Rightarrow\\quad x \\sim N(b, WW^⊤ + σ^2 I), \\quad
       z|x \\sim N(Λ^{-1}W^⊤(x - b)/σ^2, Λ^{-1}), \\quad Λ = I + W^⊤W/σ^2

    Its guide is the best diagonal normal: mean exact, variances 1/Λ_jj. Where the columns of W are
    orthogonal, that is the exact posterior, every bound is log p(x) for every draw, and every
    importance weight is p(x).

    Args:
        weight: W, [data_dim, latent_dim].
        bias: b, [data_dim].
        variance: σ².
        x: data drawn from the model, [num_data, data_dim].
    """

    weight: Tensor
    bias: Tensor
    x: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, variance: float, x: Tensor) -> None:
        latent_dim = weight.shape[1]
        precision = _precision(weight, variance)
        to_mean = torch.linalg.solve(precision, weight.T / variance)
        super().__init__(
            prior=StandardNormalPrior(latent_dim),
            likelihood=NormalLikelihood(_linear(weight, bias), FixedVariance(variance)),
            guide=NormalGuide(_encoder(to_mean, bias, precision)),
        )
        self.to(weight.dtype)
        self.variance = variance
        for name, value in {"weight": weight, "bias": bias, "x": x}.items():
            self.register_buffer(name, value, persistent=False)

    def log_evidence(self, x: Data) -> PerDatum:
        """log p(x), [batch], in nats."""
        return dist.LowRankMultivariateNormal(
            self.bias, self.weight, torch.full_like(self.bias, self.variance)
        ).log_prob(x)

    def posterior(self, x: Data) -> torch.distributions.Distribution:
        """p(z|x), exactly; batch shape ``(batch,)``."""
        precision = _precision(self.weight, self.variance)
        mean = torch.linalg.solve(precision, self.weight.T @ (x - self.bias).T / self.variance).T
        return dist.MultivariateNormal(mean, precision_matrix=precision)

    def optimal_bound(self, x: Data) -> PerDatum:
        """The largest ELBO of a diagonal normal guide, which this guide has, [batch], in nats:

        log p(x) − ½ (Σ_j log Λ_jj − log|Λ|).
        """
        precision = _precision(self.weight, self.variance)
        return self.log_evidence(x) - 0.5 * (precision.diagonal().log().sum() - precision.logdet())


def linear_gaussian(
    latent_dim: int = 2,
    data_dim: int = 5,
    *,
    num_data: int = 20,
    variance: float = 0.5,
    orthogonal: bool = True,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> LinearGaussian:
    """A random :class:`LinearGaussian` and data from it.

    Args:
        latent_dim, data_dim: the sizes of z and x.
        num_data: how many data.
        variance: σ².
        orthogonal: orthogonal columns of W: the guide is then exact. Else the columns share
            a direction, and the guide falls short: by 0.07 nats for the sizes given here.
        seed: of W, b and the data.
        dtype: of everything.

    >>> pair = linear_gaussian()
    >>> pair.x.shape, pair.log_evidence(pair.x).shape
    (torch.Size([20, 5]), torch.Size([20]))
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weight, bias = normal(data_dim, latent_dim), normal(data_dim)
    weight = torch.linalg.qr(weight).Q * torch.linspace(1.0, 2.0, latent_dim).double()
    if not orthogonal:
        # Columns that share a direction: the posterior is correlated, as no diagonal guide is.
        weight = 0.8 * weight + 0.2 * weight.sum(1, keepdim=True)
    noise = variance**0.5 * normal(num_data, data_dim)
    x = normal(num_data, latent_dim) @ weight.T + bias + noise
    return LinearGaussian(weight.to(dtype), bias.to(dtype), variance, x.to(dtype))


def _precision(weight: Tensor, variance: float) -> Tensor:
    """Λ = I + WᵀW/σ², [latent, latent]."""
    return torch.eye(weight.shape[1], dtype=weight.dtype) + weight.T @ weight / variance


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _encoder(to_mean: Tensor, bias: Tensor, precision: Tensor) -> nn.Linear:
    """Means A(x − b), and raw scales whose softplus is 1/√Λ_jj."""
    scale = precision.diagonal().rsqrt()
    raw_scale = scale.expm1().log()
    weight = torch.cat([to_mean, torch.zeros_like(to_mean)])
    return _linear(weight, torch.cat([-to_mean @ bias, raw_scale]))
