"""The contract checks fail on parts that break the contract."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae import ELBO, Guide, Likelihood, NormalGuide, Prior
from pyro_vae.objectives import Particles
from pyro_vae.testing import check_guide, check_likelihood, check_objective, check_prior
from tests.registry import DATA, LATENT, decoder, encoder

X = torch.tensor([[0.0, 1, 1, 0, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1]])


class WithoutEvent(Prior):
    """Independent dimensions that are no event: batch shape (latent,)."""

    def forward(self) -> Distribution:
        return dist.Normal(torch.zeros(self.latent_dim), torch.ones(self.latent_dim))


class WrongSize(Prior):
    def forward(self) -> Distribution:
        return dist.Normal(torch.zeros(self.latent_dim + 1), 1.0).to_event(1)


class DeafToDtype(Prior):
    """Its tensors are made anew, in float32 whatever the module's dtype."""

    def forward(self) -> Distribution:
        zeros = torch.zeros(self.latent_dim, dtype=torch.float32)
        return dist.Normal(zeros, zeros + 1).to_event(1)


@pytest.mark.parametrize(
    ("prior", "message"),
    [(WithoutEvent, "batch shape"), (WrongSize, "event shape"), (DeafToDtype, "float64")],
)
def test_a_broken_prior(prior: type[Prior], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_prior(prior(LATENT))


class PixelsApart(Likelihood):
    def forward(self, z: Tensor) -> Distribution:
        return dist.Bernoulli(logits=self.decoder(z))


class OneParticle(Likelihood):
    """Flattens the particles away."""

    def forward(self, z: Tensor) -> Distribution:
        return dist.Bernoulli(logits=self.decoder(z.reshape(-1, LATENT))).to_event(1)


class Detached(Likelihood):
    def forward(self, z: Tensor) -> Distribution:
        return dist.Normal(1e30 * self.decoder(1e30 * z), 1e-30).to_event(1)


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [(PixelsApart, "batch shape"), (OneParticle, "batch shape"), (Detached, "finite gradient")],
)
def test_a_broken_likelihood(likelihood: type[Likelihood], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_likelihood(likelihood(torch.nn.Linear(LATENT, DATA)), LATENT, X)


class MixesData(NormalGuide):
    """Normalises over the batch, as batch normalisation in training mode does."""

    def posterior(self, x: Tensor) -> Distribution:
        return super().posterior(x - x.mean(0))


class WithoutPlate(NormalGuide):
    def forward(self, x: Tensor) -> Tensor:
        return pyro.sample("z", self.posterior(x).to_event(1))


class Factorised(Guide):
    """Its latent dimensions are a batch of scalars."""

    def posterior(self, x: Tensor) -> Distribution:
        return dist.Normal(self.encoder(x)[..., :LATENT], 1.0)

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("dims", LATENT, dim=-1), pyro.plate("data", len(x), dim=-2):
            return pyro.sample("z", self.posterior(x))


@pytest.mark.parametrize(
    ("guide", "message"),
    [
        (MixesData, "reads its datum only"),
        (WithoutPlate, "plate data"),
        (Factorised, "plate data"),
    ],
)
def test_a_broken_guide(guide: type[Guide], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_guide(guide(encoder(2 * LATENT)), LATENT, X)


def test_a_guide_of_another_latent_size() -> None:
    with pytest.raises(AssertionError, match="z of shape"):
        check_guide(NormalGuide(encoder(2 * LATENT)), LATENT + 1, X)
    assert decoder().in_features == LATENT


class AboveTheEvidence(ELBO):
    """The best of K weights: no bound for K > 1."""

    def bound(self, particles: Particles) -> Tensor:
        return particles.log_weight.amax(0)


class ForgetsTheEntropy(ELBO):
    def bound(self, particles: Particles) -> Tensor:
        site = particles.latents[0]
        return (particles.reconstruction + site.log_p).mean(0) + 3.0


class MeanOverTheBatch(ELBO):
    def bound(self, particles: Particles) -> Tensor:
        return super().bound(particles).mean().reshape(1)


class LossOfAnotherValue(ELBO):
    def loss_of(self, particles: Particles) -> Tensor:
        return -self.bound(particles).mean()


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (AboveTheEvidence, r"below log p\(x\)"),
        (ForgetsTheEntropy, r"below log p\(x\)"),
        (MeanOverTheBatch, "shape"),
        (LossOfAnotherValue, "minus the bound"),
    ],
)
def test_a_broken_objective(objective: type[ELBO], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_objective(objective)
