from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyro_vae._errors import PairError
from pyro_vae._module import EstimatedMean
from pyro_vae._shapes import PerDatum, PerParticle
from pyro_vae.objectives._objective import Program
from pyro_vae.objectives._particles import Particles
from pyro_vae.objectives._path import PathObjective
from pyro_vae.objectives.iwae import log_mean_weight

__all__ = ["DReG"]


class DReG(PathObjective):
    """:class:`IWAE`'s bound with the doubly reparameterised gradient (Tucker et al., 2019):

    .. math:: ∇_φ = \\sum_k \\tilde w_k^2 \\frac{∂ \\log w_k}{∂z_k} \\frac{dz_k}{dφ}, \\quad
       \\tilde w_k = w_k / \\textstyle\\sum_j w_j

    for the guide; the model's is IWAE's, Σ_k w̃_k ∇_θ log p(x, z_k). In expectation it is IWAE's
    gradient. Its signal-to-noise ratio rises with K where that of IWAE's falls (Rainforth et al.,
    2018; :func:`~pyro_vae.evaluation.gradient_snr`), and it vanishes where the guide is exact. Any
    number of latent sites: the identity holds for all samples of a datum together.

    Not for discrete latents, nor for guides that cannot score a given z, nor for uniform noise: the
    score function's mean is zero only where the support stays.

    Args:
        num_particles: K.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.

    Raises:
        PairError: when called on a pair with a latent site without a reparameterised sample, of
            uniform noise, or that cannot score a given z; with sites scaled differently, as for
            IWAE; or with a model whose data share what their samples gave (an
            ``OptimalVariance`` or batch normalisation in training mode), where a weight is not
            that of its own sample alone.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()  # its guide is exact
    >>> loss = DReG(10).differentiable_loss(pair.model, pair.guide, pair.x)
    >>> loss.backward()
    >>> pair.guide.encoder.weight.grad.abs().max() < 1e-3
    tensor(True)
    """

    def particles(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Particles:
        if torch.is_grad_enabled() and isinstance(model, nn.Module):
            _check_uncoupled(model)
        return super().particles(model, guide, *args, **kwargs)

    def bound(self, particles: Particles) -> PerDatum:
        return log_mean_weight(particles)

    def weights(self, particles: Particles) -> tuple[PerParticle, PerParticle]:
        normalised = particles.log_weight.detach().softmax(0)
        return normalised, normalised.square()


def _check_uncoupled(model: nn.Module) -> None:
    """``PairError`` where a part of the model joins the samples of different data or particles."""
    for name, part in model.named_modules():
        joins = isinstance(part, EstimatedMean) and part.of_samples
        if part.training and (joins or isinstance(part, _BatchNorm)):
            raise PairError(
                f"DReG: expected a model in which each sample has a weight of its own; got {name}, "
                "which is estimated from all samples of the batch while training. Use IWAE, or "
                "put that part into evaluation mode."
            )
