"""The plane of rate and distortion, KL by dimension, aggregate posteriors: as they were given."""

from __future__ import annotations

import numpy as np
import pytest

from pyro_vae.figures.information import (
    aggregate_marginals,
    kl_per_dimension,
    rate_distortion_plane,
)

RNG = np.random.default_rng(0)
KL = np.array([0.5, 3.0, 1.0])


def legend_texts(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


# --- rate and distortion --------------------------------------------------------------------------


def test_the_plane_has_each_models_points_and_diagonals_of_one_bound():
    models = {
        "β-VAE": (np.array([0.0, 10.0, 20.0]), np.array([90.0, 75.0, 70.0])),
        "VAE": (np.array([12.0]), np.array([72.0])),
    }
    figure = rate_distortion_plane(models)
    [axes] = figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    for name, (rate, distortion) in models.items():
        np.testing.assert_array_equal(lines[name].get_xydata(), np.stack([rate, distortion], -1))
    diagonals = [line for line in axes.get_lines() if line.get_zorder() == 0]
    written = [float(text.get_text().replace("−", "-")) for text in axes.texts]
    assert len(diagonals) == len(written) > 2
    for line, bound in zip(diagonals, written, strict=True):
        np.testing.assert_allclose(line.get_xydata().sum(1), -bound)
    for text in axes.texts:  # where its diagonal enters
        x, y = text.xy
        assert x == pytest.approx(axes.get_xlim()[0]) or y == pytest.approx(axes.get_ylim()[1])
    assert legend_texts(figure) == ["β-VAE", "VAE", "bound −(R + D)"]
    assert axes.get_xlim()[0] == 0


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({}, "models: expected at least one entry"),
        ({"a": (np.ones(2), np.ones(3))}, r"models\['a'\]: distortions: expected shape \[2\]"),
        ({"a": (np.array([np.inf]), np.ones(1))}, "1 NaN or infinite"),
        ({str(i): (np.ones(1), np.ones(1)) for i in range(8)}, "at most 7 methods"),
    ],
)
def test_what_the_plane_refuses(models, message):
    with pytest.raises(ValueError, match=message):
        rate_distortion_plane(models)


TWO = {"flow": (np.array([4.0, 7.0]), np.array([80.0, 75.0]))}


def test_points_that_have_names_have_markers():
    figure = rate_distortion_plane(TWO, points=["IWAE", "ELBO"])
    lines = figure.axes[0].get_lines()
    marked = {tuple(line.get_xydata()[0]): line.get_marker() for line in lines[1:3]}
    assert marked == {(4.0, 80.0): "o", (7.0, 75.0): "s"}
    assert lines[0].get_marker() in ("", "None")
    assert legend_texts(figure) == ["flow", "bound −(R + D)"]
    handles = figure.axes[0].get_legend().legend_handles
    assert [(h.get_label(), h.get_marker()) for h in handles] == [("IWAE", "o"), ("ELBO", "s")]


@pytest.mark.parametrize("points", [["ELBO"], [str(i) for i in range(8)]])
def test_names_that_are_not_those_of_the_points_are_refused(points):
    with pytest.raises(ValueError, match=rf"points: expected as many .* got {len(points)} for"):
        rate_distortion_plane(TWO, points=points)


@pytest.mark.parametrize("scale", [(1.0, 1.0), (10.0, 1.0), (0.1, 0.01)])
def test_no_bound_is_cut_by_the_frame(scale):
    for seed in range(2):
        rate, distortion = np.random.default_rng(seed).uniform(1, 5, size=(2, 3))
        figure = rate_distortion_plane({"VAE": (scale[0] * rate, 100 + scale[1] * distortion)})
        figure.draw_without_rendering()
        [axes] = figure.axes
        frame = axes.get_window_extent()
        for text in axes.texts:
            own = text.get_window_extent()
            assert frame.x0 < own.x0 < own.x1 < frame.x1
            assert frame.y0 < own.y0 < own.y1 < frame.y1


# --- KL by dimension ------------------------------------------------------------------------------


def bars(axes) -> list[np.ndarray]:
    return [np.array([bar.get_height() for bar in group]) for group in axes.containers]


def test_bars_are_sorted_and_carry_their_latents_number():
    figure = kl_per_dimension({"one": KL, "two": 0.5 * KL[:2]})
    first, second = figure.axes
    [heights] = bars(first)
    np.testing.assert_array_equal(heights, [3.0, 1.0, 0.5])
    assert [label.get_text() for label in first.get_xticklabels()] == ["1", "2", "0"]
    assert [axes.get_title() for axes in figure.axes] == ["(a) one", "(b) two"]
    assert first.get_ylim() == second.get_ylim()
    assert figure.legends == []


def test_information_and_marginal_kl_stand_on_one_another():
    marginal = {"one": np.array([0.1, 1.0, -0.01])}
    figure = kl_per_dimension({"one": KL}, marginal=marginal)
    carried, rest = bars(figure.axes[0])
    np.testing.assert_allclose(carried, [2.0, 1.01, 0.4])
    np.testing.assert_allclose(carried + rest, [3.0, 1.0, 0.5])
    assert len(legend_texts(figure)) == 2


