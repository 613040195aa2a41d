"""Importance-weighted autoencoders on dynamically binarised digits (Burda et al., 2016).

Trains one VAE with the ELBO, the importance-weighted bound and its doubly reparameterised gradient
for several numbers of particles; measures log-likelihood, active units, and the gradients'
signal-to-noise ratio; writes results as JSON, figures, and a report. The same command,
interrupted, goes on.
"""

from __future__ import annotations

import argparse

from experiments.iwae_mnist.config import STAGES, default_config
from experiments.iwae_mnist.figures import draw
from experiments.iwae_mnist.jobs import all_jobs, folder_of, run_all
from experiments.iwae_mnist.methods import METHODS
from experiments.iwae_mnist.report import report
from experiments.jobs import slug
from experiments.options import add_run_options, command_of, names_of, positive
from experiments.reporting import finish
from experiments.run_folder import RunFolder

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    add = parser.add_argument
    add("--data", choices=("digits", "mnist"), default="mnist", help="default: mnist")
    add("--data-dir", metavar="DIR", help="where MNIST's files are (or set PYRO_VAE_DATA)")
    methods = ", ".join(map(slug, METHODS))
    add("--methods", type=names_of(METHODS), metavar="A,B,…", help=f"of {methods} (all)")
    add("--seeds", type=positive, metavar="N", help="seeds 0 … N−1 (1)")
    length = parser.add_mutually_exclusive_group().add_argument
    stages = range(1, STAGES + 1)
    length("--stages", type=int, choices=stages, help="of the paper's schedule (4: 40 epochs)")
    length("--full", action="store_true", help="all 8 stages, 3,280 epochs: for a GPU")
    add_run_options(parser, "one epoch of small networks")


def run(options: argparse.Namespace) -> None:
    """Train, measure and report; what is done already is not done again."""
    config = default_config(
        quick=options.quick,
        full=options.full,
        data=options.data,
        methods=options.methods,
        seeds=options.seeds,
        stages=options.stages,
        device=options.device,
    )
    folder = RunFolder(options.out, "iwae_mnist", config)
    print(f"run folder: {folder.path}")
    run_all(config, folder.path, options.data_dir, options.jobs)
    command = command_of(options)
    runs = [folder_of(folder.path, job).result() for job in all_jobs(config)]
    text = report(config, folder.path, draw(config, folder.path), command)
    finish(folder, options.publish, command=command, runs=runs, text=text)
