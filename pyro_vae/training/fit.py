from __future__ import annotations

import math
import os
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pyro_vae._errors import CheckpointError, NonFiniteError
from pyro_vae._modes import evaluation_mode, forked_rng
from pyro_vae.data import Examples
from pyro_vae.objectives import ELBO, Objective
from pyro_vae.training.checkpoint import Checkpoints
from pyro_vae.training.compiled import CompiledSVI
from pyro_vae.training.early_stopping import EarlyStopping
from pyro_vae.training.first_batch import check_data
from pyro_vae.training.history import History
from pyro_vae.training.non_finite import term_of_weights
from pyro_vae.training.optimizers import MakeOptimizer, adam
from pyro_vae.training.schedules import Schedule
from pyro_vae.training.state import RunState
from pyro_vae.training.statistics import update_statistics
from pyro_vae.vae import Pair

__all__ = ["fit"]

_COMPILING_PAYS = 2000  # steps
_SECONDS_AT_ONCE = 0.5  # between looks at the losses, at most twice


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
    validation: Tensor | Examples | None = None,
    validate_every: int = 1,
    early_stopping: EarlyStopping | None = None,
    before_epoch: Callable[[int], None] | None = None,
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
        validation: held-out data, whose bound is in the history and stops the training early.
        validate_every: epochs between validations; the last epoch has one too.
        early_stopping: when to stop; needs ``validation``.
        before_epoch: called with the epoch's number, from 1, e.g. to change ``objective.beta``. A
            resumed run first calls it for all epochs it finds done or begun.
        seed: of the data's order and of all samples.
        device: where to train, e.g. ``"cuda"``; by default where the pair is.
        checkpoints: a folder for checkpoints.
        checkpoint_every: steps between checkpoints; one is written after every epoch anyhow.
        compile: run the steps compiled (:class:`CompiledSVI`), or in eager mode; by default
            compiled where the run has 2,000 steps or more, which pay for the compiling, or where
            the run's checkpoints were made so. A NaN is then found some steps later, and traced
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
    _check_counts(
        epochs=epochs,
        batch_size=batch_size,
        validate_every=validate_every,
        checkpoint_every=1 if checkpoint_every is None else checkpoint_every,
    )
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm: expected a positive number; got {clip_norm}.")
    if early_stopping is not None and validation is None:
        raise ValueError("early_stopping: expected held-out data; got none. Give validation=.")
    run = _Run(
        pair,
        _examples(data),
        objective=ELBO() if objective is None else objective,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=adam() if optimizer is None else optimizer,
        schedule=schedule,
        clip_norm=clip_norm,
        validation=None if validation is None else _examples(validation),
        validate_every=validate_every,
        early_stopping=early_stopping,
        before_epoch=before_epoch,
        seed=seed,
        device=_device(pair, device),
        checkpoints=None if checkpoints is None else Checkpoints(checkpoints),
        checkpoint_every=checkpoint_every,
        compile=compile,
    )
    with forked_rng(seed, run.device), _apart_from_parameter_store():
        run.prepare()
        # Every value is checked below, by this loop: Pyro's own checks would cost a third a step.
        with pyro.validation_enabled(False), run.bar(progress) as bar:
            run.train(bar)
    return run.state.history


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}: expected ≥ 1; got {count}.")


