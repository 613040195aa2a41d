"""Likelihood variances: learned, constant and from the information, scaled data, factors τ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.markdown import minus, number, table
from experiments.there_and_back.config import Config
from experiments.there_and_back.figures import label
from experiments.there_and_back.jobs import results_of
from experiments.there_and_back.variants import STUDIES, Variant

__all__ = ["scales", "taus"]

Results = Mapping[Variant, Mapping[str, Any]]


def scales(config: Config, root: Path) -> list[str]:
    """Likelihoods under data times λ."""
    found = results_of(root, STUDIES["scales"](config))
    verdicts = [_invariance(config, found), _sensitivity(config, found), _learned(found)]
    return [
        "## Likelihood variances and the scale of the data",
        _ABOUT,
        _table(found),
        "\n".join(f"- {verdict}" for verdict in verdicts if verdict),
    ]


def taus(config: Config, root: Path) -> list[str]:
    """BAGGINS with several τ."""
    found = results_of(root, STUDIES["taus"](config))
    wide = {v: r for v, r in found.items() if v.latent == config.wide and "failed" not in r}
    parts = ["## The information factor", _table(found)]
    if len(wide) > 1:
        parts.append(_best_factors(config, wide))
    return parts


_ABOUT = (
    "BILBO with Σ = I. Nats a test image, of densities in the data's own unit: for data "
    "times λ, m log λ is added and σ² divided by λ². *log p(x)*: importance sampling, of the first "
    "test images. *Samples to data*: the mean squared distance, a pixel, of 1,000 generated images "
    "to the nearest of 5,000 test images, and *data to samples* the other way. *Largest drop*: by "
    "how many nats the bound on the test set fell at most from one measurement to a later one."
)


def _table(found: Results) -> str:
    rows = [
        [str(v.latent), label(v), str(v.seed), *_numbers(result)] for v, result in found.items()
    ]
    head = ["latents", "likelihood", "seed", "bound", "bits a dimension", "KL", "log p(x)", "σ²"]
    head += ["samples to data", "data to samples", "largest drop"]
    return table(head, rows, "rlr" + "r" * 8)


def _numbers(result: Mapping[str, Any]) -> list[str]:
    if "failed" in result:
        return ["failed", *["–"] * 7]
    variance = result.get("variance")
    return [
        minus(f"{result['bound']:.1f}"),
        minus(f"{result['bits_per_dim']:.3f}"),
        f"{result['kl']:.1f}",
        minus(f"{result['log_evidence']:.2f}") + f" ± {number(result['log_evidence_error'])}",
        "–" if variance is None else number(variance),
        f"{result['to_data']:.4f}",
        f"{result['from_data']:.4f}",
        f"{_largest_drop(result):.1f}",
    ]


def _largest_drop(result: Mapping[str, Any]) -> float:
    """Of the held-out bound, from the best so far."""
    best, drop = float("-inf"), 0.0
    for record in result["history"]:
        if record["validation"] is not None:
            best = max(best, record["validation"])
            drop = max(drop, best - record["validation"])
    return drop


# -- verdicts --------------------------------------------------------------------------------------

_MEASURES = {"bits_per_dim": "bits a dimension", "to_data": "samples to data"}


def _invariance(config: Config, found: Results) -> str | None:
    """BAGGINS over λ against BAGGINS over seeds."""
    own = {v: r for v, r in _likelihood(found, "BAGGINS", config.wide) if "failed" not in r}
    scaled = [r for v, r in own.items() if v.seed == 0]
    seeds = [r for v, r in own.items() if v.scale == 1]
    if len(scaled) < 2 or len(seeds) < 2:
        return None
    told = []
    for key, name in _MEASURES.items():
        by_scale, by_seed = _range(scaled, key), _range(seeds, key)
        within = "within" if by_scale <= by_seed else "**beyond**"
        told.append(f"{name} by {by_scale:.2g}, {within} the {by_seed:.2g} of {len(seeds)} seeds")
    scales = _span(v.scale for v in own)
    return f"BAGGINS, λ from {scales}: {'; '.join(told)}, is the range of the results."


def _sensitivity(config: Config, found: Results) -> str | None:
    own = {v: r for v, r in _likelihood(found, "T = I", config.wide) if "failed" not in r}
    if len(own) < 2:
        return None
    best = max(own, key=lambda v: own[v]["bound"])
    return (
        f"T = I, λ from {_span(v.scale for v in own)}: bits a dimension range over "
        f"{_range(list(own.values()), 'bits_per_dim'):.2f}; the best is λ = {best.scale:g}."
    )


def _learned(found: Results) -> str | None:
    for variant, result in found.items():
        if variant.likelihood != "learned T":
            continue
        if "failed" in result:
            return f"Learned T did not come to an end: {result['failed']}"
        drop = _largest_drop(result)
        steadiest = max(_largest_drop(r) for v, r in _likelihood(found, "BAGGINS", variant.latent))
        return (
            f"Learned T: the bound on the test set fell by up to {drop:.1f} nats during training; "
            f"of BAGGINS by {steadiest:.1f} at most."
        )
    return None


def _best_factors(config: Config, wide: Results) -> str:
    by_bound = max(wide, key=lambda v: wide[v]["bound"])
    by_samples = min(wide, key=lambda v: wide[v]["to_data"])
    return (
        f"With {config.wide} latents the bound is best at τ = {by_bound.tau:g} of those tried, and "
        f"samples are nearest to data at τ = {by_samples.tau:g}. The paper takes τ = 1/5 by "
        "inspection of samples."
    )


def _likelihood(
    found: Results, name: str, latent: int
) -> Iterable[tuple[Variant, Mapping[str, Any]]]:
    return [(v, r) for v, r in found.items() if (v.likelihood, v.latent) == (name, latent)]


def _range(results: list[Mapping[str, Any]], key: str) -> float:
    values = [result[key] for result in results]
    return max(values) - min(values)


def _span(values: Iterable[float]) -> str:
    found = sorted(values)
    return f"{found[0]:g} to {found[-1]:g}"
