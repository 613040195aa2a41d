"""There and back again: Fyffe's equations and variances on trained networks.

Trains VAEs with learned, constant, optimal and BAGGINS likelihood variances under scaled data, with
posteriors of several widths, and holds each equation against them; writes results as JSON,
figures, and a report. The same command, interrupted, goes on.
"""

from __future__ import annotations

import argparse

from experiments.options import add_run_options, command_of, names_of, positive
from experiments.reporting import finish
from experiments.run_folder import RunFolder
from experiments.there_and_back.config import default_config
from experiments.there_and_back.figures import draw
from experiments.there_and_back.jobs import folder_of, run_all
from experiments.there_and_back.report import report
from experiments.there_and_back.variants import STUDIES, variants

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    add = parser.add_argument
    add("--data", choices=("toy", "digits", "mnist"), default="mnist", help="default: mnist")
    add("--data-dir", metavar="DIR", help="where MNIST's files are (or set PYRO_VAE_DATA)")
    studies = ", ".join(STUDIES)
    add("--studies", type=names_of(STUDIES), metavar="A,B,…", help=f"of {studies} (all)")
    length = parser.add_mutually_exclusive_group().add_argument
    length("--epochs", type=positive, metavar="N", help="of most runs (100)")
    length("--full", action="store_true", help="the paper's 400 epochs, for a GPU")
    add_run_options(parser, "two epochs of small networks")


def run(options: argparse.Namespace) -> None:
    """Train, measure and report; what is done already is not done again."""
    config = default_config(
        options.data,
        quick=options.quick,
        full=options.full,
        studies=options.studies,
        epochs=options.epochs,
        device=options.device,
    )
    if config.data == "toy" and config.studies != ("equations",):
        raise SystemExit(
            "error: --data toy: expected --studies equations; the others are of images."
        )
    folder = RunFolder(options.out, "there_and_back", config)
    print(f"run folder: {folder.path}")
    run_all(config, folder.path, options.data_dir, options.jobs)
    command = command_of(options)
    runs = [folder_of(folder.path, variant).result() for variant in variants(config)]
    text = report(config, folder.path, draw(config, folder.path), command)
    finish(folder, options.publish, command=command, runs=runs, text=text)
