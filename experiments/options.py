"""Values of the command line, checked."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from pathlib import Path

import torch

__all__ = ["add_run_options", "device", "names_of", "positive"]


def add_run_options(parser: argparse.ArgumentParser, quick: str) -> None:
    """The options that runs of all experiments have; ``quick`` says what a quick one is."""
    add = parser.add_argument
    add("--device", type=device, metavar="NAME", help="cpu or cuda (cpu)")
    add("--quick", action="store_true", help=quick)
    add("--jobs", type=positive, default=1, metavar="N", help="runs side by side (1)")
    add("--out", type=Path, metavar="DIR", help="the run folder (named after the settings)")
    add("--publish", type=Path, metavar="PAGE.md", help="copy the report to a page, with figures")


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


def names_of(known: Collection[str], separator: str = ",") -> Callable[[str], tuple[str, ...]]:
    """Some of ``known``, in their order, from a list with separators."""

    def names(text: str) -> tuple[str, ...]:
        given = [name.strip() for name in text.split(separator)]
        if unknown := [name for name in given if name not in known]:
            raise argparse.ArgumentTypeError(
                f"expected some of {', '.join(known)}; got {', '.join(unknown)!r}"
            )
        return tuple(name for name in known if name in given)

    return names
