"""Guides q(z|x): Pyro programs; an ordinary one implements ``posterior(x)``."""

from pyro_vae.guides._guide import Capabilities, Guide
from pyro_vae.guides.beta import BetaGuide
from pyro_vae.guides.constant_normal import ConstantNormalGuide
from pyro_vae.guides.decoder_precision import DecoderPrecisionGuide
from pyro_vae.guides.dirichlet import DirichletGuide
from pyro_vae.guides.flow import FlowGuide
from pyro_vae.guides.full_covariance import FullCovarianceGuide
from pyro_vae.guides.gamma import GammaGuide
from pyro_vae.guides.inverse_flow import InverseFlowGuide
from pyro_vae.guides.laplace import LaplaceGuide
from pyro_vae.guides.log_normal import LogNormalGuide
from pyro_vae.guides.logistic import LogisticGuide
from pyro_vae.guides.normal import NormalGuide
from pyro_vae.guides.student_t import StudentTGuide
from pyro_vae.guides.substitution import SubstitutionGuide
from pyro_vae.guides.uniform import UniformGuide

__all__ = [
    "BetaGuide",
    "Capabilities",
    "ConstantNormalGuide",
    "DecoderPrecisionGuide",
    "DirichletGuide",
    "FlowGuide",
    "FullCovarianceGuide",
    "GammaGuide",
    "Guide",
    "InverseFlowGuide",
    "LaplaceGuide",
    "LogNormalGuide",
    "LogisticGuide",
    "NormalGuide",
    "StudentTGuide",
    "SubstitutionGuide",
    "UniformGuide",
]
