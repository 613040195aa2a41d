"""Whether samples are from the density that scores them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy.stats import chi2, chisquare, kstwobign
from torch import Tensor

FALSE_ALARM = 1e-6
"""How often a right distribution fails one test."""

LogProb = Callable[[Tensor], Tensor]


def check_line(log_prob: LogProb, samples: Tensor, low: float, high: float) -> None:
    """Kolmogorov and Smirnov's test on the line, and the integral of the density, which is one.

    Args:
        log_prob: of points [points].
        samples: [samples].
        low, high: where the density has all its mass but for 10⁻⁴.
    """
    grid = torch.linspace(low, high, 40_001, dtype=torch.float64)
    density = log_prob(grid).exp()
    distribution = torch.cumulative_trapezoid(density, grid)
    assert abs(distribution[-1].item() - 1) < 2e-4, distribution[-1]
    ordered = samples.double().sort().values.clamp(low, high)
    at = torch.searchsorted(grid[1:].contiguous(), ordered).clamp(max=len(distribution) - 1)
    found = distribution[at]
    ranks = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    statistic = (found - ranks).abs().max().item() * len(ordered) ** 0.5
    assert kstwobign.sf(statistic - 0.1) > FALSE_ALARM, statistic  # 0.1: the grid, 1/n


def check_plane(
    log_prob: LogProb,
    samples: Tensor,
    low: float = -6.0,
    high: float = 6.0,
    cells: int = 6,
    fine: int = 1200,
) -> None:
    """A chi-square test over cells of the plane, and the integral of the density, which is one.

    Args:
        log_prob: of points [points, 2].
        samples: [samples, 2].
        low, high: a square with all the mass but for 10⁻³.
        cells: of the test, a side.
        fine: points of the integral, a side.
    """
    step = (high - low) / fine
    axis = low + step * (torch.arange(fine, dtype=torch.float64) + 0.5)
    points = torch.cartesian_prod(axis, axis)
    density = log_prob(points).exp().double().reshape(fine, fine)
    mass = density.unflatten(0, (cells, -1)).unflatten(2, (cells, -1)).sum((1, 3)) * step**2
    assert abs(mass.sum().item() - 1) < 2e-3, mass.sum()
    place = ((samples.double() - low) / (high - low) * cells).floor().clamp(0, cells - 1).long()
    counts = torch.bincount(place[:, 0] * cells + place[:, 1], minlength=cells**2).double()
    expected = mass.flatten() / mass.sum() * len(samples)
    many = expected >= 10  # the others together are one cell
    counts = torch.cat([counts[many], counts[~many].sum()[None]])
    expected = torch.cat([expected[many], expected[~many].sum()[None]])
    statistic = ((counts - expected).square() / expected.clamp(min=1e-9)).sum().item()
    assert chi2.sf(statistic, len(counts) - 1) > FALSE_ALARM, (statistic, len(counts))


def check_masses(log_prob: LogProb, samples: Tensor, values: Tensor) -> None:
    """A chi-square test over the values of a discrete variable, whose masses add up to one.

    Args:
        log_prob: of values [values, *event].
        samples: [samples, *event].
        values: all there are, [values, *event], each expected ten times or more.
    """
    mass = log_prob(values).exp().double()
    assert abs(mass.sum().item() - 1) < 1e-6, mass.sum()
    is_value = (samples[:, None] == values).reshape(len(samples), len(values), -1).all(-1)
    counts = is_value.sum(0)
    assert counts.sum() == len(samples), "samples that are none of the values"
    expected = mass / mass.sum() * len(samples)
    assert (expected >= 10).all(), expected
    assert chisquare(counts, expected).pvalue > FALSE_ALARM, (counts, expected)
