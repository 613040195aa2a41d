"""Likelihood variances: learned, constant and from the information, scaled data, factors τ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.markdown import minus, number, table
from experiments.paired import estimate
from experiments.there_and_back.config import Config
from experiments.there_and_back.figures import label
from experiments.there_and_back.jobs import results_of
from experiments.there_and_back.variants import STUDIES, Variant

__all__ = ["scales", "taus"]

Results = Mapping[Variant, Mapping[str, Any]]


def scales(config: Config, root: Path) -> list[str]:
    """Likelihoods under data times λ."""
    found = results_of(root, STUDIES["scales"](config))
    verdicts = [
        _invariance(config, found),
        _seen(config, found),
        _sensitivity(config, found),
        *_silent(found),
        _learned(found),
    ]
    return [
        "## Likelihood variances and the scale of the data",
        _ABOUT.format(blank=_blank(found), samples=f"{config.evidence_samples:,}"),
        _table(found),
        "\n".join(f"- {verdict}" for verdict in verdicts if verdict),
        *_balances(found),
    ]


def taus(config: Config, root: Path) -> list[str]:
    """BAGGINS with several τ."""
    found = results_of(root, STUDIES["taus"](config))
    verdicts = [*_best_factors(config, found), *_told(config, found)]
    told = "\n".join(f"- {verdict}" for verdict in verdicts)
    return ["## The information factor", _table(found), told, *_balances(found)]


_ABOUT = (
    "BILBO with Σ = I. Nats a test image, of densities in the data's own unit: for data times λ, "
    "m log λ is added and σ² divided by λ². The networks' inputs are divided by λ and what they "
    "decode multiplied by it, so that λ changes the likelihood's scale and nothing else; *seen "
    "so*: they see and decode the data times λ. *BAGGINS of each*: σ² of each datum's own error "
    "while training, as eq. 29 is printed, in place of the batch's mean. *Weighted bound*: of "
    "{samples} importance weights of the first test images, with the standard error of its draws; "
    "a lower bound on log p(x), by nats where the encoder misses a part of the posterior. "
    "*Samples to data*: the mean squared distance, a pixel, of 1,000 generated images to the "
    "nearest of 5,000 test images; blur lowers it — the training set's mean image alone has "
    "{blank} — and so it is read with *data to samples*, the other way, which one image cannot "
    "lower. *Largest drop*: by how many nats the bound on the test set fell at most from one "
    "measurement to a later one."
)


def _table(found: Results) -> str:
    rows = [
        [str(v.latent), label(v), str(v.seed), *_numbers(result)] for v, result in found.items()
    ]
    head = [
        "latents",
        "likelihood",
        "seed",
        "bound",
        "bits a dimension",
        "KL",
        "weighted bound",
        "σ²",
    ]
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

_MEASURES = {
    "bits_per_dim": "bits a dimension",
    "to_data": "samples to data",
    "from_data": "data to samples",
}
_DISTANCES = ("to_data", "from_data")
_NOTHING = 0.1  # nats


def _invariance(config: Config, found: Results) -> str | None:
    """BAGGINS over λ against BAGGINS over seeds, but for the λ that cannot change a digit."""
    own = _baggins(config, found)
    scaled = [r for v, r in own.items() if v.own_unit and not math.log2(v.scale).is_integer()]
    seeds = [r for v, r in own.items() if v.scale == 1]
    if not scaled or len(seeds) < 2:
        return None
    scales = _span(v.scale for v in own)
    return (
        f"BAGGINS, λ from {scales}, and {len(seeds)} seeds at λ = 1: {_beside(scaled, seeds)}. "
        "Only λ that are no powers of 2 are counted; the others round as λ = 1 does."
    )


def _seen(config: Config, found: Results) -> str | None:
    """The same where networks see the scaled data."""
    own = _baggins(config, found)
    seen = {v: r for v, r in own.items() if not v.own_unit}
    seeds = [r for v, r in own.items() if v.scale == 1]
    if not seen or len(seeds) < 2:
        return None
    worst = min(seen, key=lambda v: seen[v]["bound"])
    return (
        f"Networks that see the data times λ, λ from {_span(v.scale for v in seen)}, and the same "
        f"seeds: {_beside(list(seen.values()), seeds)}; the worst is λ = "
        f"{_fraction(worst.scale)}. That is the optimizer's doing, not the likelihood's: weights "
        "start, and learn, in one unit. Scale the data."
    )


def _baggins(config: Config, found: Results) -> Results:
    return {v: r for v, r in _likelihood(found, "BAGGINS", config.wide) if "failed" not in r}


def _beside(scaled: Sequence[Mapping[str, Any]], seeds: Sequence[Mapping[str, Any]]) -> str:
    """Of each measure: the range over λ, over the seeds, and at how many λ it is where a further
    seed would be with 95 %, in the prediction interval of Student's t."""
    told = []
    for key, name in _MEASURES.items():
        about = estimate([r[key] for r in seeds])
        half = (about.half_width or 0.0) * math.sqrt(len(seeds) + 1)
        inside = sum(abs(r[key] - about.mean) <= half for r in scaled)
        by_scale, by_seed = _range([*scaled, seeds[0]], key), _range(seeds, key)
        told.append(
            f"{name} range over {by_scale:.2g}, those of the seeds over {by_seed:.2g}; at {inside} "
            f"of {len(scaled)} λ they are where a further seed is with 95 %, ± {half:.2g}"
        )
    return "; ".join(told)


