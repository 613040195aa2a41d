"""The report: what was run, and what tighter bounds bought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.iwae_mnist.config import Config
from experiments.iwae_mnist.methods import PAPER
from experiments.machine import machines
from experiments.markdown import figure, table
from experiments.paired import estimate

__all__ = ["report"]

Results = Sequence[Mapping[str, Any]]


def report(config: Config, results: Results, captions: Mapping[str, str], command: str) -> str:
    """The Markdown of ``report.md``."""
    parts = [f"# Importance-weighted autoencoders: {config.data}", _QUESTION, "## Result"]
    parts += [_table(config, results), "## What the numbers are", _meaning(config)]
    parts += ["## What was run", _settings(config, results, command)]
    if captions:
        parts += ["## Figures", *(figure(name, caption) for name, caption in captions.items())]
    return "\n\n".join(parts) + "\n"


_QUESTION = (
    "What does a tighter bound buy? Burda et al. (*Importance Weighted Autoencoders*, 2016) train "
    "the same networks with the ELBO, an average over K samples, and with the importance-weighted "
    "bound of K samples, and find the latter's log-likelihood better, and more so for greater K. "
    "Here are both, and beside them the same bound with the doubly reparameterised gradient "
    "(Tucker et al., 2019)."
)


def _table(config: Config, results: Results) -> str:
    paper = config.data == "mnist"
    rows = [_row(method, results, paper) for method in config.methods]
    head = ["method", "NLL", "± MC", "−ELBO", "KL", "active units", "minutes"]
    over = f"means over {config.seeds} seeds" if config.seeds > 1 else "one seed"
    text = f"Nats a test image, {over}."
    return f"{text}\n\n{table(head + ['paper: NLL'] * paper, rows, 'lrrrrrr' + 'r' * paper)}"


def _row(method: str, results: Results, paper: bool) -> list[str]:
    def mean(key: str) -> float:
        return estimate([r[key] for r in results if r["method"] == method]).mean

    row = [
        method,
        f"{mean('nll'):.2f}",
        f"{mean('nll_error'):.2f}",
        f"{-mean('elbo'):.2f}",
        f"{mean('kl'):.2f}",
        f"{mean('active_units'):.1f}",
        f"{mean('training_seconds') / 60:.1f}",
    ]
    return row + [f"{PAPER[method]:.2f}" if method in PAPER else "–"] * paper


def _meaning(config: Config) -> str:
    return (
        f"*NLL*: importance sampling with {config.evidence_samples:,} latents an image, ± its "
        "Monte-Carlo error; the test images are binarised once, from a seed. *−ELBO*: the ordinary "
        "one, for all methods, which an importance-weighted guide is not made for. *Active units*: "
        "latent dimensions whose posterior mean varies over the test images by more than 0.01 "
        "(Burda et al., section 5.2).\n\n"
        f"The schedule is the paper's first {config.stages} stages of 8: {config.epochs} epochs of "
        "3,280. All methods have the same number of updates, and so those with more particles more "
        "time; compare them with one another, and with the paper's column for the order alone."
    )


def _settings(config: Config, results: Results, command: str) -> str:
    training = sum(result["training_seconds"] for result in results)
    layers = " – ".join(map(str, config.hidden))
    rows = {
        "command": f"`{command}`",
        "data": f"{config.data}, binarised anew at each use",
        "networks": f"encoder and decoder with hidden layers {layers}, tanh, Glorot-uniform "
        f"weights, the output's bias at the data's logit; {config.latent} latents",
        "training": f"{config.epochs} epochs, batch {config.batch_size}, Adam (ε = 10⁻⁴), "
        f"10⁻³ · 10^(−i/7) for 3^i epochs, i = 0 … {config.stages - 1}",
        "seeds": "0" if config.seeds == 1 else f"0–{config.seeds - 1}",
        "training time": f"{training / 60:.0f} minutes of all {len(results)} runs added up",
        **machines(results),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")
