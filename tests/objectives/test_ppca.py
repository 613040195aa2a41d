"""For linear networks and σ² = 1 the best BILBO is the evidence of probabilistic PCA.

With centred data of covariance eigenvalues λ (1/N) and n latents, the largest mean log evidence is

    −½ [m log 2π + Σ_{i ≤ n, λ_i > 1} (log λ_i + 1) + Σ_{the rest} λ_i]

(Tipping and Bishop, 1999, at σ² = 1). With Σ = I it is reached at S² = λ by a decoder and an
encoder that both scale the eigenvectors by √((λ − 1)/λ).
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pyro_vae import BILBO, VAE, ConstantNormalGuide, FloatingPrior, NormalLikelihood
from pyro_vae.nn import MLP
from tests.objectives.sigma_points import SigmaPointGuide

pytestmark = pytest.mark.usefixtures("float64")

LATENT, DIM = 2, 4


def random_data(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(DIM, DIM, generator=generator)
    return torch.randn(60, DIM, generator=generator) @ mixing + 3.0


def eigen(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, eigenvalues in descending order, eigenvectors as columns."""
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    return mean, values.flip(0), vectors.flip(1)


def best_evidence(x: Tensor) -> float:
    _, values, _ = eigen(x)
    kept = values[:LATENT][values[:LATENT] > 1]
    explained = (kept.log() + 1).sum() + values.sum() - kept.sum()
    return -0.5 * (DIM * math.log(2 * math.pi) + explained).item()


def linear_vae(guide: type[ConstantNormalGuide]) -> VAE:
    return VAE(
        prior=FloatingPrior(LATENT),
        likelihood=NormalLikelihood(MLP(LATENT, [], DIM)),
        guide=guide(MLP(DIM, [], LATENT)),
    )


def set_optimum(vae: VAE, x: Tensor) -> None:
    mean, values, vectors = eigen(x)
    gain = (1 - 1 / values[:LATENT]).clamp(min=0).sqrt()
    weight = vectors[:, :LATENT] * gain
    decoder, encoder = vae.likelihood.decoder.layers[0], vae.guide.encoder.layers[0]
    with torch.no_grad():
        decoder.weight.copy_(weight)
        decoder.bias.copy_(mean)
        encoder.weight.copy_(weight.T)
        encoder.bias.copy_(-weight.T @ mean)


def exact_bilbo(vae: VAE, x: Tensor) -> Tensor:
    """The mean BILBO with the expected log-likelihood by sigma points: no noise at all."""
    return -BILBO(2 * LATENT).differentiable_loss(vae.model, vae.guide, x) / len(x)


SEEDS = pytest.mark.parametrize("seed", range(4))


@SEEDS
def test_the_closed_form_is_the_evidence_at_its_weights(seed: int) -> None:
    x = random_data(seed)
    mean, values, vectors = eigen(x)
    weight = vectors[:, :LATENT] * (values[:LATENT] - 1).clamp(min=0).sqrt()
    p = torch.distributions.MultivariateNormal(mean, weight @ weight.T + torch.eye(DIM))
    assert p.log_prob(x).mean().item() == pytest.approx(best_evidence(x), abs=1e-10)


@SEEDS
def test_bilbo_at_the_optimum_is_the_evidence(seed: int) -> None:
    x, vae = random_data(seed), linear_vae(SigmaPointGuide)
    set_optimum(vae, x)
    assert exact_bilbo(vae, x).item() == pytest.approx(best_evidence(x), abs=1e-10)


def test_some_of_the_data_has_an_eigenvalue_that_no_latent_explains() -> None:
    """The random data reach both cases of the formula."""
    kept = [int((eigen(random_data(seed))[1][:LATENT] > 1).sum()) for seed in range(4)]
    weak = 0.3 * random_data(0)
    assert max(kept) == LATENT
    assert (eigen(weak)[1][:LATENT] > 1).sum() < LATENT
    vae = linear_vae(SigmaPointGuide)
    set_optimum(vae, weak)
    assert exact_bilbo(vae, weak).item() == pytest.approx(best_evidence(weak), abs=1e-10)


def test_sampled_bilbo_at_the_optimum_averages_to_the_evidence() -> None:
    x, vae = random_data(0), linear_vae(ConstantNormalGuide)
    set_optimum(vae, x)
    bilbo = BILBO(2000)
    particles = bilbo.particles(vae.model, vae.guide, x)
    means = particles.reconstruction.mean(1)
    error = means.std().item() / 2000**0.5
    # 5 standard errors: a false alarm less than once in 10⁶ runs of other seeds.
    assert bilbo.bound(particles).mean().item() == pytest.approx(best_evidence(x), abs=5 * error)


@SEEDS
def test_no_other_weights_exceed_the_evidence(seed: int) -> None:
    x, vae = random_data(seed), linear_vae(SigmaPointGuide)
    best = best_evidence(x)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(5):
            set_optimum(vae, x)
            with torch.no_grad():
                for parameter in vae.parameters():
                    parameter += size * torch.randn_like(parameter)
                assert exact_bilbo(vae, x) < best + 1e-10


@pytest.mark.parametrize("seed", range(2))
def test_training_from_random_weights_reaches_the_evidence_and_never_exceeds_it(seed: int) -> None:
    x, vae = random_data(seed), linear_vae(SigmaPointGuide)
    optimiser = torch.optim.LBFGS(vae.parameters(), max_iter=200, line_search_fn="strong_wolfe")
    bounds: list[float] = []

    def closure() -> Tensor:
        optimiser.zero_grad()
        bound = exact_bilbo(vae, x)
        bounds.append(bound.item())
        (-bound).backward()
        return -bound

    optimiser.step(closure)
    best = best_evidence(x)
    assert bounds[0] < best - 1
    assert max(bounds) <= best + 1e-10
    assert exact_bilbo(vae, x).item() > best - 0.02


@pytest.mark.slow
def test_training_with_sampled_latents_reaches_it_too() -> None:
    x, vae = random_data(0), linear_vae(ConstantNormalGuide)
    x = x - x.mean(0)
    optimiser = torch.optim.Adam(vae.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 300)
    for _ in range(300):
        optimiser.zero_grad()
        (BILBO(4).differentiable_loss(vae.model, vae.guide, x) / len(x)).backward()
        optimiser.step()
        schedule.step()
    judge = linear_vae(SigmaPointGuide)
    judge.load_state_dict(vae.state_dict())
    assert best_evidence(x) - 0.02 < exact_bilbo(judge, x).item() <= best_evidence(x) + 1e-10