def test_many_latents_are_counted():
    figure = kl_per_dimension({"VAE": np.ones(50)})
    [axes] = figure.axes
    assert axes.get_xlabel() == "50 latents, by KL"
    assert len(axes.get_xticks()) == 0


def test_latents_that_carry_nothing_are_drawn_as_nothing():
    [axes] = kl_per_dimension({"collapsed": np.zeros(3)}).axes
    assert axes.get_ylim() == (0, 1)


@pytest.mark.parametrize(
    ("panels", "marginal", "message"),
    [
        ({}, None, "panels: expected at least one entry"),
        ({"a": np.ones((2, 2))}, None, r"a: expected shape \[latent\]"),
        ({"a": KL, "b": KL}, {"a": KL}, r"expected the names \['a', 'b'\]; got \['a'\]"),
        ({"a": KL}, {"a": KL[:2]}, r"marginal: a: expected shape \[3\]"),
    ],
)
def test_what_bars_refuse(panels, marginal, message):
    with pytest.raises(ValueError, match=message):
        kl_per_dimension(panels, marginal=marginal)


# --- the aggregate posterior ----------------------------------------------------------------------


def test_a_histogram_is_of_the_draws_and_the_line_of_the_prior():
    draws = RNG.normal(2.0, 0.5, size=(4000, 2))
    prior = RNG.normal(size=(4000, 2))
    figure = aggregate_marginals(draws, prior, latents=["a", "b"], dimensions=[1])
    [axes] = figure.axes
    assert axes.get_xlabel() == "b"
    [histogram] = axes.containers
    centres = np.array([bar.get_x() + bar.get_width() / 2 for bar in histogram])
    heights = np.array([bar.get_height() for bar in histogram])
    expected = np.exp(-0.5 * ((centres - 2) / 0.5) ** 2) / (0.5 * np.sqrt(2 * np.pi))
    # A bar of 0.15 holds at most 480 of 4000 draws: 5 of √480 are 0.18 in density.
    np.testing.assert_allclose(heights, expected, atol=0.18)
    [line] = axes.get_lines()
    z, density = line.get_xydata().T
    # A kernel estimate of 4000 draws is within 0.02 of the density; its kernel lowers the top.
    np.testing.assert_allclose(density, np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi), atol=0.04)
    assert legend_texts(figure) == ["aggregate posterior", "prior"]


def test_the_first_six_latents_are_drawn():
    draws = RNG.normal(size=(50, 9))
    figure = aggregate_marginals(draws, draws)
    assert [axes.get_xlabel() for axes in figure.axes] == [f"z[{j}]" for j in range(6)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latents": ["a"]}, "expected 2 names; got 1"),
        ({"dimensions": [2]}, r"expected some from 0 to 1; got \[2\]"),
        ({"dimensions": []}, r"expected some from 0 to 1; got \[\]"),
    ],
)
def test_latents_that_are_not_there_are_refused(options, message):
    draws = RNG.normal(size=(50, 2))
    with pytest.raises(ValueError, match=message):
        aggregate_marginals(draws, draws, **options)


def test_a_normal_prior_is_its_density():
    draws = RNG.normal(size=(200, 2))
    mean, deviation = np.array([0.0, 5.0]), np.array([1.0, 20.0])
    figure = aggregate_marginals(draws, normal=(mean, deviation), dimensions=[1])
    [line] = figure.axes[0].get_lines()
    z, density = line.get_xydata().T
    expected = np.exp(-0.5 * ((z - 5) / 20) ** 2) / (20 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(density, expected)
    # 99.8 % of a normal are within 3.09 deviations.
    np.testing.assert_allclose((z.min(), z.max()), (5 - 3.09 * 20, 5 + 3.09 * 20), rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected prior_draws or normal; got neither"),
        ({"prior_draws": np.eye(2), "normal": (np.zeros(2), np.ones(2))}, "got both"),
        ({"normal": (np.zeros(3), np.ones(2))}, r"normal: means: expected shape \(2,\)|shape \[2"),
        ({"normal": (np.zeros(2), np.zeros(2))}, "normal: deviations: expected values above 0"),
    ],
)
def test_a_prior_that_is_none_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        aggregate_marginals(RNG.normal(size=(50, 2)), **options)


def test_draws_of_other_latents_are_refused():
    draws = RNG.normal(size=(50, 2))
    with pytest.raises(ValueError, match=r"prior_draws: expected shape \[draws, 2\]"):
        aggregate_marginals(draws, draws[:, :1])
    with pytest.raises(ValueError, match=r"draws: expected shape \[draws, latent\]"):
        aggregate_marginals(draws[0], draws)


def test_a_prior_of_one_value_has_no_density_and_is_refused():
    draws = RNG.normal(size=(50, 2))
    with pytest.raises(ValueError, match="prior_draws: expected draws that differ"):
        aggregate_marginals(draws, np.ones((50, 2)))
