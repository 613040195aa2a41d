"""The report: whose posteriors can be trusted, where they cannot, and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.machine import machines
from experiments.markdown import figure, table
from experiments.posterior_audit.config import Config
from experiments.posterior_audit.jobs import all_jobs, folder_of
from experiments.posterior_audit.report.evidence import agreement, best, comparison, unseen
from experiments.posterior_audit.report.posteriors import calibration, gaps, latents, nuts
from experiments.posterior_audit.report.verdicts import overview, verdicts, where

__all__ = ["report"]


def report(config: Config, root: Path, captions: Mapping[str, str], command: str) -> str:
    """The Markdown of ``report.md``.

    Args:
        config: the settings.
        root: the run folder.
        captions: of the figures, by name.
        command: that makes this run.
    """
    folders = {method: folder_of(root, method) for method in all_jobs(config)}
    found = {method: folder.result() for method, folder in folders.items()}
    arrays = {method: folder.arrays() for method, folder in folders.items()}
    parts = [f"# Can the posterior be trusted? {config.data}", _question(config), "## Result"]
    more = [told for told in (unseen(found, arrays), best(found, arrays)) if told]
    parts += [overview(config, found)]
    parts += ["\n- ".join([verdicts(config, found, arrays), *more])]
    parts += ["## Where", where(found, arrays)]
    parts += ["## log p(x) by several ways", agreement(config, found, arrays)]
    parts += ["## Encoder, family or data", gaps(config, found, arrays)]
    parts += ["## Against NUTS", nuts(config, found, arrays)]
    parts += ["## Calibration", calibration(config, found, arrays)]
    parts += ["## What the latents carry", latents(found)]
    parts += ["## Which model is better", comparison(config, found, arrays)]
    parts += ["## What was run", _settings(config, list(found.values()), command)]
    parts += ["## Figures", *(figure(name, caption) for name, caption in captions.items())]
    return "\n\n".join(parts) + "\n"


def _question(config: Config) -> str:
    families = [_FAMILIES[guide] for guide in config.guides]
    return (
        "A bound says how good a model is at the least; it does not say whether q(z|x) is the "
        f"posterior. Here guides, trained by {' and by '.join(config.objectives)}, are asked "
        "everything that this library can ask of one: are its weights worth anything, where and "
        f"why is it off, are its error bars right. {'; '.join(families)}. One seed."
    )


_FAMILIES = {
    "normal": "*Normal* learns means and variances",
    "constant": "*constant* has one variance for all data and a prior that floats (Fyffe, eq. 2 "
    "and 4)",
    "full covariance": "*full covariance* has correlated latents",
    "flow": "*flow* has two inverse autoregressive flows that see the image",
}


def _settings(config: Config, runs: list[Mapping[str, Any]], command: str) -> str:
    training, evaluation = (
        sum(run[f"{part}_seconds"] for run in runs) / 60 for part in ("training", "evaluation")
    )
    layers = " – ".join(map(str, config.hidden))
    rows = {
        "command": f"`{command}`",
        "data": f"{config.data}, binarised anew at each use in training; test images once",
        "networks": f"hidden layers {layers}, ReLU, Glorot-uniform; {config.latent} latents, "
        "Bernoulli likelihood",
        "training": f"{config.epochs} epochs, batch {config.batch_size}, Adam "
        f"{config.learning_rate:g}, seed {config.seed}",
        "time": f"training {training:.1f} minutes, diagnostics {evaluation:.1f}, of all "
        f"{len(runs)} methods added up",
        "seconds of each question, a method": _seconds(runs),
        **machines(runs),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")


def _seconds(runs: list[Mapping[str, Any]]) -> str:
    means = {
        name: sum(run["seconds"][name] for run in runs) / len(runs) for name in runs[0]["seconds"]
    }
    return ", ".join(f"{name} {mean:.0f}" for name, mean in means.items())
