"""The Bernoulli likelihood on grey values."""

from __future__ import annotations

from pyro.distributions import Bernoulli, constraints
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["GreyBernoulli"]


class GreyBernoulli(Bernoulli):
    """A Bernoulli whose ``log_prob`` also takes grey values x in [0, 1].

    .. math:: \\log p(x|\\ell) = x \\log σ(\\ell) + (1 - x) \\log (1 - σ(\\ell))
                              = (x - 1)\\,\\ell + \\log σ(\\ell)

    in nats, ℓ the logits. On {0, 1} it is the Bernoulli's mass. On grey values it is the expected
    log-mass of a pixel that is drawn with probability x — a bound for dynamically binarised data,
    not a density on [0, 1] (its integral over x is not 1); Fyffe and many others train with it.

    >>> import torch
    >>> GreyBernoulli(logits=torch.zeros(3)).log_prob(torch.tensor([0.0, 0.5, 1.0]))
    tensor([-0.6931, -0.6931, -0.6931])
    """

    support = constraints.unit_interval

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # Two products and one log-sigmoid: less memory traffic than the two-sided cross entropy.
        return (value - 1) * self.logits + logsigmoid(self.logits)
