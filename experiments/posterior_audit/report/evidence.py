"""log p(x): what estimators say of it, and which model has the most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.markdown import minus, number, table
from experiments.posterior_audit.config import Config
from experiments.posterior_audit.methods import Method
from experiments.posterior_audit.report.verdicts import (
    HAT,
    Arrays,
    Evidence,
    Found,
    exact_evidence,
    listed,
    paired,
    percent,
    undecided,
)
from pyro_vae.diagnostics import compare

__all__ = ["agreement", "best", "comparison", "unseen"]

OfMethod = Mapping[str, NDArray[Any]]

_ERRORS = 3.0  # of a difference that is told from none
_ROUNDING = 1e-3  # nats
_FAR = 1.0  # nats
_NAMES = {"is": "IS", "psis": "PSIS", "ais": "AIS", "exact": "exact"}


def agreement(config: Config, found: Found, arrays: Arrays) -> str:
    """Importance sampling, smoothed, annealed, exact; and the bounds from both sides."""
    truth = "exact" if all("exact" in own for own in arrays.values()) else "ais"
    head = ["method", *(_NAMES[each] for each in _estimates(truth)), "upper − lower"]
    rows = [_row(method, result, arrays[method], truth) for method, result in found.items()]
    about = (
        f"Mean log p(x) of the first {config.few} test images in nats, ± Monte-Carlo errors: "
        f"*IS*, importance sampling with {config.evidence_samples:,} draws an image; *PSIS*, other "
        f"{config.evidence_samples:,}, the largest weights smoothed; *AIS*, annealed importance "
        f"sampling, {config.chains} chains, {config.temperatures:,} temperatures, a stochastic "
        f"lower bound{_of_exact(found) if truth == 'exact' else ''}. "
        f"*Upper − lower*: bounds from both sides, of {config.simulated} images that the model "
        "made, by AIS's chains: what AIS is below log p(x) by at the most, in the mean, for such "
        "images; real ones may be harder."
    )
    told = table(head, rows, "l" + "r" * (len(head) - 1))
    return f"{about}\n\n{told}\n\n{_differences(config, found, arrays, truth)}"


def _estimates(truth: str) -> list[str]:
    return ["is", "psis", "ais", *(["exact"] if truth == "exact" else [])]


def _of_exact(found: Found) -> str:
    change = max(result["exact_change"] for result in found.values())
    return (
        "; *exact*, quadrature over the latents, which the last refinement of its grid changed by "
        f"{number(change)} at the most"
    )


def _row(method: Method, result: Mapping[str, Any], of: OfMethod, truth: str) -> list[str]:
    return [
        method.name,
        *(_mean(of, each) for each in _estimates(truth)),
        _nats(result["sandwich"]) + f" ± {number(result['sandwich_error'])}",
    ]


def _differences(config: Config, found: Found, arrays: Arrays, truth: str) -> str:
    """Where estimates are off, and whether their weights say so."""
    annealed = [f"AIS − {_NAMES[truth]}", "within", "furthest"] if truth != "ais" else []
    head = ["method", "images", f"{HAT} fine: PSIS − {_NAMES[truth]}", "within", "furthest"]
    head += ["images", f"{HAT} too large: PSIS − {_NAMES[truth]}", "within", "furthest", *annealed]
    rows = []
    for method, of in arrays.items():
        large = of["few_k"] > found[method]["few_threshold"]
        cells = [cell for chosen in (~large, large) for cell in _of_psis(of, truth, chosen)]
        if annealed:
            cells += _difference(of, "ais", truth, large | ~large)
        rows.append([method.name, *cells])
    about = (
        f"PSIS's images are those whose {HAT} of {config.evidence_samples:,} draws is fine, and "
        "those whose it is not (*images*: how many). Mean differences in nats; *within*: the share "
        f"of images that differ by at most {_ERRORS:g} of their errors; *furthest*: the image that "
        f"differs most. A {HAT} that is fine speaks of the draws that there are: mass that the "
        "guide does not draw from, such as a second mode, no weight can show."
    )
    return f"{about}\n\n{table(head, rows, 'l' + 'r' * (len(head) - 1))}"


def unseen(found: Found, arrays: Arrays) -> str | None:
    """What estimates from the guide's draws do not see, where the truth is known."""
    if not all("exact" in own for own in arrays.values()):
        return None
    fine = far = far_annealed = images = 0
    for method, of in arrays.items():
        small = of["few_k"] <= found[method]["few_threshold"]
        fine += int(small.sum())
        far += int((of["exact"] - of["psis"] > _FAR)[small].sum())
        far_annealed += int((of["exact"] - of["ais"] > _FAR).sum())
        images += len(small)
    return (
        f"**What no weight shows.** Of {fine} cases, an image and a guide, with a {HAT} that is "
        f"fine, log p(x) is more than {_FAR:g} nat above its estimate by smoothed weights in "
        f"{far or 'none'}; of all {images} it is as far above annealing from the guide in "
        f"{far_annealed or 'none'}{_ELSEWHERE if far or far_annealed else ''}."
    )


_ELSEWHERE = ": the posterior is, wholly or in part, where the guide does not draw"


def _of_psis(of: OfMethod, truth: str, chosen: NDArray[Any]) -> list[str]:
    return [str(int(chosen.sum())), *_difference(of, "psis", truth, chosen)]


def _nats(value: float) -> str:
    return minus(f"{value:.3f}")


def _mean(of: OfMethod, name: str) -> str:
    mean = _nats(of[name].astype(float).mean())
    return mean if name == "exact" else f"{mean} ± {number(_error(of[f'{name}_error']))}"


def _error(errors: NDArray[Any]) -> float:
    return float(np.linalg.norm(errors.astype(float))) / len(errors)


