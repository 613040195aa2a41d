"""Networks as the experiments on the plane have them."""

from __future__ import annotations

import math

import torch

from pyro_vae.nn import DenseBlock

__all__ = ["dense_block"]


def dense_block(inputs: int, *, growth: int, depth: int, out_features: int) -> DenseBlock:
    """A dense block with weight norm, w = g v/‖v‖, whose weights start with the variance of He et
    al. (2015) by g alone: Adam's steps are of one length, so the directions v, which PyTorch starts
    √6 times as short, turn as much faster than He's would."""
    network = DenseBlock(inputs, growth=growth, depth=depth, out_features=out_features)
    with torch.no_grad():
        for name, parameter in network.hidden.named_parameters():
            if name.endswith(("original0", "bias")):
                parameter.mul_(math.sqrt(6))
    return network
