from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor

__all__ = ["bits_per_dim"]

Number = TypeVar("Number", float, Tensor)


def bits_per_dim(nats: Number, event_shape: tuple[int, ...]) -> Number:
    """A log-probability in nats as bits a dimension: −nats / (d ln 2) (Yu, section 4.2).

    What it means is up to the likelihood: for quantised data under a mass
    (:class:`~pyro_vae.likelihoods.DiscretisedLogisticLikelihood`) it is the length of a lossless
    code; a density on data scaled to [0, 1] needs log₂ of the number of levels added.

    Args:
        nats: log p(x), or a bound on it.
        event_shape: the shape of one datum.

    >>> bits_per_dim(-784 * math.log(2), (28, 28))
    1.0
    """
    return -nats / (math.prod(event_shape) * math.log(2))
