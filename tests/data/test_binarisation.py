"""Binarisation: what is drawn when, from which random state, and on which support."""

from __future__ import annotations

import pytest
import torch

from pyro_vae.data import Binarisation, DataError, Dynamic, Examples, Fixed, Grey, Threshold

EVERY = slice(None)


@pytest.fixture
def grey() -> torch.Tensor:
    return torch.rand(50, 40, generator=torch.Generator().manual_seed(1234))


def test_grey_keeps_the_values(grey: torch.Tensor) -> None:
    shifted = 3 * grey - 1
    assert torch.equal(Examples(shifted).batch(EVERY), shifted)


def test_dynamic_differs_at_each_use_and_follows_the_torch_seed(grey: torch.Tensor) -> None:
    examples = Examples(grey, binarisation=Dynamic())
    torch.manual_seed(1)
    first, second = examples.batch(EVERY), examples.batch(EVERY)
    torch.manual_seed(1)
    assert not torch.equal(first, second)
    assert torch.equal(first, examples.batch(EVERY))
    assert torch.equal(second, examples.batch(EVERY))


def test_dynamic_resumes_from_a_saved_random_state(grey: torch.Tensor) -> None:
    examples = Examples(grey, binarisation=Dynamic())
    examples.batch(EVERY)
    state = torch.get_rng_state()
    expected = examples.batch(EVERY)
    torch.set_rng_state(state)
    assert torch.equal(examples.batch(EVERY), expected)


def test_dynamic_keeps_the_grey_values_it_draws_from(grey: torch.Tensor) -> None:
    examples = Examples(grey, binarisation=Dynamic())
    examples.batch(EVERY)
    assert torch.equal(examples.values, grey)


def test_dynamic_draws_have_the_grey_values_as_means(grey: torch.Tensor) -> None:
    """The squared z-scores of 2,000 pixels, each a mean of 400 draws, average to 1.

    Their average has a standard deviation of about sqrt(2 / 2000) = 0.032 under a right sampler:
    a bound of 0.16 fails for 1 seed in 10^6. The seed is fixed.
    """
    torch.manual_seed(2)
    grey = 0.1 + 0.8 * grey
    examples = Examples(grey, binarisation=Dynamic())
    mean = torch.stack([examples.batch(EVERY) for _ in range(400)]).mean(dim=0)
    squared_score = (mean - grey) ** 2 / (grey * (1 - grey) / 400)
    assert abs(squared_score.mean().item() - 1) < 0.16


def test_fixed_is_one_draw_for_good(grey: torch.Tensor) -> None:
    examples = Examples(grey, binarisation=Fixed(seed=3))
    assert torch.equal(examples.batch(EVERY), examples.batch(EVERY))
    again = Examples(grey, binarisation=Fixed(seed=3))
    other = Examples(grey, binarisation=Fixed(seed=4))
    assert torch.equal(examples.values, again.values)
    assert not torch.equal(examples.values, other.values)


def test_fixed_leaves_the_torch_random_state_alone(grey: torch.Tensor) -> None:
    before = torch.get_rng_state()
    Examples(grey, binarisation=Fixed()).batch(EVERY)
    assert torch.equal(torch.get_rng_state(), before)


def test_fixed_is_independent_of_values_drawn_with_its_seed() -> None:
    """2,000 uniform values give a share of ones of 1/2 ± 0.011: 5 times that fails in 6 of 10^7."""
    values = torch.rand(2000, 1, generator=torch.Generator().manual_seed(0))
    share = Fixed(seed=0).prepare(values).mean().item()
    assert abs(share - 0.5) < 0.056


def test_fixed_draws_with_the_grey_values_as_probabilities() -> None:
    """2,000 draws at each of 5 levels; a bound of 5 standard deviations fails in 3 of 10^6."""
    levels = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    share = Fixed(seed=0).prepare(levels.expand(2000, 5)).mean(dim=0)
    assert torch.all((share - levels).abs() <= 5 * (levels * (1 - levels) / 2000).sqrt())


@pytest.mark.parametrize("level", [0.0, 0.3, 0.5])
def test_threshold_is_strictly_above_its_level(level: float) -> None:
    values = torch.tensor([[0.0, 0.3, 0.4, 0.5, 0.6, 1.0]], dtype=torch.float64)
    drawn = Examples(values, binarisation=Threshold(level)).batch(EVERY)
    assert drawn.tolist() == [[float(v > level) for v in values[0].tolist()]]


@pytest.mark.parametrize("binarisation", [Dynamic(), Fixed(), Threshold()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_are_zeros_and_ones_of_the_same_dtype(
    binarisation: Binarisation, dtype: torch.dtype, grey: torch.Tensor
) -> None:
    drawn = Examples(grey.to(dtype), binarisation=binarisation).batch(EVERY)
    assert drawn.dtype == dtype
    assert drawn.shape == grey.shape
    assert set(drawn.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("binarisation", [Dynamic(), Fixed(), Threshold()])
@pytest.mark.parametrize("off", [-0.25, 1.5])
def test_values_off_the_unit_interval_are_an_error(
    binarisation: Binarisation, off: float, grey: torch.Tensor
) -> None:
    grey[7, 3] = off
    with pytest.raises(DataError, match=rf"values in \[0, 1\] for {type(binarisation).__name__}"):
        Examples(grey, binarisation=binarisation)


def test_the_error_says_the_range_and_what_to_do() -> None:
    with pytest.raises(DataError, match=r"got values in \[0, 255\]\. Rescale .* Grey\(\)"):
        Examples(torch.tensor([[0.0, 255.0]]), binarisation=Dynamic())


@pytest.mark.parametrize("level", [-0.1, 1.0, float("nan")])
def test_a_threshold_that_blanks_every_image_is_an_error(level: float) -> None:
    with pytest.raises(ValueError, match=r"expected a level in \[0, 1\); got"):
        Threshold(level)


def test_binarisations_compare_and_read_as_what_they_are() -> None:
    assert [repr(b) for b in (Grey(), Dynamic(), Fixed(2), Threshold(0.25))] == [
        "Grey()",
        "Dynamic()",
        "Fixed(seed=2)",
        "Threshold(level=0.25)",
    ]
    assert Fixed(1) == Fixed(1) != Fixed(2)
