"""One training run: its settings, its state, and what it does between steps."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pyro_vae._errors import CheckpointError, NonFiniteError
from pyro_vae._modes import evaluation_mode, forked_rng
from pyro_vae.data import Examples
from pyro_vae.objectives import Objective
from pyro_vae.training.checkpoint import Checkpoints
from pyro_vae.training.compiled import Backend, CompiledSVI, inductor
from pyro_vae.training.early_stopping import EarlyStopping
from pyro_vae.training.first_batch import check_data
from pyro_vae.training.non_finite import term_of_weights
from pyro_vae.training.optimizers import MakeOptimizer
from pyro_vae.training.schedules import Schedule
from pyro_vae.training.state import RunState
from pyro_vae.training.statistics import update_statistics_from
from pyro_vae.vae import Pair

__all__ = ["Pace", "Run", "Settings"]

_COMPILING_PAYS = 4000  # steps; docs/results/speed.md has from how many on it pays, case by case
_ALWAYS_BEFORE = {"bfloat16": False}  # what checkpoints did not say before it could be chosen
_SECONDS_AT_ONCE = 0.5
_ESTIMATED_AT_ONCE = 1000  # data, of a pass through the training set


@dataclass(frozen=True)
class Settings:
    """What :func:`~pyro_vae.training.fit` was asked for; see there.

    Raises:
        ValueError: options out of range.
    """

    objective: Objective
    epochs: int
    batch_size: int
    optimizer: MakeOptimizer
    schedule: Schedule | None
    clip_norm: float | None
    bfloat16: bool
    validation: Examples | None
    validate_every: int
    early_stopping: EarlyStopping | None
    before_epoch: Callable[[int], None] | None
    after_epoch: Callable[[int], None] | None
    seed: int
    checkpoints: Checkpoints | None
    checkpoint_every: int | None
    compile: bool | None

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "validate_every", "checkpoint_every")
        for name in counts:
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name}: expected ≥ 1; got {count}.")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm: expected a positive number; got {self.clip_norm}.")
        if self.early_stopping is not None and self.validation is None:
            raise ValueError("early_stopping: expected held-out data; got none. Give validation=.")


class Pace:
    """How many steps are made in one call: few enough to see progress, else as many as possible."""

    def __init__(self) -> None:
        self.steps = 1

    def note(self, steps: int, seconds: float) -> None:
        """A call of so many steps took so long."""
        quick = seconds < _SECONDS_AT_ONCE
        self.steps = max(1, self.steps * 2 if quick else steps // 2)


class Run:
    """A pair in training. ``train`` asks for steps and is sent their losses.

    Args:
        pair, data: moved to the device.
        settings: what is asked for.
        device: where to train.
        pace: how many steps are asked for at once.
    """

    def __init__(
        self, pair: Pair, data: Examples, settings: Settings, device: torch.device, pace: Pace
    ) -> None:
        self.settings, self.device, self.pace = settings, device, pace
        self.pair, self.data = pair.to(device), data.to(device)
        self.parameters = _trainable(pair)
        self.optimizer = settings.optimizer(self.parameters)
        self.steps_per_epoch = -(-len(data) // settings.batch_size)
        steps = settings.epochs * self.steps_per_epoch
        self.schedule = settings.schedule and settings.schedule(self.optimizer, steps)
        validation = settings.validation
        self.validation = None if validation is None else validation.to(device)
        self.state = RunState(self.pair, self.optimizer, self.schedule, device)
        self.compile = {
            "compile": self._pays(settings.epochs * max(1, len(data) // settings.batch_size)),
            "compile_rest": self._pays(settings.epochs),
        }

    def _pays(self, steps: int) -> bool:
        """Whether so many steps are to be compiled."""
        return steps >= _COMPILING_PAYS if self.settings.compile is None else self.settings.compile

    def svi(self, backend: Backend | None = None) -> CompiledSVI:
        """What makes the steps; to be asked for once the run is prepared."""
        return self._svi(self.compile["compile"], inductor if backend is None else backend)

    def svi_of_rest(self) -> CompiledSVI | None:
        """What makes the steps on the smaller batches that epochs end with, if not :meth:`svi`:
        in eager mode, where another graph for so few of them would not pay."""
        apart = self.compile["compile"] and not self.compile["compile_rest"]
        return self._svi(compile=False) if apart else None

    def is_rest(self, batches: Tensor) -> bool:
        """Whether these are smaller than others."""
        return batches.shape[1] < min(self.settings.batch_size, len(self.data))

    def _svi(self, compile: bool, backend: Backend = inductor) -> CompiledSVI:
        settings = self.settings
        return CompiledSVI(
            self.pair.model,
            self.pair.guide,
            self.optimizer,
            settings.objective,
            clip_norm=settings.clip_norm,
            per_datum=True,
            bfloat16=settings.bfloat16,
            compile=compile,
            backend=backend,
        )

    # -- the run ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Check the data, then go to where the last checkpoint stands."""
        self.pair.train()
        for name, data in {"data": self.data, "validation": self.validation}.items():
            if data is not None:
                with forked_rng(self.settings.seed, self.device):
                    check_data(
                        self.pair, self.settings.objective, data, self.settings.batch_size, name
                    )
        if self.settings.checkpoints is not None:
            saved = self.settings.checkpoints.load(self.device, RunState.KEYS)
            if saved is not None:
                self._resume(saved, self.settings.checkpoints)

    def train(self, bar: tqdm) -> Generator[Tensor, Any, None]:
        """Yields the data of some steps, int64 [steps, batch], and is sent the steps' losses."""
        while self.state.epoch < self.settings.epochs and not self._stopped():
            yield from self._train_epoch(bar)
            self._save()
            self._show()
        if self.settings.early_stopping is not None and self.state.best is not None:
            self.pair.load_state_dict(self.state.best["pair"])
        self._update_statistics()
        self.pair.eval()

    def _train_epoch(self, bar: tqdm) -> Generator[Tensor, Any, None]:
        state, epoch, settings = self.state, self.state.epoch + 1, self.settings
        self.pair.train()
        bar.set_description(f"epoch {epoch}/{settings.epochs}", refresh=False)
        if settings.before_epoch is not None and state.step == 0:
            settings.before_epoch(epoch)
        started = time.perf_counter() - state.seconds
        for batches in self._batches(epoch):
            try:
                losses = yield batches
            except NonFiniteError as error:
                raise self._non_finite(error.term, state.step + error.steps + 1) from None
            for loss in losses.tolist():
                state.count_step(-loss, batches.shape[1])
            state.seconds = time.perf_counter() - started
            bar.update(len(batches))
            every = settings.checkpoint_every
            if every and state.step % every == 0:
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

    def _show(self) -> None:
        """The pair as it is after an epoch, for who wants to look: nothing of the run changes."""
        if self.settings.after_epoch is not None:
            with evaluation_mode(self.pair), forked_rng(self.settings.seed, self.device):
                self._update_statistics()
                self.settings.after_epoch(self.state.epoch)

    def _order(self, epoch: int) -> Tensor:
        """The data's order in an epoch: a function of seed and epoch, so that a resumed run and
        runs with other objectives see the same."""
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.data), generator=generator).to(self.device)

    def _batches(self, epoch: int) -> Iterator[Tensor]:
        """What is left of the epoch: some steps at once, [steps, batch], up to a checkpoint."""
        batches = self._order(epoch).split(self.settings.batch_size)
        while (step := self.state.step) < len(batches):
            until = min(step + self.pace.steps, len(batches))
            if self.settings.checkpoint_every:
                until = min(
                    until,
                    step + self.settings.checkpoint_every - step % self.settings.checkpoint_every,
                )
            alike = [b for b in batches[step:until] if len(b) == len(batches[step])]
            yield torch.stack(alike)

    def _check_weights(self) -> None:
        """A finite gradient may still make infinite weights, which no checkpoint may hold."""
        if (term := term_of_weights(self.pair)) is not None:
            raise self._non_finite(term, self.state.step)

    def _non_finite(self, term: str, step: int) -> NonFiniteError:
        kept = "no checkpoints were asked for (checkpoints=)"
        if self.settings.checkpoints is not None:
            paths = self.settings.checkpoints.paths()
            kept = f"the last checkpoint is {paths[-1]}" if paths else "there was no checkpoint yet"
        return NonFiniteError(
            f"epoch {self.state.epoch + 1}, step {step}: expected finite numbers; got a NaN or "
            f"infinity in {term}; {kept}. A lower learning rate, clip_norm= or a bounded variance "
            "often helps."
        )

    # -- validation ---------------------------------------------------------------------------

    def _update_statistics(self) -> None:
        batches = self.data.pieces(_ESTIMATED_AT_ONCE)
        update_statistics_from(
            self.pair.model, self.pair.guide, batches, self.settings.seed, self.device
        )

    def _validate(self, epoch: int) -> float | None:
        """The held-out bound in nats a datum, or ``None`` in an epoch without validation."""
        due = epoch % self.settings.validate_every == 0 or epoch == self.settings.epochs
        if self.validation is None or not due:
            return None
        with forked_rng(self.settings.seed, self.device):
            self._update_statistics()
        with evaluation_mode(self.pair), forked_rng(self.settings.seed, self.device):
            objective = self.settings.objective.for_evaluation()
            bounds = [
                objective.per_datum(self.pair.model, self.pair.guide, x).detach()
                for x in self.validation.pieces()
            ]
        bound = torch.cat(bounds).mean().item()
        if not math.isfinite(bound):
            raise self._non_finite("the held-out bound (validation=)", self.state.step)
        if self.settings.early_stopping is not None:
            self.state.note_validation(bound, self.settings.early_stopping)
        return bound

    def _stopped(self) -> bool:
        if self.settings.early_stopping is None or self.state.best is None:
            return False
        return self.state.best["since"] >= self.settings.early_stopping.patience

    # -- progress and checkpoints -------------------------------------------------------------

    def bar(self, shown: bool) -> tqdm:
        return tqdm(
            total=self.settings.epochs * self.steps_per_epoch,
            initial=self._steps_done(),
            unit="step",
            disable=not shown,
            dynamic_ncols=True,
        )

    def _steps_done(self) -> int:
        return self.state.epoch * self.steps_per_epoch + self.state.step

    def described(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be this run's."""
        group = {k: v for k, v in self.optimizer.defaults.items() if isinstance(v, int | float)}
        return {
            "objective": repr(self.settings.objective),
            "optimizer": f"{type(self.optimizer).__name__} {group}",
            "schedule": type(self.schedule).__name__,
            "data": [len(self.data), *self.data.event_shape, self._data_checksum],
            "binarisation": repr(self.data.binarisation),
            "batch_size": self.settings.batch_size,
            "clip_norm": self.settings.clip_norm,
            "bfloat16": self.settings.bfloat16,
            "seed": self.settings.seed,
            **self.compile,
            # A schedule is made for a number of epochs; without one a run can be prolonged.
            "epochs": None if self.schedule is None else self.settings.epochs,
        }

    @cached_property
    def _data_checksum(self) -> str:
        values = self.data.values.detach().cpu().contiguous()
        return f"crc32 {zlib.crc32(values.numpy().data):08x}"

    def _resume(self, saved: dict[str, Any], checkpoints: Checkpoints) -> None:
        if self.settings.before_epoch is not None:
            # What it sets is in no checkpoint: the objective, which is compared below, or the pair.
            epoch, step = saved["position"]
            for begun in range(1, epoch + (step > 0) + 1):
                self.settings.before_epoch(begun)
        if self.settings.compile is None:
            self.compile = {key: saved["settings"].get(key, False) for key in self.compile}
        self._check_settings(saved["settings"], checkpoints)
        self.state.load(saved)

    def _check_settings(self, saved: dict[str, Any], checkpoints: Checkpoints) -> None:
        own, saved = self.described(), _ALWAYS_BEFORE | saved
        differing = [k for k in own if k not in self.compile and own[k] != saved.get(k)]
        if differing:
            told = "; ".join(f"{key}: {own[key]} here, {saved.get(key)} there" for key in differing)
            raise CheckpointError(
                f"{checkpoints.folder}: expected checkpoints of this run; got another's "
                f"({told}). Take another folder, or the settings it was made with."
            )

    def _save(self) -> None:
        if self.settings.checkpoints is not None:
            self._check_weights()
            self.settings.checkpoints.save(self._steps_done(), self.state.to_dict(self.described()))


def _trainable(pair: Pair) -> list[nn.Parameter]:
    parameters = [p for p in pair.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            "pair: expected parameters to train; got none. Make them nn.Parameter of the model or "
            "the guide (pyro.param is not trained), with requires_grad=True."
        )
    return parameters
