"""Two limits in which a VAE is exact (Yu, sections 3.3 and 4.3).

Builds the Σ-VAE around trained normalising flows and measures how fast minus its ELBO tends to
the flow's exact negative log-likelihood; trains a VAE of the digits and compares what its latent
dimensions cost with the capacity of the Gaussian channels they are. Writes results as JSON,
figures, and a report. The same command, interrupted, goes on.
"""

from __future__ import annotations

import argparse

from experiments.limits.config import default_config
from experiments.limits.figures import draw
from experiments.limits.jobs import CHANNEL, folder_of, run_all
from experiments.limits.report import report
from experiments.options import add_run_options, command_of, positive
from experiments.reporting import finish
from experiments.run_folder import RunFolder

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    add = parser.add_argument
    add("--epochs", type=positive, metavar="N", help="passes through the digits (300)")
    add_run_options(parser, "a small flow and a few epochs, to see that everything works")


def run(options: argparse.Namespace) -> None:
    """Train, measure and report; what is done already is not done again."""
    config = default_config(quick=options.quick, epochs=options.epochs, device=options.device)
    folder = RunFolder(options.out, "limits", config)
    print(f"run folder: {folder.path}")
    run_all(config, folder.path, options.jobs)
    command = command_of(options)
    densities = [folder_of(folder.path, name).result() for name in config.densities]
    channel = folder_of(folder.path, CHANNEL).result()
    text = report(config, densities, channel, draw(config, folder.path), command)
    finish(folder, options.publish, command=command, runs=[*densities, channel], text=text)
