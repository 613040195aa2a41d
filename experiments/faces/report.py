"""The report: what constant variances cost on faces, and what priors show of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.faces.config import Config
from experiments.faces.jobs import folder_of
from experiments.faces.methods import BASELINE, METHODS
from experiments.machine import machines
from experiments.markdown import figure, minus, number, table

__all__ = ["report"]

_NAMES = {"frey": "the Frey faces", "celeba": "CelebA"}


def report(config: Config, root: Path, captions: Mapping[str, str], command: str) -> str:
    """The Markdown of ``report.md``.

    Args:
        config: the settings.
        root: the run folder.
        captions: of the figures, by name.
        command: that makes this run.
    """
    results = {method: folder_of(root, method).result() for method in METHODS}
    parts = [
        f"# Faces, with learned and constant variances: {_NAMES[config.data]}",
        _QUESTION,
        "## Result",
        _table(root, results),
        "\n".join(f"- {verdict}" for verdict in _verdicts(config, root, results)),
        "## What the numbers are",
        _MEANING,
        "## What was run",
        _settings(config, results, command),
        "## Figures",
        *(figure(name, caption) for name, caption in captions.items()),
    ]
    return "\n\n".join(parts) + "\n"


Results = Mapping[str, Mapping[str, Any]]

_QUESTION = (
    "Fyffe (*There and Back Again*, section 7.1) trains a convolutional VAE on CelebA with learned "
    "posterior variances and the ELBO, and with constant ones and the BILBO, and finds both alike "
    "in bound, loss and pictures; that with Σ = I the optimal prior is wide (tr S² near 25,000), "
    "for which Σ = I/100 suits better; and that draws from N(0, I) vary less than those from the "
    "optimal prior. The same is measured here."
)
_MEANING = (
    "Nats an image, means over held-out images, one seed. *Less ELBO's*: the mean difference over "
    "those images ± its standard error, which does not hold how much another start of the weights "
    "would move a row; how much the bound moves from epoch to epoch, the figure shows. "
    "*log p(x)*: importance sampling. *MSE*: of reconstructions from posterior "
    "means, a pixel, of values in [0, 1]. *tr S²*: of the optimal prior N(0, S²), S² the mean of "
    "Σ + μ² over training images (eq. 4)."
)


def _table(root: Path, results: Results) -> str:
    rows = []
    for method, result in results.items():
        difference = "–" if method == BASELINE else _told(*_difference(root, method, "each_bound"))
        rows.append(
            [
                method,
                minus(f"{result['bound']:.1f}"),
                difference,
                minus(f"{result['bits_per_dim']:.3f}"),
                f"{result['kl']:.1f}",
                minus(f"{result['log_evidence']:.1f} ± {result['log_evidence_error']:.1f}"),
                f"{result['reconstruction_error']:.5f}",
                number(result["optimal_prior_trace"]),
                f"{result['training_seconds'] / 60:.0f}",
            ]
        )
    head = ["method", "bound", "less ELBO's", "bits a dimension", "KL", "log p(x)", "MSE"]
    return table([*head, "tr S²", "minutes"], rows, "lrrrrrrrr")


def _difference(root: Path, method: str, what: str) -> tuple[float, float]:
    """To the baseline, over the same images, and its standard error."""
    own, base = (folder_of(root, m).arrays()[what].astype(float) for m in (method, BASELINE))
    difference = own - base
    return difference.mean(), difference.std(ddof=1) / math.sqrt(len(difference))


def _told(mean: float, error: float) -> str:
    return minus(f"{mean:+.1f} ± {error:.1f}")


def _verdicts(config: Config, root: Path, results: Results) -> list[str]:
    """A line for each constant variance, and one for the priors; from the numbers alone."""
    lines = []
    for method in METHODS:
        if method == BASELINE:
            continue
        mean, error = _difference(root, method, "each_bound")
        bound = results[BASELINE]["bound"]
        sign = (
            "no further apart than two standard errors"
            if abs(mean) <= 2 * error
            else ("better" if mean > 0 else "worse")
        )
        share = 100 * abs(mean / bound)
        lines.append(
            f"{method}: with this one seed the bound is {sign}: {_told(mean, error)} nats, "
            f"{share:.1f} % of it; "
            f"tr S² is {number(results[method]['optimal_prior_trace'])}."
        )
    trace = results[BASELINE]["optimal_prior_trace"]
    lines.append(
        f"{BASELINE}: the optimal prior's tr S² is {number(trace)}; that of N(0, I) is "
        f"{config.latent}."
    )
    return lines


def _settings(config: Config, results: Results, command: str) -> str:
    runs = list(results.values())
    training = sum(run["training_seconds"] for run in runs)
    evaluation = sum(run["evaluation_seconds"] for run in runs)
    steps = f"{config.iterations:,} updates (and the rest of the epoch)"
    rows = {
        "command": f"`{command}`",
        "networks": "convolutions of five by five, stride 1 and 2 by turns, with "
        f"{config.width} and {2 * config.width} channels, leaky ReLU; {config.latent} latents; "
        "each pixel and channel has a learned variance, at least 1/255²",
        "training": f"{steps}, batch {config.batch_size}, Adam {config.learning_rate:g}",
        "measured": f"at most {config.held_out:,} held-out images, {config.elbo_samples} latents "
        f"each for the bound, {config.evidence_samples:,} for log p(x)",
        "time": f"{training / 60:.0f} minutes of training and {evaluation / 60:.0f} of evaluation "
        f"of all {len(runs)} runs added up",
        **machines(runs),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")
