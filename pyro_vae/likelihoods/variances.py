"""Where the variance σ² of a normal likelihood comes from."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pyro_vae._module import EstimatedMean

__all__ = ["FixedVariance", "LearnedVariance", "OptimalVariance", "Variance"]


class Variance(nn.Module, ABC):
    """σ² of a :class:`~pyro_vae.likelihoods.NormalLikelihood`, in squared units of the data."""

    @abstractmethod
    def forward(self) -> Tensor:
        """σ², a shape that broadcasts with one datum."""

    def during_inference(self, mean: Tensor, x: Tensor) -> Tensor:
        """σ² for a batch ``x`` with decoded means ``mean``; only an estimate needs them."""
        return self()


class FixedVariance(Variance):
    """σ² as given. Fyffe's "constant T"; with σ² = 1/2 the negative log-likelihood is the
    squared error plus a constant (Yu, section 5.1).

    Args:
        value: σ² > 0.

    Raises:
        ValueError: for a value that is not positive and finite.
    """

    value: Tensor

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("value", torch.as_tensor(_positive(value)))

    def forward(self) -> Tensor:
        return self.value


class LearnedVariance(Variance):
    """σ² = exp(ℓ), ℓ a parameter: one for all dimensions, or one for each.

    Without a bound it can run off to zero on data of low rank (Fyffe, section 5).

    Args:
        event_shape: ``()`` for one shared variance, the shape of a datum for one per dimension.
        initial: σ² at the start.

    >>> LearnedVariance((3,), initial=2.0)()
    tensor([2., 2., 2.], grad_fn=<ExpBackward0>)
    """

    def __init__(self, event_shape: tuple[int, ...] = (), initial: float = 1.0) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.full(event_shape, math.log(_positive(initial))))

    def forward(self) -> Tensor:
        return self.log_variance.exp()


class OptimalVariance(Variance):
    """σ² = MSE, the mean squared error over data and dimensions: the maximum of the likelihood.

    .. math:: -\\log p(x|z) = \\tfrac{d}{2}\\,[\\log(2π\\,\\mathrm{MSE}) + 1]

    on average over a batch, Yu, eq. 43 (there divided by d). While training the mean is over
    the batch and its particles, and gradients flow through it; for evaluation and generation over
    the training set, with z drawn from the posterior (:func:`pyro_vae.update_statistics`).

    Raises:
        RuntimeError: in evaluation mode, before σ² was estimated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.squared_error = EstimatedMean((), "OptimalVariance's σ²")

    def forward(self) -> Tensor:
        return self.squared_error.population()

    def during_inference(self, mean: Tensor, x: Tensor) -> Tensor:
        if not self.squared_error.training:
            return self()
        return self.squared_error((x - mean).square().mean(), x.shape[0])


def _positive(value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"variance: expected a positive, finite number; got {value}.")
    return float(value)
