"""Every prior, likelihood, guide and objective by name: what the conformance tests run over.

A new one is one line here. What is built: latents of dimension 2, data of dimension 5 on {0, 1}.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from torch import Tensor, nn

from pyro_vae import (
    BAGGINS,
    BILBO,
    ELBO,
    IWAE,
    MIWAE,
    BernoulliLikelihood,
    BetaGuide,
    ConstantNormalGuide,
    ContinuousBernoulliLikelihood,
    DecodedVariance,
    DecoderPrecisionGuide,
    DirichletGuide,
    DiscretisedLogisticLikelihood,
    DReG,
    FixedPrior,
    FixedVariance,
    FloatingPrior,
    FloatingPriorELBO,
    FlowGuide,
    FlowPrior,
    FullCovarianceGuide,
    GammaGuide,
    Guide,
    InverseFlowGuide,
    LaplaceEvidence,
    LaplaceGuide,
    LaplaceLikelihood,
    LearnedVariance,
    Likelihood,
    LogisticGuide,
    LogisticLikelihood,
    LogNormalGuide,
    MixturePrior,
    NormalGuide,
    NormalLikelihood,
    Objective,
    OptimalVariance,
    Prior,
    Renyi,
    StandardNormalPrior,
    StickingTheLanding,
    StudentTGuide,
    StudentTLikelihood,
    SubstitutionGuide,
    UniformGuide,
    VampPrior,
)
from pyro_vae.distributions import Flip
from pyro_vae.nn import MLP

LATENT, DATA = 2, 5


def encoder(outputs: int) -> MLP:
    return MLP(DATA, [6], outputs, activation=nn.Tanh)


def decoder(outputs: int = DATA) -> MLP:
    return MLP(LATENT, [6], outputs, activation=nn.Tanh)


class Cubic(nn.Module):
    """z = μ(x) + ε + ε³, an invertible function of the noise without a closed inverse."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = encoder(LATENT)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.mean(x) + noise + noise**3


def planar() -> transforms.ConditionalPlanar:
    return transforms.conditional_planar(LATENT, DATA, [4])


def autoregressive() -> transforms.ConditionalAffineAutoregressive:
    return transforms.conditional_affine_autoregressive(LATENT, DATA, [8])


def spline() -> transforms.ConditionalSplineAutoregressive:
    return transforms.conditional_spline_autoregressive(LATENT, DATA, [8], count_bins=4)


def vamp() -> VampPrior:
    """With a guide that is the same each time: it is no part of the prior's state."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        guide = NormalGuide(encoder(2 * LATENT))
    return VampPrior(guide, torch.rand(3, DATA))


def flow_guide(*flows: nn.Module) -> FlowGuide:
    return FlowGuide(NormalGuide(encoder(2 * LATENT)), flows)


def decoder_precision() -> DecoderPrecisionGuide:
    """With a model that is the same each time: it is no part of the guide's state."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        likelihood = BernoulliLikelihood(decoder())
    return DecoderPrecisionGuide(encoder(LATENT), StandardNormalPrior(LATENT), likelihood)


def estimated(module: nn.Module) -> nn.Module:
    """With what ``update_statistics`` would estimate, so that it can be used on its own."""
    for name, buffer in module.named_buffers():
        if name.endswith(".mean"):
            buffer.copy_(torch.full_like(buffer, 1.5))
    return module


PRIORS: dict[str, Callable[[], Prior]] = {
    "StandardNormalPrior": lambda: StandardNormalPrior(LATENT),
    "FloatingPrior": lambda: estimated(FloatingPrior(LATENT)),
    "FixedPrior": lambda: FixedPrior(dist.Laplace, loc=torch.zeros(LATENT), scale=0.5),
    "MixturePrior": lambda: MixturePrior(LATENT, 3),
    "VampPrior": vamp,
    "FlowPrior": lambda: FlowPrior(LATENT, [transforms.affine_coupling(LATENT, [6]), Flip()]),
    "FlowPrior, splines": lambda: FlowPrior(
        LATENT, [transforms.spline_coupling(LATENT, 1, [6], count_bins=4), Flip()]
    ),
    "FlowPrior, inverted": lambda: FlowPrior(
        LATENT, [transforms.affine_autoregressive(LATENT, [6])], inverted=True
    ),
}

PRIORS_FOR_GUIDES: dict[str, Callable[[], Prior]] = {
    "DirichletGuide": lambda: FixedPrior(dist.Dirichlet, concentration=torch.ones(LATENT)),
}
"""For guides, by class, that the standard normal prior does not fit."""

LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "BernoulliLikelihood": lambda: BernoulliLikelihood(decoder()),
    "NormalLikelihood": lambda: NormalLikelihood(decoder()),
    "NormalLikelihood, fixed": lambda: NormalLikelihood(decoder(), FixedVariance(0.3)),
    "NormalLikelihood, shared": lambda: NormalLikelihood(decoder(), LearnedVariance()),
    "NormalLikelihood, each": lambda: NormalLikelihood(decoder(), LearnedVariance((DATA,))),
    "NormalLikelihood, optimal": lambda: estimated(NormalLikelihood(decoder(), OptimalVariance())),
    "NormalLikelihood, of each datum": lambda: estimated(
        NormalLikelihood(decoder(), OptimalVariance(each_datum=True))
    ),
    "NormalLikelihood, BAGGINS": lambda: estimated(NormalLikelihood(decoder(), BAGGINS())),
    "NormalLikelihood, BAGGINS of each datum": lambda: estimated(
        NormalLikelihood(decoder(), BAGGINS(each_datum=True))
    ),
    "NormalLikelihood, decoded": lambda: NormalLikelihood(decoder(2 * DATA), DecodedVariance()),
    "LaplaceLikelihood": lambda: LaplaceLikelihood(decoder(), LearnedVariance()),
    "LogisticLikelihood": lambda: LogisticLikelihood(decoder(), LearnedVariance()),
    "StudentTLikelihood": lambda: StudentTLikelihood(decoder(), LearnedVariance()),
    "DiscretisedLogisticLikelihood": lambda: DiscretisedLogisticLikelihood(
        decoder(), LearnedVariance(), bins=2
    ),
    "ContinuousBernoulliLikelihood": lambda: ContinuousBernoulliLikelihood(decoder()),
}

GUIDES: dict[str, Callable[[], Guide]] = {
    "NormalGuide": lambda: NormalGuide(encoder(2 * LATENT)),
    "ConstantNormalGuide": lambda: ConstantNormalGuide(encoder(LATENT), 0.5),
    "FullCovarianceGuide": lambda: FullCovarianceGuide(encoder(LATENT + 3)),
    "LaplaceGuide": lambda: LaplaceGuide(encoder(2 * LATENT)),
    "LogisticGuide": lambda: LogisticGuide(encoder(2 * LATENT)),
    "StudentTGuide": lambda: StudentTGuide(encoder(2 * LATENT)),
    "UniformGuide": lambda: UniformGuide(encoder(2 * LATENT)),
    "LogNormalGuide": lambda: LogNormalGuide(encoder(2 * LATENT)),
    "GammaGuide": lambda: GammaGuide(encoder(2 * LATENT)),
    "BetaGuide": lambda: BetaGuide(encoder(2 * LATENT)),
    "DecoderPrecisionGuide": decoder_precision,
    "DirichletGuide": lambda: DirichletGuide(encoder(LATENT)),
    "FlowGuide, planar": lambda: flow_guide(planar(), planar()),
    "FlowGuide, IAF": lambda: flow_guide(autoregressive(), Flip(), autoregressive()),
    "FlowGuide, splines": lambda: flow_guide(spline()),
    "SubstitutionGuide": lambda: SubstitutionGuide(Cubic(), StandardNormalPrior(LATENT)),
}

ELSEWHERE: set[type] = {InverseFlowGuide}
"""Public classes with tests of their own, since they do not fit these sizes: its latents are as
many as the data's dimensions (tests/models/test_sigma_vae.py)."""

OBJECTIVES: dict[str, Callable[[int], Objective]] = {
    "ELBO": ELBO,
    "ELBO, analytic": lambda k: ELBO(k, analytic_kl=True),
    "ELBO, β": lambda k: ELBO(k, beta=2.0),
    "ELBO, free bits": lambda k: ELBO(k, free_bits=0.1),
    "IWAE": IWAE,
    "MIWAE": lambda k: MIWAE(k, num_groups=3 if k % 3 == 0 else 1),
    "Renyi": lambda k: Renyi(k, alpha=0.5),
    "DReG": DReG,
    "StickingTheLanding": StickingTheLanding,
    "BILBO": BILBO,
    "LaplaceEvidence": lambda k: LaplaceEvidence(),
    "FloatingPriorELBO": FloatingPriorELBO,
    "FloatingPriorELBO, sampled": lambda k: FloatingPriorELBO(k, analytic_kl=False),
}
