"""The posterior's scale: the bound for several σ, and for encoders that start at another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from experiments.markdown import minus, table
from experiments.there_and_back.config import Config
from experiments.there_and_back.jobs import results_of
from experiments.there_and_back.variants import STUDIES

__all__ = ["deviations", "start"]

Setting = tuple[float, float | None]
"""The factor, and σ; ``None`` where it is learned."""

Bounds = Mapping[Setting, list[float]]
"""Of each seed."""


def deviations(config: Config, root: Path) -> list[str]:
    """BILBO with Σ = σ² I."""
    bounds = _bounds(config, root, "deviations")
    means = {sigma: mean(found) for (_, sigma), found in bounds.items() if sigma is not None}
    return [
        "## The posterior's scale",
        _DEVIATIONS,
        _table(bounds, factors=False),
        *_similar(means),
    ]


def start(config: Config, root: Path) -> list[str]:
    """The same, and learned Σ, with a factor in encoder and decoder."""
    bounds = _bounds(config, root, "start")
    verdicts = "\n".join(f"- {_verdict(bounds, factor)}" for factor in config.factors)
    return ["## The start of training", _START, _table(bounds), verdicts]


def _similar(means: Mapping[float, float]) -> list[str]:
    if len(means) < 2:
        return []
    best = max(means, key=lambda sigma: means[sigma])
    span = max(means.values()) - min(means.values())
    return [
        f"Figure 9: the paper finds the distributions alike; the bounds here are {span:.1f} nats "
        f"apart, σ = {best:g} is best. One seed does not tell that from what another seed does: "
        "see the start of training, factor 1."
    ]


def _bounds(config: Config, root: Path, study: str) -> Bounds:
    found: dict[Setting, list[float]] = {}
    for variant, result in results_of(root, STUDIES[study](config)).items():
        if "failed" not in result:
            found.setdefault((variant.factor, variant.deviation), []).append(result["bound"])
    return found


def _table(bounds: Bounds, *, factors: bool = True) -> str:
    rows = [
        [f"{factor:g}"] * factors + [_sigma(deviation), minus(f"{mean(found):.2f}"), _spread(found)]
        for (factor, deviation), found in bounds.items()
    ]
    head = ["factor"] * factors + ["σ", "bound, mean over seeds", "range"]
    return table(head, rows, "r" * len(head))


def _spread(found: list[float]) -> str:
    return minus(f"{min(found):.2f} to {max(found):.2f}") if len(found) > 1 else "one seed"


def _verdict(bounds: Bounds, factor: float) -> str:
    """Whether the best σ is the one that matches, and which one learned Σ is nearest to."""
    own = {sigma: mean(found) for (f, sigma), found in bounds.items() if f == factor}
    constant = {sigma: bound for sigma, bound in own.items() if sigma is not None}
    if not constant:
        return f"factor {factor:g}: no training came to its end."
    best = max(constant, key=lambda sigma: constant[sigma])
    told = f"factor {factor:g}: σ = {best:g} is best, "
    told += "which matches it, as in the paper" if best == factor else "which does not match it"
    if None not in own:
        return f"{told}."
    nearest = min(constant, key=lambda sigma: abs(constant[sigma] - own[None]))
    less = minus(f"{own[None] - constant[nearest]:+.2f}")
    return f"{told}; learned Σ is nearest to σ = {nearest:g} ({less} nats; in the paper to 1)."


def _sigma(deviation: float | None) -> str:
    return "learned" if deviation is None else f"{deviation:g}"


_START = (
    "The encoder's means are multiplied by a factor at its end, and the decoder's latents divided "
    "by it at its beginning: by eq. 2 the bound's optimum is the same for every factor and σ, and "
    "what differs is what training starts with. Bernoulli likelihood, two latents; nats a test "
    "image at the end of training."
)
_DEVIATIONS = "BILBO with Σ = σ² I, Bernoulli likelihood, two latents, one seed; nats a test image."
