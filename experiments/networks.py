"""Networks as the experiments on the plane have them."""

from __future__ import annotations

import math

import torch

from pyro_vae.nn import DenseBlock

__all__ = ["dense_block"]


_LENGTH = 0.4  # of directions, in PyTorch's; by trial


def dense_block(inputs: int, *, growth: int, depth: int, out_features: int) -> DenseBlock:
    """A dense block with weight norm, w = g v/‖v‖, whose weights start with the variance of He et
    al. (2015) by g alone. The directions v start short: Adam's steps are of one length, so short
    ones turn faster, and edges of a density get sharp in fewer steps."""
    network = DenseBlock(inputs, growth=growth, depth=depth, out_features=out_features)
    factors = {"original0": math.sqrt(6), "bias": math.sqrt(6), "original1": _LENGTH}
    with torch.no_grad():
        for name, parameter in network.hidden.named_parameters():
            parameter.mul_(factors[name.rpartition(".")[2]])
    return network
