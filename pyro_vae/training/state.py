"""What changes while a run goes on, and so is in its checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyro_vae._errors import CheckpointError
from pyro_vae.training.early_stopping import EarlyStopping
from pyro_vae.training.history import History

__all__ = ["RunState"]


class RunState:
    """Weights, optimizer, schedule, random numbers, the position in the data, history.

    ``to_dict`` and ``load`` are inverse to each other; the keys are the checkpoints' format.

    Args:
        pair: whose weights are trained.
        optimizer, schedule: of its parameters.
        device: whose random numbers are used, beside the CPU's.
    """

    KEYS = (
        "settings",
        "pair",
        "optimizer",
        "schedule",
        "rng",
        "position",
        "sums",
        "history",
        "best",
    )

    def __init__(
        self,
        pair: nn.Module,
        optimizer: Optimizer,
        schedule: LRScheduler | None,
        device: torch.device,
    ) -> None:
        self.pair, self.optimizer, self.schedule, self.device = pair, optimizer, schedule, device
        self.history = History()
        self.epoch, self.step = 0, 0  # finished epochs, and finished steps of the present one
        self.bound_sum, self.count, self.seconds = 0.0, 0, 0.0  # of the present epoch
        self.best: dict[str, Any] | None = None

    def count_step(self, bound_sum: float, count: int) -> None:
        """A step is done, on ``count`` data whose bounds sum to ``bound_sum``."""
        self.step += 1
        self.bound_sum += bound_sum
        self.count += count

    def end_epoch(self, record: dict[str, Any]) -> None:
        """The epoch is done; ``record`` is its line in the history."""
        self.history.records.append(record)
        self.epoch, self.step = self.epoch + 1, 0
        self.bound_sum, self.count, self.seconds = 0.0, 0, 0.0

    def note_validation(self, bound: float, early_stopping: EarlyStopping) -> None:
        """Keep the weights if they are the best so far."""
        if self.best is None or bound > self.best["bound"] + early_stopping.min_rise:
            weights = {name: value.clone() for name, value in self.pair.state_dict().items()}
            self.best = {"bound": bound, "since": 0, "pair": weights}
        else:
            self.best["since"] += 1

    def to_dict(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The state as tensors, numbers, strings, lists and dicts."""
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return {
            "settings": settings,
            "pair": self.pair.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule is not None else None,
            "rng": {"cpu": torch.get_rng_state(), "cuda": cuda},
            "position": [self.epoch, self.step],
            "sums": [self.bound_sum, self.count, self.seconds],
            "history": self.history.records,
            "best": self.best,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` stands.

        Raises:
            CheckpointError: weights of other networks; nothing is changed then.
        """
        _check_weights(self.pair.state_dict(), state["pair"])
        _check_optimizer(self.optimizer.state_dict(), state["optimizer"])
        self.pair.load_state_dict(state["pair"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["rng"]["cpu"].cpu())
        if self.device.type == "cuda" and state["rng"]["cuda"] is not None:
            torch.cuda.set_rng_state(state["rng"]["cuda"].cpu(), self.device)
        self.epoch, self.step = state["position"]
        self.bound_sum, self.count, self.seconds = state["sums"]
        self.history.records = state["history"]
        self.best = state["best"]


def _check_weights(own: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    shapes, saved_shapes = ({k: list(v.shape) for k, v in d.items()} for d in (own, saved))
    for name in shapes | saved_shapes:
        here, there = (s.get(name, "none") for s in (shapes, saved_shapes))
        if here != there:
            raise CheckpointError(
                f"checkpoint: expected the weights of this pair; got {name} of shape {there}, "
                f"which here is {here}. Make the same networks, or take another folder."
            )


def _check_optimizer(own: dict[str, Any], saved: dict[str, Any]) -> None:
    here, there = (sum(len(g["params"]) for g in s["param_groups"]) for s in (own, saved))
    if here != there:
        raise CheckpointError(
            f"checkpoint: expected the optimizer's state for {here} parameters; got that for "
            f"{there}. Freeze the same ones (requires_grad), or take another folder."
        )
