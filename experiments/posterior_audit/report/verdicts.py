"""What it comes to: a row a method, and conclusions from the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.markdown import minus, table
from experiments.posterior_audit.config import Config
from experiments.posterior_audit.methods import BASELINE, CONSTANT, Method

__all__ = [
    "HAT",
    "Arrays",
    "Evidence",
    "Found",
    "exact_evidence",
    "listed",
    "overview",
    "paired",
    "percent",
    "undecided",
    "verdicts",
    "where",
]

HAT = "k\N{COMBINING CIRCUMFLEX ACCENT}"

Found = Mapping[Method, Mapping[str, Any]]
Arrays = Mapping[Method, Mapping[str, NDArray[Any]]]

Evidence = Mapping[Method, NDArray[np.float64]]

_FEW = 0.01  # of the images may have a k̂ too large
_LEVELS = ("0.5", "0.9")
_EXACT = ("grid", "exact")  # of many images, and of few
_INTERVAL = 1.96  # standard errors to either side: 95 %


def percent(share: float) -> str:
    """With a digit after the point where it is small."""
    return f"{100 * share:.{1 if share < 0.1 else 0}f} %"


def exact_evidence(arrays: Arrays) -> Evidence | None:
    """log p(x) of as many of the first test images as it is known of, by a grid or quadrature."""
    for name in _EXACT:
        if all(name in own for own in arrays.values()):
            return {method: own[name].astype(np.float64) for method, own in arrays.items()}
    return None


def paired(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """The mean of one less the other, and its standard error over the images."""
    less = one - other
    return float(less.mean()), float(less.std()) / len(less) ** 0.5


def undecided(difference: float, error: float) -> bool:
    """Whether an interval of 95 % holds zero."""
    return abs(difference) <= _INTERVAL * error


def overview(config: Config, found: Found) -> str:
    """The main table."""
    head = ["method", "bound", "log p(x)", "gap", f"{HAT}: median", "too large", "effective"]
    head += ["90 % hold", "50 % hold", "weights", "error bars"]
    rows = [
        [
            method.name,
            minus(f"{r['bound']:.2f}"),
            minus(f"{r['log_evidence']:.2f}"),
            f"{r['log_evidence'] - r['bound']:.2f}",
            minus(f"{r['k_median']:.2f}"),
            percent(r["share_above"]),
            f"{r['ess_median']:.0f}",
            *(percent(_joint(r)[level]) for level in reversed(_LEVELS)),
            "trust" if _trusted(r) else "do not trust",
            r["covered"]["joint"],
        ]
        for method, r in found.items()
    ]
    about = (
        "Nats a test image. *log p(x)*: smoothed importance weights of "
        f"{config.weight_samples:,} draws. {HAT}: of each image's weights; *too large*: the share "
        f"of images above {next(iter(found.values()))['threshold']:.2f}, where neither log p(x) "
        f"nor its error can be trusted; *effective*: draws, the median. *90 % hold*: how often the "
        "region that q gives 90 % holds the z that an image was made of, of "
        f"{config.simulations:,} images that the model made. *Weights*: to be trusted where "
        f"{HAT} is too large for {percent(_FEW)} of the images at most. *Error bars*: the verdict "
        "on all levels from 5 to 95 %, simultaneously at 95 %."
    )
    return f"{about}\n\n{table(head, rows, 'lrrrrrrrrll')}"


def _joint(result: Mapping[str, Any]) -> Mapping[str, float]:
    coverage: Mapping[str, float] = result["coverage"]["joint"]
    return coverage


def _trusted(result: Mapping[str, Any]) -> bool:
    return bool(result["share_above"] <= _FEW)


# -- in words --------------------------------------------------------------------------------------


def verdicts(config: Config, found: Found, arrays: Arrays) -> str:
    """Whose posterior can be trusted, and what a constant variance does."""
    told = [_weights(found), _error_bars(found), _causes(found)]
    exact = exact_evidence(arrays)
    told += [_constant(found, exact, each) for each in config.objectives if _both(config)]
    told += [_linter(found)]
    return "\n".join(f"- {each}" for each in told)


def _weights(found: Found) -> str:
    trusted = [method.name for method, result in found.items() if _trusted(result)]
    best = min(found, key=lambda method: found[method]["share_above"])
    worst = max(found, key=lambda method: found[method]["share_above"])
    return (
        f"**Weights**, and so log p(x), can be trusted of {listed(trusted)}. {HAT} is too large "
        f"for {percent(found[best]['share_above'])} of the images at the least ({best.name}), for "
        f"{percent(found[worst]['share_above'])} at the most ({worst.name})."
    )


def _error_bars(found: Found) -> str:
    groups: dict[str, list[str]] = {}
    for method, result in found.items():
        groups.setdefault(result["covered"]["joint"], []).append(method.name)
    told = "; ".join(f"{verdict}: {listed(names)}" for verdict, names in groups.items())
    off = {m: _joint(r)["0.9"] - 0.9 for m, r in found.items()}
    worst = max(off, key=lambda method: abs(off[method]))
    return (
        f"**Error bars.** {told[0].upper()}{told[1:]}. Furthest off at 90 %: {worst.name}, whose "
        f"regions hold the truth in {percent(_joint(found[worst])['0.9'])} of the cases."
    )


def _constant(found: Found, exact: Evidence | None, objective: str) -> str:
    """Constant against learned variances, on one decoder each."""
    methods = [Method(guide, objective) for guide in (CONSTANT, BASELINE)]
    own, other = (found[method] for method in methods)
    difference = own["log_evidence"] - other["log_evidence"]
    log_p = f"its smoothed log p(x) {_beside(difference)}"
    if exact is not None:
        log_p = _exactly(*(exact[method] for method in methods))
    covered, learned = _joint(own), _joint(other)
    pairs = [f"{percent(covered[x])} against {percent(learned[x])}" for x in reversed(_LEVELS)]
    return (
        f"**A constant variance** ({objective}): its 90 % regions hold the truth in {pairs[0]} of "
        f"the cases with learned variances, its 50 % regions in {pairs[1]}; {HAT} is too large for "
        f"{percent(own['share_above'])} of the images against {percent(other['share_above'])}. Its "
        f"bound is {_beside(own['bound'] - other['bound'])} the other's, {log_p}."
    )


def _exactly(own: NDArray[np.float64], other: NDArray[np.float64]) -> str:
    difference, error = paired(own, other)
    told = f"{abs(difference):.2f} ± {error:.2f} nats {'above' if difference > 0 else 'below'}"
    doubt = ", which is undecided" if undecided(difference, error) else ""
    return f"its exact log p(x), of {len(own):,} images, {told}{doubt}"


def _beside(difference: float) -> str:
    return f"{abs(difference):.2f} nats {'above' if difference > 0 else 'below'}"


def _causes(found: Found) -> str:
    """How much of the gap is the encoder's, of held-out data."""
    shares = {
        method.name: r["held_out_amortisation_gap"] / r["held_out_inference_gap"]
        for method, r in found.items()
    }
    told = [f"{share:.0%} of {name}".replace("%", " %") for name, share in shares.items()]
    return (
        "**Whose doing.** Of log p(x) − ELBO, as far as it is found from the encoder's q, the "
        f"encoder has {listed(told)}; the family the rest."
    )


def _both(config: Config) -> bool:
    return {CONSTANT, BASELINE} <= set(config.guides)


def _linter(found: Found) -> str:
    findings = sum(len(result["linter"]) for result in found.values())
    return f"`check_model` has {findings or 'no'} finding{'s' * (findings != 1)} in these pairs."


def listed(names: list[str]) -> str:
    """In a sentence; names have commas of their own."""
    if not names:
        return "none"
    return " and ".join(filter(None, ["; ".join(names[:-1]), names[-1]]))


# -- where -----------------------------------------------------------------------------------------


def where(found: Found, arrays: Arrays) -> str:
    """The share of images above the threshold, by label."""
    labels = np.unique(next(iter(arrays.values()))["label"])
    rows = [
        [method.name, *(percent(_share(arrays[method], r["threshold"], each)) for each in labels)]
        for method, r in found.items()
    ]
    head = ["method", *map(str, labels)]
    return (
        f"The share of test images whose {HAT} is too large, by digit.\n\n"
        f"{table(head, rows, 'l' + 'r' * len(labels))}"
    )


def _share(arrays: Mapping[str, NDArray[Any]], threshold: float, label: int) -> float:
    return float((arrays["k"][arrays["label"] == label] > threshold).mean())
