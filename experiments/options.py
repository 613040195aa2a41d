"""Values of the command line, checked."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection

import torch

__all__ = ["device", "names_of", "positive"]


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
