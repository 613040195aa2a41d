"""Whole numbers that a program goes through one by one: constants of its own, or data."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae import ELBO
from pyro_vae.training import CompiledSVI
from tests.compiled.pairs import adam, check_same


class Ordered(nn.Module):
    """A pair that goes through a permutation of its own, or through its data."""

    def __init__(self, through_data: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.encoder = nn.Linear(1, 2)
        self.through_data = through_data
        self.register_buffer("order", torch.tensor([1, 0]))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            if self.through_data:
                rate = torch.stack([self.scale * i for i in x]) + z[..., 0].exp()
            else:
                by_position = [torch.zeros(len(x))] * 2
                for i in self.order:
                    by_position[i] = self.scale * z[..., i] + by_position[0]
                rate = by_position[0].exp() + by_position[1].exp()
            pyro.sample("x", dist.Poisson(rate.abs()), obs=x.float())

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            mean = self.encoder(x[..., None].float())
            pyro.sample("z", dist.Normal(mean, 0.3).to_event(1))


def test_a_permutation_of_the_programs_own_is_compiled() -> None:
    check_same(lambda: Ordered(through_data=False), ELBO, torch.arange(1, 13))


def test_data_stay_data() -> None:
    pair, other = Ordered(through_data=True), Ordered(through_data=True)
    svi = CompiledSVI(pair.model, pair.guide, adam(pair.parameters()), ELBO())
    eager = CompiledSVI(other.model, other.guide, adam(other.parameters()), ELBO(), compile=False)
    losses = []
    for one in (svi, eager):
        pyro.set_rng_seed(0)
        losses.append([one.step(torch.tensor(x)).item() for x in ([1, 2, 3], [7, 1, 4], [2, 9, 5])])
    torch.testing.assert_close(*map(torch.tensor, losses))
