"""Models compared by log evidence: by hand, by arviz, and in closed form."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import Tensor

from pyro_vae import NonFiniteError, ShapeError
from pyro_vae.diagnostics import _container, compare, reliability
from pyro_vae.evaluation import LogEvidence
from pyro_vae.testing import linear_gaussian

pytestmark = pytest.mark.usefixtures("float64")

# arviz 0.23 sorts in a way that pandas 3.1 warns of.
OLD_PANDAS = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.sort_values")

# log p(x) of four data under three models.
HARD = np.array([-10.0, -200.0, -30.0, -4.0])
BY_HAND = {"b": HARD - [1.0, 2.0, 0.0, 1.0], "a": HARD, "c": HARD - [3.0, -1.0, 3.0, 3.0]}


def random_evidences(seed: int, models: int = 3, data: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    hard = rng.normal(-500, 100, size=data)
    return {f"model {m}": hard + rng.normal(0.3 * m, 1 + m, size=data) for m in range(models)}


# --- by hand --------------------------------------------------------------------------------------


def test_the_table_is_what_a_hand_computes() -> None:
    table = compare(BY_HAND)
    assert list(table.index) == ["a", "b", "c"]
    assert table["rank"].tolist() == [0, 1, 2]
    assert table["elpd"].tolist() == [-244.0, -248.0, -252.0]
    assert table["elpd_diff"].tolist() == [0.0, 4.0, 8.0]
    # Differences 1, 2, 0, 1 have the variance ½, and 3, −1, 3, 3 have 3: √(4 · ½) and √(4 · 3).
    np.testing.assert_allclose(table["dse"], [0.0, 2**0.5, 12**0.5])
    np.testing.assert_allclose(table["se"]["a"], 2 * HARD.std())


def test_what_is_hard_for_all_models_cancels_in_the_paired_error() -> None:
    easy, hard = ({n: v + k * HARD for n, v in BY_HAND.items()} for k in (0, 10))
    before, after = compare(easy), compare(hard)
    np.testing.assert_allclose(before["dse"], after["dse"], atol=1e-10)
    np.testing.assert_allclose(before["elpd_diff"], after["elpd_diff"])
    np.testing.assert_allclose(before["weight"], after["weight"], atol=1e-6)
    assert (after["se"] > 9 * before["se"]).all()


def test_identical_models_have_no_difference_and_keep_their_order() -> None:
    table = compare({"second": HARD, "first": HARD})
    assert list(table.index) == ["second", "first"]
    assert table["elpd_diff"].tolist() == table["dse"].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(table["weight"], 0.5)


def test_evidences_may_come_in_any_form() -> None:
    expected = compare(BY_HAND)
    tensors = {name: torch.from_numpy(value).requires_grad_() for name, value in BY_HAND.items()}
    pd.testing.assert_frame_equal(compare(tensors), expected)
    evidences = {n: LogEvidence(v.detach(), torch.zeros(4)) for n, v in tensors.items()}
    pd.testing.assert_frame_equal(compare(evidences), expected)


# --- arviz ----------------------------------------------------------------------------------------


@OLD_PANDAS
@pytest.mark.skipif(not _container.HAS_INFERENCE_DATA, reason="arviz 1.x has another ELPDData")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_columns_are_arvizs(seed: int) -> None:
    # arviz exponentiates log densities as they are, and −500 would leave nothing: so near zero.
    models = {name: values / 100 for name, values in random_evidences(seed).items()}
    results = {}
    for name, values in models.items():
        pointwise = {"loo_i": xr.DataArray(values), "pareto_k": xr.DataArray(0 * values)}
        error = (len(values) * values.var()) ** 0.5
        scalars = {"elpd_loo": values.sum(), "se": error, "p_loo": 0.0, "warning": False}
        results[name] = _container.az.ELPDData({**scalars, **pointwise, "scale": "log"})
    expected, table = _container.az.compare(results, method="stacking"), compare(models)
    assert list(table.index) == list(expected.index)
    assert set(expected.columns) - set(table.columns) == {"p_loo"}
    for name in ("rank", "elpd_loo", "elpd_diff", "se", "dse"):
        np.testing.assert_allclose(table[name], expected[name].astype(float), err_msg=name)
    # arviz's weights are where its optimiser stopped.
    np.testing.assert_allclose(table["weight"], expected["weight"], atol=0.01)
    assert (table["scale"] == expected["scale"]).all()


@OLD_PANDAS
def test_arvizs_plot_takes_the_table() -> None:
    table = compare(BY_HAND)
    if not _container.HAS_INFERENCE_DATA:
        _container.az.plot_compare(table, backend="matplotlib")
        return
    axes = _container.az.plot_compare(table, plot_ic_diff=True, show=False)
    points = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(points, [table["elpd"]])
    plt.close(axes.figure)


# --- stacking -------------------------------------------------------------------------------------


def test_models_of_different_data_share_the_weight_as_the_data() -> None:
    first = np.r_[np.zeros(7), np.full(3, -2000.0)]
    table = compare({"seven": first, "three": -2000.0 - first})
    np.testing.assert_allclose(table["weight"], [0.7, 0.3], atol=1e-7)


def test_a_model_that_is_worse_everywhere_has_no_weight() -> None:
    table = compare({"worse": HARD - 0.1, "better": HARD})
    np.testing.assert_allclose(table["weight"], [1.0, 0.0], atol=1e-9)


@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0, 3000.0])
@pytest.mark.parametrize("models", [2, 5])
def test_no_model_could_add_to_the_best_mixture(models: int, spread: float) -> None:
    """The mean of p_m(x) / Σ w p(x) over data is 1 for models with a weight, and no larger else."""
    rng = np.random.default_rng(models)
    log_p = rng.normal(-500, 100, size=(300, 1)) + spread * rng.normal(size=(300, models))
    table = compare({str(m): log_p[:, m] for m in range(models)})
    weight = table["weight"].loc[[str(m) for m in range(models)]].to_numpy()
    assert weight.sum() == pytest.approx(1.0)
    assert (weight >= 0).all()
    p = np.exp(log_p - log_p.max(1, keepdims=True))
    gain = (p / (p @ weight)[:, None]).mean(0)
    assert gain.max() < 1 + 1e-6
    np.testing.assert_allclose(gain[weight > 1e-3], 1.0, atol=1e-5)


# --- pairs ----------------------------------------------------------------------------------------


def test_pairs_are_compared_by_their_exact_evidence() -> None:
    true, other = (linear_gaussian(seed=s, num_data=60, dtype=torch.float64) for s in (0, 1))
    pairs = {
        name: (pair.model, pair.guide) for name, pair in {"other": other, "true": true}.items()
    }
    table = compare(pairs, true.x, num_samples=50)
    exact = {"true": true.log_evidence(true.x), "other": other.log_evidence(true.x)}
    assert list(table.index) == ["true", "other"]
    numbers = ["elpd", "elpd_diff", "se", "dse", "weight"]
    pd.testing.assert_frame_equal(table[numbers], compare(exact)[numbers])
    assert not table["warning"].any()
    assert table["share_above"].tolist() == [0.0, 0.0]


def scale_model(x: Tensor, scale: float = 1.0) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), scale))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def narrow_guide(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x / 2, 0.2))


def test_a_pair_whose_evidence_is_not_to_be_trusted_is_marked() -> None:
    x = torch.randn(30)
    narrow = reliability(scale_model, narrow_guide, x)
    exact = dist.Normal(0.0, 2**0.5).log_prob(x)
    table = compare({"narrow": (scale_model, narrow_guide), "again": narrow, "exact": exact}, x)
    table = table.loc[["narrow", "again", "exact"]]
    assert table["warning"].tolist() == [True, True, False]
    np.testing.assert_allclose(table["share_above"], [narrow.share_above] * 2 + [math.nan])
    assert narrow.share_above > 0.5
    assert table["elpd"]["narrow"] == table["elpd"]["again"] == narrow.log_evidence.sum().item()


# --- what is refused ------------------------------------------------------------------------------


def test_fewer_than_two_models_or_data_are_refused() -> None:
    with pytest.raises(ValueError, match="models: expected two or more to compare; got 1"):
        compare({"a": HARD})
    with pytest.raises(ValueError, match="expected two data or more"):
        compare({"a": HARD[:1], "b": HARD[:1]})


def test_a_pair_without_data_is_refused() -> None:
    with pytest.raises(ValueError, match="x: expected data, for models that are pairs"):
        compare({"a": HARD, "b": (scale_model, narrow_guide)})


def test_evidences_of_other_data_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"same data; got \{'a': 4, 'b': 3\}"):
        compare({"a": HARD, "b": HARD[:3]})
    with pytest.raises(ShapeError, match=r"models\['b'\]: .* a datum, \[data\]; got \(2, 2\)"):
        compare({"a": HARD, "b": HARD.reshape(2, 2)})


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_evidences_that_are_no_numbers_are_refused(value: float) -> None:
    bad = HARD.copy()
    bad[2] = value
    with pytest.raises(NonFiniteError, match=r"models\['b'\]: .* got (nan|-inf) at datum 2"):
        compare({"a": HARD, "b": bad})
