"""Where the variance σ² of a normal likelihood comes from."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from pyro.distributions import is_validation_enabled
from torch import Tensor, nn

from pyro_vae._errors import ShapeError
from pyro_vae._module import EstimatedMean
from pyro_vae.likelihoods._likelihood import Posterior, no_posterior

__all__ = [
    "DecodedVariance",
    "FixedVariance",
    "LearnedVariance",
    "OptimalVariance",
    "Variance",
    "as_data",
    "of_each_datum",
]


class Variance(nn.Module, ABC):
    """σ² of a :class:`~pyro_vae.likelihoods.NormalLikelihood` or another location-scale likelihood,
    in squared units of the data."""

    @abstractmethod
    def forward(self) -> Tensor:
        """σ², a shape that broadcasts with one datum."""

    def during_inference(
        self, mean: Tensor, x: Tensor, posterior: Posterior = no_posterior
    ) -> Tensor:
        """σ² for a batch ``x`` with decoded means ``mean`` and posteriors ``posterior()``; only an
        estimate needs them."""
        return self()

    def split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and σ², from what the decoder gives: the mean alone, but for one."""
        return outputs, self()

    def split_during_inference(
        self, outputs: Tensor, x: Tensor, posterior: Posterior = no_posterior
    ) -> tuple[Tensor, Tensor]:
        """The same on a batch ``x`` with posteriors ``posterior()``."""
        return outputs, self.during_inference(outputs, x, posterior)


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

    Without a bound it can run off to zero (Fyffe, section 5), soonest on data of low rank;
    ``least`` is one.

    Args:
        event_shape: ``()`` for one shared variance, the shape of a datum for one per dimension.
        initial: exp(ℓ) at the start.
        least: added to σ².

    Raises:
        ValueError: an ``initial`` that is not positive, or a negative ``least``.

    >>> LearnedVariance((3,), initial=2.0)().detach()
    tensor([2., 2., 2.])
    """

    def __init__(
        self, event_shape: tuple[int, ...] = (), initial: float = 1.0, *, least: float = 0.0
    ) -> None:
        super().__init__()
        self.least = _non_negative(least)
        self.log_variance = nn.Parameter(torch.full(event_shape, math.log(_positive(initial))))

    def forward(self) -> Tensor:
        return self.log_variance.exp() + self.least


class DecodedVariance(Variance):
    """σ²(z), each dimension of each datum its own: the decoder gives means, then log-variances.

    The "typical VAE" of Yu, section 2.3. Nothing keeps σ² from zero where a datum is met exactly,
    unless ``least`` does.

    Args:
        least: added to σ².
        dim: which dimension of the outputs has means and log-variances, one after the other.

    Raises:
        ValueError: for a negative ``least``.
        ShapeError: an odd number of decoder outputs.

    >>> mean, variance = DecodedVariance().split(torch.zeros(5, 2 * 3))
    >>> mean.shape, variance[0]
    (torch.Size([5, 3]), tensor([1., 1., 1.]))
    """

    def __init__(self, least: float = 0.0, *, dim: int = -1) -> None:
        super().__init__()
        self.least, self.dim = _non_negative(least), dim

    def forward(self) -> Tensor:
        raise RuntimeError(
            "DecodedVariance: expected a use through split(outputs), since σ² is the decoder's; "
            "got none. Take the variance of likelihood(z)."
        )

    def split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        if outputs.shape[self.dim] % 2:
            raise ShapeError(
                "DecodedVariance: expected a decoder with twice the data's outputs, means and "
                f"log-variances; got {outputs.shape[self.dim]}. Give it an even number."
            )
        mean, log_variance = outputs.chunk(2, dim=self.dim)
        # Far from all data a decoder may say e⁻¹⁰⁰, which single precision has no number for.
        above_zero = 1e3 * torch.finfo(outputs.dtype).tiny
        return mean, log_variance.exp().clamp(min=above_zero) + self.least

    def split_during_inference(
        self, outputs: Tensor, x: Tensor, posterior: Posterior = no_posterior
    ) -> tuple[Tensor, Tensor]:
        return self.split(outputs)


class OptimalVariance(Variance):
    """σ² = MSE, the mean squared error over data and dimensions: a normal likelihood's maximum.

    .. math:: -\\log p(x|z) = \\tfrac{d}{2}\\,[\\log(2π\\,\\mathrm{MSE}) + 1]

    on average over a batch, Yu, eq. 43 (there divided by d). While training the mean is over
    the batch and its particles, and gradients flow through it; for evaluation and generation over
    the training set, with z drawn from the posterior (:func:`pyro_vae.update_statistics`).

    For the other location-scale likelihoods it is an estimate of σ² and no maximum, and eq. 43 does
    not hold: the Laplace's maximum is 2(E|x − ν|)², the logistic's and Student's t have no closed
    form.

    Where data are met exactly the MSE is 0, and the likelihood has no maximum. Over σ² ≥ ``least``
    it has one, at the greater of MSE and ``least``.

    Args:
        least: a floor of σ².
        each_datum: give each datum the σ² of its own squared error while training, in place of the
            batch's: the loss is then a mean of log MSE_i. For evaluation it is that of the training
            set in either case, so that p(x|z) is a density.

    Raises:
        ValueError: for a negative ``least``; without one, where Pyro's validation is on (in ``fit``
            before training, not at each step), for an MSE of 0.
        RuntimeError: in evaluation mode, before σ² was estimated.

    >>> OptimalVariance(least=0.01).during_inference(torch.zeros(5, 3), torch.zeros(5, 3))
    tensor(0.0100)
    """

    def __init__(self, least: float = 0.0, *, each_datum: bool = False) -> None:
        super().__init__()
        self.least, self.each_datum = _non_negative(least), each_datum
        self.squared_error = EstimatedMean((), "OptimalVariance's σ²", of_samples=True)

    def forward(self) -> Tensor:
        return self._at_least(self.squared_error.population())

    def during_inference(
        self, mean: Tensor, x: Tensor, posterior: Posterior = no_posterior
    ) -> Tensor:
        if not self.squared_error.training:
            return self()
        each = of_each_datum((x - mean).square(), x).mean(-1, keepdim=True)
        over_all = self.squared_error(each.mean(), len(x))
        return self._at_least(as_data(each, x) if self.each_datum else over_all)

    def _at_least(self, squared_error: Tensor) -> Tensor:
        # Only where validation is on: to look at a value would halt a GPU at each step.
        if not self.least and is_validation_enabled() and bool((squared_error == 0).any()):
            raise ValueError(
                "OptimalVariance: expected a mean squared error above zero; got 0, from data that "
                "the decoder meets exactly. Give least=, a floor of σ², or another variance."
            )
        return squared_error.clamp(min=self.least)


def of_each_datum(values: Tensor, x: Tensor) -> Tensor:
    """Values [..., batch, *event] with the event flat, [..., batch, size]."""
    return values.flatten(values.dim() - x.dim() + 1)


def as_data(values: Tensor, x: Tensor) -> Tensor:
    """Values [..., batch, 1] of a shape that broadcasts with data, [..., batch, 1, …, 1]."""
    return values.reshape(*values.shape[:-1], *(1 for _ in x.shape[1:]))


def _non_negative(least: float) -> float:
    if not (math.isfinite(least) and least >= 0):
        raise ValueError(f"least: expected a finite number ≥ 0; got {least}.")
    return least


def _positive(value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"variance: expected a positive, finite number; got {value}.")
    return float(value)
