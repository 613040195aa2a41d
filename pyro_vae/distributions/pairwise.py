"""Every datum under every distribution of a batch, by matrix products where there are any."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as pyro_dist
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Normal
from torch.nn.functional import logsigmoid

from pyro_vae._errors import ShapeError
from pyro_vae.distributions.grey_bernoulli import GreyBernoulli

__all__ = ["log_prob_of_each"]

# By exact type: a subclass may score otherwise.
_BERNOULLI = (Bernoulli, pyro_dist.Bernoulli, GreyBernoulli)
_NORMAL = (Normal, pyro_dist.Normal)


def log_prob_of_each(distribution: Distribution, x: Tensor) -> Tensor:
    """log p_c(x_i), [batch, data], in nats, of distributions p_c and data x_i.

    ``distribution.log_prob`` is of as many data as there are distributions. Here each datum is
    scored by each. Of independent Bernoullis and normals it is a matrix product, with

    .. math:: \\log p_c(x) = \\sum_d (x_d - 1)\\,\\ell_{cd} + \\log σ(\\ell_{cd}) \\qquad
       \\log p_c(x) = -\\tfrac12 \\sum_d \\frac{x_d^2 - 2 x_d ν_{cd} + ν_{cd}^2}{σ_{cd}^2}
       + \\log 2π σ_{cd}^2

    the second in double precision, since its terms cancel; under any other distribution it is a
    datum at a time.

    Args:
        distribution: of batch shape [batch], events as the data's.
        x: [data, *event].

    Raises:
        ShapeError: data of another shape than the distributions' events.
        ValueError: data that are not in the distribution's support.

    >>> normals = pyro_dist.Normal(torch.zeros(2, 3), 1.0).to_event(1)
    >>> each = log_prob_of_each(normals, torch.zeros(5, 3))
    >>> each.shape, torch.allclose(each, torch.tensor(-1.5 * math.log(2 * math.pi)))
    (torch.Size([2, 5]), True)
    """
    _check_shape(distribution, x)
    _check_support(distribution, x)
    base: Any = distribution.base_dist if isinstance(distribution, Independent) else distribution
    if type(base) in _BERNOULLI:
        return _bernoulli(_rows(base.logits, distribution), x.flatten(1))
    if type(base) in _NORMAL:
        mean, deviation = (_rows(p, distribution) for p in (base.loc, base.scale))
        return _normal(mean, deviation, x.flatten(1))
    return torch.stack([distribution.log_prob(datum) for datum in x], dim=1)


def _rows(parameter: Tensor, distribution: Distribution) -> Tensor:
    return parameter.reshape(*distribution.batch_shape, -1)


def _check_shape(distribution: Distribution, x: Tensor) -> None:
    if x.shape[1:] != distribution.event_shape:
        raise ShapeError(
            f"x: expected data of shape [data, {', '.join(map(str, distribution.event_shape))}]; "
            f"got {list(x.shape)}. Give the data that the likelihood is of."
        )


def _check_support(distribution: Distribution, x: Tensor) -> None:
    inside = distribution.support.check(x)  # type: ignore[union-attr]
    if not bool(inside.all()):
        datum = int((~inside).nonzero()[0, 0])
        raise ValueError(
            f"x: expected data in the support of {type(distribution).__name__}, "
            f"{distribution.support}; got others, the first at datum {datum}."
        )


def _bernoulli(logits: Tensor, x: Tensor) -> Tensor:
    return logits @ (x - 1).mT + logsigmoid(logits).sum(1, keepdim=True)


def _normal(mean: Tensor, deviation: Tensor, x: Tensor) -> Tensor:
    mean, wide = mean.double(), x.double()
    precision = deviation.double().square().reciprocal()
    shared = precision[:1] if bool((precision == precision[:1]).all()) else precision
    squares = shared @ wide.square().mT - 2 * (precision * mean) @ wide.mT
    own = (precision * mean.square() - precision.log() + math.log(2 * math.pi)).sum(1, keepdim=True)
    return (-0.5 * (squares + own)).to(x.dtype)
