"""Calibration and predictive checks: what is drawn is what was given; what cannot be says why."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy.stats import binom

from pyro_vae.figures.calibration import coverage, predictive_check, rank_ecdf, rank_histogram
from pyro_vae.figures.files import save
from pyro_vae.figures.style import METHOD_COLOURS

POINTS = np.arange(1, 20) / 20
BAND = POINTS - 0.1, POINTS + 0.1
CURVES = {"z[0]": POINTS, "z[1]": POINTS**2, "z[2]": POINTS + 0.02, "z[3]": POINTS**0.8}
BLUE = METHOD_COLOURS[0].lower()


def drawn(axes, colour: str) -> list[np.ndarray]:
    return [np.asarray(li.get_ydata()) for li in axes.lines if to_hex(li.get_color()) == colour]


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def edges_of_band(axes, at: float) -> list[float]:
    [band] = axes.collections
    vertices = band.get_paths()[0].vertices
    return sorted({float(y.round(12)) for x, y in vertices if np.isclose(x, at)})


def test_ecdf_panels_are_of_the_furthest_with_the_others_in_grey():
    figure = rank_ecdf(CURVES, POINTS, BAND, most=2)
    assert titles(figure) == ["(a) z[1]", "(b) z[3]"]
    for axes, name in zip(figure.axes, ["z[1]", "z[3]"], strict=True):
        [line] = drawn(axes, BLUE)
        np.testing.assert_allclose(line, [0, *(CURVES[name] - POINTS), 0])
        assert len(drawn(axes, "#b0b0b0")) == 3
        np.testing.assert_allclose(edges_of_band(axes, 0.5), [-0.1, 0.1])
        low, high = axes.get_ylim()
        assert low < -0.25 < 0.25 < high
    assert legend(figure) == ["ranks", "the others", "uniform ranks"]


def test_one_ecdf_stands_alone():
    figure = rank_ecdf({"z": POINTS}, POINTS, BAND)
    assert titles(figure) == ["z"]
    assert legend(figure) == ["ranks", "uniform ranks"]


def test_bars_of_a_histogram_are_relative_to_what_is_expected():
    ranks = np.concatenate([np.zeros(30), np.full(10, 9)])
    figure = rank_histogram({"z": ranks}, num_draws=9, bins=5, confidence=0.9)
    [axes] = figure.axes
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in axes.patches]
    assert bars == [(0, 2, 30 / 8), (2, 2, 0), (4, 2, 0), (6, 2, 0), (8, 2, 10 / 8)]
    low, high = binom.interval(0.9, 40, 0.2)
    band = edges_of_band(axes, 4.0)
    np.testing.assert_allclose([band[0], band[-1]], [low / 8, high / 8])
    assert legend(figure) == ["90 % of uniform ranks, a bar by itself"]


def test_bars_of_unequal_width_are_level_for_uniform_ranks():
    figure = rank_histogram({"z": np.tile(np.arange(10), 6)}, num_draws=9, bins=4)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert len(set(widths)) == 2
    assert sum(widths) == 10
    np.testing.assert_allclose([bar.get_height() for bar in figure.axes[0].patches], 1)


def test_coverage_is_drawn_from_corner_to_corner_the_furthest_in_colour():
    figure = coverage(CURVES, POINTS, BAND, most=2)
    [axes] = figure.axes
    [first] = drawn(axes, METHOD_COLOURS[0].lower())
    [second] = drawn(axes, METHOD_COLOURS[1].lower())
    np.testing.assert_allclose(first, [0, *CURVES["z[1]"], 1])
    np.testing.assert_allclose(second, [0, *CURVES["z[3]"], 1])
    assert len(drawn(axes, "#b0b0b0")) == 2
    assert legend(figure) == ["z[1]", "z[3]", "the others", "calibrated"]
    np.testing.assert_allclose(edges_of_band(axes, 0.5), [0.4, 0.6])


def test_a_few_curves_of_coverage_are_all_named():
    assert legend(coverage(CURVES, POINTS, BAND)) == [*CURVES, "calibrated"]


def test_a_predictive_check_shows_the_means_and_each_datum():
    rng = np.random.default_rng(0)
    observed, replicated = rng.normal(size=6), rng.normal(size=(50, 6))
    figure = predictive_check(
        {"mean": observed, "sd": observed + 9}, {"mean": replicated, "sd": replicated}
    )
    above, above_sd, below, _ = figure.axes
    p = (replicated.mean(1) > observed.mean()).mean()
    assert above.get_title() == f"(a) mean\np = {p:.2g}"
    assert above_sd.get_title() == "(b) sd\np = 0"
    assert sum(bar.get_height() for bar in above.patches) == 50
    [line] = drawn(above, METHOD_COLOURS[1].lower())
    np.testing.assert_allclose(above.lines[0].get_xdata(), observed.mean())
    assert line.tolist() == [0, 1]
    medians = below.lines[0]
    np.testing.assert_allclose(medians.get_xdata(), observed)
    np.testing.assert_allclose(medians.get_ydata(), np.median(replicated, axis=0))
    [intervals] = below.collections
    ends = np.array([segment[:, 1] for segment in intervals.get_segments()])
    np.testing.assert_allclose(ends.T, np.quantile(replicated, [0.05, 0.95], axis=0))


def test_every_figure_is_saved(tmp_path):
    ranks = {"z": np.arange(100)}
    values = np.arange(5.0)
    pictures = {
        "ecdf": rank_ecdf(CURVES, POINTS, BAND),
        "histogram": rank_histogram(ranks, 99),
        "coverage": coverage(CURVES, POINTS, BAND),
        "check": predictive_check({"x": values}, {"x": np.stack([values, values + 1])}),
    }
    for name, figure in pictures.items():
        assert save(figure, tmp_path / f"{name}.png", dpi=40).stat().st_size > 1000


@pytest.mark.parametrize("draw", [rank_ecdf, coverage])
@pytest.mark.parametrize(
    ("curves", "points", "band", "most", "message"),
    [
        ({}, POINTS, BAND, 2, "expected at least one entry"),
        ({"z": POINTS[1:]}, POINTS, BAND, 2, r"z: expected shape \[19\]; got \(18,\)"),
        ({"z": POINTS * np.nan}, POINTS, BAND, 2, "z: expected finite values"),
        ({"z": POINTS}, POINTS[:, None], BAND, 2, r"points: expected shape \[points\]"),
        ({"z": POINTS}, POINTS, (POINTS, POINTS[1:]), 2, r"band: expected shape \[19\]"),
        ({"z": POINTS}, POINTS, BAND, 0, "most: expected 1 or more; got 0"),
    ],
)
def test_what_curves_refuse(draw, curves, points, band, most, message):
    with pytest.raises(ValueError, match=f"{draw.__name__}: {message}"):
        draw(curves, points, band, most=most)


def test_more_colours_than_there_are():
    curves = {str(i): POINTS for i in range(9)}
    with pytest.raises(ValueError, match="at most 7 methods; got 8"):
        coverage(curves, POINTS, BAND, most=8)


@pytest.mark.parametrize(
    ("ranks", "bins", "message"),
    [
        ({}, 5, "ranks: expected at least one entry"),
        ({"z": np.ones((2, 2))}, 5, r"ranks\['z'\]: expected shape \[simulations\]"),
        ({"z": np.array([10])}, 5, "expected ranks from 0 to num_draws = 9; got 10 to 10"),
        ({"z": np.array([-1])}, 5, "expected ranks from 0 to num_draws = 9; got -1 to -1"),
        ({"z": np.array([1])}, 0, "bins: expected from 1 to 10"),
        ({"z": np.array([1])}, 11, "bins: expected from 1 to 10"),
    ],
)
def test_what_rank_histogram_refuses(ranks, bins, message):
    with pytest.raises(ValueError, match=f"rank_histogram: .*{message}"):
        rank_histogram(ranks, 9, bins=bins)


@pytest.mark.parametrize(
    ("observed", "replicated", "message"),
    [
        ({}, {}, "observed: expected at least one entry"),
        ({"x": np.ones(3)}, {}, "replicated: expected 'x'; got none"),
        (
            {"x": np.ones((3, 1))},
            {"x": np.ones((2, 3))},
            r"observed\['x'\]: expected shape \[data\]",
        ),
        (
            {"x": np.ones(3)},
            {"x": np.ones((2, 4))},
            r"replicated\['x'\]: expected shape \[draws, 3\]",
        ),
    ],
)
def test_what_predictive_check_refuses(observed, replicated, message):
    with pytest.raises(ValueError, match=f"predictive_check: {message}"):
        predictive_check(observed, replicated)
