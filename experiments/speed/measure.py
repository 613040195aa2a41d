"""Contenders in turn on one case: checked, sized, and timed block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Concatenate, ParamSpec, TypeVar

from experiments.speed.cases import Case
from experiments.speed.check import Check
from experiments.speed.config import Config
from experiments.speed.contenders import CONTENDERS, OURS
from experiments.speed.inputs import Inputs
from experiments.speed.process import Absent, ContenderProcess
from experiments.speed.reference import reference_losses
from experiments.speed.spread import median

__all__ = ["FAILED", "MEASURED", "block_steps", "in_turn", "measure_case", "profiled_case"]

MEASURED, FAILED = "measured", "failed"

_REFERENCE_DRAWS = 3  # for each of a contender's: its error is common to all checks of a case
_FIRST_STEPS = 50  # untimed: enough to learn something, and to know how long a step takes

_PROFILED_STEPS = 200

T = TypeVar("T")
P = ParamSpec("P")
Found = dict[str, Any]


@dataclass
class _Entrant:
    """A contender while it is measured: what is found, its first losses, and its blocks."""

    key: str
    process: ContenderProcess
    found: Found = field(default_factory=lambda: {"status": MEASURED})
    losses: list[float] = field(default_factory=list)
    steps: int = 0
    seconds: list[float] = field(default_factory=list)


def _or_give_up(work: Callable[Concatenate[_Entrant, P], None]) -> Callable[..., None]:
    """Let ``work`` be done for those still measured; one that fails in it has no numbers left."""

    @wraps(work)
    def done(entrant: _Entrant, *args: P.args, **kwargs: P.kwargs) -> None:
        if entrant.found["status"] != MEASURED:
            return
        try:
            work(entrant, *args, **kwargs)
        except Absent as absent:
            entrant.found = {"status": absent.status, "reason": absent.reason}

    return done


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
    reference = reference_losses(case, inputs, _REFERENCE_DRAWS * config.draws)
    with TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        inputs.save(folder / "inputs.npz")
        message = {
            "case": asdict(case),
            "inputs": str(folder / "inputs.npz"),
            "device": config.measured_on,
        }
        entrants = [
            _Entrant(
                key,
                stack.enter_context(ContenderProcess(key, logs / f"{key}.log", folder / key)),
            )
            for key in keys
        ]
        for entrant in entrants:
            _get_ready(entrant)
        for entrant in entrants:
            _enter(entrant, message, reference, config)
        for entrant in in_turn(entrants, blocks + 1):
            _time_block(entrant)
        for entrant in entrants:
            _finish(entrant, config)
        stack.close()
        for entrant in entrants:
            _start_again(entrant, message, logs, folder)
    return {entrant.key: entrant.found for entrant in entrants}


def profiled_case(case: Case, inputs: Inputs, logs: Path) -> dict[str, float] | None:
    """Milliseconds of our step on a processor by ``PARTS``; ``None`` where it cannot be profiled.

    From a process of its own, whose kernels are compiled to be told apart, which takes some time.
    """
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        inputs.save(folder / "inputs.npz")
        given = {"case": asdict(case), "inputs": str(folder / "inputs.npz"), "device": "cpu"}
        log = logs / "profile.log"
        try:
            with ContenderProcess(OURS, log, folder / "cache", apart=True) as process:
                process.wait_until_ready()
                process.ask("prepare", **given)
                process.ask("first_call")
                process.ask("run", steps=_PROFILED_STEPS)
                return process.ask("profile", steps=_PROFILED_STEPS)["milliseconds"]
        except Absent:
            return None


def in_turn(those: Sequence[T], rounds: int) -> Iterator[T]:
    """Each of ``those`` once a round; another one begins each round."""
    for number in range(rounds):
        start = number % max(len(those), 1)
        yield from (*those[start:], *those[:start])


def block_steps(seconds: float, wanted: float, chunk: int) -> int:
    """How many steps of ``seconds`` take ``wanted`` seconds, as a multiple of ``chunk``."""
    return max(1, round(wanted / seconds / chunk)) * chunk


@_or_give_up
def _get_ready(entrant: _Entrant) -> None:
    """Wait until the library is imported, so that nothing else runs while anything is timed."""
    entrant.process.wait_until_ready()


@_or_give_up
def _enter(
    entrant: _Entrant, message: Found, reference: dict[str, list[float]], config: Config
) -> None:
    """Compile, check the loss, and find out how many steps a block has."""
    process, found = entrant.process, entrant.found
    prepared = process.ask("prepare", **message)
    found["note"] = prepared["note"]
    found["first_call_seconds"] = process.ask("first_call")["seconds"]
    entrant.losses = process.ask("losses", count=config.draws)["losses"]
    check = Check.of(entrant.losses, reference[prepared["reports"]])
    if not check.agrees:
        raise Absent(FAILED, f"another loss: {check}")
    found["check"] = {**asdict(check), "deviation": check.deviation}
    entrant.steps = _sized(process, prepared["chunk"], config.block_seconds)


def _sized(process: ContenderProcess, chunk: int, wanted: float) -> int:
    """The steps of a block, from two trials."""
    steps = block_steps(1.0, _FIRST_STEPS, chunk)
    for _ in range(2):
        seconds = process.ask("run", steps=steps)["seconds"]
        steps = block_steps(seconds / steps, wanted, chunk)
    return steps


@_or_give_up
def _time_block(entrant: _Entrant) -> None:
    entrant.seconds.append(entrant.process.ask("run", steps=entrant.steps)["seconds"])


@_or_give_up
def _finish(entrant: _Entrant, config: Config) -> None:
    """Numbers of the whole: memory, whether it learned, the blocks without the first."""
    found = entrant.found
    found["memory_mib"] = entrant.process.ask("memory")["mib"]
    losses = entrant.process.ask("losses", count=config.draws)["losses"]
    learned = Check.of(losses, entrant.losses)
    if not learned.is_below:
        told = f"a loss of {learned.reference:.2f} before and of {learned.mean:.2f} after all steps"
        raise Absent(FAILED, f"it does not train: {told}")
    found["loss_after"] = learned.mean
    found["steps_a_block"] = entrant.steps
    found["milliseconds"] = [1e3 * seconds / entrant.steps for seconds in entrant.seconds[1:]]
    found["median_milliseconds"] = median(found["milliseconds"])


@_or_give_up
def _start_again(entrant: _Entrant, message: Found, logs: Path, folder: Path) -> None:
    """The first call in another process, which finds what this one has compiled."""
    key = entrant.key
    if CONTENDERS[key].compiles:
        with ContenderProcess(key, logs / f"{key}.log", folder / key) as process:
            process.wait_until_ready()
            process.ask("prepare", **message)
            entrant.found["second_start_seconds"] = process.ask("first_call")["seconds"]
