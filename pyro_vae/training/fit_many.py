from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import pyro
import torch
from torch import Tensor
from tqdm import tqdm

from pyro_vae._errors import NonFiniteError
from pyro_vae._modes import forked_rng, random_state, set_random_state
from pyro_vae.data import Examples
from pyro_vae.objectives import ELBO, Objective
from pyro_vae.training.compiled import Backend, Ensemble, inductor
from pyro_vae.training.fit import apart_from_parameter_store, as_examples, device_of
from pyro_vae.training.history import History
from pyro_vae.training.optimizers import MakeOptimizer, adam
from pyro_vae.training.run import Pace, Run, Settings
from pyro_vae.training.schedules import Schedule
from pyro_vae.vae import Pair

__all__ = ["Member", "fit_many"]


@dataclass(frozen=True)
class Member:
    """One of an ensemble: its seed, its trained pair, and its history."""

    seed: int
    pair: Pair
    history: History


def fit_many(
    build: Callable[[int], Pair],
    seeds: Sequence[int],
    data: Tensor | Examples,
    *,
    objective: Objective | None = None,
    epochs: int = 100,
    batch_size: int = 128,
    optimizer: MakeOptimizer | None = None,
    schedule: Schedule | None = None,
    clip_norm: float | None = None,
    bfloat16: bool = False,
    validation: Tensor | Examples | None = None,
    validate_every: int = 1,
    before_epoch: Callable[[int], None] | None = None,
    device: torch.device | str | None = None,
    backend: Backend = inductor,
    progress: bool = True,
) -> list[Member]:
    """Train a pair for each seed, all in one compiled graph.

    A member of seed ``s`` ends as ``fit(build(s), data, seed=s, …)`` would end it, up to the
    rounding of fused arithmetic: it has its own starting weights, order of the data and random
    numbers. The members' matrix products run as one batched product.

    Args:
        build: makes the pair of a seed; the same networks for each.
        seeds: one a member.
        data: as for :func:`fit`, as is all that is not named here.
        before_epoch: called once for all with the epoch's number, to change ``objective``.
        backend: carries out the recorded graph; TorchInductor by default.

    Returns:
        The members in the order of the seeds.

    Raises:
        UntraceableError: a pair that does not become a fixed graph, or whose random numbers depend
            on its parameters, as those of a discrete guide; train such pairs one by one.
        ValueError: as :func:`fit`, and for no seed or one given twice.
        NonFiniteError: a NaN or infinity in one of the members, which is named.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds: expected one or more different seeds; got {list(seeds)}.")
    pace, made = Pace(), as_examples(data)
    runs = []
    for position, seed in enumerate(seeds):
        settings = Settings(
            objective=(objective := ELBO() if objective is None else objective),
            epochs=epochs,
            batch_size=batch_size,
            optimizer=adam() if optimizer is None else optimizer,
            schedule=schedule,
            clip_norm=clip_norm,
            bfloat16=bfloat16,
            validation=None if validation is None else as_examples(validation),
            validate_every=validate_every,
            early_stopping=None,
            before_epoch=before_epoch if position == 0 else None,
            after_epoch=None,
            seed=seed,
            checkpoints=None,
            checkpoint_every=None,
            compile=True,
        )
        pair = build(seed)
        place = device_of(pair, device)
        made = made.to(place)
        runs.append(Run(pair, made, settings, place, pace))
    with apart_from_parameter_store(), runs[0].bar(progress) as bar:
        for run in runs:
            with forked_rng(run.settings.seed, run.device):
                run.prepare()
        with pyro.validation_enabled(False):
            _Together(runs, bar, backend).train(pace)
    return [Member(run.settings.seed, run.pair, run.state.history) for run in runs]


class _Together:
    """Runs in step: each asks for the same number of steps, and all are made at once."""

    def __init__(self, runs: Sequence[Run], bar: tqdm, backend: Backend) -> None:
        quiet = tqdm(disable=True)
        self._runs = runs
        self._trainings = [run.train(bar if run is runs[0] else quiet) for run in runs]
        self._svis = [run.svi(backend) for run in runs]
        self._random = []
        for run in runs:
            with forked_rng(run.settings.seed, run.device):
                self._random.append(random_state(run.device))

    def train(self, pace: Pace) -> None:
        ensemble = Ensemble(self._svis)
        schedules = [run.schedule for run in self._runs]
        losses: Any = [None] * len(self._runs)
        device = self._runs[0].device
        with forked_rng(0, device):  # the members' states are set in it
            while True:
                sent = [self._send(number, losses[number]) for number in range(len(losses))]
                asked = [batches for batches in sent if batches is not None]
                if not asked:
                    return
                batches = torch.stack(asked)
                started = time.perf_counter()
                try:
                    losses = ensemble.run(self._runs[0].data, batches, self._random, schedules)
                except NonFiniteError as error:
                    self._stop(error)
                pace.note(batches.shape[1], time.perf_counter() - started)

    def _stop(self, error: NonFiniteError) -> NoReturn:
        seed = self._runs[error.member].settings.seed
        try:
            self._trainings[error.member].throw(error)
        except NonFiniteError as told:
            raise NonFiniteError(f"seed {seed}, {told}") from None
        raise error

    def _send(self, number: int, losses: Tensor | None) -> Tensor | None:
        """A run goes on, with its own random numbers, until it asks for steps."""
        device = self._runs[number].device
        set_random_state(device, self._random[number])
        try:
            return self._trainings[number].send(losses)
        except StopIteration:
            return None
        finally:
            self._random[number] = random_state(device)
