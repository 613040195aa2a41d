"""Every prior, likelihood, guide and objective by name: what the conformance tests run over.

A new one is one line here. What is built: latents of dimension 2, data of dimension 5 on {0, 1}.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from pyro_vae import (
    BILBO,
    ELBO,
    IWAE,
    BernoulliLikelihood,
    ConstantNormalGuide,
    FixedVariance,
    FloatingPrior,
    FloatingPriorELBO,
    Guide,
    LearnedVariance,
    Likelihood,
    NormalGuide,
    NormalLikelihood,
    Objective,
    OptimalVariance,
    Prior,
    StandardNormalPrior,
)
from pyro_vae.nn import MLP

LATENT, DATA = 2, 5


def encoder(outputs: int) -> MLP:
    return MLP(DATA, [6], outputs, activation=nn.Tanh)


def decoder() -> MLP:
    return MLP(LATENT, [6], DATA, activation=nn.Tanh)


def estimated(module: nn.Module) -> nn.Module:
    """With what ``update_statistics`` would estimate, so that it can be used on its own."""
    for name, buffer in module.named_buffers():
        if name.endswith(".mean"):
            buffer.copy_(torch.full_like(buffer, 1.5))
    return module


PRIORS: dict[str, Callable[[], Prior]] = {
    "StandardNormalPrior": lambda: StandardNormalPrior(LATENT),
    "FloatingPrior": lambda: estimated(FloatingPrior(LATENT)),
}

LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "BernoulliLikelihood": lambda: BernoulliLikelihood(decoder()),
    "NormalLikelihood": lambda: NormalLikelihood(decoder()),
    "NormalLikelihood, fixed": lambda: NormalLikelihood(decoder(), FixedVariance(0.3)),
    "NormalLikelihood, shared": lambda: NormalLikelihood(decoder(), LearnedVariance()),
    "NormalLikelihood, each": lambda: NormalLikelihood(decoder(), LearnedVariance((DATA,))),
    "NormalLikelihood, optimal": lambda: estimated(NormalLikelihood(decoder(), OptimalVariance())),
}

GUIDES: dict[str, Callable[[], Guide]] = {
    "NormalGuide": lambda: NormalGuide(encoder(2 * LATENT)),
    "ConstantNormalGuide": lambda: ConstantNormalGuide(encoder(LATENT), 0.5),
}

OBJECTIVES: dict[str, Callable[[int], Objective]] = {
    "ELBO": ELBO,
    "ELBO, analytic": lambda k: ELBO(k, analytic_kl=True),
    "ELBO, β": lambda k: ELBO(k, beta=2.0),
    "ELBO, free bits": lambda k: ELBO(k, free_bits=0.1),
    "IWAE": IWAE,
    "BILBO": BILBO,
    "FloatingPriorELBO": FloatingPriorELBO,
    "FloatingPriorELBO, sampled": lambda k: FloatingPriorELBO(k, analytic_kl=False),
}
