"""Models and guides as Pyro's tutorials write them.

``Pair`` is that of https://pyro.ai/examples/vae.html, with a scale that is a softplus;
``FlowPair`` adds flows to its guide as Pyro documents ``ConditionalAffineAutoregressive``.
"""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import ConditionalAffineAutoregressive
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn
from torch.nn.functional import softplus

from experiments.speed.cases import VARIANCE, Case
from experiments.speed.contenders.networks import filled, mlp
from experiments.speed.inputs import Inputs

__all__ = ["FlowPair", "Pair", "autoregressive_network"]


class Pair(nn.Module):
    """A VAE's model and guide as two methods."""

    def __init__(self, case: Case, inputs: Inputs) -> None:
        super().__init__()
        self.latent, self.pixels = case.latent, case.pixels
        self.encoder = mlp(case, inputs, "encoder")
        self.decoder = mlp(case, inputs, "decoder")

    def model(self, x: Tensor) -> None:
        """p(z) p(x|z)."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            zero, one = x.new_zeros(x.shape[0], self.latent), x.new_ones(x.shape[0], self.latent)
            z = pyro.sample("latent", dist.Normal(zero, one).to_event(1))
            output = self.decoder(z)
            if self.pixels:
                likelihood = dist.Bernoulli(logits=output, validate_args=False)
            else:
                likelihood = dist.Normal(output, math.sqrt(VARIANCE))
            pyro.sample("obs", likelihood.to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z|x)."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            mean, scale = self.encoder(x).chunk(2, -1)
            pyro.sample("latent", dist.Normal(mean, softplus(scale)).to_event(1))


class FlowPair(Pair):
    """The same with inverse autoregressive flows in the guide, given a context by the encoder."""

    def __init__(self, case: Case, inputs: Inputs) -> None:
        super().__init__(case, inputs)
        self.flows = nn.ModuleList(
            ConditionalAffineAutoregressive(autoregressive_network(case, inputs, number))
            for number in range(case.flows)
        )

    def guide(self, x: Tensor) -> None:
        """q(z|x)."""
        pyro.module("encoder", self.encoder)
        pyro.module("flows", self.flows)
        with pyro.plate("data", x.shape[0]):
            mean, scale, context = self.encoder(x).chunk(3, -1)
            base = dist.Normal(mean, softplus(scale)).to_event(1)
            flow = dist.ConditionalTransformedDistribution(base, list(self.flows))
            pyro.sample("latent", flow.condition(context))


def autoregressive_network(case: Case, inputs: Inputs, number: int) -> ConditionalAutoRegressiveNN:
    """The network of a flow; every second one sees the dimensions in reverse."""
    order = torch.arange(case.latent)
    network = ConditionalAutoRegressiveNN(
        case.latent,
        case.latent,
        list(case.hidden),
        permutation=order.flip(0) if number % 2 else order,
    )
    return filled(network, inputs, f"flow{number}")
