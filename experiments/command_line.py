"""The command line: which experiments there are, and how a run ends."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from experiments.faces import experiment as faces
from experiments.iwae_mnist import experiment as iwae_mnist
from experiments.limits import experiment as limits
from experiments.misconceptions import experiment as misconceptions
from experiments.posterior_audit import experiment as posterior_audit
from experiments.posterior_variance import experiment as posterior_variance
from experiments.run_folder import RunFolderError
from experiments.speed import experiment as speed
from experiments.there_and_back import experiment as there_and_back
from experiments.toy2d import experiment as toy2d
from pyro_vae import CheckpointError, NonFiniteError
from pyro_vae.data import DataError

__all__ = ["EXPERIMENTS", "main", "parser"]

EXPERIMENTS = {
    "posterior_variance": posterior_variance,
    "speed": speed,
    "toy2d": toy2d,
    "iwae_mnist": iwae_mnist,
    "misconceptions": misconceptions,
    "limits": limits,
    "there_and_back": there_and_back,
    "faces": faces,
    "posterior_audit": posterior_audit,
}

# What a user can mend: told in a line, without a traceback. A full disk is an OSError.
_EXPECTED = (CheckpointError, DataError, NonFiniteError, OSError, RunFolderError)


def parser() -> argparse.ArgumentParser:
    """One sub-command an experiment."""
    top = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Experiments on variational autoencoders. Each writes one run folder with its "
        "results, figures and a report; interrupted, the same command goes on.",
    )
    commands = top.add_subparsers(dest="experiment", required=True, metavar="NAME")
    for name, module in EXPERIMENTS.items():
        about = (module.__doc__ or "").strip()
        command = commands.add_parser(name, help=about.splitlines()[0], description=about)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an experiment; the exit status: 0, or 1 for a failed run (argparse's own is 2)."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except _EXPECTED as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
