"""Assignments by a mask become part of a graph; other choices by a mask are refused."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from torch import Tensor, nn

from pyro_vae import ELBO, VAE, BernoulliLikelihood, FlowPrior, NormalGuide
from pyro_vae.training import CompiledSVI
from tests.compiled.pairs import adam, check_same, some_data


class Masked(nn.Module):
    """A pair whose decoder writes by a mask of values."""

    def __init__(self, leaky: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(2, 6)
        self.leaky = leaky

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            logits = self.decoder(z)
            clipped = torch.zeros_like(logits)
            low, high = logits < -0.5, logits > 0.5
            clipped[low] = -0.5
            clipped[~(low | high)] = 0.0
            clipped[high] = logits[high]
            if self.leaky:
                clipped = clipped + logits[high].sum()
            pyro.sample("x", dist.Bernoulli(logits=clipped).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            mean, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, log_scale.exp()).to_event(1))


def test_assignments_by_a_mask_are_compiled() -> None:
    check_same(Masked, ELBO, some_data())


def test_a_choice_by_a_mask_that_goes_elsewhere_runs_eagerly() -> None:
    pair = Masked(leaky=True)
    svi = CompiledSVI(pair.model, pair.guide, adam(pair.parameters()), ELBO())
    with pytest.warns(UserWarning, match="chooses elements by a mask, how many depends on values"):
        svi.run(some_data(), 3)
    assert not svi.compiled


@pytest.mark.parametrize("inverted", [False, True])
def test_a_spline_flow_is_compiled(inverted: bool) -> None:
    def make() -> VAE:
        torch.manual_seed(0)
        flow = transforms.spline_coupling(2, 1, [6], count_bins=4)
        return VAE(
            prior=FlowPrior(2, [flow], inverted=inverted),
            likelihood=BernoulliLikelihood(nn.Linear(2, 6)),
            guide=NormalGuide(nn.Linear(6, 4)),
        )

    check_same(make, ELBO, some_data())
