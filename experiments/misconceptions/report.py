"""The report: what was run, and what each misconception costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.machine import machines
from experiments.markdown import figure, minus, table
from experiments.misconceptions.config import Config
from experiments.misconceptions.findings import mixture_findings, scale_findings
from experiments.misconceptions.mixtures import MIXTURES
from experiments.misconceptions.scales import as_fraction
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
        scale_findings(scales, config.latent),
        *(figure(name, caption) for name, caption in captions.items()),
        "## The latent is a variable, not a parameter",
        _PARAMETER.format(mean=MEAN, scale=SCALE),
        _solutions(solutions),
        _MIXTURES,
        _mixtures(config, mixtures),
        mixture_findings(mixtures),
        "## What was run",
        _settings(config, [*scales, *mixtures], command),
    ]
    return "\n\n".join(parts) + "\n"


_SQUARED_ERROR = (
    "The mean squared error is the negative log-likelihood of a normal with σ² = ½, whatever the "
    "data's unit (eq. 42). So the unit decides how much a reconstruction weighs against the KL: on "
    "images multiplied by λ, σ² = 1/(2λ²) of their own unit. Where that is more than what a "
    "reconstruction is off by, the VAE is over-regularised, down to latents that say nothing; "
    "where it is less, under-regularised. The maximum likelihood over σ² is the squared error's "
    "logarithm (eq. 43), which the unit only shifts by a constant. Encoder and decoder have the "
    "images in their own unit throughout: what the rows differ by is the loss alone."
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
            as_fraction(r["value"]),
            f"{r['kl']:.2f}",
            str(r["active_units"]),
            f"{100 * r['relative_error']:.1f} %",
            f"{100 * r['sharpness']:.0f} %",
            minus(f"{r['bits_per_dim']:.2f}"),
            minus(f"{r['refitted_bits_per_dim']:.2f}"),
        ]
        for r in results
    ]
    head = ["loss", "images ×", "KL, nats", "active units", "error", "sharpness", "bits/dim"]
    head += ["σ² refitted"]
    text = (
        "*Error*: the mean squared error of held-out reconstructions, as a share of the images' "
        "variance. *Sharpness*: the mean squared difference of neighbouring pixels in them, as a "
        "share of that in the images; blur makes it less. *bits/dim*: −ELBO on the images in their "
        "own unit, a density of values in [0, 1], so that rows compare; *σ² refitted*: the same "
        "with the σ² that is best on the training set for the networks as they are."
    )
    return f"{table(head, rows, 'lrrrrrrr')}\n\n{text}"


def _solutions(found: Mapping[str, Any]) -> str:
    rows = [[name, f"{round(gap, 4) + 0.0:.4f}"] for name, gap in found["gaps"].items()]
    return table(["VAE", "−ELBO less entropy, nats"], rows, "lr")


def _mixtures(config: Config, results: Results) -> str:
    rows = [
        [
            f"{r['value']:g}",
            f"{MIXTURES[r['job']] * config.steps:,}",
            minus(f"{r['entropy']:.2f}"),
            f"{r['gap']:.4f} ± {r['gap_error']:.4f}",
        ]
        for r in results
    ]
    return table(["normals", "steps", "entropy, bits", "gap, bits"], rows, "rrrr")


def _settings(config: Config, results: Results, command: str) -> str:
    layers = " – ".join(map(str, config.hidden))
    training = sum(result["training_seconds"] for result in results)
    rows = {
        "command": f"`{command}`",
        "images": f"{config.data}; hidden layers {layers}, ReLU, {config.latent} latents, "
        f"{config.epochs} epochs, batch {config.batch_size}, Adam 10⁻³, seed 0",
        "mixtures": f"dense blocks of depth 4, growth {config.growth}; IWAE with 10 particles, "
        f"batch 200, Adam 10⁻³ with a cosine decay; {config.points:,} fresh points, "
        f"{config.evidence_samples:,} latents each; seed 0",
        "training time": f"{training / 60:.0f} minutes of all {len(results)} runs added up",
        **machines(results),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")
