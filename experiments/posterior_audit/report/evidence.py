"""log p(x): what estimators say of it, and which model has the most."""

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
_ROUNDING = 1e-3  # nats


def agreement(config: Config, found: Found, arrays: Arrays) -> str:
    """Importance sampling, smoothed, annealed, exact; and the bounds from both sides."""
    exact = all("exact" in own for own in arrays.values())
    truth = "exact" if exact else "AIS"
    head = ["method", "IS", "PSIS", "AIS", *(["exact"] if exact else [])]
    head += [f"{HAT} fine: PSIS − {truth}", "within", "furthest"]
    head += [f"{HAT} too large: PSIS − {truth}", "within", "images"]
    head += [*(["AIS − exact", "within"] if exact else []), "upper − lower"]
    rows = [_row(method, r, arrays[method], exact) for method, r in found.items()]
    about = (
        f"Mean log p(x) of the first {config.few} test images in nats, ± Monte-Carlo errors: "
        f"*IS*, importance sampling with {config.evidence_samples:,} draws an image; *PSIS*, other "
        f"{config.evidence_samples:,}, the largest weights smoothed; *AIS*, annealed importance "
        f"sampling, {config.chains} chains, {config.temperatures:,} temperatures, a stochastic "
        f"lower bound{_of_exact(found) if exact else ''}. *PSIS − {truth}*: the mean difference, "
        f"of images whose {HAT} of {config.evidence_samples:,} draws is fine and of those whose it "
        "is not (*images*: how many); *within*: the share of images that differ by at most "
        f"{_ERRORS:g} of their errors; *furthest*: the image that PSIS is furthest off at. A "
        f"{HAT} that is fine speaks of the draws that there are: of mass that the guide never "
        "draws from, such as a second mode, no weight can tell. "
        f"*Upper − lower*: bounds from both sides, of {config.simulated} images that the model "
        "made, by AIS's chains: what AIS is below log p(x) by at the most, in the mean."
    )
    return f"{about}\n\n{table(head, rows, 'l' + 'r' * (len(head) - 1))}"


def _of_exact(found: Found) -> str:
    change = max(result["exact_change"] for result in found.values())
    return (
        "; *exact*, quadrature over the latents, which the last refinement of its grid changed by "
        f"{number(change)} at the most"
    )


def _row(method: Method, result: Mapping[str, Any], of: OfMethod, exact: bool) -> list[str]:
    large = of["few_k"] > result["few_threshold"]
    truth = "exact" if exact else "ais"
    return [
        method.name,
        *(_mean(of[each], of[f"{each}_error"]) for each in ("is", "psis", "ais")),
        *([_nats(of["exact"].mean())] if exact else []),
        *_difference(of, "psis", truth, ~large),
        _furthest((of["psis"] - of[truth])[~large]),
        *_difference(of, "psis", truth, large),
        str(int(large.sum())),
        *(_difference(of, "ais", "exact", large | ~large) if exact else []),
        _nats(result["sandwich"]) + f" ± {number(result['sandwich_error'])}",
    ]


def _nats(value: float) -> str:
    return minus(f"{value:.3f}")


def _furthest(differences: NDArray[Any]) -> str:
    if not len(differences):
        return "–"
    return minus(f"{differences[np.abs(differences).argmax()]:+.2f}")


def _mean(values: NDArray[Any], errors: NDArray[Any]) -> str:
    return _nats(values.astype(float).mean()) + f" ± {number(_error(errors))}"


def _error(errors: NDArray[Any]) -> float:
    return float(np.linalg.norm(errors.astype(float))) / len(errors)


def _difference(of: OfMethod, one: str, other: str, chosen: NDArray[Any]) -> list[str]:
    """The mean of one less the other, and the share within some errors; what is exact has none."""
    if not chosen.any():
        return ["–", "–"]
    less = (of[one] - of[other])[chosen].astype(float)
    none = np.zeros(len(chosen))
    error = np.hypot(*(of.get(f"{each}_error", none) for each in (one, other)))[chosen]
    # Of equal weights the error is none, and the difference that of rounding and of the grid.
    within = np.abs(less) <= _ERRORS * error + _ROUNDING
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