def _difference(of: OfMethod, one: str, other: str, chosen: NDArray[Any]) -> list[str]:
    """The mean of one less the other, the share within some errors, of which what is exact has
    none, and the one that is furthest off."""
    if not chosen.any():
        return ["–", "–", "–"]
    less = (of[one] - of[other])[chosen].astype(float)
    none = np.zeros(len(chosen))
    error = np.hypot(*(of.get(f"{each}_error", none) for each in (one, other)))[chosen]
    # Of equal weights the error is none, and the difference that of rounding and of the grid.
    within = np.abs(less) <= _ERRORS * error + _ROUNDING
    told = minus(f"{less.mean():+.3f}") + f" ± {number(_error(error))}"
    furthest = minus(f"{less[np.abs(less).argmax()]:+.2f}")
    return [told, percent(float(within.mean())), furthest]


# -- which model -----------------------------------------------------------------------------------


def best(found: Found, arrays: Arrays) -> str | None:
    """The model of largest exact log p(x), what it is not told from, and what weights would say."""
    exact = exact_evidence(arrays)
    if exact is None or len(exact) < 2:
        return None
    first = max(exact, key=lambda method: exact[method].mean())
    equal = [
        method.name
        for method in exact
        if method != first and undecided(*paired(exact[first], exact[method]))
    ]
    smoothed = max(found, key=lambda method: found[method]["log_evidence"])
    images = len(exact[first])
    told = "above all" if not equal else f"undecided, at 95 %, against {listed(equal)}"
    would = "the same" if smoothed == first else smoothed.name
    return (
        f"**Which model is better**, by the exact log p(x) of {images:,} images: {first.name}, "
        f"{told}. Smoothed weights put {would} first."
    )


def comparison(config: Config, found: Found, arrays: Arrays) -> str:
    """By log p(x), paired: exact where it is known, with what weights say of it beside."""
    exact = exact_evidence(arrays)
    if len(arrays) < 2:
        return "One model: nothing to compare."
    if exact is None:
        return _by_weights(config, found, arrays)
    return _by_exact(config, found, arrays, exact)


def _by_exact(config: Config, found: Found, arrays: Arrays, exact: Evidence) -> str:
    methods = {method.name: method for method in exact}
    rows = []
    for name, cells in _ranked(exact):
        method = methods[name]
        log_p = arrays[method]["log_evidence_of_each"].astype(float)
        less = (log_p[: len(exact[method])] - exact[method]).mean()
        smoothed = [minus(f"{less:+.2f}"), minus(f"{log_p.mean():.2f}")]
        rows.append([name, *cells, *smoothed, percent(found[method]["share_above"])])
    head = [*_RANKED, "smoothed − exact", "smoothed, of all", f"{HAT} too large"]
    images, all_images = (len(next(iter(of.values()))) for of in (exact, _smoothed(arrays)))
    about = (
        f"By the exact log p(x) of the first {images:,} test images, nats an image{_grid(arrays)}; "
        f"*±*: a standard error over the images, paired with the best; *weight* in the best "
        "mixture of all. Beside it smoothed importance weights of "
        f"{config.weight_samples:,} draws: how far their log p(x) is off, in the mean of the same "
        f"images; what they give for all {all_images:,}; and the share of these whose {HAT} is too "
        f"large. `compare` would warn of {_warned(found)} smoothed row. {_ONE_SEED}"
    )
    return f"{about}\n\n{table(head, rows, 'l' + 'r' * (len(head) - 1))}"


def _by_weights(config: Config, found: Found, arrays: Arrays) -> str:
    methods = {method.name: method for method in arrays}
    rows = [
        [name, *cells, percent(found[methods[name]]["share_above"])]
        for name, cells in _ranked(_smoothed(arrays))
    ]
    head = [*_RANKED, f"{HAT} too large"]
    count = len(next(iter(_smoothed(arrays).values())))
    about = (
        f"By smoothed log p(x) of the {count:,} test images, of {config.weight_samples:,} draws, "
        "nats an image; *±*: a standard error over the images, paired with the best; *weight* in "
        f"the best mixture of all. `compare` warns of {_warned(found)} row: where {HAT} is too "
        "large for more than a few images, neither the order nor its errors are to be trusted. "
        f"{_ONE_SEED}"
    )
    return f"{about}\n\n{table(head, rows, 'l' + 'r' * (len(head) - 1))}"


_RANKED = ("model", "log p(x)", "below the best", "± (paired)", "weight")
_ONE_SEED = "One training each: how much another seed moves a row is not in these errors."


def _ranked(evidence: Evidence) -> list[tuple[str, list[str]]]:
    """Of each model, the best first: its name, and its cells of the columns after it."""
    count = len(next(iter(evidence.values())))
    ranked = compare({method.name: log_p for method, log_p in evidence.items()})
    return [
        (
            str(name),
            [
                minus(f"{row['elpd'] / count:.2f}"),
                f"{row['elpd_diff'] / count:.2f}",
                f"{row['dse'] / count:.2f}",
                f"{row['weight']:.2f}",
            ],
        )
        for name, row in ranked.iterrows()
    ]


def _smoothed(arrays: Arrays) -> Evidence:
    return {m: own["log_evidence_of_each"].astype(np.float64) for m, own in arrays.items()}


def _grid(arrays: Arrays) -> str:
    if not all("grid_error" in own for own in arrays.values()):
        return ""
    error = max(_error(own["grid_error"]) for own in arrays.values())
    return (
        f", on one grid over the latents, whose own error in a mean is {number(error)} at the most"
    )


def _warned(found: Found) -> str:
    """Of how many models, by the rule of ``compare``: a k̂ above the threshold in any image."""
    warned = sum(result["share_above"] > 0 for result in found.values())
    return "every" if warned == len(found) else f"{warned or 'no'}"
