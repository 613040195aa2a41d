"""Run as a script, in a process of its own: trains to the end, once left alone and once killed.

``python -m tests.training.kill_loop FOLDER`` makes, for each of two pairs, FOLDER/PAIR/whole.pt and
killed.pt, what the two runs ended with, and kills.json. A killed run is a forked process that sends
itself SIGKILL at a call chosen by lot, of all Python's and C's function calls in it: in a step,
between steps, in a validation; every other one while a checkpoint is being written.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # torch.optim imports it when first used: once here, not in every fork

from pyro_vae import ELBO, EarlyStopping, adam, cosine_decay, fit, step_decay
from pyro_vae.training import Checkpoints
from tests.training.pairs import floating_vae, optimal_vae, some_digits

KILLS = 10
TRAIN_DATA, HELD_OUT = some_digits(0, 200), some_digits(200, 50)


def train_floating(checkpoints: Path) -> dict[str, Any]:
    vae, objective = floating_vae(), ELBO(beta=0.0)

    def anneal(epoch: int) -> None:
        objective.beta = min(1.0, epoch / 3)

    history = fit(
        vae,
        TRAIN_DATA,
        objective=objective,
        epochs=4,
        batch_size=64,  # and a last one of 8
        optimizer=adam(1e-2),
        schedule=cosine_decay(),
        clip_norm=5.0,
        validation=HELD_OUT,
        before_epoch=anneal,
        seed=3,
        checkpoints=checkpoints,
        checkpoint_every=1,  # early, so that most kills meet one whatever the lot
        progress=False,
    )
    return {"pair": vae.state_dict(), "history": history.records}


def train_optimal(checkpoints: Path) -> dict[str, Any]:
    vae = optimal_vae()
    history = fit(
        vae,
        TRAIN_DATA,
        objective=ELBO(2, analytic_kl=True),
        epochs=4,
        batch_size=64,
        optimizer=functools.partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
        schedule=step_decay(0.3, 0.6),
        clip_norm=1.0,
        validation=HELD_OUT,
        validate_every=2,
        early_stopping=EarlyStopping(patience=5),
        seed=4,
        checkpoints=checkpoints,
        checkpoint_every=2,
        progress=False,
    )
    return {"pair": vae.state_dict(), "history": history.records}


TRAIN = {"floating": train_floating, "optimal": train_optimal}


class CallCounter:
    """Counts the function calls of this process, and kills it at the one numbered ``fatal``, or at
    the first one after that whose name is ``function``."""

    def __init__(self, fatal: int | None = None, function: str | None = None) -> None:
        self.count, self.fatal, self.function = 0, fatal, function

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            self.count += 1
            if self.fatal is not None and self.count >= self.fatal:
                name = argument.__name__ if event == "c_call" else frame.f_code.co_name
                if self.function in (None, name):
                    os.kill(os.getpid(), signal.SIGKILL)


def forked(work: Callable[[], None]) -> int:
    """Do ``work`` in a forked process: its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(which: str, folder: Path) -> None:
    folder.mkdir()

    def whole() -> None:
        sys.setprofile(counter := CallCounter())
        result = TRAIN[which](folder / "whole")
        sys.setprofile(None)
        torch.save(result | {"calls": counter.count}, folder / "whole.pt")

    def run(counter: CallCounter | None) -> int:
        def killed() -> None:
            sys.setprofile(counter)
            result = TRAIN[which](folder / "killed")
            sys.setprofile(None)
            torch.save(result, folder / "killed.pt")

        return forked(killed)

    def next_counter() -> CallCounter | None:
        if len(kills) == KILLS:
            return None
        fatal = lot.randrange(calls // 4)  # so it is killed four times at least
        return CallCounter(fatal, lot.choice(["fsync", "replace"]) if len(kills) % 2 else None)

    assert forked(whole) == 0
    calls = torch.load(folder / "whole.pt", weights_only=True)["calls"]
    lot, kills = random.Random(which), []
    checkpoints = Checkpoints(folder / "killed")
    while (status := run(next_counter())) != 0:
        assert status == -signal.SIGKILL, "it failed, where it should have been killed"
        partial = [path.name for path in checkpoints.folder.glob("*.partial")]
        kills.append({"checkpoints": [p.name for p in checkpoints.paths()], "partial": partial})
    (folder / "kills.json").write_text(json.dumps(kills))


if __name__ == "__main__":
    for pair in TRAIN:
        main(pair, Path(sys.argv[1]) / pair)
