"""Where the closed evidence departs from log p(x), on pairs whose departure is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from experiments.there_and_back.departure import departure
from experiments.there_and_back.equations import Trained
from experiments.there_and_back.evidence import evidence_of, posterior_mode
from pyro_vae import VAE, FixedVariance, NormalGuide, NormalLikelihood, StandardNormalPrior
from pyro_vae.evaluation import log_evidence, posterior_moments, posterior_precision
from pyro_vae.testing import linear_gaussian

pytestmark = pytest.mark.usefixtures("float64")


def test_a_linear_decoder_with_its_exact_guide_departs_nowhere() -> None:
    pair = linear_gaussian(2, 6, num_data=50, dtype=torch.float64)
    found = departure(Trained(pair, pair.x, pair.x, evidence_cells=256))
    for value in (found.at_mean, found.at_mode, found.distance, found.bend):
        assert value == pytest.approx(0.0, abs=1e-6)


def test_an_encoder_off_the_mode_costs_half_its_squared_distance() -> None:
    """log p(x, z) falls from the mode by ½ δᵀΛδ, and all of it is the encoder's."""
    pair = linear_gaussian(2, 6, num_data=50, dtype=torch.float64)
    with torch.no_grad():
        pair.guide.encoder.bias[:2] += 0.5
    found = departure(Trained(pair, pair.x, pair.x, evidence_cells=512))
    mean, _ = posterior_moments(pair.guide, pair.x)
    precision = posterior_precision(pair.model, pair.x, mean)
    shift = torch.full((2,), 0.5, dtype=torch.float64)
    squared = (shift @ precision[0] @ shift).item()
    assert found.distance == pytest.approx(squared**0.5, rel=1e-6)
    assert found.at_mean - found.at_mode == pytest.approx(-0.5 * squared, rel=1e-6)
    assert found.at_mode == pytest.approx(0.0, abs=1e-6)
    assert found.bend == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("latent", [2, 5])
def test_an_encoder_far_off_does_not_hide_log_p(latent: int) -> None:
    """Three deviations off in each latent, where its own weights miss most of the posterior."""
    torch.manual_seed(0)
    pair = linear_gaussian(latent, 8, num_data=50, dtype=torch.float64)
    with torch.no_grad():
        _, variance = posterior_moments(pair.guide, pair.x[:1])
        pair.guide.encoder.bias[:latent] += 3 * variance[0].sqrt()
    found, exact = evidence_of(pair, pair.x, 4000, 512), pair.log_evidence(pair.x)
    # Means over 50 data, five standard errors: by chance once in 10⁶ seeds.
    assert abs(found.mean() - exact.mean()) < 5 * found.mean_error() + 1e-6
    assert found.mean_error() < 0.01
    own = log_evidence(pair.model, pair.guide, pair.x, num_samples=4000)
    assert (own.value - exact).abs().mean() > 5 * (found.value - exact).abs().mean()


def test_rank_counts_what_the_data_determine() -> None:
    """A decoder of two directions, one of them far below the noise."""
    decoder = nn.Linear(2, 2, dtype=torch.float64)
    with torch.no_grad():
        decoder.weight.copy_(torch.diag(torch.tensor([3.0, 0.1])))
    vae = VAE(
        prior=StandardNormalPrior(2),
        likelihood=NormalLikelihood(decoder, FixedVariance(1.0)),
        guide=NormalGuide(nn.Linear(2, 4, dtype=torch.float64)),
    ).double()
    x = torch.randn(20, 2, dtype=torch.float64)
    assert departure(Trained(vae, x, x, evidence_cells=256)).rank == 1.0


def test_steps_climb_to_the_mode_of_a_bent_decoder() -> None:
    class Bent(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.cat([z.sin(), z + 0.3 * z.square()], -1)

    vae = VAE(
        prior=StandardNormalPrior(1),
        likelihood=NormalLikelihood(Bent(), FixedVariance(0.1)),
        guide=NormalGuide(nn.Linear(2, 2, dtype=torch.float64)),
    ).double()
    torch.manual_seed(0)
    x = torch.randn(30, 2, dtype=torch.float64)
    mode = posterior_mode(vae, x, torch.zeros(30, 1, dtype=torch.float64))
    grid = torch.linspace(-4, 4, 8001, dtype=torch.float64).reshape(-1, 1, 1).expand(-1, 30, 1)
    with torch.no_grad():
        heights = [
            vae.prior().log_prob(z) + vae.likelihood(z).log_prob(x) for z in (mode, *grid.split(1))
        ]
    # No place is higher but where the climb, from zero, ended on the lower of two hills.
    best = torch.cat([h.reshape(1, -1) for h in heights[1:]]).max(0).values
    assert ((heights[0] - best).abs() < 1e-5).double().mean() > 0.8
    slope = torch.autograd.functional.jacobian(
        lambda z: (vae.prior().log_prob(z) + vae.likelihood(z).log_prob(x)).sum(), mode
    )
    assert slope.abs().max() < 1e-4
