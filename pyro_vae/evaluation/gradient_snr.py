from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pyro.infer import ELBO
from torch import Tensor

from pyro_vae._errors import PairError
from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae._shapes import Data
from pyro_vae.objectives._objective import Program

__all__ = ["GradientSNR", "gradient_snr"]


@dataclass(frozen=True)
class GradientSNR:
    """Moments of a stochastic gradient, by the parameter's name, each of its parameter's shape."""

    mean: dict[str, Tensor]
    deviation: dict[str, Tensor]

    def ratio(self, prefix: str = "") -> Tensor:
        """The size of the mean over the deviation, of every element of the parameters whose names
        begin so, [elements].

        Elements whose gradient never varies (those of a dead unit are always zero) are left out.

        Raises:
            ValueError: no parameter's name begins so.
        """
        names = [name for name in self.mean if name.startswith(prefix)]
        if not names:
            raise ValueError(
                f"prefix: expected the beginning of a parameter's name, {list(self.mean)}; got "
                f"{prefix!r}."
            )
        mean = torch.cat([self.mean[name].abs().flatten() for name in names])
        deviation = torch.cat([self.deviation[name].flatten() for name in names])
        return (mean / deviation)[deviation > 0]


def gradient_snr(
    objective: ELBO,
    model: Program,
    guide: Program,
    x: Data,
    *,
    num_gradients: int = 1000,
    seed: int = 0,
) -> GradientSNR:
    """The signal-to-noise ratio of an objective's gradient (Rainforth et al., 2018):

    .. math:: SNR = \\frac{|E[Δ]|}{\\sqrt{Var[Δ]}}

    of each parameter, over repeated gradients Δ on the same batch, in evaluation mode: the noise is
    that of z alone. For K particles theory has it fall as 1/√K for the guide's parameters under
    :class:`~pyro_vae.objectives.IWAE`, though the bound is tighter, and rise as √K under
    :class:`~pyro_vae.objectives.DReG`; the model's rise as √K under both.

    An estimate from R gradients cannot tell ratios below about 1/√R from zero. Weights, their
    ``grad`` and the global random state stay as they are.

    Args:
        objective: any of this library's or of ``pyro.infer`` with a differentiable loss.
        model, guide: the pair, modules; parameters are named ``model.…`` and ``guide.…``.
        x: a batch.
        num_gradients: R, at least two.
        seed: of the samples.

    Raises:
        ValueError: for fewer than two gradients.
        PairError: a program that is no module, and so names no parameters.

    >>> from pyro_vae import IWAE, testing
    >>> pair = testing.linear_gaussian(orthogonal=False)
    >>> found = gradient_snr(IWAE(8), pair.model, pair.guide, pair.x, num_gradients=50)
    >>> found.ratio("guide").shape
    torch.Size([24])
    """
    if num_gradients < 2:
        raise ValueError(f"num_gradients: expected ≥ 2; got {num_gradients}.")
    parameters = _parameters("model", model) | _parameters("guide", guide)
    moments = _Moments(parameters)
    with evaluation_mode(*modules_of(model, guide)), forked_rng(seed, x.device):
        for _ in range(num_gradients):
            loss = objective.differentiable_loss(model, guide, x)
            moments.add(torch.autograd.grad(loss, list(parameters.values()), allow_unused=True))
    return GradientSNR(*moments.mean_and_deviation())


def _parameters(role: str, program: Program) -> dict[str, Tensor]:
    """Those that are trained, by name."""
    if not (modules := modules_of(program)):
        raise PairError(
            f"{role}: expected a module, whose parameters have names; got "
            f"{getattr(program, '__name__', program)!r}. Make a module of the function, with its "
            "networks as parts."
        )
    found = modules[0].named_parameters()
    return {f"{role}.{name}": each for name, each in found if each.requires_grad}


class _Moments:
    """A running mean and sum of squares (Welford, 1962), in double precision."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._names = list(parameters)
        self._mean = [torch.zeros_like(p, dtype=torch.float64) for p in parameters.values()]
        self._squares = [torch.zeros_like(mean) for mean in self._mean]
        self._count = 0

    def add(self, gradients: tuple[Tensor | None, ...]) -> None:
        self._count += 1
        for gradient, mean, squares in zip(gradients, self._mean, self._squares, strict=True):
            if gradient is None:
                continue
            before = gradient.double() - mean
            mean += before / self._count
            squares += before * (gradient.double() - mean)

    def mean_and_deviation(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        deviation = [(squares / (self._count - 1)).sqrt() for squares in self._squares]
        return (
            dict(zip(self._names, self._mean, strict=True)),
            dict(zip(self._names, deviation, strict=True)),
        )