@contextmanager
def _apart_from_parameter_store() -> Iterator[None]:
    """Pyro enters every parameter it meets in its global store: here, in one that is dropped.

    What is not trained it does not enter, with a warning that would mislead here.
    """
    with pyro.get_param_store().scope(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*was not registered in the param store because")
        yield


def _examples(data: Tensor | Examples) -> Examples:
    return data if isinstance(data, Examples) else Examples(data)


def _device(pair: Pair, device: torch.device | str | None) -> torch.device:
    if device is not None:
        return torch.device(device)
    first = next(pair.parameters(), None)
    return torch.device("cpu") if first is None else first.device


class _Run:
    """One call of :func:`fit`: its settings, and its state."""

    def __init__(
        self,
        pair: Pair,
        data: Examples,
        *,
        objective: Objective,
        epochs: int,
        batch_size: int,
        optimizer: MakeOptimizer,
        schedule: Schedule | None,
        clip_norm: float | None,
        validation: Examples | None,
        validate_every: int,
        early_stopping: EarlyStopping | None,
        before_epoch: Callable[[int], None] | None,
        seed: int,
        device: torch.device,
        checkpoints: Checkpoints | None,
        checkpoint_every: int | None,
        compile: bool | None,
    ) -> None:
        self.pair = pair.to(device)
        self.data = data.to(device)
        self.objective = objective
        self.epochs, self.batch_size, self.seed, self.device = epochs, batch_size, seed, device
        self.parameters = _trainable(pair)
        self.optimizer = optimizer(self.parameters)
        self.steps_per_epoch = -(-len(data) // batch_size)
        self.schedule = schedule and schedule(self.optimizer, epochs * self.steps_per_epoch)
        self.clip_norm = clip_norm
        self.validation = None if validation is None else validation.to(device)
        self.validate_every = validate_every
        self.early_stopping = early_stopping
        self.before_epoch = before_epoch
        self.checkpoints, self.checkpoint_every = checkpoints, checkpoint_every
        self.state = RunState(self.pair, self.optimizer, self.schedule, device)
        self.compile = compile
        self.steps_at_once = 1

    # -- the run ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Check the data, then go to where the last checkpoint stands."""
        self.pair.train()
        for name, data in {"data": self.data, "validation": self.validation}.items():
            if data is not None:
                with forked_rng(self.seed, self.device):
                    x = data.draw()
                    check_data(self.pair, self.objective, x, self.batch_size, name)
        if self.checkpoints is not None:
            saved = self.checkpoints.load(self.device, RunState.KEYS)
            if saved is not None:
                self._resume(saved, self.checkpoints)

    def train(self, bar: tqdm) -> None:
        if self.compile is None:
            self.compile = self.epochs * self.steps_per_epoch >= _COMPILING_PAYS
        self.svi = CompiledSVI(
            self.pair.model,
            self.pair.guide,
            self.optimizer,
            self.objective,
            clip_norm=self.clip_norm,
            per_datum=True,
            compile=self.compile,
        )
        while self.state.epoch < self.epochs and not self._stopped():
            self._train_epoch(bar)
            self._save()
        if self.early_stopping is not None and self.state.best is not None:
            self.pair.load_state_dict(self.state.best["pair"])
        self._update_statistics()
        self.pair.eval()

    def _train_epoch(self, bar: tqdm) -> None:
        state, epoch = self.state, self.state.epoch + 1
        self.pair.train()
        bar.set_description(f"epoch {epoch}/{self.epochs}", refresh=False)
        if self.before_epoch is not None and state.step == 0:
            self.before_epoch(epoch)
        started = time.perf_counter() - state.seconds
        for batches in self._batches(epoch):
            self._train_steps(batches)
            state.seconds = time.perf_counter() - started
            bar.update(len(batches))
            if self.checkpoint_every and state.step % self.checkpoint_every == 0:
                self._save()
        self._check_weights()
        record = {
            "epoch": epoch,
            "bound": state.bound_sum / state.count,
            "validation": self._validate(epoch),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds": state.seconds,
        }
        shown = record["bound"] if record["validation"] is None else record["validation"]
        bar.set_postfix_str(f"bound {shown:.2f} nats")
        state.end_epoch(record)

    def _order(self, epoch: int) -> Tensor:
        """The data's order in an epoch: a function of seed and epoch, so that a resumed run and
        runs with other objectives see the same."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.data), generator=generator).to(self.device)

    def _batches(self, epoch: int) -> Iterator[Tensor]:
        """What is left of the epoch: some steps at once, [steps, batch], up to a checkpoint."""
        batches = self._order(epoch).split(self.batch_size)
        while (step := self.state.step) < len(batches):
            until = min(step + self.steps_at_once, len(batches))
            if self.checkpoint_every:
                until = min(until, step + self.checkpoint_every - step % self.checkpoint_every)
            alike = [b for b in batches[step:until] if len(b) == len(batches[step])]
            yield torch.stack(alike)

    def _train_steps(self, batches: Tensor) -> None:
        started = time.perf_counter()
        try:
            losses = self.svi.run(self.data, batches, schedule=self.schedule)
        except NonFiniteError as error:
            failed = self.state.step + error.steps + 1
            raise self._non_finite(error.term, failed) from None
        for loss in losses.tolist():
            self.state.count_step(-loss, batches.shape[1])
        if self.svi.compiled:  # fewer looks at the losses, but progress to be seen
            quick = time.perf_counter() - started < _SECONDS_AT_ONCE
            self.steps_at_once = max(1, self.steps_at_once * 2 if quick else len(batches) // 2)

    def _check_weights(self) -> None:
        """A finite gradient may still make infinite weights, which no checkpoint may hold."""
        if (term := term_of_weights(self.pair)) is not None:
            raise self._non_finite(term, self.state.step)

    def _non_finite(self, term: str, step: int) -> NonFiniteError:
        kept = "no checkpoints were asked for (checkpoints=)"
        if self.checkpoints is not None:
            paths = self.checkpoints.paths()
            kept = f"the last checkpoint is {paths[-1]}" if paths else "there was no checkpoint yet"
        return NonFiniteError(
            f"epoch {self.state.epoch + 1}, step {step}: expected finite numbers; got a NaN or "
            f"infinity in {term}; {kept}. A lower learning rate, clip_norm= or a bounded variance "
            "often helps."
        )

    # -- validation ---------------------------------------------------------------------------

    def _update_statistics(self) -> None:
        update_statistics(self.pair.model, self.pair.guide, self.data.draw(), seed=self.seed)

    def _validate(self, epoch: int) -> float | None:
        """The held-out bound in nats a datum, or ``None`` in an epoch without validation."""
        due = epoch % self.validate_every == 0 or epoch == self.epochs
        if self.validation is None or not due:
            return None
        with forked_rng(self.seed, self.device):
            self._update_statistics()
        with evaluation_mode(self.pair), forked_rng(self.seed, self.device):
            bounds = self.objective.for_evaluation().per_datum(
                self.pair.model, self.pair.guide, self.validation.draw()
            )
        bound = bounds.mean().item()
        if not math.isfinite(bound):
            raise self._non_finite("the held-out bound (validation=)", self.state.step)
        if self.early_stopping is not None:
            self.state.note_validation(bound, self.early_stopping)
        return bound

    def _stopped(self) -> bool:
        if self.early_stopping is None or self.state.best is None:
            return False
        return self.state.best["since"] >= self.early_stopping.patience

    # -- progress and checkpoints -------------------------------------------------------------

    def bar(self, shown: bool) -> tqdm:
        return tqdm(
            total=self.epochs * self.steps_per_epoch,
            initial=self._steps_done(),
            unit="step",
            disable=not shown,
            dynamic_ncols=True,
        )

    def _steps_done(self) -> int:
        return self.state.epoch * self.steps_per_epoch + self.state.step

    def settings(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be this run's."""
        group = {k: v for k, v in self.optimizer.defaults.items() if isinstance(v, int | float)}
        return {
            "objective": repr(self.objective),
            "optimizer": f"{type(self.optimizer).__name__} {group}",
            "schedule": type(self.schedule).__name__,
            "data": [len(self.data), *self.data.event_shape, self._data_checksum],
            "binarisation": repr(self.data.binarisation),
            "batch_size": self.batch_size,
            "clip_norm": self.clip_norm,
            "seed": self.seed,
            "compile": self.compile,
            # A schedule is made for a number of epochs; without one a run can be prolonged.
            "epochs": None if self.schedule is None else self.epochs,
        }

    @cached_property
    def _data_checksum(self) -> str:
        values = self.data.values.detach().cpu().contiguous()
        return f"crc32 {zlib.crc32(values.numpy().tobytes()):08x}"

    def _resume(self, saved: dict[str, Any], checkpoints: Checkpoints) -> None:
        if self.before_epoch is not None:
            # What it sets is in no checkpoint: the objective, which is compared below, or the pair.
            epoch, step = saved["position"]
            for begun in range(1, epoch + (step > 0) + 1):
                self.before_epoch(begun)
        if self.compile is None:
            self.compile = saved["settings"].get("compile", False)
        self._check_settings(saved["settings"], checkpoints)
        self.state.load(saved)

    def _check_settings(self, saved: dict[str, Any], checkpoints: Checkpoints) -> None:
        own = self.settings()
        differing = [k for k in own if k != "compile" and own[k] != saved.get(k)]
        if differing:
            told = "; ".join(f"{key}: {own[key]} here, {saved.get(key)} there" for key in differing)
            raise CheckpointError(
                f"{checkpoints.folder}: expected checkpoints of this run; got another's "
                f"({told}). Take another folder, or the settings it was made with."
            )

    def _save(self) -> None:
        if self.checkpoints is not None:
            self._check_weights()
            self.checkpoints.save(self._steps_done(), self.state.to_dict(self.settings()))


def _trainable(pair: Pair) -> list[nn.Parameter]:
    parameters = [p for p in pair.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            "pair: expected parameters to train; got none. Make them nn.Parameter of the model or "
            "the guide (pyro.param is not trained), with requires_grad=True."
        )
    return parameters
