"""What is trained: VAEs that differ in their variances, and in the scale of data and latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from experiments.there_and_back.config import Config
from pyro_vae import (
    BAGGINS,
    BILBO,
    ELBO,
    VAE,
    BernoulliLikelihood,
    ConstantNormalGuide,
    DecodedVariance,
    FixedVariance,
    FloatingPrior,
    Likelihood,
    NormalGuide,
    NormalLikelihood,
    Objective,
    OptimalVariance,
    StandardNormalPrior,
)
from pyro_vae.nn import MLP, Scale

__all__ = ["LIKELIHOODS", "STUDIES", "Variant", "build", "variants"]


@dataclass(frozen=True)
class Variant:
    """One VAE to train.

    Args:
        likelihood: of :data:`LIKELIHOODS`.
        latent: how many.
        epochs: of training.
        seed: of the weights, the batches' order and the latents drawn.
        deviation: σ of every posterior; ``None`` for learned variances, under N(0, I).
        tau: τ of BAGGINS.
        scale: λ, what the data are multiplied by.
        own_unit: whether the networks see them divided by λ, and what is decoded is multiplied.
        factor: what the encoder's means are multiplied by at its end, and the decoder's latents
            divided by at its beginning.
    """

    likelihood: str
    latent: int
    epochs: int
    seed: int = 0
    deviation: float | None = 1.0
    tau: float = 1 / 5
    scale: float = 1.0
    own_unit: bool = True
    factor: float = 1.0

    @property
    def unit(self) -> float:
        """What the networks see as 1."""
        return self.scale if self.own_unit else 1.0

    @property
    def name(self) -> str:
        """Of its folder: what it is, and what differs from the defaults."""
        plain = Variant(self.likelihood, self.latent, self.epochs)
        told = {
            name: value
            for name, value in asdict(self).items()
            if name not in ("likelihood", "latent", "epochs") and value != getattr(plain, name)
        }
        first = f"{self.likelihood}-{self.latent}d-{self.epochs}e".lower().replace(" = ", "-")
        first = first.replace(" ", "-").replace("/", "")
        return "-".join([first, *(f"{name}-{_text(value)}" for name, value in told.items())])


def _text(value: Any) -> str:
    return "learned" if value is None else f"{value:g}"


def _decoder(variant: Variant, config: Config, outputs: int) -> nn.Module:
    return nn.Sequential(
        Scale(1 / variant.factor), MLP(variant.latent, config.hidden, outputs), Scale(variant.unit)
    )


def _decoded_variance(variant: Variant, config: Config, size: int) -> Likelihood:
    """Means in the data's scale and log-variances: only the former are scaled."""
    network = nn.Sequential(Scale(1 / variant.factor), MLP(variant.latent, config.hidden, 2 * size))
    return NormalLikelihood(network, DecodedVariance())


LIKELIHOODS: dict[str, Callable[[Variant, Config, int], Likelihood]] = {
    "Bernoulli": lambda v, c, size: BernoulliLikelihood(_decoder(v, c, size)),
    "learned T": _decoded_variance,
    "T = I": lambda v, c, size: NormalLikelihood(_decoder(v, c, size), FixedVariance(1.0)),
    "T = I/100": lambda v, c, size: NormalLikelihood(_decoder(v, c, size), FixedVariance(0.01)),
    "optimal T": lambda v, c, size: NormalLikelihood(_decoder(v, c, size), OptimalVariance()),
    "BAGGINS": lambda v, c, size: NormalLikelihood(_decoder(v, c, size), BAGGINS(v.tau)),
    "BAGGINS of each": lambda v, c, size: NormalLikelihood(
        _decoder(v, c, size), BAGGINS(v.tau, each_datum=True)
    ),
}
"""By name: p(x|z) of a variant."""


