"""log p(x): what three estimators say of it, and which model has the most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.markdown import minus, number, table
from experiments.posterior_audit.config import Config
from experiments.posterior_audit.methods import Method
from experiments.posterior_audit.report.verdicts import HAT, Found, percent
from pyro_vae.diagnostics import compare

__all__ = ["agreement", "comparison"]

OfMethod = Mapping[str, NDArray[Any]]
Arrays = Mapping[Method, OfMethod]

_ERRORS = 3.0  # of a difference that is told from none


def agreement(config: Config, found: Found, arrays: Arrays) -> str:
    """Importance sampling, smoothed, annealed; and the bounds from both sides."""
    head = ["method", "IS", "PSIS", "AIS", f"{HAT} fine: AIS − PSIS", "within"]
    head += [f"{HAT} too large: AIS − PSIS", "within", "images", "upper − lower"]
    rows = [_row(method, r, arrays[method]) for method, r in found.items()]
    about = (
        f"Mean log p(x) of the first {config.few} test images in nats, ± Monte-Carlo errors: "
        f"*IS*, importance sampling with {config.evidence_samples:,} draws an image; *PSIS*, other "
        f"{config.evidence_samples:,}, the largest weights smoothed; *AIS*, annealed importance "
        f"sampling, {config.chains} chains, {config.temperatures:,} temperatures, a stochastic "
        f"lower bound. *AIS − PSIS*: the mean difference, of images whose {HAT} of "
        f"{config.evidence_samples:,} draws is fine and of those whose it is not (*images*: how "
        f"many); *within*: the share of images that differ by at most {_ERRORS:g} of their errors. "
        f"*Upper − lower*: bounds from both sides, of {config.simulated} images that the model "
        "made, by the same chains: what AIS is below log p(x) by at the most, in the mean."
    )
    return f"{about}\n\n{table(head, rows, 'l' + 'r' * 9)}"


def _row(
    method: Method, result: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> list[str]:
    large = arrays["few_k"] > result["few_threshold"]
    return [
        method.name,
        *(_mean(arrays[each], arrays[f"{each}_error"]) for each in ("is", "psis", "ais")),
        *_difference(arrays, ~large),
        *_difference(arrays, large),
        str(int(large.sum())),
        minus(f"{result['sandwich']:.3f}") + f" ± {number(result['sandwich_error'])}",
    ]


def _mean(values: NDArray[Any], errors: NDArray[Any]) -> str:
    return minus(f"{values.astype(float).mean():.3f}") + f" ± {number(_error(errors))}"


def _error(errors: NDArray[Any]) -> float:
    return float(np.linalg.norm(errors.astype(float))) / len(errors)


def _difference(arrays: OfMethod, chosen: NDArray[Any]) -> list[str]:
    """The mean of AIS − PSIS, and the share within some errors."""
    if not chosen.any():
        return ["–", "–"]
    less = (arrays["ais"] - arrays["psis"])[chosen].astype(float)
    error = np.hypot(arrays["ais_error"], arrays["psis_error"])[chosen]
    # Of equal weights the error is none, and the difference that of rounding.
    within = np.abs(less) <= _ERRORS * error + 1e-4
    told = minus(f"{less.mean():+.3f}") + f" ± {number(_error(error))}"
    return [told, percent(float(within.mean()))]


def comparison(arrays: Arrays) -> str:
    """By log p(x) of all test images, paired."""
    found = {method.name: own["log_evidence_of_each"] for method, own in arrays.items()}
    ranked = compare(found)
    count = len(next(iter(found.values())))
    rows = [
        [
            str(name),
            minus(f"{row['elpd'] / count:.2f}"),
            f"{row['elpd_diff'] / count:.2f}",
            f"{row['dse'] / count:.3f}",
            f"{row['weight']:.2f}",
        ]
        for name, row in ranked.iterrows()
    ]
    head = ["model", "log p(x)", "below the best", "± (paired)", "weight"]
    return (
        f"By smoothed log p(x) of the {count:,} test images, nats an image; *weight* in the best "
        f"mixture of all. One training each: how much another seed moves a row is "
        f"not in these errors.\n\n{table(head, rows, 'lrrrr')}"
    )
