"""Convolutional VAEs of faces, with learned and with constant variances (Fyffe, section 7.1).

Trains a VAE with learned posterior variances by the ELBO and two with constant ones by the BILBO,
Σ = I and Σ = I/100, on the Frey faces or on CelebA; measures bound, evidence, reconstructions and
optimal priors; writes results as JSON, figures, and a report. The same command, interrupted, goes
on.
"""

from __future__ import annotations

import argparse

from experiments.faces.config import default_config
from experiments.faces.figures import draw
from experiments.faces.jobs import folder_of, run_all
from experiments.faces.methods import METHODS
from experiments.faces.report import report
from experiments.options import add_run_options, command_of, positive
from experiments.reporting import finish
from experiments.run_folder import RunFolder

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    add = parser.add_argument
    add("--data", choices=("frey", "celeba"), default="frey", help="default: frey")
    add("--data-dir", metavar="DIR", help="where the faces are (or set PYRO_VAE_DATA)")
    add("--iterations", type=positive, metavar="N", help="updates, at least (10000)")
    add("--latent", type=positive, metavar="N", help="dimensions of z (16)")
    add("--width", type=positive, metavar="N", help="channels of the outer convolutions (32)")
    add_run_options(parser, "one epoch of small networks")


def run(options: argparse.Namespace) -> None:
    """Train, measure and report; what is done already is not done again."""
    config = default_config(
        quick=options.quick,
        data=options.data,
        iterations=options.iterations,
        latent=options.latent,
        width=options.width,
        device=options.device,
    )
    folder = RunFolder(options.out, "faces", config)
    print(f"run folder: {folder.path}")
    run_all(config, folder.path, options.data_dir, options.jobs)
    command = command_of(options)
    runs = [folder_of(folder.path, method).result() for method in METHODS]
    text = report(config, folder.path, draw(folder.path), command)
    finish(folder, options.publish, command=command, runs=runs, text=text)
