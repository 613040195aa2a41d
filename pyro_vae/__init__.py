"""Variational autoencoders as Pyro programs.

A VAE is a pair of Pyro programs assembled from three distribution-valued modules — ``prior()`` →
p(z), ``likelihood(z)`` → p(x|z), ``guide.posterior(x)`` → q(z|x) — and an objective is any
``pyro.infer.ELBO``.

Docstrings cite, beside papers by their year, *Fyffe*: G. Fyffe, "There and Back Again: Unraveling
the Variational Auto-Encoder" (arXiv 1912.10309), and *Yu*: R. Yu, "A Tutorial on VAEs: From Bayes'
Rule to Lossless Compression" (arXiv 2006.10273), by the numbers of their equations.
"""

from pyro_vae import data, nn
from pyro_vae._errors import CheckpointError, NonFiniteError, PairError, ShapeError
from pyro_vae.guides import (
    BetaGuide,
    Capabilities,
    ConstantNormalGuide,
    DirichletGuide,
    FlowGuide,
    FullCovarianceGuide,
    GammaGuide,
    Guide,
    InverseFlowGuide,
    LaplaceGuide,
    LogisticGuide,
    LogNormalGuide,
    NormalGuide,
    StudentTGuide,
    SubstitutionGuide,
    UniformGuide,
)
from pyro_vae.likelihoods import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    DecodedVariance,
    DiscretisedLogisticLikelihood,
    FixedVariance,
    LaplaceLikelihood,
    LearnedVariance,
    Likelihood,
    LogisticLikelihood,
    NormalLikelihood,
    OptimalVariance,
    StudentTLikelihood,
    Variance,
)
from pyro_vae.objectives import (
    BILBO,
    ELBO,
    IWAE,
    MIWAE,
    DReG,
    FloatingPriorELBO,
    Objective,
    Renyi,
    StickingTheLanding,
)
from pyro_vae.priors import (
    FixedPrior,
    FloatingPrior,
    FlowPrior,
    MixturePrior,
    Prior,
    StandardNormalPrior,
    VampPrior,
)
from pyro_vae.training import (
    CompiledSVI,
    EarlyStopping,
    History,
    adam,
    cosine_decay,
    fit,
    fit_many,
    step_decay,
    update_statistics,
)
from pyro_vae.vae import VAE, Pair

__version__ = "0.1.0"

__all__ = [
    "BILBO",
    "ELBO",
    "IWAE",
    "MIWAE",
    "VAE",
    "BernoulliLikelihood",
    "BetaGuide",
    "Capabilities",
    "CheckpointError",
    "CompiledSVI",
    "ConstantNormalGuide",
    "ContinuousBernoulliLikelihood",
    "DReG",
    "DecodedVariance",
    "DirichletGuide",
    "DiscretisedLogisticLikelihood",
    "EarlyStopping",
    "FixedPrior",
    "FixedVariance",
    "FloatingPrior",
    "FloatingPriorELBO",
    "FlowGuide",
    "FlowPrior",
    "FullCovarianceGuide",
    "GammaGuide",
    "Guide",
    "History",
    "InverseFlowGuide",
    "LaplaceGuide",
    "LaplaceLikelihood",
    "LearnedVariance",
    "Likelihood",
    "LogNormalGuide",
    "LogisticGuide",
    "LogisticLikelihood",
    "MixturePrior",
    "NonFiniteError",
    "NormalGuide",
    "NormalLikelihood",
    "Objective",
    "OptimalVariance",
    "Pair",
    "PairError",
    "Prior",
    "Renyi",
    "ShapeError",
    "StandardNormalPrior",
    "StickingTheLanding",
    "StudentTGuide",
    "StudentTLikelihood",
    "SubstitutionGuide",
    "UniformGuide",
    "VampPrior",
    "Variance",
    "adam",
    "cosine_decay",
    "data",
    "fit",
    "fit_many",
    "nn",
    "step_decay",
    "update_statistics",
]
