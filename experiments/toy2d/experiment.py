"""Densities on the plane: how close VAEs come to them (Yu, section 6).

Trains VAEs with other bounds, posteriors and priors on points drawn anew at each step, and
measures how far each is from the true density, in bits; writes results as JSON, figures, and a
report. The same command, interrupted, goes on.
"""

from __future__ import annotations

import argparse

from experiments.jobs import slug
from experiments.options import add_run_options, command_of, names_of, positive
from experiments.reporting import finish
from experiments.run_folder import RunFolder
from experiments.toy2d.config import default_config
from experiments.toy2d.figures import draw
from experiments.toy2d.jobs import all_jobs, folder_of, run_all
from experiments.toy2d.methods import METHODS
from experiments.toy2d.report import report
from pyro_vae.data.densities import DENSITIES

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    add = parser.add_argument
    add(
        "--data", type=names_of(DENSITIES), metavar="A,B,…", help=f"of {', '.join(DENSITIES)} (all)"
    )
    methods = ", ".join(map(slug, METHODS))
    add("--methods", type=names_of(METHODS), metavar="A,B,…", help=f"of {methods} (all)")
    add("--seeds", type=positive, metavar="N", help="seeds 0 … N−1 (1)")
    add("--steps", type=positive, metavar="N", help="updates of a VAE (60000)")
    add("--growth", type=positive, metavar="N", help="width of the networks' layers (64)")
    add("--original", action="store_true", help="the paper's own networks and batches: for a GPU")
    add_run_options(parser, "a thousand steps, to see that everything works")


def run(options: argparse.Namespace) -> None:
    """Train, measure and report; what is done already is not done again."""
    config = default_config(
        quick=options.quick,
        original=options.original,
        densities=options.data,
        methods=options.methods,
        seeds=options.seeds,
        steps=options.steps,
        growth=options.growth,
        device=options.device,
    )
    folder = RunFolder(options.out, "toy2d", config)
    print(f"run folder: {folder.path}")
    run_all(config, folder.path, options.jobs)
    command = command_of(options)
    runs = [folder_of(folder.path, job).result() for job in all_jobs(config)]
    text = report(config, runs, draw(config, folder.path), command)
    finish(folder, options.publish, command=command, runs=runs, text=text)
