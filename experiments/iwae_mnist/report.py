"""The report: what was run, and what tighter bounds bought."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.iwae_mnist.config import STAGES, Config
from experiments.iwae_mnist.jobs import folder_of
from experiments.iwae_mnist.methods import PAPER
from experiments.machine import machines
from experiments.markdown import figure, minus, table
from experiments.paired import estimate

__all__ = ["report"]

_BASELINE = "VAE-1"


def report(config: Config, root: Path, captions: Mapping[str, str], command: str) -> str:
    """The Markdown of ``report.md``.

    Args:
        config: the settings.
        root: the run folder.
        captions: of the figures, by name.
        command: that makes this run.
    """
    results = {
        method: [folder_of(root, (method, seed)).result() for seed in range(config.seeds)]
        for method in config.methods
    }
    parts = [f"# Importance-weighted autoencoders: {config.data}", _QUESTION, "## Result"]
    parts += [_table(config, root, results), "## What the numbers are", _meaning(config, results)]
    parts += ["## What was run", _settings(config, results, command)]
    if captions:
        parts += ["## Figures", *(figure(name, caption) for name, caption in captions.items())]
    return "\n\n".join(parts) + "\n"


Results = Mapping[str, list[dict[str, Any]]]

_QUESTION = (
    "What does a tighter bound buy? Burda et al. (*Importance Weighted Autoencoders*, 2016) train "
    "the same networks with the ELBO, an average over K samples, and with the importance-weighted "
    "bound of K samples, and find the latter's log-likelihood better, and more so for greater K. "
    "Here are both, and beside them the same bound with the doubly reparameterised gradient "
    "(Tucker et al., 2019)."
)


def _table(config: Config, root: Path, results: Results) -> str:
    evidence = {method: _evidence(config, root, method) for method in config.methods}
    rows = [_row(config, method, results[method], evidence) for method in config.methods]
    head = [
        "method",
        "NLL",
        f"less {_BASELINE}'s",
        "less VAE-K's",
        "−ELBO",
        "KL",
        "active units",
        "minutes",
    ]
    paper = ["paper: NLL", "paper: active units"] * (config.data == "mnist")
    over = f"means over {config.seeds} seeds" if config.seeds > 1 else "one seed"
    text = f"Nats a test image, {over}."
    return f"{text}\n\n{table(head + paper, rows, 'lrrrrrrr' + 'r' * len(paper))}"


def _evidence(config: Config, root: Path, method: str) -> NDArray[np.float64]:
    """log p(x) of each test image, a mean over the seeds."""
    found = [folder_of(root, (method, seed)).arrays()["evidence"] for seed in range(config.seeds)]
    return np.mean(np.stack(found).astype(np.float64), axis=0)


def _row(
    config: Config,
    method: str,
    results: list[dict[str, Any]],
    evidence: Mapping[str, NDArray[np.float64]],
) -> list[str]:
    def mean(key: str) -> float:
        return estimate([result[key] for result in results]).mean

    row = [
        method,
        f"{mean('nll'):.2f}",
        _difference(method, _BASELINE, evidence),
        _difference(method, _averaged(method), evidence),
        f"{-mean('elbo'):.2f}",
        f"{mean('kl'):.2f}",
        f"{mean('active_units'):.1f}".removesuffix(".0"),
        f"{mean('training_seconds') / 60:.0f}",
    ]
    if config.data == "mnist":
        nll, units = PAPER.get(method, (None, None))
        row += ["–" if nll is None else f"{nll:.2f}", "–" if units is None else str(units)]
    return row


def _averaged(method: str) -> str:
    """The method that averages the ELBO over as many particles."""
    return f"VAE-{method.rsplit('-', 1)[1]}"


def _difference(method: str, other: str, evidence: Mapping[str, NDArray[np.float64]]) -> str:
    """In NLL, with the standard error over the test images, which all methods share."""
    if method == other or other not in evidence:
        return "–"
    less = evidence[other] - evidence[method]
    return minus(f"{less.mean():+.2f} ± {less.std(ddof=1) / math.sqrt(len(less)):.2f}")


def _meaning(config: Config, results: Results) -> str:
    noise = max(result["nll_error"] for found in results.values() for result in found)
    spread = (
        "One seed each: how much another start of the weights would move a row is not in these "
        "errors. "
        if config.seeds == 1
        else ""
    )
    return (
        f"*NLL*: importance sampling with {config.evidence_samples:,} latents an image; the test "
        f"images are binarised once, from a seed. *Less {_BASELINE}'s*, and *less VAE-K's*, which "
        "has as many particles and no tighter bound, but a gradient with less noise: the mean "
        "difference over the test images, ± its standard error; that of the sampled latents is "
        "at most "
        f"{noise:.3f}. {spread}*−ELBO*: the ordinary one, for all methods, which an "
        "importance-weighted guide is not made for. *Active units*: latent dimensions whose "
        "posterior mean varies over the test images by more than 0.01 (Burda et al., section "
        f"5.2).\n\n{_schedule(config)}"
    )


def _schedule(config: Config) -> str:
    cost = (
        "All methods have the same number of updates, and so those with more particles more time: "
        "*minutes* are those of training, on one core each."
    )
    if config.data != "mnist":
        return cost
    if config.stages == STAGES:
        return f"The schedule is the paper's, {config.epochs:,} epochs. {cost}"
    return (
        f"The schedule is the first {config.stages} of the paper's {STAGES} stages: "
        f"{config.epochs} epochs of 3,280. Compare the rows with one another, and with the paper's "
        f"columns for the order alone. {cost}"
    )


def _settings(config: Config, results: Results, command: str) -> str:
    runs = [result for found in results.values() for result in found]
    training = sum(result["training_seconds"] for result in runs)
    layers = " – ".join(map(str, config.hidden))
    rows = {
        "command": f"`{command}`",
        "data": f"{config.data}, binarised anew at each use",
        "networks": f"encoder and decoder with hidden layers {layers}, tanh, Glorot-uniform "
        f"weights, the output's bias at the data's logit; {config.latent} latents",
        "training": f"{config.epochs} epochs, batch {config.batch_size}, Adam (β₁ = 0.9, "
        f"β₂ = 0.999, ε = 10⁻⁴), 10⁻³ · 10^(−i/7) for 3^i epochs, i = 0 … {config.stages - 1}",
        "seeds": "0" if config.seeds == 1 else f"0–{config.seeds - 1}",
        "training time": f"{training / 60:.0f} minutes of all {len(runs)} runs added up",
        **machines(runs),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")
