"""What is drawn is what was given; what cannot be drawn says why."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy.stats import norm

from pyro_vae import figures

RNG = np.random.default_rng(3)
EPOCHS = np.arange(1, 41)
CURVES = {
    "learned": -136.0 - 100 / EPOCHS + RNG.normal(size=(3, 40)),
    "constant": -134.0 - 100 / EPOCHS + RNG.normal(size=(3, 40)),
}
LABELS = RNG.integers(0, 10, size=300)
MEANS = RNG.normal(size=(300, 2)) + LABELS[:, None]
GRID = RNG.uniform(size=(4, 5, 6, 7))


@pytest.fixture(autouse=True)
def _no_pyplot_figure():
    yield
    assert Gcf.figs == {}


def scattered(axes) -> np.ndarray:
    (points,) = [each for each in axes.collections if isinstance(each, PathCollection)]
    return np.asarray(points.get_offsets())


def rows_sorted(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(points.T)]


def legend_texts(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def tile(axes, row: int, column: int, height: int = 6, width: int = 7, gap: int = 1) -> np.ndarray:
    """A picture of a mosaic."""
    top, left = row * (height + gap), column * (width + gap)
    return np.asarray(axes.images[0].get_array())[top : top + height, left : left + width]


def cluster_names(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


# ── the package ─────────────────────────────────────────────────────────────────────────────────


def test_figures_import_neither_torch_nor_pyro_nor_pyplot():
    for source in Path(figures.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
            for module in modules:
                assert module.split(".")[0] not in {"torch", "pyro"}, (source.name, module)
                assert module != "matplotlib.pyplot", source.name
                inside = module.startswith("pyro_vae.figures")
                assert inside or not module.startswith("pyro_vae"), (source.name, module)


def test_every_public_name_exists_and_is_documented():
    for name in figures.__all__:
        assert ">>>" in getattr(figures, name).__doc__, name


# ── method colours ──────────────────────────────────────────────────────────────────────────────


def test_method_colours_are_distinct_and_stable_by_position():
    colours = figures.method_colours("abcdefg")
    assert len(set(colours.values())) == 7
    assert list(figures.method_colours("xy").values()) == list(colours.values())[:2]


def test_too_many_methods():
    with pytest.raises(ValueError, match="at most 7 methods; got 8"):
        figures.method_colours("abcdefgh")


# ── the bound during training ───────────────────────────────────────────────────────────────────


def test_the_line_is_the_mean_and_the_band_the_range_over_seeds():
    for axes in figures.bound_during_training(CURVES, EPOCHS).axes:
        for line, band, curve in zip(axes.lines, axes.collections, CURVES.values(), strict=True):
            np.testing.assert_allclose(line.get_xdata(), EPOCHS)
            np.testing.assert_allclose(line.get_ydata(), curve.mean(axis=0))
            vertices = band.get_paths()[0].vertices
            for epoch, seeds in zip(EPOCHS, curve.T, strict=True):
                height = vertices[vertices[:, 0] == epoch, 1]
                np.testing.assert_allclose([height.min(), height.max()], [seeds.min(), seeds.max()])


def test_the_legend_names_the_methods_the_references_and_the_band():
    figure = figures.bound_during_training(CURVES, EPOCHS, references={"published": -134.2})
    assert legend_texts(figure) == [
        *("learned", "constant", "published"),
        "range over 3 seeds (line: mean)",
    ]


def test_one_seed_has_no_band():
    figure = figures.bound_during_training({"learned": CURVES["learned"][:1]}, EPOCHS)
    assert not any(axes.collections for axes in figure.axes)
    assert legend_texts(figure) == ["learned"]


def test_the_zoom_spends_its_height_on_the_last_part():
    whole, last = figures.bound_during_training(CURVES, EPOCHS, zoom=0.25).axes
    assert last.get_xlim() == (31, 40)
    low, high = last.get_ylim()
    ends = [curve[:, -9:] for curve in CURVES.values()]
    assert high - low < 1.2 * (np.max(ends) - np.min(ends))
    assert all(low < end.mean() < high for end in ends)
    assert np.diff(whole.get_ylim()) > 5 * (high - low)


def test_a_far_reference_leaves_the_zoom_alone_and_a_near_one_enters_it():
    def limits(**references: float) -> tuple[float, float]:
        return (
            figures.bound_during_training(CURVES, EPOCHS, references=references).axes[1].get_ylim()
        )

    assert limits(far=-80.0) == limits()
    assert limits()[1] < -130.5 < limits(near=-130.5)[1]


def test_a_diverged_run_leaves_a_gap(tmp_path):
    diverged = CURVES["learned"].copy()
    diverged[0, 5:] = np.inf
    figure = figures.bound_during_training({**CURVES, "diverged": diverged}, EPOCHS)
    assert np.isnan(figure.axes[0].lines[2].get_ydata()[5:]).all()
    nothing = {"nothing": np.full((2, 40), np.nan)}
    figures.save(figures.bound_during_training(nothing, EPOCHS), tmp_path / "gap.png")


@pytest.mark.parametrize(
    ("curves", "epochs", "options", "message"),
    [
        ({}, EPOCHS, {}, "curves: expected at least one entry"),
        (
            {"a": np.zeros(40)},
            EPOCHS,
            {},
            r"curves\['a'\]: expected shape \[seeds, 40\]; got \(40,",
        ),
        ({"a": np.zeros((1, 40))}, EPOCHS[::-1], {}, "epochs: expected two or more increasing"),
        ({"a": np.zeros((1, 1))}, EPOCHS[:1], {}, "epochs: expected two or more increasing"),
        (CURVES, EPOCHS, {"zoom": 1.0}, r"zoom: expected a share of the run in \(0, 1\); got 1.0"),
    ],
)
def test_what_bound_during_training_refuses(curves, epochs, options, message):
    with pytest.raises(ValueError, match=message):
        figures.bound_during_training(curves, epochs, **options)


# ── posterior means ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 3, 5])
def test_posterior_means_draws_every_point_in_a_panel_a_method(count):
    panels = {f"m{i}": (MEANS * (i + 1), LABELS) for i in range(count)}
    figure = figures.posterior_means(panels)
    assert len(figure.axes) == count
    for axes, (means, _) in zip(figure.axes, panels.values(), strict=True):
        np.testing.assert_array_equal(rows_sorted(scattered(axes)), rows_sorted(means))
        assert axes.get_aspect() == 1
        assert np.diff(axes.get_xlim()) == pytest.approx(np.diff(axes.get_ylim()))
        assert axes.collections[0].get_rasterized()


def test_a_point_has_the_colour_of_its_label_in_the_legend():
    figure = figures.posterior_means({"a": (MEANS, LABELS)})
    colour = {
        text.get_text(): handle.get_color()
        for text, handle in zip(
            figure.legends[0].get_texts(), figure.legends[0].legend_handles, strict=True
        )
    }
    assert list(colour) == [str(digit) for digit in range(10)]
    label = {tuple(point): str(each) for point, each in zip(MEANS, LABELS, strict=True)}
    points = figure.axes[0].collections[0]
    for point, rgba in zip(points.get_offsets(), points.get_facecolors(), strict=True):
        hexadecimal = "#" + "".join(f"{round(255 * part):02x}" for part in rgba[:3])
        assert hexadecimal == colour[label[tuple(point)]]


def test_a_digit_keeps_its_colour_when_others_are_absent():
    every = figures.posterior_means({"a": (MEANS, LABELS)}).legends[0].legend_handles
    few = figures.posterior_means({"a": (MEANS, np.where(LABELS < 5, 3, 8))}).legends[0]
    assert [h.get_color() for h in few.legend_handles] == [every[d].get_color() for d in (3, 8)]


def test_without_labels_there_is_one_colour_and_no_legend():
    figure = figures.posterior_means({"a": (MEANS, None)})
    assert figure.legends == []
    assert len(np.unique(figure.axes[0].collections[0].get_facecolors(), axis=0)) == 1


def test_words_are_labels_too():
    figure = figures.posterior_means({"a": (MEANS, np.where(LABELS < 5, "low", "high"))})
    assert legend_texts(figure) == ["high", "low"]


def test_a_few_outliers_do_not_set_the_limits():
    strayed = np.concatenate([MEANS, [[1e6, 1e6]]])
    (axes,) = figures.posterior_means({"a": (strayed, None)}).axes
    assert np.abs(axes.get_xlim()).max() < 100


@pytest.mark.parametrize(
    ("means", "told"),
    [
        (np.zeros((9, 2)), "99 % on one point"),
        (np.full((9, 2), 7.25), "99 % on one point"),
        (2e-5 * (np.arange(400) % 2)[:, None] * np.ones(2), r"99 % within $2 \times 10^{-5}$"),
    ],
)
def test_a_collapsed_posterior_is_called_so_and_no_label_stands_in_it(means, told, tmp_path):
    figure = figures.posterior_means({"a": (means, np.arange(len(means)) % 3)})
    figures.save(figure, tmp_path / "dot.png")
    (axes,) = figure.axes
    assert cluster_names(axes) == [f"collapsed:\n{told}"]
    assert np.diff(axes.get_xlim()) >= 2
    assert len(scattered(axes)) == len(means)


def test_means_that_are_small_and_apart_are_not_called_collapsed():
    (axes,) = figures.posterior_means({"a": (MEANS * 1e-3, LABELS)}).axes
    assert not any("collapsed" in text for text in cluster_names(axes))


NOISE = np.random.default_rng(4).normal(size=(2_000, 2))
CLUSTERS = NOISE + 4 * np.indices((5, 2)).reshape(2, 10).T.repeat(200, axis=0)
TEN = np.arange(10).repeat(200)


def test_a_cluster_is_named_among_its_own_points():
    (axes,) = figures.posterior_means({"a": (CLUSTERS, TEN)}).axes
    assert sorted(cluster_names(axes)) == [str(digit) for digit in range(10)]
    for text in axes.texts:
        distance = np.linalg.norm(CLUSTERS - text.get_position(), axis=1)
        nearest = TEN[np.argsort(distance)[:20]]
        assert (nearest == int(text.get_text())).mean() > 0.8


def rays() -> np.ndarray:
    """Ten clusters that are densest where they meet."""
    angle, radius = 2 * np.pi * TEN / 10, np.linspace(0, 1, 200)[np.arange(2_000) % 200] ** 4
    return 100 * radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1) + NOISE


def pairs() -> np.ndarray:
    """Ten clusters, two and two in the same place."""
    return NOISE + np.stack([5 * (TEN // 2), np.zeros(2_000)], axis=1)


@pytest.mark.parametrize("points", [rays(), pairs(), np.flip(pairs(), axis=1)])
@pytest.mark.parametrize("panels", [1, 4])
def test_no_two_names_of_clusters_overlap_and_none_is_cut(points, panels):
    figure = figures.posterior_means({f"m{i}": (points, TEN) for i in range(panels)})
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) >= 6
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
            assert axes.bbox.fully_containsx(box.x0)
            assert axes.bbox.fully_containsx(box.x1)
            assert axes.bbox.fully_containsy(box.y0)
            assert axes.bbox.fully_containsy(box.y1)


def test_two_mixed_clusters_are_each_named_where_they_are_not_mixed():
    points = NOISE[:800].copy()
    points[:100, 1] += 8
    points[400:500, 0] += 8
    (axes,) = figures.posterior_means({"a": (points, np.repeat([4, 9], 400))}).axes
    assert sorted(cluster_names(axes)) == ["4", "9"]


def test_labels_that_say_nothing_of_where_points_are_stand_in_the_legend_alone():
    figure = figures.posterior_means({"a": (NOISE, TEN)})
    assert cluster_names(figure.axes[0]) == []
    assert len(legend_texts(figure)) == 10


def test_long_labels_stand_in_the_legend_alone():
    figure = figures.posterior_means({"a": (CLUSTERS, np.where(TEN < 5, "coat", "shirt"))})
    assert cluster_names(figure.axes[0]) == []
    assert legend_texts(figure) == ["coat", "shirt"]


@pytest.mark.parametrize(
    ("panel", "message"),
    [
        ((np.zeros((3, 4)), None), r"panels\['a'\]: means: expected shape \[N, 2\]; got \(3, 4\)"),
        ((np.zeros((0, 2)), None), r"expected shape \[N, 2\]; got \(0, 2\)"),
        ((np.full((3, 2), np.nan), None), "expected finite values; got 6"),
        ((np.zeros((3, 2)), np.zeros(2)), r"labels: expected shape \[3\]; got \(2,\)"),
        ((np.zeros((11, 2)), np.arange(11)), "at most 10 distinct labels; got 11"),
    ],
)
def test_what_posterior_means_refuses(panel, message):
    with pytest.raises(ValueError, match=message):
        figures.posterior_means({"a": panel})


def test_epochs_are_marked_at_whole_numbers():
    figure = figures.bound_during_training({"ELBO": np.arange(40.0)[None]}, np.arange(1, 41))
    figure.canvas.draw()
    for axes in figure.axes:
        assert all(tick == round(tick) for tick in axes.get_xticks())


def test_a_bound_needs_its_panel():
    with pytest.raises(ValueError, match=r"bounds: expected names among \['a'\]; got \['b'\]"):
        figures.posterior_means({"a": (MEANS, None)}, bounds={"b": -1.0})


# ── posterior variances ─────────────────────────────────────────────────────────────────────────


def test_variances_and_means_are_relative_to_the_prior():
    means, variances = RNG.normal(size=(50, 3)), RNG.uniform(size=(50, 3))
    prior = np.array([4.0, 9.0, 1.0])
    runs = {"run 1": (means, variances), "run 2": (means, variances / 2)}
    figure = figures.posterior_variance_against_mean(runs, prior)
    assert len(figure.axes) == 8
    for i, axes in enumerate(figure.axes):
        run, row, column = np.unravel_index(i, (2, 2, 2))
        expected = [means[:, column] / prior[column] ** 0.5, variances[:, row] / prior[row]]
        expected[1] = expected[1] / (run + 1)
        np.testing.assert_allclose(scattered(axes), np.stack(expected, axis=1))
    assert len({axes.get_ylim() for axes in figure.axes}) == 1


@pytest.mark.parametrize(
    ("means", "variances", "prior", "message"),
    [
        (np.zeros((5, 1)), np.ones((5, 1)), None, r"\[N, n\] with n ≥ 2; got \(5, 1\)"),
        (np.zeros((5, 2)), np.ones((5, 3)), None, r"variances: expected shape \[5, 2\]; got"),
        (np.zeros((5, 2)), np.ones((5, 2)), np.ones(3), r"prior_variance: expected shape \[2\]"),
        (np.zeros((5, 2)), np.ones((5, 2)), np.zeros(2), "expected values above 0; got 0.0"),
    ],
)
def test_what_posterior_variance_against_mean_refuses(means, variances, prior, message):
    with pytest.raises(ValueError, match=message):
        figures.posterior_variance_against_mean({"a": (means, variances)}, prior)


# ── pictures ────────────────────────────────────────────────────────────────────────────────────


def test_image_grid_lays_images_out_by_row_and_column():
    figure = figures.image_grid({"a": GRID, "b": GRID[:2]}, value_range=(-1.0, 2.0))
    first, second = (axes.images[0] for axes in figure.axes)
    assert first.get_array().shape == (4 * 7 - 1, 5 * 8 - 1)
    assert second.get_array().shape == (2 * 7 - 1, 5 * 8 - 1)
    for row, column in np.ndindex(4, 5):
        np.testing.assert_array_equal(tile(figure.axes[0], row, column), GRID[row, column])
    assert first.get_clim() == (-1.0, 2.0)
    assert first.get_cmap().name == "gray"


def test_image_grid_has_colours_where_there_are_three_channels():
    coloured = np.stack([GRID, GRID + 1, GRID - 1], axis=2)  # channels before rows and columns
    (axes,) = figures.image_grid(coloured, value_range=(-2.0, 3.0)).axes
    expected = np.clip((coloured + 2) / 5, 0, 1)
    for row, column in np.ndindex(4, 5):
        drawn = tile(axes, row, column)
        np.testing.assert_allclose(drawn[..., :3], expected[row, column].transpose(1, 2, 0))
        assert (drawn[..., 3] == 1).all()
    assert (axes.images[0].get_array()[6, :, 3] == 0).all()


@pytest.mark.parametrize(("side", "gap"), [(8, 1), (16, 1), (28, 2), (64, 4)])
def test_pictures_are_apart_in_both_directions(side, gap):
    images = RNG.uniform(size=(2, 3, side, side))
    (axes,) = figures.image_grid(images).axes
    mosaic = np.ma.filled(axes.images[0].get_array(), np.nan)
    between = np.isnan(mosaic)
    assert mosaic.shape == (2 * side + gap, 3 * side + 2 * gap)
    assert between.all(axis=1).sum() == gap
    assert between.all(axis=0).sum() == 2 * gap
    assert between.sum() == mosaic.size - images.size


def test_the_gap_is_unlike_the_background_of_the_pictures(tmp_path):
    for background, unlike in [(0.0, 1.0), (1.0, 0.69)]:
        path = tmp_path / "grid.png"
        figures.save(figures.image_grid(np.full((1, 2, 8, 8), background)), path)
        picture = imread(path)[..., 0]
        assert picture[picture.shape[0] // 2, picture.shape[1] // 2] == pytest.approx(
            unlike, abs=0.01
        )


def test_reconstructions_may_be_coloured():
    coloured = np.stack([GRID[0]] * 3, axis=1)
    (axes,) = figures.reconstructions(coloured, {"a": coloured}).axes
    assert axes.images[0].get_array().shape == (2 * 7 - 1, 5 * 8 - 1, 4)
    with pytest.raises(ValueError, match=r"originals: expected shape \[N, 3, H, W\]"):
        figures.reconstructions(coloured[:, :2], {"a": coloured[:, :2]})


def test_a_single_image_grid_has_neither_title_nor_ticks():
    (axes,) = figures.image_grid(GRID).axes
    assert axes.get_title() == ""
    assert [*axes.get_xticks(), *axes.get_yticks()] == []


@pytest.mark.parametrize(("images", "where"), [(GRID[0], "images"), ({"a": GRID[0]}, r"\['a'\]")])
def test_what_image_grid_refuses(images, where):
    with pytest.raises(ValueError, match=where + r": expected shape \[rows, cols, H, W\]; got \(5"):
        figures.image_grid(images)


def test_reconstructions_stand_under_their_originals():
    originals, ours = GRID[0], {"a": GRID[1], "b": GRID[2]}
    (axes,) = figures.reconstructions(originals, ours).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["input", "a", "b"]
    np.testing.assert_allclose(axes.get_yticks(), [2.5, 9.5, 16.5])
    for row, images in enumerate([originals, *ours.values()]):
        for column, image in enumerate(images):
            np.testing.assert_array_equal(tile(axes, row, column), image)


def test_what_reconstructions_refuses():
    with pytest.raises(ValueError, match=r"\['a'\]: expected shape \[5, 6, 7\]; got \(4, 6, 7\)"):
        figures.reconstructions(GRID[0], {"a": GRID[0][:4]})
    with pytest.raises(ValueError, match=r"originals: expected shape \[N, H, W\]; got \(6, 7\)"):
        figures.reconstructions(GRID[0, 0], {"a": GRID[0]})
    with pytest.raises(ValueError, match="expected at least one entry"):
        figures.reconstructions(GRID[0], {})


# ── the latent manifold ─────────────────────────────────────────────────────────────────────────


def test_the_grid_goes_back_to_even_probabilities():
    scale = np.array([0.5, 3.0])
    grid = figures.inverse_cdf_grid(4, scale)
    assert grid.shape == (4, 4, 2)
    probabilities = norm.cdf(grid / scale)
    middle = np.array([0.125, 0.375, 0.625, 0.875])
    for i in range(4):
        np.testing.assert_allclose(probabilities[i, :, 0], middle)
        np.testing.assert_allclose(probabilities[:, i, 1], middle[::-1])


def test_quartiles_in_closed_form_and_margin():
    quartile = 0.6744897501960817
    grid = figures.inverse_cdf_grid(2, np.array([1.0, 2.0]))
    np.testing.assert_allclose(grid[0, 0], [-quartile, 2 * quartile])
    np.testing.assert_allclose(grid[1, 1], [quartile, -2 * quartile])
    inner = figures.inverse_cdf_grid(2, np.ones(2), margin=0.2)
    np.testing.assert_allclose(norm.cdf(inner[0, :, 0]), [0.35, 0.65])


@pytest.mark.parametrize(
    ("n", "scale", "margin", "message"),
    [
        (0, np.ones(2), 0.0, "n: expected 1 or more points a side; got 0"),
        (3, np.ones(3), 0.0, r"scale: expected shape \[2\]; got \(3,\)"),
        (3, np.array([1.0, -1.0]), 0.0, "scale: expected values above 0; got -1.0"),
        (3, np.ones(2), 0.5, r"margin: expected a probability in \[0, 0.5\); got 0.5"),
    ],
)
def test_what_inverse_cdf_grid_refuses(n, scale, margin, message):
    with pytest.raises(ValueError, match=message):
        figures.inverse_cdf_grid(n, scale, margin=margin)


@pytest.mark.parametrize("labels", [LABELS, None])
def test_latent_manifold_has_the_grid_then_means_above_samples(labels):
    samples = MEANS + RNG.normal(size=MEANS.shape)
    figure = figures.latent_manifold(GRID, MEANS, samples, labels)
    picture, upper, lower = figure.axes
    assert picture.images[0].get_array().shape == (4 * 7 - 1, 5 * 8 - 1)
    assert [*picture.get_xticks(), *picture.get_yticks()] == []
    np.testing.assert_array_equal(rows_sorted(scattered(upper)), rows_sorted(MEANS))
    np.testing.assert_array_equal(rows_sorted(scattered(lower)), rows_sorted(samples))
    assert upper.get_xlim() == lower.get_xlim()
    assert upper.get_position().y0 > lower.get_position().y1
    assert len(figure.legends) == (labels is not None)


def test_values_of_latents_stand_at_the_pictures_that_they_decode_to():
    first, second = np.meshgrid([-200.0, -1.25, 0.0, 1.25, 200.0], [3.0, 0.5, -0.5, -3.0])
    latents = np.stack([first, second], axis=-1)
    axes = figures.latent_manifold(GRID, MEANS, MEANS, latents=latents).axes[0]
    np.testing.assert_allclose(axes.get_xticks(), 3 + 8 * np.arange(5))
    np.testing.assert_allclose(axes.get_yticks(), 2.5 + 7 * np.arange(4))
    told = [[each.get_text() for each in a.get_ticklabels()] for a in (axes.xaxis, axes.yaxis)]
    assert told == [["−200", "−1.25", "0", "1.25", "200"], ["3", "0.5", "−0.5", "−3"]]


def test_means_that_are_a_spot_beside_the_samples_are_called_collapsed():
    _, upper, lower = figures.latent_manifold(GRID, NOISE * 0.01, NOISE, TEN).axes
    assert cluster_names(upper) == ["collapsed:\n99 % within 0.05"]
    assert "collapsed" not in "".join(cluster_names(lower))


def test_what_latent_manifold_refuses():
    with pytest.raises(ValueError, match=r"latents: expected shape \[4, 5, 2\]; got \(5, 4, 2\)"):
        figures.latent_manifold(GRID, MEANS, MEANS, latents=np.zeros((5, 4, 2)))
    with pytest.raises(ValueError, match=r"samples: expected shape \[300, 2\]; got \(9, 2\)"):
        figures.latent_manifold(GRID, MEANS, MEANS[:9])
    with pytest.raises(ValueError, match=r"images: expected shape \[rows, cols, H, W\]"):
        figures.latent_manifold(GRID[0], MEANS, MEANS)


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def test_save_makes_the_folder_and_leaves_only_the_picture(tmp_path):
    path = figures.save(figures.image_grid(GRID), tmp_path / "new" / "grid.png", dpi=150)
    assert [each.name for each in path.parent.iterdir()] == ["grid.png"]
    assert imread(path).ndim == 3


def test_a_failed_save_keeps_the_old_picture(tmp_path, monkeypatch):
    path = figures.save(figures.image_grid(GRID), tmp_path / "grid.png", dpi=50)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        figures.save(figures.image_grid(GRID[:2]), path, dpi=50)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["grid.png"]


def test_save_writes_png_only(tmp_path):
    with pytest.raises(ValueError, match=r"expected a name ending in \.png; got 'grid\.pdf'"):
        figures.save(figures.image_grid(GRID), tmp_path / "grid.pdf")
