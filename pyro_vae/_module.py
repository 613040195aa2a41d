"""What modules of this library share."""

from __future__ import annotations

from abc import ABCMeta

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

__all__ = ["EstimatedMean", "Program", "feature_count"]


class _ProgramMeta(ABCMeta, type(PyroModule)):  # type: ignore[misc]
    """``PyroModule`` has a metaclass and so has ``ABC``: a class of both needs one of both."""


class Program(PyroModule, metaclass=_ProgramMeta):
    """A Pyro program that is a module and may have abstract methods."""


class EstimatedMean(nn.Module):
    """A mean over the data: of the batch while training, of the training set for evaluation.

    It stands to its batches as batch normalisation does. In training mode ``forward`` returns the
    batch's mean, through which gradients flow; in evaluation mode it returns the mean over the
    whole training set, which :func:`pyro_vae.update_statistics` puts into the buffer ``mean``
    (exactly: each batch weighs as many data as it has).

    Args:
        shape: the shape of the mean.
        what: what is estimated and where it stands, for the error message.
        of_samples: whether it depends on the latents drawn, not on the posteriors alone.
    """

    mean: Tensor

    def __init__(self, shape: tuple[int, ...], what: str, *, of_samples: bool = False) -> None:
        super().__init__()
        self.what, self.of_samples = what, of_samples
        self.register_buffer("mean", torch.full(shape, float("nan")))
        self._total: Tensor | None = None
        self._count = 0

    def forward(self, batch_mean: Tensor, count: int) -> Tensor:
        if not self.training:
            return self.population()
        if self._total is not None:
            self._total += count * batch_mean.detach()
            self._count += count
        return batch_mean

    def population(self) -> Tensor:
        """The mean over the training set. ``RuntimeError`` if it was never estimated."""
        if self.mean.isnan().any():
            raise RuntimeError(
                f"{self.what}: expected an estimate over the training set; got none yet. Call "
                "pyro_vae.update_statistics(model, guide, x_train), as fit does at its end."
            )
        return self.mean

    def start(self) -> None:
        """Begin a pass over the data."""
        self._total, self._count = torch.zeros_like(self.mean), 0

    def finish(self) -> None:
        """End the pass: the buffer holds the mean over all data seen in it."""
        if self._total is not None and self._count:
            self.mean.copy_(self._total / self._count)
        self._total = None


def feature_count(network: nn.Module, name: str) -> int | None:
    """``network.in_features`` or ``.out_features``, if it or its outer layer has it."""
    if isinstance(network, nn.Sequential) and len(network):
        network = network[0 if name == "in_features" else -1]
    count = getattr(network, name, None)
    return count if isinstance(count, int) else None
