"""Values of the command line, checked."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Collection
from pathlib import Path

import torch

from experiments.jobs import slug

__all__ = ["add_run_options", "command_of", "device", "names_of", "positive"]


def add_run_options(parser: argparse.ArgumentParser, quick: str) -> None:
    """The options that runs of all experiments have; ``quick`` says what a quick one is."""
    add = parser.add_argument
    add("--device", type=device, metavar="NAME", help="cpu or cuda (cpu)")
    add("--quick", action="store_true", help=quick)
    add("--jobs", type=positive, default=1, metavar="N", help="runs side by side (1)")
    add("--out", type=Path, metavar="DIR", help="the run folder (named after the settings)")
    add("--publish", type=Path, metavar="PAGE.md", help="copy the report to a page, with figures")


# Of what is parsed: what says where things go, or is told by itself.
_UNTOLD = {"experiment", "run", "data_dir", "jobs", "out", "publish"}


def command_of(options: argparse.Namespace) -> str:
    """The command that makes this run: every option that was given, but for those that do not
    change its results."""
    given = ["python", "-m", "experiments", options.experiment]
    for name, value in vars(options).items():
        if name in _UNTOLD or value is None or value is False:
            continue
        given.append(f"--{name.replace('_', '-')}")
        if isinstance(value, tuple):
            given.append(",".join(map(slug, value)))
        elif value is not True:
            given.append(str(value))
    if options.jobs > 1:
        given += ["--jobs", str(options.jobs)]
    return shlex.join(given)


def positive(text: str) -> int:
    """A whole number ≥ 1."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number ≥ 1; got {text!r}")
    return number


def device(text: str) -> str:
    """``cpu``, or a CUDA device that is there."""
    try:
        found = torch.device(text)
    except RuntimeError:
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"expected cpu or cuda; got {text!r}")
    there = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= there:
        raise argparse.ArgumentTypeError(
            f"expected a CUDA device that torch finds; got {text!r}, and it finds {there}. Leave "
            "--device out to compute on the processor"
        )
    return text


def names_of(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Some of ``known``, in their order, from a list with commas; as on the command line, so
    ``vae-large-batch`` for "VAE, large batch"."""

    def names(text: str) -> tuple[str, ...]:
        given = [slug(name.strip()) for name in text.split(",")]
        slugs = [slug(name) for name in known]
        if unknown := [name for name in given if name not in slugs]:
            raise argparse.ArgumentTypeError(
                f"expected some of {', '.join(slugs)}; got {', '.join(unknown)!r}"
            )
        return tuple(name for name in known if slug(name) in given)

    return names
