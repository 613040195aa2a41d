from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import Tensor
from tqdm import tqdm

from pyro_vae._errors import NonFiniteError
from pyro_vae._modes import forked_rng
from pyro_vae.data import Examples
from pyro_vae.objectives import ELBO, Objective
from pyro_vae.training.checkpoint import Checkpoints
from pyro_vae.training.early_stopping import EarlyStopping
from pyro_vae.training.history import History
from pyro_vae.training.optimizers import MakeOptimizer, adam
from pyro_vae.training.run import Pace, Run, Settings
from pyro_vae.training.schedules import Schedule
from pyro_vae.vae import Pair

__all__ = ["apart_from_parameter_store", "as_examples", "device_of", "fit"]


def fit(
    pair: Pair,
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
    early_stopping: EarlyStopping | None = None,
    before_epoch: Callable[[int], None] | None = None,
    after_epoch: Callable[[int], None] | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    compile: bool | None = None,
    progress: bool = True,
) -> History:
    """Train a model/guide pair by stochastic variational inference.

    Each epoch goes once through the data in an order of its own; the loss of a step is minus the
    objective's bound, in nats a datum. The pair ends in evaluation mode, with what it estimates on
    the training set estimated there (:func:`update_statistics`).

    With ``checkpoints=`` a run that was killed at any moment goes on from its last checkpoint when
    the same call is made again, and ends with the same weights — on a CPU bit for bit — as one
    that was never killed: weights, optimizer, schedule, random states and the position in the data
    are all in it. The random numbers are the run's own: the global state is as before after it,
    and so is Pyro's parameter store.

    Args:
        pair: a :class:`VAE` or another :class:`Pair`.
        data: the training data, [data, *event]; moved to the training device once.
        objective: what is maximised; :class:`ELBO` by default.
        epochs: passes through the data, in all (a resumed run does what is left).
        batch_size: data a step; the last batch of an epoch may be smaller.
        optimizer: makes the optimizer from the parameters, e.g. ``adam(1e-3)``, the default, or
            ``functools.partial(torch.optim.SGD, lr=1e-2)``.
        schedule: makes the learning rate's schedule, e.g. :func:`step_decay`.
        clip_norm: the largest norm of the gradient; a longer one is scaled to it.
        bfloat16: multiply matrices in bfloat16 while training (:class:`CompiledSVI`).
        validation: held-out data, whose bound is in the history and stops the training early.
        validate_every: epochs between validations; the last epoch has one too.
        early_stopping: when to stop; needs ``validation``.
        before_epoch: called with the epoch's number, from 1, e.g. to change ``objective.beta``. A
            resumed run first calls it for all epochs it finds done or begun.
        after_epoch: called with the epoch's number when its checkpoint is written, to look at the
            pair: in evaluation mode, with the training set's estimates, and random numbers that are
            not the run's.
        seed: of the data's order and of all samples.
        device: where to train, e.g. ``"cuda"``; by default where the pair is.
        checkpoints: a folder for checkpoints.
        checkpoint_every: steps between checkpoints; one is written after every epoch anyhow.
        compile: run the steps compiled (:class:`CompiledSVI`), or in eager mode; by default
            compiled where the run has 4,000 steps or more, which pay for the compiling, or where
            the run's checkpoints were made so. The smaller batches that epochs end with are then
            eager, unless there are as many of them. A NaN is found some steps later, and traced
            back.
        progress: show a bar with the epoch, the bound and the time left.

    Returns:
        The history, a record an epoch.

    Raises:
        ValueError: data that do not fit the pair, options out of range, or nothing to train.
        NonFiniteError: a NaN or infinity, with the epoch, step and term; the last checkpoint is
            from before it.
        CheckpointError: checkpoints of another run, or none that is whole, or a full disk.

    >>> from pyro_vae import VAE, BernoulliLikelihood, NormalGuide, StandardNormalPrior
    >>> from pyro_vae.data import digits
    >>> from pyro_vae.nn import MLP
    >>> vae = VAE(
    ...     prior=StandardNormalPrior(2),
    ...     likelihood=BernoulliLikelihood(MLP(2, [32], 64)),
    ...     guide=NormalGuide(MLP(64, [32], 4)),
    ... )
    >>> history = fit(vae, digits().train, epochs=2, progress=False)
    >>> history["bound"][1] > history["bound"][0]
    True
    """
    settings = Settings(
        objective=ELBO() if objective is None else objective,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=adam() if optimizer is None else optimizer,
        schedule=schedule,
        clip_norm=clip_norm,
        bfloat16=bfloat16,
        validation=None if validation is None else as_examples(validation),
        validate_every=validate_every,
        early_stopping=early_stopping,
        before_epoch=before_epoch,
        after_epoch=after_epoch,
        seed=seed,
        checkpoints=None if checkpoints is None else Checkpoints(checkpoints),
        checkpoint_every=checkpoint_every,
        compile=compile,
    )
    pace = Pace()
    run = Run(pair, as_examples(data), settings, device_of(pair, device), pace)
    with forked_rng(seed, run.device), apart_from_parameter_store():
        run.prepare()
        # Every value is checked by the steps: Pyro's own checks would cost a third of them.
        with pyro.validation_enabled(False), run.bar(progress) as bar:
            _drive(run.train(bar), run, pace, bar)
    return run.state.history


def _drive(training: Generator[Tensor, Any, None], run: Run, pace: Pace, bar: tqdm) -> None:
    """Make the steps that the run asks for."""
    svi = run.svi()
    of_rest = run.svi_of_rest() or svi
    if svi.compiled:
        bar.set_postfix_str("compiling the step")
    losses = None
    while True:
        try:
            batches = training.send(losses)
            started = time.perf_counter()
            steps = of_rest if run.is_rest(batches) else svi
            losses = steps.run(run.data, batches, schedule=run.schedule)
        except StopIteration:
            return
        except NonFiniteError as error:
            training.throw(error)
        if steps.compiled:  # an eager step is slow enough to be looked at each time
            pace.note(len(batches), time.perf_counter() - started)


@contextmanager
def apart_from_parameter_store() -> Iterator[None]:
    """Pyro enters every parameter it meets in its global store: here, in one that is dropped.

    What is not trained it does not enter, with a warning that would mislead here.
    """
    with pyro.get_param_store().scope(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*was not registered in the param store because")
        yield


def as_examples(data: Tensor | Examples) -> Examples:
    """Data as they come."""
    if isinstance(data, Examples):
        return data
    if data.dtype == torch.uint8:  # 0 and 1, or 0 to 255? Only their owner knows
        raise ValueError(
            "data: expected floating values; got torch.uint8. Pass Examples(data) for bytes, which "
            "stand for byte / 255, or data.float() for the numbers as they are."
        )
    return Examples(data)


def device_of(pair: Pair, device: torch.device | str | None) -> torch.device:
    """The device asked for, or where the pair is."""
    if device is not None:
        return torch.device(device)
    first = next(pair.parameters(), None)
    return torch.device("cpu") if first is None else first.device
