from __future__ import annotations

import math

from torch import Tensor
from torch.distributions import Distribution

from pyro_vae._module import EstimatedMean
from pyro_vae.distributions import normal_moments, optimal_prior_variance
from pyro_vae.likelihoods._likelihood import Posterior, no_posterior
from pyro_vae.likelihoods.variances import Variance, as_data, of_each_datum

__all__ = ["BAGGINS"]


class BAGGINS(Variance):
    """Bounded Aggregate Information Sampling: σ² from the information in a batch (Fyffe, eq. 28–29)

    .. math:: σ^2 = \\frac{τ\\, E_B|x - ν(z)|^2}{E_B\\,tr\\,Σ^{-1}S_B^2}, \\quad
       S_B^2 = E_B[Σ + μμ^⊤]

    of a :class:`~pyro_vae.likelihoods.NormalLikelihood`, with the one free number τ: in the bound
    information costs tr Σ⁻¹S²/τ, so that the smaller τ, the less the latents hold and the blurrier
    what is decoded. Nothing is learned, and nothing runs off to zero while data are not met
    exactly. It follows the scale of the data: data and decoded
    means times λ shift the bound by −m log λ, and change nothing else. With
    :class:`~pyro_vae.objectives.BILBO` the bound is eq. 30:

    .. math:: -\\tfrac12\\big(\\log|I + Σ^{-1}M_B| + \\tfrac1τ tr(I + Σ^{-1}M_B)
       + E_B[\\log|2πT|]\\big)

    While training, the means are over the batch and its particles, and gradients flow through them;
    for evaluation and generation they are over the training set, with z drawn from the posterior
    (:func:`pyro_vae.update_statistics`), so that p(x|z) is a density. Needs a guide with diagonal
    normal posteriors. Against :class:`OptimalVariance`, the mean squared error over m data
    dimensions and so the most likely σ², this one is m τ / tr Σ⁻¹S² times as large.

    Args:
        tau: τ > 0, the information factor; the paper takes 1/5 for MNIST (figure 6 b).
        each_datum: give each datum the σ² of its own squared error while training, as eq. 29 is
            printed, in place of the batch's mean. A datum that is met exactly then has no bound.

    Raises:
        ValueError: a τ that is not positive and finite.
        RuntimeError: in evaluation mode, before the means were estimated.
        PairError: when run with posteriors that are not diagonal normals.

    >>> import torch
    >>> from pyro_vae import ConstantNormalGuide, FloatingPrior, NormalLikelihood, VAE
    >>> vae = VAE(
    ...     prior=FloatingPrior(2),
    ...     likelihood=NormalLikelihood(torch.nn.Linear(2, 5), BAGGINS(tau=0.2)),
    ...     guide=ConstantNormalGuide(torch.nn.Linear(5, 2)),
    ... )
    """

    def __init__(self, tau: float = 0.2, *, each_datum: bool = False) -> None:
        super().__init__()
        if not (math.isfinite(tau) and tau > 0):
            raise ValueError(f"tau: expected a positive, finite number; got {tau}.")
        self.tau, self.each_datum = tau, each_datum
        self.squared_error = EstimatedMean((), "BAGGINS's squared error", of_samples=True)
        self.information = EstimatedMean((), "BAGGINS's information")

    def forward(self) -> Tensor:
        return self.tau * self.squared_error.population() / self.information.population()

    def during_inference(
        self, mean: Tensor, x: Tensor, posterior: Posterior = no_posterior
    ) -> Tensor:
        if not self.squared_error.training:
            return self()
        each = of_each_datum((x - mean).square(), x).sum(-1, keepdim=True)
        over_all = self.squared_error(each.mean(), len(x))
        information = self.information(_information(posterior()), len(x))
        return self.tau * (as_data(each, x) if self.each_datum else over_all) / information


def _information(q: Distribution) -> Tensor:
    """E_B tr Σ⁻¹S_B², a number: n + tr Σ⁻¹M_B where Σ is constant."""
    _, variance = normal_moments(q)
    return (optimal_prior_variance(q) / variance).sum(-1).mean()
