"""Networks: tensors to tensors, with any leading batch shape."""

from pyro_vae.nn.conv import ConvDecoder, ConvEncoder, LeadingShape
from pyro_vae.nn.dense import DenseBlock
from pyro_vae.nn.initialisation import (
    Initialisation,
    glorot_uniform,
    he_uniform,
    torch_default,
)
from pyro_vae.nn.mlp import MLP
from pyro_vae.nn.scale import Scale

__all__ = [
    "MLP",
    "ConvDecoder",
    "ConvEncoder",
    "DenseBlock",
    "Initialisation",
    "LeadingShape",
    "Scale",
    "glorot_uniform",
    "he_uniform",
    "torch_default",
]
