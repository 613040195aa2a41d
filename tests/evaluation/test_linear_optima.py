"""Linear VAEs trained to their optimum: PPCA's evidence, what is kept of data and what collapses.

Fyffe, "On Memorization" (section 6) and eq. 24; Tipping and Bishop (1999) for PPCA. Everything is
deterministic: optima are found by L-BFGS in double precision on data whose second moments are
exact, and where a bound draws latents, it draws the same ones each time.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pyro_vae import (
    BILBO,
    ELBO,
    VAE,
    ConstantNormalGuide,
    FixedVariance,
    FloatingPrior,
    LaplaceEvidence,
    NormalGuide,
    NormalLikelihood,
    Objective,
    StandardNormalPrior,
    update_statistics,
)

pytestmark = pytest.mark.usefixtures("float64")

SIZE = 5


def data_of(variances: Tensor, count: int = 60) -> Tensor:
    """Data with mean zero and covariance diag(variances), exactly, [count, data]."""
    centred = torch.randn(count, len(variances), generator=torch.Generator().manual_seed(1))
    centred = centred - centred.mean(0)
    return torch.linalg.qr(centred).Q * (count * variances).sqrt()


def likelihood(latent: int, variance: float = 1.0) -> NormalLikelihood:
    return NormalLikelihood(nn.Linear(latent, SIZE, bias=False), FixedVariance(variance))


def learned(variance: float) -> VAE:
    torch.manual_seed(0)
    return VAE(
        prior=StandardNormalPrior(SIZE),
        likelihood=likelihood(SIZE, variance),
        guide=NormalGuide(nn.Linear(SIZE, 2 * SIZE)),
    )


def constant(latent: int) -> VAE:
    torch.manual_seed(0)
    return VAE(
        prior=FloatingPrior(latent),
        likelihood=likelihood(latent),
        guide=ConstantNormalGuide(nn.Linear(SIZE, latent), 1.0),
    )


def maximise(vae: VAE, objective: Objective, x: Tensor, calls: int = 400) -> float:
    """The bound at its maximum, a mean over the data; the weights are there."""
    parameters = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=calls, tolerance_change=1e-13, line_search_fn="strong_wolfe"
    )
    vae.train()

    def closure() -> Tensor:
        optimizer.zero_grad()
        torch.manual_seed(0)
        loss = objective.differentiable_loss(vae.model, vae.guide, x) / len(x)
        loss.backward()
        return loss

    optimizer.step(closure)
    return -closure().item()


def ppca_log_likelihood(variances: Tensor, latent: int, noise: float = 1.0) -> float:
    """The largest mean log p(x) of PPCA with σ² = noise given: each of the first directions has
    the model variance max(λ, σ²), the others σ²."""
    kept = variances.sort(descending=True).values
    model = torch.full_like(kept, noise)
    model[:latent] = kept[:latent].clamp(min=noise)
    return -0.5 * (len(kept) * math.log(2 * math.pi) + (model.log() + kept / model).sum().item())


@pytest.mark.parametrize("noise", [1.0, 0.5])
def test_what_varies_less_than_the_likelihood_collapses_and_the_rest_shrinks(noise: float) -> None:
    """E[eq. 16] is largest, with S = I and n = m, where a direction of variance v has
    |J|² = max(v − σ², 0) and the reconstruction max(1 − σ²/v, 0) times the datum."""
    variances = noise * torch.tensor([6.0, 3.0, 1.5, 0.7, 0.2])
    x = data_of(variances)
    vae = learned(noise)
    evidence = maximise(vae, LaplaceEvidence(), x)
    assert evidence == pytest.approx(ppca_log_likelihood(variances, SIZE, noise), abs=1e-6)
    j = vae.likelihood.decoder.weight.detach()
    close = {"atol": 2e-3, "rtol": 0.0}
    torch.testing.assert_close(j @ j.T, torch.diag((variances - noise).clamp(min=0)), **close)
    kept = (1 - noise / variances).clamp(min=0)
    torch.testing.assert_close(vae.reconstruct(x).detach(), x * kept, **close)
    # Of the latents two directions are left without data: means are zero along them.
    means = vae.guide.posterior(x).mean.detach()
    moments = torch.linalg.eigvalsh(means.T @ means / len(x)).flip(0)
    torch.testing.assert_close(moments, kept, **close)


def test_the_elbo_collapses_the_same_directions() -> None:
    """With 400 latents a datum, the same at each call, which are off the expectation by some per
    cent: the seed is fixed."""
    variances = torch.tensor([6.0, 3.0, 1.5, 0.7, 0.2])
    x = data_of(variances)
    vae = learned(1.0)
    bound = maximise(vae, ELBO(400, analytic_kl=True), x)
    assert bound == pytest.approx(ppca_log_likelihood(variances, SIZE), abs=0.02)
    j = vae.likelihood.decoder.weight.detach()
    expected = torch.diag((variances - 1).clamp(min=0))
    torch.testing.assert_close(j @ j.T, expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("latent", [2, 4])
def test_the_bilbos_optimum_is_ppcas_evidence(latent: int) -> None:
    """At σ² = 1, though no posterior has the variance of its own that PPCA's have: S² is free, and
    scales take its place. With the fourth latent one direction of less variance than the noise."""
    variances = torch.tensor([6.0, 3.0, 1.5, 0.7, 0.2])
    x = data_of(variances)
    vae = constant(latent)
    bound = maximise(vae, BILBO(400), x)
    expected = ppca_log_likelihood(variances, latent)
    assert bound == pytest.approx(expected, abs=0.02)
    # And the model it leaves, exactly: x ~ N(0, W S² Wᵀ + I), which none can be better than.
    update_statistics(vae.model, vae.guide, x)
    vae.eval()
    w = vae.likelihood.decoder.weight.detach() * vae.prior().stddev.detach()
    covariance = w @ w.T + torch.eye(SIZE)
    found = -0.5 * (
        SIZE * math.log(2 * math.pi)
        + torch.logdet(covariance)
        + (torch.linalg.inv(covariance) * (x.T @ x / len(x))).sum()
    )
    assert expected - 1e-3 <= found.item() <= expected + 1e-9
