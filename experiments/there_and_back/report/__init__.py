"""The report: each equation predicted and measured, and what variances do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from experiments.machine import machines
from experiments.markdown import figure, table
from experiments.there_and_back.config import Config
from experiments.there_and_back.jobs import results_of
from experiments.there_and_back.report.equations import equations
from experiments.there_and_back.report.likelihoods import scales, taus
from experiments.there_and_back.report.posteriors import deviations, start
from experiments.there_and_back.variants import variants

__all__ = ["report"]


def report(config: Config, root: Path, captions: Mapping[str, str], command: str) -> str:
    """The Markdown of ``report.md``.

    Args:
        config: the settings.
        root: the run folder.
        captions: of the figures, by name.
        command: that makes this run.
    """
    parts = [f"# There and back again: {config.data}", _QUESTION]
    for study in config.studies:
        parts += _PARTS[study](config, root)
    parts += ["## What was run", _settings(config, root, command)]
    if captions:
        parts += ["## Figures", *(figure(name, caption) for name, caption in captions.items())]
    return "\n\n".join(parts) + "\n"


_QUESTION = (
    "Fyffe (*There and Back Again: Unraveling the Variational Auto-Encoder*) derives what a VAE's "
    "prior, decoder and posterior are at its optimum, and from that two ways to do without "
    "learned variances. Here each equation is held against trained networks, and each way against "
    "the others. The paper's figures 6, 8–11, 14 and 15 are this experiment's. Its other figures "
    "are of other commands: 2–5, 12 and 13, what learned and constant variances of posteriors "
    "cost, of `python -m experiments posterior_variance` ([with two "
    "latents](posterior_variance.md), [with 100](posterior_variance_100d.md), `--latent 100`); 7, "
    "16 and 17 of `python -m experiments faces` ([faces](faces.md)). Eq. 27, which needs as many "
    "latents as data have dimensions, is held against [a plane](there_and_back_toy.md), `--data "
    "toy`."
)


_PARTS: dict[str, Callable[[Config, Path], list[str]]] = {
    "scales": scales,
    "taus": taus,
    "deviations": deviations,
    "start": start,
    "equations": equations,
}
"""By study: its part of the report."""


def _seeds(config: Config) -> str:
    if config.seeds == 1 or not {"scales", "start"} & set(config.studies):
        return "0"
    return f"0; 0–{config.seeds - 1} of BAGGINS at λ = 1 and of what training starts with"


# -- what was done ---------------------------------------------------------------------------------


def _settings(config: Config, root: Path, command: str) -> str:
    runs = list(results_of(root, variants(config)).values())
    training = sum(run.get("training_seconds", 0.0) for run in runs)
    evaluation = sum(run.get("evaluation_seconds", 0.0) for run in runs)
    layers = " – ".join(map(str, config.hidden))
    rows = {
        "command": f"`{command}`",
        "networks": f"encoder and decoder with hidden layers {layers}, ReLU, Glorot-uniform",
        "training": f"{config.epochs} epochs (the study of what training starts with: "
        f"{config.start_epochs}), batch {config.batch_size}, Adam {config.learning_rate:g}; the "
        "paper's: 200 and 400 epochs",
        "seeds": _seeds(config),
        "time": f"training {training / 60:.1f} minutes, evaluation {evaluation / 60:.1f}, of all "
        f"{len(runs)} runs added up",
        **machines(runs),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")
