"""The report: each equation predicted and measured, and what variances do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from experiments.machine import machines
from experiments.markdown import figure, table
from experiments.there_and_back.config import Config, default_config
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
    parts = [f"# There and back again: {config.data}{_some(config)}", _QUESTION]
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
    "the others. The paper's figures 6, 8–11, 14 and 15 are this experiment's; of MNIST [8 and 9 "
    "are with the equations](there_and_back.md), [6, 10, 11, 14 and 15 with the likelihoods' "
    "variances](there_and_back_likelihoods.md). Its other figures are of other commands: 2–5, 12 "
    "and 13, what learned and constant variances of posteriors cost, of `python -m experiments "
    "posterior_variance` ([with two latents](posterior_variance.md), [with "
    "100](posterior_variance_100d.md), `--latent 100`); 7, 16 and 17 of `python -m experiments "
    "faces` ([faces](faces.md)). Eq. 27, which needs as many latents as data have dimensions, is "
    "held against [a plane](there_and_back_toy.md), `--data toy`."
)


_NAMES = {
    "scales": "the data's scale",
    "taus": "the information factor",
    "deviations": "the posterior's scale",
    "start": "the start of training",
    "equations": "the equations",
}


def _some(config: Config) -> str:
    """What the report is of, where it is not of all that the data are fit for."""
    if config.studies == default_config(config.data).studies:
        return ""
    return f" — {', '.join(_NAMES[study] for study in config.studies)}"


_PARTS: dict[str, Callable[[Config, Path], list[str]]] = {
    "scales": scales,
    "taus": taus,
    "deviations": deviations,
    "start": start,
    "equations": equations,
}
"""By study: its part of the report."""


def _seeds(config: Config) -> str:
    several = {"scales": "of BAGGINS at λ = 1", "start": "of what training starts with"}
    found = [what for study, what in several.items() if study in config.studies]
    if config.seeds == 1 or not found:
        return "0"
    return f"0; 0–{config.seeds - 1} {' and '.join(found)}"


def _epochs(config: Config) -> str:
    if "start" not in config.studies:
        return f"{config.epochs} epochs"
    return f"{config.epochs} epochs (the study of what training starts with: {config.start_epochs})"


# -- what was done ---------------------------------------------------------------------------------


def _settings(config: Config, root: Path, command: str) -> str:
    runs = list(results_of(root, variants(config)).values())
    training = sum(run.get("training_seconds", 0.0) for run in runs)
    evaluation = sum(run.get("evaluation_seconds", 0.0) for run in runs)
    layers = " – ".join(map(str, config.hidden))
    rows = {
        "command": f"`{command}`",
        "networks": f"encoder and decoder with hidden layers {layers}, ReLU, Glorot-uniform",
        "training": f"{_epochs(config)}, batch {config.batch_size}, Adam "
        f"{config.learning_rate:g}; the paper's: 200 and 400 epochs",
        "seeds": _seeds(config),
        "time": f"training {training / 60:.1f} minutes, evaluation {evaluation / 60:.1f}, of all "
        f"{len(runs)} runs added up",
        **machines(runs),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")