def _silent(found: Results) -> Iterable[str]:
    """Figure 10: where T is more noise than the data have signal."""
    own = {v: r for v, r in found.items() if v.likelihood == "T = I" and v.latent == 2}
    silent = [v.scale for v, r in own.items() if r.get("kl", 1.0) < _NOTHING]
    if silent:
        yield (
            f"T = I, two latents (figures 10 and 14): at λ = {', '.join(map(_fraction, silent))} "
            "the latents say nothing; their posterior means are one point."
        )


def _sensitivity(config: Config, found: Results) -> str | None:
    own = {v: r for v, r in _likelihood(found, "T = I", config.wide) if "failed" not in r}
    if len(own) < 2:
        return None
    best = max(own, key=lambda v: own[v]["bound"])
    return (
        f"T = I, λ from {_span(v.scale for v in own)}: bits a dimension range over "
        f"{_range(list(own.values()), 'bits_per_dim'):.2f}; the best is "
        f"λ = {_fraction(best.scale)}."
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


def _best_factors(config: Config, found: Results) -> Iterable[str]:
    wide = {v: r for v, r in found.items() if v.latent == config.wide and "failed" not in r}
    if len(wide) < 2:
        return
    by_bound = max(wide, key=lambda v: wide[v]["bound"])
    least = {key: min((r[key], v.tau) for v, r in wide.items())[1] for key in _DISTANCES}
    distances = ", ".join(f"{_MEASURES[k]} at τ = {_fraction(tau)}" for k, tau in least.items())
    yield (
        f"With {config.wide} latents the bound is best at τ = {_fraction(by_bound.tau)} of those "
        f"tried; the distances are least, {distances}: the smaller τ, the blurrier the samples. "
        "The paper takes τ = 1/5 by inspection of samples."
    )


def _told(config: Config, found: Results) -> Iterable[str]:
    """Figure 11: what latents hold."""
    flat = [r for v, r in found.items() if v.latent == 2 and "failed" not in r]
    if len(flat) > 1:
        low, high = flat[0]["kl"], flat[-1]["kl"]
        yield (
            f"Figure 11's clusters: from the smallest τ to the greatest the KL of two latents "
            f"goes from {low:.1f} to {high:.1f} nats, so the clouds of the classes shrink against "
            "the whole."
        )


# -- equations 28 to 30 ----------------------------------------------------------------------------

_ABOUT_BALANCE = (
    "σ² is such that information and observation balance on the training set (eq. 28), and by it "
    "the bound is a function of the posteriors' moments alone (eq. 30). On the test set: both "
    "sides of eq. 28, tr Σ⁻¹S² and τ E|x − ν(z)|²/σ², and eq. 30 against the ELBO of sampled "
    "latents, in nats."
)


def _blank(found: Results) -> str:
    """Samples to data where latents say nothing, and all samples are one image."""
    alike = [r["to_data"] for r in found.values() if r.get("kl", 1.0) < _NOTHING]
    return f"{alike[0]:.4f}" if alike else "nearly as little as any"


def _balances(found: Results) -> list[str]:
    own = {v: r for v, r in found.items() if "information" in r}
    if not own:
        return []
    rows = [[str(v.latent), label(v), str(v.seed), *_balance(result)] for v, result in own.items()]
    head = ["latents", "likelihood", "seed", "tr Σ⁻¹S²", "τ E\\|x − ν\\|²/σ²", "off by"]
    head += ["eq. 30", "ELBO", "off by"]
    return ["### Eq. 28 to 30", _ABOUT_BALANCE, table(head, rows, "rlr" + "r" * 6)]


def _balance(result: Mapping[str, Any]) -> list[str]:
    information, observed = result["information"], result["observed"]
    return [
        f"{information:.2f}",
        f"{observed:.2f}",
        minus(f"{100 * (observed / information - 1):+.1f} %"),
        minus(f"{result['bound_by_moments']:.1f}"),
        minus(f"{result['bound']:.1f}"),
        minus(f"{result['bound_by_moments'] - result['bound']:+.1f}"),
    ]


def _likelihood(
    found: Results, name: str, latent: int
) -> Iterable[tuple[Variant, Mapping[str, Any]]]:
    return [(v, r) for v, r in found.items() if (v.likelihood, v.latent) == (name, latent)]


def _range(results: Sequence[Mapping[str, Any]], key: str) -> float:
    values = [result[key] for result in results]
    return max(values) - min(values)


def _fraction(value: float) -> str:
    """As 1/16 where it is one over a whole number."""
    return f"1/{round(1 / value)}" if value < 1 else f"{value:g}"


def _span(values: Iterable[float]) -> str:
    found = sorted(values)
    return f"{_fraction(found[0])} to {_fraction(found[-1])}"
