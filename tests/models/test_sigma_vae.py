"""The Σ-VAE limit and the Gaussian channel (Yu, sections 3.3 and 4.3)."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from pyro.nn import DenseNN
from torch import Tensor, nn

from pyro_vae import (
    ELBO,
    VAE,
    FixedVariance,
    FullCovarianceGuide,
    InverseFlowGuide,
    NormalLikelihood,
    StandardNormalPrior,
)

pytestmark = pytest.mark.usefixtures("float64")


def flow() -> transforms.AffineCoupling:
    # Smooth: where a decoder has kinks, the rate is that of their being met, ε.
    torch.manual_seed(0)
    network = DenseNN(1, [16], param_dims=[1, 1], nonlinearity=nn.Tanh())
    found = transforms.AffineCoupling(1, network)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(1.5)
    return found.double()


def sigma_vae(f: transforms.AffineCoupling, epsilon: float) -> VAE:
    class Decoder(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return f(z)

    return VAE(
        prior=StandardNormalPrior(2),
        likelihood=NormalLikelihood(Decoder(), FixedVariance(epsilon**2)),
        guide=InverseFlowGuide(f, epsilon),
    ).double()


def exact_nll(f: transforms.AffineCoupling, x: Tensor) -> Tensor:
    base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    return -dist.TransformedDistribution(base, [f]).log_prob(x).mean()


@torch.no_grad()
def bound(vae: VAE, x: Tensor) -> Tensor:
    """The mean ELBO, with ½|u|² as a control variate, u the standard normal noise of z."""
    objective = ELBO(400, analytic_kl=True)
    particles = objective.particles(vae.model, vae.guide, x)
    [site] = particles.latents
    away = (site.value - site.q.mean)[..., None]
    u = torch.linalg.solve_triangular(
        site.q.scale_tril.expand(*away.shape[:-1], 2), away, upper=False
    )
    correction = 0.5 * (u.square().sum((-1, -2)) - 2)
    return (particles.reconstruction + correction - objective.kl(particles)).mean()


def test_the_negative_elbo_tends_to_the_flows_nll_with_the_square_of_epsilon() -> None:
    f = flow()
    torch.manual_seed(1)
    with torch.no_grad():
        x = f(torch.randn(200, 2)).clone()
        exact = exact_nll(f, x)
    gaps = []
    for epsilon in (0.04, 0.02, 0.01):
        vae = sigma_vae(f, epsilon)
        torch.manual_seed(2)
        gaps.append((-bound(vae, x) - exact).item())
    rates = [math.log2(gaps[0] / gaps[1]), math.log2(gaps[1] / gaps[2])]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert rates == pytest.approx([2.0, 2.0], abs=0.4)


def test_the_guides_covariance_is_the_inverse_jacobians() -> None:
    f, epsilon = flow(), 0.1
    x = torch.randn(3, 2)
    q = InverseFlowGuide(f, epsilon).posterior(x)
    for datum, mean, covariance in zip(x, q.mean, q.covariance_matrix, strict=True):
        torch.testing.assert_close(f(mean[None])[0], datum)
        j = torch.autograd.functional.jacobian(lambda z: f(z[None])[0], mean)
        inverse = torch.linalg.inv(j)
        torch.testing.assert_close(covariance, epsilon**2 * inverse @ inverse.mT)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan])
def test_epsilon_is_positive(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon: expected a positive"):
        InverseFlowGuide(flow(), epsilon)


@pytest.mark.parametrize("noise", [0.01, 0.3, 0.9])
def test_the_kl_of_a_gaussian_channel_is_d_times_its_capacity(noise: float) -> None:
    # Yu, eq. 35–38: with N + |μ|²/d = 1, KL(N(μ, N I) ‖ N(0, I)) = d R, R = −½ log N.
    d = 7
    torch.manual_seed(0)
    direction = torch.randn(d)
    mean = direction / direction.norm() * math.sqrt(d * (1 - noise))
    q = dist.Normal(mean, math.sqrt(noise)).to_event(1)
    kl = torch.distributions.kl_divergence(q, StandardNormalPrior(d).double()())
    assert kl.item() == pytest.approx(-0.5 * d * math.log(noise))


def test_a_full_covariance_guide_can_be_that_posterior() -> None:
    # The family contains the limit: an encoder that gives f⁻¹(x) and the factor of ε²J⁻¹J⁻ᵀ.
    f, epsilon = flow(), 0.05
    x = torch.randn(4, 2)
    target = InverseFlowGuide(f, epsilon).posterior(x)
    raw = target.scale_tril.clone()
    diagonal = torch.arange(2)
    raw[:, diagonal, diagonal] = raw[:, diagonal, diagonal].expm1().log()
    rows, columns = torch.tril_indices(2, 2)

    class Encoder(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([target.mean, raw[:, rows, columns]], -1)

    q = FullCovarianceGuide(Encoder()).posterior(x)
    assert torch.distributions.kl_divergence(q, target).abs().max() < 1e-6
