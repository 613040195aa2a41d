"""Contenders in turn on one case: checked, sized, and timed block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from experiments.speed.cases import Case
from experiments.speed.check import Check
from experiments.speed.config import Config
from experiments.speed.contenders import CONTENDERS
from experiments.speed.inputs import Inputs
from experiments.speed.process import Absent, ContenderProcess
from experiments.speed.reference import reference_losses
from experiments.speed.spread import median

__all__ = ["FAILED", "MEASURED", "block_steps", "in_turn", "measure_case"]

MEASURED, FAILED = "measured", "failed"

T = TypeVar("T")
Found = dict[str, Any]


@dataclass
class _Entrant:
    """A contender that passed the check, and how many steps a block of its has."""

    key: str
    process: ContenderProcess
    steps: int
    found: Found


def measure_case(
    case: Case, inputs: Inputs, config: Config, keys: Sequence[str], blocks: int, logs: Path
) -> dict[str, Found]:
    """What each contender needs for a step of ``case``, by its key.

    Each runs in a process of its own, started for this case, one at a time.

    Args:
        case: what is trained.
        inputs: its data and starting weights.
        config: lengths and counts.
        keys: the contenders.
        blocks: timed blocks, after one that is dropped.
        logs: a folder for the processes' messages.
    """
    reference = reference_losses(case, inputs, config.draws)
    with TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        inputs.save(folder / "inputs.npz")
        message = {
            "case": asdict(case),
            "inputs": str(folder / "inputs.npz"),
            "device": config.measured_on,
        }
        started = {  # all at once, as importing is not timed
            key: stack.enter_context(ContenderProcess(key, logs / f"{key}.log", folder / key))
            for key in keys
        }
        results: dict[str, Found] = {}
        entrants = []
        for key, process in started.items():
            try:
                entrants.append(_entered(key, process, message, reference, config))
                results[key] = entrants[-1].found
            except Absent as absent:
                results[key] = _absent(absent)
        for entrant in in_turn(entrants, blocks + 1):
            _time_block(entrant)
        for entrant in entrants:
            _finish(entrant, config)
        stack.close()
        for entrant in entrants:
            if CONTENDERS[entrant.key].compiles and entrant.found["status"] == MEASURED:
                _second_start(entrant, message, logs, folder)
    return results


def in_turn(those: Sequence[T], rounds: int) -> Iterator[T]:
    """Each of ``those`` once a round; another one begins each round."""
    for number in range(rounds):
        start = number % max(len(those), 1)
        yield from (*those[start:], *those[:start])


def block_steps(seconds: float, wanted: float, chunk: int) -> int:
    """How many steps take ``wanted`` seconds where one takes ``seconds``, a multiple of ``chunk``."""
    return max(1, round(wanted / seconds / chunk)) * chunk


def _entered(
    key: str,
    process: ContenderProcess,
    message: Found,
    reference: dict[str, list[float]],
    config: Config,
) -> _Entrant:
    process.wait_until_ready()
    prepared = process.ask("prepare", **message)
    first = process.ask("first_call")["seconds"]
    losses = process.ask("losses", count=config.draws)["losses"]
    check = Check.of(losses, reference[prepared["reports"]])
    if not check.agrees:
        raise Absent(FAILED, f"another loss: {check}")
    found = {
        "status": MEASURED,
        "note": prepared["note"],
        "check": {**asdict(check), "deviation": check.deviation},
        "first_call_seconds": first,
        "block_seconds": [],
    }
    steps = _sized(process, prepared["chunk"], config.block_seconds)
    return _Entrant(key, process, steps, found)


def _sized(process: ContenderProcess, chunk: int, wanted: float) -> int:
    """The steps of a block, from ever longer trials."""
    steps = block_steps(1.0, 2.0, chunk)
    for _ in range(3):
        seconds = process.ask("run", steps=steps)["seconds"]
        steps = block_steps(seconds / steps, wanted, chunk)
    return steps


def _time_block(entrant: _Entrant) -> None:
    if entrant.found["status"] != MEASURED:
        return
    try:
        seconds = entrant.process.ask("run", steps=entrant.steps)["seconds"]
        entrant.found["block_seconds"].append(seconds)
    except Absent as absent:
        _give_up(entrant, absent)


def _finish(entrant: _Entrant, config: Config) -> None:
    """Numbers of the whole: memory, the blocks without the first, whether it learned."""
    found = entrant.found
    if found["status"] != MEASURED:
        return
    try:
        found["memory_mib"] = entrant.process.ask("memory")["mib"]
        losses = entrant.process.ask("losses", count=config.draws)["losses"]
    except Absent as absent:
        _give_up(entrant, absent)
        return
    found["loss_after"] = sum(losses) / len(losses)
    if found["loss_after"] >= found["check"]["mean"]:
        told = f"the loss was {found['check']['mean']:.2f} before and {found['loss_after']:.2f} after"
        _give_up(entrant, Absent(FAILED, f"it does not train: {told}"))
        return
    found["steps_a_block"] = entrant.steps
    seconds = found.pop("block_seconds")[1:]
    found["milliseconds"] = [1e3 * s / entrant.steps for s in seconds]
    found["median_milliseconds"] = median(found["milliseconds"])


def _second_start(entrant: _Entrant, message: Found, logs: Path, folder: Path) -> None:
    """The first call in another process, which finds what this one has compiled."""
    key = entrant.key
    with ContenderProcess(key, logs / f"{key}.log", folder / key) as process:
        try:
            process.wait_until_ready()
            process.ask("prepare", **message)
            entrant.found["second_start_seconds"] = process.ask("first_call")["seconds"]
        except Absent as absent:
            entrant.found["second_start"] = str(absent)


def _give_up(entrant: _Entrant, absent: Absent) -> None:
    entrant.found.clear()
    entrant.found.update(_absent(absent))


def _absent(absent: Absent) -> Found:
    return {"status": absent.status, "reason": absent.reason}
