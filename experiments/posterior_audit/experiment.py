"""Can the posterior be trusted? Every diagnostic on guides of several families.

Trains normal, constant, full-covariance and flow guides by the ELBO and by an importance-weighted
bound on binarised digits; asks whether weights, error bars and log evidence of each can be trusted,
where not, and why; writes results as JSON, posteriors for arviz as netCDF, figures, and a report.
The same command, interrupted, goes on.
"""

from __future__ import annotations

import argparse

from experiments.jobs import slug
from experiments.options import add_run_options, command_of, names_of, positive
from experiments.posterior_audit.config import default_config
from experiments.posterior_audit.figures import draw
from experiments.posterior_audit.jobs import all_jobs, folder_of, run_all
from experiments.posterior_audit.methods import GUIDES, OBJECTIVES
from experiments.posterior_audit.report import report
from experiments.reporting import finish
from experiments.run_folder import RunFolder

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    add = parser.add_argument
    add("--data", choices=("digits", "mnist"), default="mnist", help="default: mnist")
    add("--data-dir", metavar="DIR", help="where MNIST's files are (or set PYRO_VAE_DATA)")
    known = {"guides": tuple(GUIDES), "objectives": tuple(OBJECTIVES)}
    for name, each in known.items():
        told = ", ".join(map(slug, each))
        add(f"--{name}", type=names_of(each), metavar="A,B,…", help=f"of {told} (all)")
    add("--latent", type=positive, metavar="N", help="dimensions of z (2)")
    add("--epochs", type=positive, metavar="N", help="passes through the data")
    add("--seed", type=int, metavar="N", help="of weights and batches (0)")
    add_run_options(parser, "a few epochs of small networks and few draws")


def run(options: argparse.Namespace) -> None:
    """Train, ask and report; what is done already is not done again."""
    config = default_config(
        options.data,
        quick=options.quick,
        guides=options.guides,
        objectives=options.objectives,
        latent=options.latent,
        epochs=options.epochs,
        seed=options.seed,
        device=options.device,
    )
    folder = RunFolder(options.out, "posterior_audit", config)
    print(f"run folder: {folder.path}")
    run_all(config, folder.path, options.data_dir, options.jobs)
    command = command_of(options)
    runs = [folder_of(folder.path, method).result() for method in all_jobs(config)]
    text = report(config, folder.path, draw(config, folder.path), command)
    finish(folder, options.publish, command=command, runs=runs, text=text)
