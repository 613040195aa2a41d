"""The report: what was run, and what each misconception costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.machine import machines
from experiments.markdown import figure, table
from experiments.misconceptions.config import Config
from experiments.misconceptions.solutions import MEAN, SCALE

__all__ = ["report"]

Results = Sequence[Mapping[str, Any]]


def report(
    config: Config,
    scales: Results,
    mixtures: Results,
    solutions: Mapping[str, Any],
    captions: Mapping[str, str],
    command: str,
) -> str:
    """The Markdown of ``report.md``."""
    parts = [
        "# Misconceptions about VAEs",
        "Yu (*A Tutorial on VAEs*, section 5) names two: that a VAE can be trained with the mean "
        "squared error, and that its latent is a parameter of the distribution. What each costs:",
        "## The squared error is no reconstruction loss",
        _SQUARED_ERROR,
        _scales(scales),
        *(figure(name, caption) for name, caption in captions.items()),
        "## The latent is a variable, not a parameter",
        _PARAMETER.format(mean=MEAN, scale=SCALE),
        _solutions(solutions),
        _MIXTURES,
        _mixtures(mixtures),
        "## What was run",
        _settings(config, [*scales, *mixtures], command),
    ]
    return "\n\n".join(parts) + "\n"


_SQUARED_ERROR = (
    "The mean squared error is the negative log-likelihood of a normal with σ² = ½, whatever the "
    "data's unit (eq. 42). So the unit decides how much a reconstruction weighs against the KL: "
    "with the images multiplied by λ < 1 the VAE is over-regularised, down to latents that say "
    "nothing. The maximum likelihood over σ² is its logarithm (eq. 43), which the unit only shifts "
    "by a constant. Encoder and decoder have the images in their own unit throughout: what the "
    "rows differ by is the loss alone."
)

_PARAMETER = (
    "For data from N(μ, σ²I), here μ = {mean:g} and σ = {scale:g}, section 5.2 has two VAEs that "
    "are optimal: one that ignores its latents, and one that copies the datum into them, in the "
    "limit ε → 0. A posterior q(z|x) = p(x), as if z were to learn the distribution, is not. All "
    "are built by hand; minus the ELBO less the entropy, nats a datum, which for the second is ε²:"
)

_MIXTURES = (
    "What is known of the distribution is in the networks, so the number of latents it takes is "
    "that of a datum: VAEs with two latents, for k normals on a ring in the plane."
)


def _scales(results: Results) -> str:
    rows = [
        [
            str(r["job"]),
            f"{r['value']:g}",
            f"{r['kl']:.2f}",
            str(r["active_units"]),
            f"{100 * r['relative_error']:.1f} %",
            f"{r['bits_per_dim']:.2f}".replace("-", "−"),
        ]
        for r in results
    ]
    head = ["loss", "images ×", "KL, nats", "active units", "error", "bits/dim"]
    text = (
        "*Error*: the mean squared error of held-out reconstructions, as a share of the images' "
        "variance. *bits/dim*: −ELBO on the images in their own unit, a density of values in "
        "[0, 1], so that rows compare."
    )
    return f"{table(head, rows, 'lrrrrr')}\n\n{text}"


def _solutions(found: Mapping[str, Any]) -> str:
    rows = [[name, f"{round(gap, 3) + 0.0:.3f}"] for name, gap in found["gaps"].items()]
    return table(["VAE", "−ELBO less entropy, nats"], rows, "lr")


def _mixtures(results: Results) -> str:
    rows = [
        [
            f"{r['value']:g}",
            f"{r['entropy']:.2f}".replace("-", "−"),
            f"{r['gap']:.4f} ± {r['gap_error']:.4f}",
        ]
        for r in results
    ]
    return table(["normals", "entropy, bits", "gap, bits"], rows, "rrr")


def _settings(config: Config, results: Results, command: str) -> str:
    layers = " – ".join(map(str, config.hidden))
    training = sum(result["training_seconds"] for result in results)
    rows = {
        "command": f"`{command}`",
        "images": f"{config.data}; hidden layers {layers}, ReLU, {config.latent} latents, "
        f"{config.epochs} epochs, batch {config.batch_size}, Adam 10⁻³, seed 0",
        "mixtures": f"dense blocks of depth 4, growth {config.growth}; IWAE with 10 particles, "
        f"{config.steps:,} steps, batch 200, Adam 10⁻³ with a cosine decay; {config.points:,} "
        f"fresh points, {config.evidence_samples:,} latents each; seed 0",
        "training time": f"{training / 60:.0f} minutes of all {len(results)} runs added up",
        **machines(results),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")
