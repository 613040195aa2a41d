"""Pareto k̂ and the worst images: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from pyro_vae.figures import save
from pyro_vae.figures.reliability import sorted_pareto_k, worst_images

RNG = np.random.default_rng(3)
K = {"normal": RNG.normal(0.6, 0.3, 400), "flow": RNG.normal(0.1, 0.1, 200)}
IMAGES = RNG.uniform(size=(4, 6, 7))


def legend_texts(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


# ── sorted k̂ ────────────────────────────────────────────────────────────────────────────────────


def test_a_line_is_its_methods_k_sorted_over_the_share_of_data():
    (axes,) = sorted_pareto_k(K, threshold=0.67).axes
    low, high = axes.get_ylim()
    for line, k in zip(axes.lines, K.values(), strict=False):
        np.testing.assert_array_equal(line.get_ydata(), np.clip(np.sort(k), low, high))
        inside = (low < np.sort(k)) & (np.sort(k) < high)
        assert inside.mean() >= 0.98
        np.testing.assert_allclose(line.get_xdata(), (np.arange(len(k)) + 0.5) / len(k))


def test_the_legend_has_the_share_above_and_the_dashed_line_the_threshold():
    figure = sorted_pareto_k({"a": np.array([0.6, 0.7, 0.8, 0.9])}, threshold=0.7)
    assert legend_texts(figure) == ["a (50 % above)"]  # 0.7 itself is not above
    (axes,) = figure.axes
    assert set(axes.lines[-1].get_ydata()) == {0.7}
    assert [text.get_text() for text in axes.texts] == ["threshold 0.70"]


def test_the_threshold_is_always_in_sight():
    (axes,) = sorted_pareto_k({"good": np.linspace(-0.5, 0.0, 9)}, threshold=0.67).axes
    low, high = axes.get_ylim()
    assert low < 0.67 < high


def test_infinite_k_are_drawn_on_the_edge(tmp_path):
    k = {"exact": np.full(3, -np.inf), "hopeless": np.array([0.1, 0.2, np.inf])}
    figure = sorted_pareto_k(k)
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert set(axes.lines[0].get_ydata()) == {low}
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [0.1, 0.2, high])
    assert legend_texts(figure) == ["exact (0 % above)", "hopeless (33 % above)"]
    save(figure, tmp_path / "k.png", dpi=50)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({}, "methods: expected at least one entry"),
        ({"a": np.zeros((2, 3))}, r"methods\['a'\]: expected shape \[N\]; got \(2, 3\)"),
        ({"a": np.array([0.1, np.nan])}, r"methods\['a'\]: expected numbers; got NaN"),
        ({name: np.zeros(2) for name in "abcdefgh"}, "at most 7 methods"),
    ],
)
def test_what_sorted_pareto_k_refuses(methods, message):
    with pytest.raises(ValueError, match=message):
        sorted_pareto_k(methods)


# ── the worst images ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("coloured", [False, True])
def test_the_worst_image_is_on_the_left_above_its_reconstruction(coloured, tmp_path):
    images = np.stack([IMAGES] * 3, axis=1) if coloured else IMAGES
    ours = 1 - images
    figure = worst_images(images, {"VAE": ours}, np.array([0.7, 1.2, np.inf, 0.9]))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["∞", "1.20", "0.90", "0.70"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["input", "VAE"]
    mosaic = np.asarray(axes.images[0].get_array())
    for column, datum in enumerate([2, 1, 3, 0]):
        for row, each in enumerate([images, ours]):
            tile = mosaic[7 * row : 7 * row + 6, 8 * column : 8 * column + 7]
            tile = tile[..., :3] if coloured else tile  # opaque
            expected = each[datum].transpose(1, 2, 0) if coloured else each[datum]
            np.testing.assert_array_equal(tile, expected)
    np.testing.assert_allclose(axes.get_xticks(), 3 + 8 * np.arange(4))
    save(figure, tmp_path / "worst.png", dpi=50)


@pytest.mark.parametrize(
    ("ours", "k", "message"),
    [
        ({"VAE": IMAGES}, np.zeros(3), r"k: expected shape \[4\]; got \(3,\)"),
        ({"VAE": IMAGES}, np.full(4, np.nan), "k: expected numbers; got NaN"),
        ({"VAE": IMAGES[:3]}, np.zeros(4), r"reconstructions\['VAE'\]: expected shape \[4, 6, 7\]"),
        ({}, np.zeros(4), "expected at least one entry"),
    ],
)
def test_what_worst_images_refuses(ours, k, message):
    with pytest.raises(ValueError, match=message):
        worst_images(IMAGES, ours, k)
