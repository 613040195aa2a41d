"""``python -m experiments NAME [options]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from experiments.posterior_variance import experiment as posterior_variance
from experiments.run_folder import RunFolderError
from pyro_vae import CheckpointError, NonFiniteError
from pyro_vae.data import DataError

EXPERIMENTS = {"posterior_variance": posterior_variance}


def parser() -> argparse.ArgumentParser:
    """The command line: one sub-command an experiment."""
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
    """Run an experiment; the exit status: 0, 1 for a failed run, 130 for an interrupted one."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except (
        CheckpointError,
        DataError,
        FileNotFoundError,
        NonFiniteError,
        RunFolderError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
