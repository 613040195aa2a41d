"""Densities, latent planes and signal-to-noise ratios: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv

from pyro_vae import figures


def picture(axes) -> np.ndarray:
    [image] = axes.images
    return np.asarray(image.get_array())


def test_density_rows_share_a_scale_and_have_the_given_values():
    low, high = np.full((4, 4), 0.5), np.linspace(0, 3, 16).reshape(4, 4)
    figure = figures.density_rows({"one": {"true": low, "VAE": high}, "two": {"true": 2 * low}})
    first, second, third = figure.axes  # the row of two panels, then the row of one
    np.testing.assert_array_equal(picture(second), high)
    # The scale of a row is its first panel's: a spike of a model does not darken the others.
    limits = [axes.images[0].get_clim() for axes in (first, second, third)]
    assert limits == [(0, 0.5), (0, 0.5), (0, 1.0)]
    assert [axes.get_title() for axes in figure.axes] == ["true", "VAE", ""]
    assert second.images[0].get_extent() == [-0.5, 0.5, -0.5, 0.5]
    assert second.images[0].origin == "lower"


def test_a_place_has_one_colour_in_the_data_and_in_the_latent_plane():
    n, half = 8, 0.5
    axis = np.linspace(-half, half, n)
    places = np.stack(np.meshgrid(axis, axis), -1)
    density = np.ones((n, n))
    # A latent plane that is the data's plane turned round, dark in one corner.
    decoded, at_decoded = places[::-1, ::-1], np.ones((n, n))
    at_decoded[0, 0] = 0.0
    panels = {"VAE": (decoded, at_decoded)}
    figure = figures.latent_correspondence(density, panels, latent_half_width=3.0)
    above, below = (picture(axes) for axes in figure.axes)
    np.testing.assert_allclose(below[1:, 1:], above[::-1, ::-1][1:, 1:])
    assert rgb_to_hsv(below[0, 0])[2] == 0  # black
    assert figure.axes[1].images[0].get_extent() == [-3.0, 3.0, -3.0, 3.0]
    hues = rgb_to_hsv(above)[..., 0]
    assert hues[n - 1, n - 1] != hues[0, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "rows: expected at least one entry"),
        ({"one": {"true": np.ones(3)}}, r"one, true: expected shape \[rows, columns\]"),
        ({"one": {"true": np.full((2, 2), np.nan)}}, "4 NaN or infinite"),
    ],
)
def test_what_density_rows_refuses(rows, message):
    with pytest.raises(ValueError, match=message):
        figures.density_rows(rows)


@pytest.mark.parametrize(
    ("density", "panel", "message"),
    [
        (np.ones((3, 2)), (np.ones((4, 4, 2)), np.ones((4, 4))), "square grid"),
        (np.ones((3, 3)), (np.ones((4, 4, 3)), np.ones((4, 4))), "Decode a square grid"),
        (np.ones((3, 3)), (np.ones((4, 4, 2)), np.ones((5, 5))), "density there"),
    ],
)
def test_what_latent_correspondence_refuses(density, panel, message):
    with pytest.raises(ValueError, match=message):
        figures.latent_correspondence(density, {"VAE": panel})


K = np.array([1, 4, 16])


def test_signal_to_noise_draws_each_estimator_and_the_slope_of_theory():
    curves = {"IWAE": 0.5 * K**-0.3, "DReG": 0.7 * K**0.4}
    powers = {"encoder": {"IWAE": -0.5, "DReG": 0.5}}
    panels = {"encoder": curves, "decoder": curves}
    figure = figures.signal_to_noise(panels, K, powers=powers, floor=0.01)
    assert [axes.get_title() for axes in figure.axes] == ["encoder", "decoder"]
    lines = figure.axes[0].get_lines()
    drawn = {line.get_label(): line.get_ydata() for line in lines}
    for name, curve in curves.items():
        np.testing.assert_array_equal(drawn[name], curve)
    slopes = [line.get_ydata() for line in lines if line.get_label().startswith("_")][:2]
    np.testing.assert_allclose(slopes, [0.5 * K**-0.5, 0.7 * K**0.5])
    assert len(figure.axes[1].get_lines()) == 3  # no theory given: the curves and the floor
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["IWAE", "DReG"]


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ({}, "panels: expected at least one entry"),
        ({"encoder": {"IWAE": np.ones(2)}}, "encoder, IWAE: expected shape"),
        ({"encoder": {"IWAE": np.array([1.0, 0.0, 1.0])}}, "expected values above 0"),
    ],
)
def test_what_signal_to_noise_refuses(panels, message):
    with pytest.raises(ValueError, match=message):
        figures.signal_to_noise(panels, K)
