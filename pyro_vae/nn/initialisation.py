"""How weights start: a choice that is made by name, since results depend on it.

Fyffe's figure 8 shows that the methods it compares differ by their starting point; its
framework's dense layers start Glorot-uniform with zero bias, PyTorch's do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

__all__ = ["Initialisation", "glorot_uniform", "he_uniform", "torch_default"]

Initialisation = Callable[[nn.Module], None]
"""Applied to every module of a network once, after construction."""

_WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def glorot_uniform(module: nn.Module) -> None:
    """Weights uniform in ±√(6 / (fan_in + fan_out)), biases zero (Glorot and Bengio, 2010)."""
    if isinstance(module, _WEIGHTED):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def he_uniform(module: nn.Module) -> None:
    """Weights uniform in ±√(6 / fan_in), which a ReLU passes on with the variance they get (He et
    al., 2015); biases in the same range, for the kinks of a few inputs to lie apart."""
    if isinstance(module, _WEIGHTED):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            limit = math.sqrt(6 / module.weight[0].numel())
            nn.init.uniform_(module.bias, -limit, limit)


def torch_default(module: nn.Module) -> None:
    """What PyTorch's layers do by themselves: weights and biases uniform in ±1/√fan_in."""
