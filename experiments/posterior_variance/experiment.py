"""Learned against constant posterior variance on real digits (Fyffe, section 7.1).

Trains the three methods of Fyffe's figure 4 — learned variance, constant variance with a
floating prior, BILBO — on the same seeds and order of the data; writes results as JSON and CSV,
posteriors for arviz as netCDF, figures, and a report. The same command, interrupted, goes on.
"""

from __future__ import annotations

import argparse
from typing import Any

from experiments.options import add_run_options, command_of, positive
from experiments.posterior_variance.config import default_config
from experiments.posterior_variance.figures import draw
from experiments.posterior_variance.jobs import all_jobs, folder_of, run_all
from experiments.posterior_variance.report import csv_table, report, summary
from experiments.reporting import finish
from experiments.run_folder import RunFolder, write_text

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    add = parser.add_argument
    add("--data", choices=("digits", "mnist"), default="digits", help="default: digits")
    add("--data-dir", metavar="DIR", help="where MNIST's files are (or set PYRO_VAE_DATA)")
    add("--seeds", type=positive, metavar="N", help="seeds 0 … N−1 (digits: 3, mnist: 5)")
    add("--epochs", type=positive, metavar="N", help="passes through the data")
    add("--latent", type=positive, metavar="N", help="dimensions of z (2)")
    add_run_options(parser, "a few epochs, to see that everything works")


def run(options: argparse.Namespace) -> None:
    """Train, measure and report; what is done already is not done again."""
    config = default_config(
        options.data,
        quick=options.quick,
        seeds=options.seeds,
        epochs=options.epochs,
        latent=options.latent,
        device=options.device,
    )
    folder = RunFolder(options.out, "posterior_variance", config)
    print(f"run folder: {folder.path}")
    run_all(config, folder.path, options.data_dir, options.jobs)
    command = command_of(options)
    runs = [folder_of(folder.path, job).result() for job in all_jobs(config)]
    text = report(config, runs, draw(config, folder.path, runs), command)
    write_text(folder / "results.csv", csv_table(runs))
    found: dict[str, Any] = {"runs": runs, "summary": summary(runs)}
    finish(folder, options.publish, command=command, text=text, **found)
