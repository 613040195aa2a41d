"""What the report says in words, made of the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from experiments.markdown import minus, number
from experiments.misconceptions.mixtures import CONTROL
from experiments.misconceptions.scales import FIXED, as_fraction

__all__ = ["mixture_findings", "scale_findings"]

Result = Mapping[str, Any]


def scale_findings(results: Sequence[Result], latent: int) -> str:
    """Which units over- and under-regularise, and how much of bits/dim is σ² alone.

    Args:
        results: of every loss and scale; the logarithm's agree, so the first stands for them.
        latent: dimensions of the VAEs' latent space.
    """
    squared = [r for r in results if r["job"] == "MSE"]
    logarithm = next(r for r in results if r["job"] == "log MSE")
    right = math.sqrt(FIXED / logarithm["refitted_variance"])
    parts = [
        f"The logarithm's σ² is {number(logarithm['refitted_variance'])} in the images' own unit, "
        f"which the squared error has at λ = {number(right)}.",
        _over([r for r in squared if r["value"] < right], logarithm, latent),
        _under([r for r in squared if r["value"] > right], logarithm),
        _charged(squared, logarithm),
    ]
    return " ".join(part for part in parts if part)


def mixture_findings(results: Sequence[Result]) -> str:
    """How the gap grows with the normals, and how much of it more steps take away."""
    first, last = ([r for r in results if r["job"] != CONTROL][i] for i in (0, -1))
    control = next(r for r in results if r["job"] == CONTROL)
    told = f"With twice the steps, k = {last['value']:g} leaves {control['gap']:.4f}"
    if len(results) > 2:
        told = (
            f"The gap rises from {first['gap']:.4f} bits for k = {first['value']:g} to "
            f"{last['gap']:.4f} for k = {last['value']:g}. {told}"
        )
    gone = last["gap"] - control["gap"]
    if gone > 2 * math.hypot(last["gap_error"], control["gap_error"]):
        share = f"{100 * gone / last['gap']:.0f} %"
        return f"{told}: at least {share} of it is for want of training, not of latents."
    return f"{told}: steps are not what is wanting."


def _over(there: Sequence[Result], logarithm: Result, latent: int) -> str:
    """How far the squared error's VAEs of these scales use their latents less."""
    if not there:
        return ""
    least = {name: min(r[name] for r in there) for name in ("kl", "active_units", "sharpness")}
    told = (
        f"Below that, at λ = {_each(there, 'value', as_fraction)}, it over-regularises: the KL is "
        f"down to {_two(least['kl'])} nats from the logarithm's {_two(logarithm['kl'])}, active "
        f"units to {least['active_units']} from {logarithm['active_units']}, sharpness to "
        f"{_percent(least['sharpness'])} from {_percent(logarithm['sharpness'])}"
    )
    as_they_come = [r for r in there if r["value"] == 1]
    for r in as_they_come:
        told += f"; images as they come, λ = 1, have {r['active_units']} of {latent} units active"
    return f"{told}."


def _under(there: Sequence[Result], logarithm: Result) -> str:
    if not there:
        return ""
    worst = max(there, key=lambda r: r["kl"])
    return (
        f"Above, at λ = {_each(there, 'value', as_fraction)}, it under-regularises: the KL is up "
        f"to {_two(worst['kl'])} nats, with an error of {100 * worst['relative_error']:.1f} % "
        f"where the logarithm's is {100 * logarithm['relative_error']:.1f} %."
    )


def _charged(squared: Sequence[Result], logarithm: Result) -> str:
    base = logarithm["bits_per_dim"]
    before, after = (
        listed(_two(r[name] - base) for r in squared)
        for name in ("bits_per_dim", "refitted_bits_per_dim")
    )
    return (
        "Refitting σ² alone brings the squared error's distance to the logarithm from "
        f"{before} bits/dim down to {after}: what is left is what regularisation did to the "
        "networks, the rest what bits/dim charges for the wrong σ²."
    )


def _each(results: Iterable[Result], name: str, told: Callable[[Any], str]) -> str:
    return listed(told(r[name]) for r in results)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _two(value: float) -> str:
    return minus(f"{round(value, 2) + 0.0:.2f}")


def listed(parts: Iterable[str]) -> str:
    """Things in a sentence.

    >>> listed("abc"), listed("a")
    ('a, b and c', 'a')
    """
    *before, last = parts
    return f"{', '.join(before)} and {last}" if before else last
