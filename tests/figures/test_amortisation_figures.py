"""Guides against NUTS, and gaps: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from pyro_vae.figures.amortisation import guide_against_nuts, inference_gaps

RNG = np.random.default_rng(5)
NUTS = RNG.normal(size=(400, 2))
NARROW = 0.5 * RNG.normal(size=(300, 2)) + 1
WIDE = 2 * RNG.normal(size=(300, 2))


def contours(axes):
    return [each for each in axes.collections if not isinstance(each, PathCollection)]


def test_points_are_the_draws_of_nuts_and_contours_hold_shares_of_the_guides():
    panels = {
        "one": (NUTS, {"encoder": NARROW, "flow": WIDE}),
        "two": (NUTS + 9, {"flow": WIDE + 9}),
    }
    figure = guide_against_nuts(panels)
    one, two = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["(a) one", "(b) two"]
    (points,) = [each for each in one.collections if isinstance(each, PathCollection)]
    np.testing.assert_allclose(points.get_offsets(), NUTS)
    assert [len(contours(axes)) for axes in (one, two)] == [2, 1]
    outer, inner = contours(one)[0].get_paths()
    # Of the density that is estimated, which is a little wider than the draws.
    shares = [path.contains_points(NARROW).mean() for path in (outer, inner)]
    np.testing.assert_allclose(shares, [0.9, 0.5], atol=0.03)
    same = contours(one)[1].get_edgecolor(), contours(two)[0].get_edgecolor()
    np.testing.assert_array_equal(*same)  # a guide has its colour in every panel
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["NUTS", "encoder", "flow"]


def test_of_equal_guides_both_are_seen():
    figure = guide_against_nuts({"datum": (NUTS, {"encoder": NARROW, "best": NARROW})})
    first, second = contours(figure.axes[0])
    assert all(pattern is None for _, pattern in first.get_linestyle())
    assert all(pattern is not None for _, pattern in second.get_linestyle())


def test_the_plane_is_named():
    figure = guide_against_nuts({"datum": (NUTS, {"encoder": NARROW})}, names=("3", "17"))
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_{3}$", "$z_{17}$")
    assert axes.get_aspect() == 1


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ({}, "panels: expected at least one entry"),
        ({"one": (NUTS, {})}, "guides: expected at least one entry"),
        ({"one": (NUTS[:, :1], {"encoder": NARROW})}, r"NUTS: expected shape \[S, 2\]"),
        ({"one": (NUTS, {"encoder": NARROW[0]})}, r"\['one'\]: encoder: expected shape"),
        ({"one": (NUTS, {"encoder": np.nan * NARROW})}, "600 NaN or infinite"),
        ({"one": (NUTS, {"encoder": NARROW[:, :1] * [1, 2]})}, "spread over the plane; got 300"),
        ({"one": (NUTS, {"encoder": NARROW[:2]})}, "spread over the plane; got 2 on a line"),
        ({"one": (NUTS, dict.fromkeys("abcdefgh", WIDE))}, "at most 7 methods"),
    ],
)
def test_what_guide_against_nuts_refuses(panels, message):
    with pytest.raises(ValueError, match=message):
        guide_against_nuts(panels)


GAPS = {"family": np.array([1.0, 2.0, 3.0]), "encoder": np.array([4.0, 4.0, 7.0])}


def test_bars_are_stacked_means_and_the_whisker_is_of_their_sum():
    figure = inference_gaps({"diagonal": GAPS, "flow": {n: 0.5 * g for n, g in GAPS.items()}})
    (axes,) = figure.axes
    spans = [(bar.get_x(), bar.get_width()) for bar in axes.patches]
    np.testing.assert_allclose(spans, [(0, 2), (2, 5), (0, 1), (1, 2.5)])
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2
    (whisker,) = axes.containers[2].lines[2]
    error = np.std([5, 6, 10], ddof=1) / 3**0.5
    np.testing.assert_allclose(whisker.get_segments()[0][:, 0], [7 - error, 7 + error])
    assert [text.get_text() for text in axes.texts] == [
        *("2.00", "5.00", "7.00"),
        *("1.00", "2.50", "3.50"),
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["diagonal", "flow"]
    assert axes.yaxis_inverted()  # the first on top
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["family", "encoder"]


def test_single_precision_is_drawn_as_double_is():
    single = {name: gap.astype(np.float32) for name, gap in GAPS.items()}
    (axes,) = inference_gaps({"one": single}).axes
    assert [text.get_text() for text in axes.texts] == ["2.00", "5.00", "7.00"]


def test_a_part_too_thin_for_a_number_has_none():
    figure = inference_gaps(
        {"one": {"family": np.array([0.1, 0.1]), "encoder": np.array([9.0, 9])}}
    )
    assert [text.get_text() for text in figure.axes[0].texts] == ["9.00", "9.10"]


def test_of_a_part_too_thin_to_be_seen_the_legend_says_how_much_it_is():
    thin = {"encoder": np.array([9.0, 9.0]), "family": np.array([0.02, 0.03])}
    seen = {"encoder": np.array([9.0, 9.0]), "family": np.array([1.0, 1.0])}
    for methods, expected in (
        ({"one": thin}, ["encoder", "family (0.025 at the most)"]),
        ({"one": thin, "two": seen}, ["encoder", "family"]),
    ):
        (legend,) = inference_gaps(methods).legends
        assert [text.get_text() for text in legend.get_texts()] == expected


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0, 2.0, 3.0, 6.0])
def test_numbers_and_whiskers_keep_apart(spread, sign):
    gaps = 4 + spread * np.array([-1.0, 1.0])
    parts = {"encoder": sign * gaps, "family": np.array([0.2, 0.2])}
    wide = {"encoder": np.array([20.0, 20.0]), "family": np.array([4.0, 4.0])}
    figure = inference_gaps({"one": parts, "two": wide})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    for container in axes.containers:
        if not hasattr(container, "lines"):
            continue
        (whisker,) = container.lines[2]
        (start, y), (end, _) = axes.transData.transform(whisker.get_segments()[0])
        for text in axes.texts:
            own = text.get_window_extent()
            assert not (own.y0 < y < own.y1 and own.x0 < end and own.x1 > start), text.get_text()


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({}, "methods: expected at least one entry"),
        ({"one": {}}, "parts: expected at least one entry"),
        ({"one": GAPS, "two": {"family": GAPS["family"]}}, r"two: expected the parts \['family', "),
        ({"one": {"family": np.ones((2, 2))}}, r"one, family: expected shape \[N\]"),
        ({"one": {**GAPS, "encoder": np.ones(2)}}, r"one, encoder: expected shape \[3\]"),
        ({"one": {"family": np.array([1.0, np.inf])}}, "1 NaN or infinite"),
        ({"one": {"family": np.ones(1)}}, "two data or more, for an error; got 1"),
    ],
)
def test_what_inference_gaps_refuses(methods, message):
    with pytest.raises(ValueError, match=message):
        inference_gaps(methods)