def build(variant: Variant, config: Config, size: int) -> tuple[VAE, Objective]:
    """The VAE, initialised from its seed, the decoder first, and its objective.

    Args:
        variant: what it is.
        config: the networks.
        size: data dimensions.
    """
    latent = variant.latent
    with torch.random.fork_rng([]):
        torch.manual_seed(variant.seed)
        likelihood = LIKELIHOODS[variant.likelihood](variant, config, size)
        outputs = 2 * latent if variant.deviation is None else latent
        encoder = MLP(size, config.hidden, outputs)
    own_unit = Scale(1 / variant.unit)
    if variant.deviation is None:
        guide = NormalGuide(nn.Sequential(own_unit, encoder, _MeansTimes(variant.factor, latent)))
        prior = StandardNormalPrior(latent)
        return VAE(prior=prior, likelihood=likelihood, guide=guide), ELBO(analytic_kl=True)
    network = nn.Sequential(own_unit, encoder, Scale(variant.factor))
    return VAE(
        prior=FloatingPrior(latent),
        likelihood=likelihood,
        guide=ConstantNormalGuide(network, variant.deviation),
    ), BILBO()


class _MeansTimes(nn.Module):
    """Means times a factor, raw scales as they are."""

    factors: torch.Tensor

    def __init__(self, factor: float, latent: int) -> None:
        super().__init__()
        factors = torch.cat([torch.full((latent,), factor), torch.ones(latent)])
        self.register_buffer("factors", factors, persistent=False)
        self.out_features = 2 * latent

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs * self.factors


# -- studies ---------------------------------------------------------------------------------------


_SCALE_OF_UNIT_NOISE = 4.0


def _scales(config: Config) -> Iterator[Variant]:
    """Figures 6 (a, b) and 10: likelihoods under data scales; and what another seed does."""
    wide, epochs = config.wide, config.epochs
    yield Variant("learned T", wide, epochs)
    yield Variant("optimal T", wide, epochs)
    yield Variant("BAGGINS of each", wide, epochs, tau=config.tau)
    for scale in sorted([*config.scales, *config.rounding_scales]):
        yield Variant("BAGGINS", wide, epochs, tau=config.tau, scale=scale)
    for scale in sorted([min(config.scales), *config.rounding_scales, max(config.scales)]):
        yield Variant("BAGGINS", wide, epochs, tau=config.tau, scale=scale, own_unit=scale == 1)
    for seed in range(1, config.seeds):
        yield Variant("BAGGINS", wide, epochs, seed, tau=config.tau)
    for latent in (wide, 2):
        for scale in config.scales:
            yield Variant("T = I", latent, epochs, scale=scale)


def _taus(config: Config) -> Iterator[Variant]:
    """Figures 6 (c), 11 and 15: the information factor."""
    for latent in (config.wide, 2):
        for tau in config.taus:
            yield Variant("BAGGINS", latent, config.epochs, tau=tau)


def _deviations(config: Config) -> Iterator[Variant]:
    """Figure 9: BILBO with other Σ."""
    for deviation in config.deviations:
        yield Variant("Bernoulli", 2, config.epochs, deviation=deviation)


def _start(config: Config) -> Iterator[Variant]:
    """Figure 8: hard-coded scaling, matching and not."""
    for factor in config.factors:
        for deviation in (None, *config.deviations):
            for seed in range(config.seeds):
                yield Variant(
                    "Bernoulli", 2, config.start_epochs, seed, deviation=deviation, factor=factor
                )


def _equations(config: Config) -> Iterator[Variant]:
    """The models that the equations are held against, all with learned posterior variances.

    T = I of images in [0, 1] is more noise than they have signal, and latents say nothing: there
    the data are scaled.
    """
    toy = {"T = I/100": 1.0}
    images = {"T = I": _SCALE_OF_UNIT_NOISE, "optimal T": 1.0, "Bernoulli": 1.0}
    for likelihood, scale in (toy if config.data == "toy" else images).items():
        for latent in (2, config.check_latent):
            yield Variant(likelihood, latent, config.epochs, deviation=None, scale=scale)


STUDIES: dict[str, Callable[[Config], Iterator[Variant]]] = {
    "scales": _scales,
    "taus": _taus,
    "deviations": _deviations,
    "start": _start,
    "equations": _equations,
}
"""By name: the VAEs that a study compares."""


def variants(config: Config) -> list[Variant]:
    """Those of all studies, each once."""
    return list(dict.fromkeys(v for study in config.studies for v in STUDIES[study](config)))
