"""What two misconceptions about VAEs cost (Yu, section 5).

Trains VAEs of images with the squared error and with its logarithm on images of several scales;
builds the optimal solutions of section 5.2 and a mistaken one; trains VAEs with two latents on
mixtures of more and more normals. Writes results as JSON, a figure, and a report. The same command,
interrupted, goes on.
"""

from __future__ import annotations

import argparse
from typing import Any

from experiments.misconceptions.config import default_config
from experiments.misconceptions.figures import draw
from experiments.misconceptions.jobs import folder_of, mixture_jobs, run_all, scale_jobs
from experiments.misconceptions.report import report
from experiments.misconceptions.solutions import measure_solutions
from experiments.options import add_run_options, command_of, positive
from experiments.reporting import finish
from experiments.run_folder import RunFolder

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    add = parser.add_argument
    add("--data", choices=("digits", "mnist"), default="digits", help="default: digits")
    add("--data-dir", metavar="DIR", help="where MNIST's files are (or set PYRO_VAE_DATA)")
    add("--epochs", type=positive, metavar="N", help="through the images (300; mnist 20)")
    add("--steps", type=positive, metavar="N", help="updates of a mixture's VAE (20000)")
    add_run_options(parser, "a few epochs, to see that everything works")


def run(options: argparse.Namespace) -> None:
    """Train, measure and report; what is done already is not done again."""
    config = default_config(
        options.data,
        quick=options.quick,
        epochs=options.epochs,
        steps=options.steps,
        device=options.device,
    )
    folder = RunFolder(options.out, "misconceptions", config)
    print(f"run folder: {folder.path}")
    run_all(config, folder.path, options.data_dir, options.jobs)
    command = command_of(options)
    scales = [folder_of(folder.path, job).result() for job in scale_jobs(config)]
    mixtures = [folder_of(folder.path, job).result() for job in mixture_jobs(config)]
    solutions = measure_solutions()
    captions = draw(config, folder.path)
    text = report(config, scales, mixtures, solutions, captions, command)
    found: dict[str, Any] = {"runs": [*scales, *mixtures], "solutions": solutions}
    finish(folder, options.publish, command=command, text=text, **found)
