"""The report: what was run, and how near the limits are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.limits.config import Config
from experiments.machine import machines
from experiments.markdown import figure, minus, number, scientific, table
from pyro_vae.data.densities import DENSITIES

__all__ = ["rates_found", "report"]

Found = Mapping[str, Any]


def report(
    config: Config, densities: Sequence[Found], channel: Found, captions: Found, command: str
) -> str:
    """The Markdown of ``report.md``."""
    parts = [
        "# Two limits of a VAE",
        "In two limits Yu (*A Tutorial on VAEs*, sections 3.3 and 4.3) says what a VAE comes to: "
        "a normalising flow, and a Gaussian channel. Here both are measured.",
        "## The Σ-VAE becomes a flow",
        _SIGMA,
        _limits(config, densities),
        rates_found(densities),
        figure("sigma_vae.png", captions["sigma_vae.png"]),
        "## A latent dimension is a Gaussian channel",
        _CHANNEL,
        _channel(config, channel),
        figure("channel.png", captions["channel.png"]),
        "## What was run",
        _settings(config, [*densities, channel], command),
    ]
    return "\n\n".join(parts) + "\n"


_SIGMA = (
    "Take an invertible f with Jacobian J, the decoder N(f(z), ε²I), the prior N(0, I) and the "
    "guide N(f⁻¹(x), ε²J⁻¹J⁻ᵀ) (eq. 19): as ε → 0, minus the ELBO tends to the exact negative "
    "log-likelihood of the flow f (eq. 29–32). How fast is not in the paper: the terms of order ε "
    "are odd in the noise and vanish in the mean, so with a smooth f the gap falls as ε². Each f "
    "is a flow trained on its density by maximum likelihood."
)

_CHANNEL = (
    "A channel with power P and noise N, P + N = 1, carries R = −½ log N (eq. 35), and that is the "
    "KL of a latent dimension with such a posterior (eq. 36–38). In a trained VAE P + N = 1 is no "
    "rule; it holds on average over the data where the posteriors' mixture has the prior's second "
    "moment. Over the data, KL = R + ½(P + N − 1), so what lies between the two is how far it is "
    "from that."
)


def _limits(config: Config, found: Sequence[Found]) -> str:
    rows = []
    for i, epsilon in enumerate(config.epsilons):
        row = [scientific(epsilon)]
        for result in found:
            error = scientific(result["gap_errors"][i])
            row.append(f"{scientific(result['gaps'][i])} ± {error}")
            row += [scientific(_medians(result)[i]), _rate(result, i - 1) if i else ""]
        rows.append(row)
    head = ["ε"]
    for name in config.densities:
        head += [DENSITIES[name].name, "median", "rate"]
    text = (
        "−ELBO less −log p, nats a point: the mean, ± its standard error over the points, and the "
        "median; a few points where f is bent most make most of the mean. *Rate*: the power of ε "
        "by which the median fell from the row above, ± its standard error from the bootstrap over "
        "the points."
    )
    return f"{table(head, rows, 'r' * len(head))}\n\n{text}"


def _medians(result: Found) -> list[float]:
    return [quartiles[1] for quartiles in result["quartiles"]]


def _rate(result: Found, i: int) -> str:
    return minus(f"{result['rates'][i]:.2f} ± {result['rate_errors'][i]:.2f}")


_SMALL = 0.1
"""Nats: a median from which the expansion in ε is taken to hold."""


def rates_found(found: Sequence[Found]) -> str:
    """How near 2 the rates are where the gap is small, and how far above where it is not."""
    small: list[tuple[float, float]] = []
    large: list[tuple[float, float]] = []
    for result in found:
        falls = zip(_medians(result), result["rates"], result["rate_errors"], strict=False)
        for start, rate, error in falls:
            (small if start < _SMALL else large).append((rate, error))
    parts = []
    if small:
        values = [rate for rate, _ in small]
        away, rate, error = max((abs(r - 2) / e, r, e) for r, e in small)
        parts.append(
            f"*ε²* is a claim on small gaps: of the {len(small)} rates that start from a median "
            f"below {_SMALL:g} nats the mean is {sum(values) / len(values):.2f}, and the farthest "
            f"from 2 in its standard errors is {rate:.2f} ± {error:.2f}, {away:.1f} of them away."
        )
    if large:
        low, high = (pick(rate for rate, _ in large) for pick in (min, max))
        told = f"{low:.2f}" if len(large) == 1 else f"{low:.2f} to {high:.2f}"
        parts.append(
            "Where the gap starts larger, the terms of higher order that ε² leaves out count as "
            f"well: there the rate is {told}."
        )
    return " ".join(parts)


def _channel(config: Config, found: Found) -> str:
    parts = [found["active"], found["all"]]
    counts = [found["active_units"], config.latent]
    excess = [0.5 * n * (part["power"] - 1) for n, part in zip(counts, parts, strict=True)]
    rows = [
        ["dimensions", *map(str, counts)],
        ["KL, bits an image", *(number(_bits(part["kl"])) for part in parts)],
        ["capacity R, bits", *(number(_bits(part["capacity"])) for part in parts)],
        ["P + N, mean", *(f"{part['power']:.3f}" for part in parts)],
        ["½ Σ (P + N − 1), bits", *(minus(f"{_bits(nats):+.2f}") for nats in excess)],
    ]
    told = table([f"VAE of the {config.data}", "active", "all"], rows, "lrr")
    if counts[0] == config.latent:
        return told
    return (
        f"{told}\n\nThe last row is the KL less R. A dimension that is not active costs next to "
        "nothing, and has a capacity: where it says nothing and N is a little below 1, R is of "
        "first order in 1 − N and the KL of second."
    )


def _bits(nats: float) -> float:
    return nats / math.log(2)


def _settings(config: Config, results: Sequence[Found], command: str) -> str:
    layers = " – ".join(map(str, config.hidden))
    training = sum(result["training_seconds"] for result in results)
    measuring = sum(result.get("measuring_seconds", 0.0) for result in results)
    rows = {
        "command": f"`{command}`",
        "flows": f"{config.couplings} affine couplings, tanh networks of two layers of "
        f"{config.width}; {config.flow_steps:,} steps of Adam, 2·10⁻³ with a cosine decay, batch "
        f"500; then in double precision, {config.points:,} fresh points, {config.draws} latents "
        "each, in pairs u and −u; seed 0",
        "images": f"{config.data}, hidden layers {layers}, ReLU, {config.latent} latents, "
        f"likelihood with the optimal variance, {config.epochs} epochs, batch "
        f"{config.batch_size}, Adam 10⁻³, seed 0",
        "time": f"{(training + measuring) / 60:.0f} minutes of all {len(results)} runs added up, "
        f"{training / 60:.0f} of them training",
        **machines(results),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")
