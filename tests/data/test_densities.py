"""Densities on the plane: samples from the density that scores them, exact entropies, streams."""

from __future__ import annotations

import math

import pytest
import torch

from pyro_vae.data.densities import (
    DENSITIES,
    Checkerboard,
    Density,
    EightGaussians,
    GaussianRing,
    TwoSpirals,
)
from tests.models.goodness import check_plane

over_densities = pytest.mark.parametrize(
    "density", [*(make() for make in DENSITIES.values()), GaussianRing(3)], ids=repr
)


@over_densities
def test_samples_are_from_the_density_which_integrates_to_one(density: Density) -> None:
    torch.manual_seed(0)
    samples = density.sample(40_000)
    assert samples.shape == (40_000, 2)
    check_plane(lambda x: density.log_prob(x.double()), samples, -0.75, 0.75, cells=12, fine=240)


@over_densities
def test_the_entropy_is_the_mean_surprise_of_samples(density: Density) -> None:
    torch.manual_seed(0)
    surprise = -density.log_prob(density.sample(50_000).double())
    error = surprise.std().item() / 50_000**0.5
    assert abs(surprise.mean().item() - density.entropy) <= 5 * error + 1e-6  # once in 10⁶


def test_the_entropy_of_eight_gaussians_is_that_of_one_and_of_which_it_is() -> None:
    """H = log 8 + log 2πeσ² − H(which | x), the last term a small one with a small variance."""
    density, sigma = EightGaussians(), 0.5 / (8 * math.sqrt(2))
    torch.manual_seed(0)
    angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
    centre = 4 / (8 * math.sqrt(2)) * torch.stack([angle.cos(), angle.sin()], -1)
    x = centre[0] + sigma * torch.randn(400_000, 2, dtype=torch.float64)
    log_odds = -(x[:, None] - centre).square().sum(-1) / (2 * sigma**2)
    surprise = log_odds.logsumexp(-1) - log_odds[:, 0]
    error = surprise.std().item() / 400_000**0.5
    whole = math.log(8) + math.log(2 * math.pi * math.e * sigma**2)
    assert abs(whole - surprise.mean().item() - density.entropy) < 5 * error  # once in 10⁶
    assert error < 3e-4


@pytest.mark.parametrize("density", [EightGaussians(), TwoSpirals()], ids=repr)
def test_a_finer_grid_gives_the_same_entropy(density: Density) -> None:
    finer = type(density)()
    finer.grid_step = density.grid_step / 2
    assert finer.entropy == pytest.approx(density.entropy, abs=1e-6)


def test_the_entropy_of_the_densities_of_the_paper_is_what_it_was() -> None:
    assert EightGaussians().entropy == pytest.approx(-1.32730472283, abs=1e-9)
    assert TwoSpirals().entropy == pytest.approx(-1.61826518659, abs=1e-9)
    assert Checkerboard().entropy == -math.log(2)


@pytest.mark.parametrize(
    "options",
    [
        {"radius": 1.0},
        {"deviation": 0.002},
        {"radius": 1e3, "deviation": 1e-3},
        {"radius": 1e-4, "deviation": 1e-6},
    ],
    ids=str,
)
@pytest.mark.parametrize("components", [1, 2, 8])
def test_the_entropy_of_normals_far_apart_is_that_of_one_and_of_which_it_is(
    components: int, options: dict[str, float]
) -> None:
    density = GaussianRing(components, **options)
    whole = math.log(components) + math.log(2 * math.pi * math.e * density.deviation**2)
    assert density.entropy == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
@pytest.mark.parametrize(("components", "deviation"), [(2, 0.2), (8, 0.1), (8, 0.4), (50, 0.02)])
def test_the_entropy_of_normals_that_overlap_is_their_mean_surprise_in_any_unit(
    components: int, deviation: float, scale: float
) -> None:
    density = GaussianRing(components, radius=0.35 * scale, deviation=deviation * scale)
    torch.manual_seed(0)
    surprise = -density.log_prob(density.sample(50_000, dtype=torch.float64))
    error = surprise.std().item() / 50_000**0.5
    assert abs(surprise.mean().item() - density.entropy) <= 5 * error  # once in 10⁶
    finer = GaussianRing(components, radius=0.35 * scale, deviation=deviation * scale)
    finer.grid_step = density.grid_step / 2
    assert finer.entropy == pytest.approx(density.entropy, abs=1e-6)


def test_many_normals_far_out_take_no_more_memory_or_time() -> None:
    density = GaussianRing(1000, radius=1e4, deviation=0.01)
    whole = math.log(1000) + math.log(2 * math.pi * math.e * 1e-4)
    assert density.entropy == pytest.approx(whole, abs=1e-9)


def test_the_spirals_density_is_the_integral_along_the_arms() -> None:
    density = TwoSpirals()
    x = density.sample(20).double()
    n = torch.linspace(0, 3 * math.pi, 400_001, dtype=torch.float64)
    arm = torch.stack([-n * n.cos(), n * n.sin()], -1) / 24
    for point in x:
        each = [
            torch.exp(-(point - sign * arm).square().sum(-1) / (2 * 0.0125**2)) for sign in (1, -1)
        ]
        integrand = (each[0] + each[1]) * n / (3 * math.pi) ** 2 / (2 * math.pi * 0.0125**2)
        expected = torch.trapezoid(integrand, n).log()
        torch.testing.assert_close(density.log_prob(point[None])[0], expected, atol=1e-7, rtol=0)


def test_the_checkerboard_has_eight_cells() -> None:
    centres = (torch.arange(4) + 0.5) / 4 - 0.5
    grid = torch.cartesian_prod(centres, centres)
    inside = Checkerboard().log_prob(grid).isfinite().reshape(4, 4)
    assert inside.sum() == 8
    assert (inside == inside.flip(0).flip(1)).all()
    outside = torch.tensor([[0.6, 0.0], [0.0, -0.51]])
    assert (Checkerboard().log_prob(outside) == -math.inf).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("steps", [0, 1, -1, -2, -3, -4])
def test_the_checkerboard_scores_its_own_samples_at_the_ends_of_a_cell(
    steps: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The least and the largest that torch.rand gives: one in 10⁷ was rounded into the next cell.
    uniform = (steps < 0) + steps * torch.finfo(dtype).eps / 2
    monkeypatch.setattr(torch, "rand", lambda *size, **kind: torch.full(size, uniform, **kind))
    x = Checkerboard().sample(200, dtype=dtype)
    assert Checkerboard().log_prob(x).isfinite().all()
    assert Checkerboard().log_prob(x.double()).isfinite().all()
    assert len(((x + 0.5) * 4).floor().unique(dim=0)) == 8


@over_densities
def test_a_stream_is_new_at_each_use_in_the_precision_asked_for(density: Density) -> None:
    stream = density.stream(100)
    assert len(stream) == 100
    index = torch.arange(10)
    torch.manual_seed(0)
    one, two = stream.batch(index), stream.batch(index)
    assert not torch.equal(one, two)
    torch.manual_seed(0)
    assert torch.equal(stream.batch(index), one)
    assert density.sample(3, dtype=torch.float64).dtype == torch.float64
    assert density.log_prob(density.sample(6).reshape(2, 3, 2)).shape == (2, 3)


@pytest.mark.parametrize(
    "options",
    [{"components": 0}, {"components": 2, "radius": 0.0}, {"components": 2, "deviation": -1}],
)
def test_a_ring_without_size_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="≥ 1 component and positive sizes"):
        GaussianRing(**options)
