"""The report: what was run, and how near the limits are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.limits.config import Config
from experiments.machine import machines
from experiments.markdown import figure, minus, number, scientific, table
from pyro_vae.data.densities import DENSITIES

__all__ = ["rates", "report"]

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


def rates(epsilons: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The power of ε by which the gap falls, between neighbours.

    >>> rates([0.1, 0.01], [1.0, 0.01])
    [2.0]
    """
    pairs = zip(gaps, gaps[1:], epsilons, epsilons[1:], strict=False)
    return [math.log(a / b) / math.log(e / f) for a, b, e, f in pairs]


def _limits(config: Config, found: Sequence[Found]) -> str:
    medians = [[quartiles[1] for quartiles in result["quartiles"]] for result in found]
    falls = [rates(config.epsilons, median) for median in medians]
    rows = []
    for i, epsilon in enumerate(config.epsilons):
        row = [scientific(epsilon)]
        for result, median, fall in zip(found, medians, falls, strict=True):
            error = scientific(result["gap_errors"][i])
            row.append(f"{scientific(result['gaps'][i])} ± {error}")
            row += [scientific(median[i]), minus(f"{fall[i - 1]:.2f}") if i else ""]
        rows.append(row)
    head = ["ε"]
    for name in config.densities:
        head += [DENSITIES[name].name, "median", "rate"]
    text = (
        "−ELBO less −log p, nats a point: the mean, ± its standard error over the points, and the "
        "median; a few points where f is bent most make most of the mean. *Rate*: the power of ε "
        "by which the median fell from the row above."
    )
    return f"{table(head, rows, 'r' * len(head))}\n\n{text}"


def _channel(config: Config, found: Found) -> str:
    bits = {name: number(found[name] / math.log(2)) for name in ("kl", "capacity")}
    rows = [
        ["KL, bits an image", bits["kl"]],
        ["capacity of its dimensions, bits", bits["capacity"]],
        ["active units", f"{found['active_units']} of {config.latent}"],
        ["P + N, mean over active units", f"{found['power']:.3f}"],
    ]
    return table([f"VAE of the {config.data}", ""], rows, "lr")


def _settings(config: Config, results: Sequence[Found], command: str) -> str:
    layers = " – ".join(map(str, config.hidden))
    rows = {
        "command": f"`{command}`",
        "flows": f"{config.couplings} affine couplings, tanh networks of two layers of "
        f"{config.width}; {config.flow_steps:,} steps of Adam, 2·10⁻³ with a cosine decay, batch "
        f"500; then in double precision, {config.points:,} fresh points, {config.draws} latents "
        "each, in pairs u and −u; seed 0",
        "images": f"{config.data}, hidden layers {layers}, ReLU, {config.latent} latents, "
        f"likelihood with the optimal variance, {config.epochs} epochs, batch "
        f"{config.batch_size}, Adam 10⁻³, seed 0",
        **machines(results),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")
