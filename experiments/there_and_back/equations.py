"""Fyffe's equations on a trained VAE: what each predicts, and what is measured.

Everything is computed in evaluation mode and double precision, on data that are given; the networks
stay as they are. A VAE here has one latent vector with a diagonal normal prior and posterior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import pyro.distributions as dist
import torch
from torch import Tensor

from experiments.there_and_back.evidence import evidence_of
from pyro_vae import VAE, NormalLikelihood
from pyro_vae.distributions import normal_moments
from pyro_vae.evaluation import (
    LogEvidence,
    OptimalDecoder,
    bound_terms,
    closed_form_evidence,
    constant_variance,
    decoder_jacobian,
    optimal_prior,
    posterior_moments,
    posterior_precision,
    stochastic_log_determinant,
    variance_gap,
    variance_gap_expanded,
)

__all__ = ["CHECKS", "Check", "Trained"]


@dataclass(frozen=True)
class Check:
    """One equation on one model.

    Args:
        equation: its number.
        about: what the two numbers are, with their unit.
        predicted: by the equation.
        measured: without it.
        error: the standard error of ``measured``, where it is sampled.
        spread: how far single data are from the prediction: the root mean square of the difference
            over that of what is measured, where there is one for each datum.
    """

    equation: str
    about: str
    predicted: float
    measured: float
    error: float | None = None
    spread: float | None = None


@dataclass(frozen=True)
class Trained:
    """A trained VAE, the data that equations are held against, and how many latents a datum are
    drawn.

    Args:
        vae: in double precision, its estimates made.
        x: data it was trained on, at which the conditions of its optimum are meant to hold, or
            data held out.
        training: all that it was trained on, for the optimal decoder.
        samples: latents a datum.
        evidence_samples: for the log evidence of more than two latents.
        evidence_cells: for that of two.
        determinant_steps: of descent to the minimum of eq. 19.
    """

    vae: VAE
    x: Tensor
    training: Tensor
    samples: int = 50
    evidence_samples: int = 5000
    evidence_cells: int = 1024
    determinant_steps: int = 5000

    @property
    def prior_variance(self) -> Tensor:
        """S², [latent]."""
        _, variance = normal_moments(self.vae.prior())
        return variance

    def moments(self) -> tuple[Tensor, Tensor]:
        """μ and Σ, each [data, latent]."""
        return posterior_moments(self.vae.guide, self.x)

    @cached_property
    def precision(self) -> Tensor:
        """Λ = S⁻² + JᵀT⁻¹J at μ, [data, latent, latent]."""
        mean, _ = self.moments()
        return posterior_precision(self.vae.model, self.x, mean)

    @cached_property
    def log_evidence(self) -> LogEvidence:
        """Of each datum, in nats: see :func:`evidence_of`."""
        return evidence_of(self.vae, self.x, self.evidence_samples, self.evidence_cells)

    def elbo(self) -> Tensor:
        """Of each datum, in nats."""
        vae = self.vae
        return bound_terms(vae.model, vae.guide, self.x, num_samples=self.samples).bound


# -- the first order conditions --------------------------------------------------------------------


def optimal_prior_variance(trained: Trained) -> list[Check]:
    """Eq. 4: the S² that maximises the mean ELBO, found by descent, against the formula; and the
    formula against the S² that the networks were trained under, to which an optimum brings it."""
    mean, variance = trained.moments()
    log_variance = torch.zeros_like(mean[0], requires_grad=True)
    optimizer = torch.optim.LBFGS([log_variance], max_iter=200, line_search_fn="strong_wolfe")

    def kl() -> Tensor:
        optimizer.zero_grad()
        ratio = (variance + mean.square()) * (-log_variance).exp()
        loss = 0.5 * (ratio + log_variance).sum(1).mean()
        loss.backward()
        return loss

    optimizer.step(kl)
    predicted = optimal_prior(trained.vae.guide, trained.x)
    measured = log_variance.detach().exp()
    own = trained.prior_variance
    return [
        _of_each("4", "tr S², of the best prior", predicted, measured, torch.sum),
        _of_each("4", "tr S², of the prior trained under", predicted, own, torch.sum),
    ]


def gradients(trained: Trained) -> list[Check]:
    """Eq. 9 and 10: the ELBO's derivatives by μ and Σ, of many draws, against the formulas."""
    mean, variance = trained.moments()
    mean, variance = mean.requires_grad_(), variance.requires_grad_()
    s2 = trained.prior_variance
    noise = torch.randn(trained.samples, *mean.shape, dtype=mean.dtype)
    z = torch.cat([mean + variance.sqrt() * noise, mean - variance.sqrt() * noise])
    kl = 0.5 * ((variance + mean.square()) / s2 - variance.log()).sum()
    bound = trained.vae.likelihood(z).log_prob(trained.x).sum() / len(z) - kl
    by_mean, by_variance = torch.autograd.grad(bound, [mean, variance])
    predicted_mean = _pull(trained, mean.detach()) - mean.detach() / s2
    own = variance.detach().reciprocal()
    predicted_variance = 0.5 * (own - trained.precision.diagonal(dim1=-2, dim2=-1))
    scale = variance.detach()  # in units of the posterior: a gradient times its standard deviation
    return [
        _norms("9", "‖∂ELBO/∂μ‖·√Σ", predicted_mean * scale.sqrt(), by_mean * scale.sqrt()),
        _norms("10", "‖∂ELBO/∂Σ‖·Σ", predicted_variance * scale, by_variance * scale),
    ]


def posterior_mean(trained: Trained) -> list[Check]:
    """Eq. 11: means image the residuals, μ = S²Jᵀ(x − ν(μ)) (with any T: S² ∂ log p(x|z)/∂z)."""
    mean, _ = trained.moments()
    predicted = trained.prior_variance * _pull(trained, mean)
    return [_norms("11", "‖μ‖", predicted, mean)]


def posterior_variance(trained: Trained) -> list[Check]:
    """Eq. 12: the learned variances against the inverse of the information, 1/Λ_jj."""
    _, variance = trained.moments()
    predicted = trained.precision.diagonal(dim1=-2, dim2=-1).reciprocal()
    return [_of_each("12", "−½ log det Σ, nats", _information(predicted), _information(variance))]


def _information(variance: Tensor) -> Tensor:
    return -0.5 * variance.log().sum(1)


def _pull(trained: Trained, mean: Tensor) -> Tensor:
    """∂ log p(x|z)/∂z at μ, Jᵀ T⁻¹ (x − ν(μ)) of a normal likelihood, [data, latent]."""
    z = mean.detach().clone().requires_grad_()
    return torch.autograd.grad(trained.vae.likelihood(z).log_prob(trained.x).sum(), z)[0]


# -- the evidence ----------------------------------------------------------------------------------


def evidence(trained: Trained) -> list[Check]:
    """Eq. 16 (T = I) and 26: the closed form against quadrature or importance sampling."""
    vae = trained.vae
    found = trained.log_evidence
    predicted = closed_form_evidence(vae.model, vae.guide, trained.x)
    check = _of_each("16, 26", "log p(x), nats", predicted, found.value)
    return [replace(check, error=found.mean_error())]


def change_of_variables(trained: Trained) -> list[Check]:
    """Eq. 27: without noise log p(x) is that of a flow; with as many latents as data dimensions and
    little noise it is near it."""
    vae, x = trained.vae, trained.x
    mean, _ = trained.moments()
    if not isinstance(vae.likelihood, NormalLikelihood) or x[0].numel() != mean.shape[1]:
        return []
    j = decoder_jacobian(vae.model, x, mean)
    deviation = trained.prior_variance.sqrt()
    flow = dist.Normal(0.0, deviation).to_event(1).log_prob(mean)
    predicted = flow - torch.linalg.slogdet(j).logabsdet
    found = trained.log_evidence
    check = _of_each("27", "log p(x), nats, as if T = 0", predicted, found.value)
    return [replace(check, error=found.mean_error())]


def gaps(trained: Trained) -> list[Check]:
    """Eq. 17, 18 and 21: the ELBO and its gap, of many draws, against the formulas."""
    vae = trained.vae
    _, variance = trained.moments()
    precision = trained.precision
    closed = closed_form_evidence(vae.model, vae.guide, trained.x)
    elbo = trained.elbo()
    gap, expanded = variance_gap(precision, variance), variance_gap_expanded(precision, variance)
    return [
        _of_each("17", "ELBO, nats", closed - gap, elbo),
        _of_each("18", "log p(x) − ELBO, nats", gap, trained.log_evidence.value - elbo),
        _of_each("21", "the same to second order", expanded, trained.log_evidence.value - elbo),
    ]


def log_determinant(trained: Trained) -> list[Check]:
    """Eq. 19 and 20: log|JᵀJS² + I| of one datum, by probes and by factorisation."""
    precision = trained.precision[0]
    deviation = trained.prior_variance.sqrt()
    matrix = deviation.unsqueeze(1) * precision * deviation
    found = stochastic_log_determinant(
        lambda v: v @ matrix, len(matrix), steps=trained.determinant_steps, dtype=matrix.dtype
    )
    exact = torch.linalg.slogdet(matrix).logabsdet.item()
    return [Check("19, 20", "log det(JᵀJS² + I), nats", exact, found.value, found.error)]


# -- constant variance -----------------------------------------------------------------------------

_DESCENT, _BATCH, _DRAWS = 200, 100, 16  # steps, data a step at most, latents a datum


def penalty(trained: Trained) -> list[Check]:
    """Eq. 22: what one variance for all data costs against the learned ones, in ELBO: the one found
    by descent, encoder's means and decoder as they are. Both are diagonal, and so Λ is taken."""
    mean, variance = trained.moments()
    cost = constant_variance(trained.precision.diagonal(dim1=-2, dim2=-1).diag_embed())
    same = _best_variance(trained, mean, cost.covariance.diagonal())
    difference = _elbo(trained, mean, variance) - _elbo(trained, mean, same.expand_as(mean))
    measured = difference.mean().item()
    error = (difference.std() / len(difference) ** 0.5).item()
    return [
        Check("22", "cost of one Σ, nats: ¼ tr CV²", cost.penalty, measured, error),
        Check("22", "the same without expansion", cost.penalty_exact, measured, error),
    ]


def _best_variance(trained: Trained, mean: Tensor, start: Tensor) -> Tensor:
    """The variance for all data that maximises the mean ELBO, [latent]."""
    log_variance = start.log().requires_grad_()
    optimizer = torch.optim.Adam([log_variance], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _DESCENT)
    s2, batch = trained.prior_variance, min(_BATCH, len(mean))
    for _ in range(_DESCENT):
        some = torch.randint(len(mean), (batch,))
        noise = torch.randn(_DRAWS, batch, mean.shape[1], dtype=mean.dtype)
        shift = (0.5 * log_variance).exp() * noise
        z = mean[some] + torch.cat([shift, -shift])
        kl = 0.5 * (log_variance.exp() / s2 - log_variance).sum()
        likelihood = trained.vae.likelihood(z).log_prob(trained.x[some]).mean()
        optimizer.zero_grad()
        (kl - likelihood).backward()
        optimizer.step()
        schedule.step()
    return log_variance.detach().exp()


def _elbo(trained: Trained, mean: Tensor, variance: Tensor) -> Tensor:
    """Of normal posteriors, [data], in nats; with the same noise at each call."""
    vae = trained.vae
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(trained.samples, *mean.shape, dtype=mean.dtype, generator=generator)
    q = dist.Normal(mean, variance.sqrt()).to_event(1)
    with torch.no_grad():
        found = [
            vae.prior().log_prob(z) + vae.likelihood(z).log_prob(trained.x)
            for z in mean + variance.sqrt() * noise
        ]
    return torch.stack(found).mean(0) + q.entropy()


# -- the decoder and the posterior -----------------------------------------------------------------


_FEW = 200  # data, where each takes a while


def optimal_decoder(trained: Trained) -> list[Check]:
    """Eq. 6 and 7: the closed form over all training data against the network, and its Jacobian
    against differences of what the network decodes."""
    vae, training = trained.vae, trained.training
    mean, variance = posterior_moments(vae.guide, training)
    best = OptimalDecoder(mean, variance, training.flatten(1))
    z, _ = posterior_moments(vae.guide, trained.x[:_FEW])
    return [
        _norms("6", "‖ν(μ)‖", best(z), vae.decode(z).flatten(1)),
        _norms("7", "‖J‖", best.jacobian(z).flatten(1), _differences(vae, z).flatten(1)),
    ]


def _differences(vae: VAE, z: Tensor, step: float = 1e-5) -> Tensor:
    """∂ν/∂z of the decoded means by central differences, [data, features, latent]."""
    steps = step * torch.eye(z.shape[1], dtype=z.dtype).unsqueeze(1)  # [latent, 1, latent]
    columns = (vae.decode(z + steps) - vae.decode(z - steps)).flatten(2) / (2 * step)
    return columns.permute(1, 2, 0)


def true_posterior(trained: Trained) -> list[Check]:
    """Eq. 25: the posterior's variances by weighted samples, against Λ⁻¹."""
    vae, x = trained.vae, trained.x[:_FEW]
    mean, _ = posterior_moments(vae.guide, x)
    covariance = torch.linalg.inv(posterior_precision(vae.model, x, mean))
    q = dist.MultivariateNormal(mean, covariance)
    z = q.sample((trained.evidence_samples,))
    with torch.no_grad():
        likelihood = torch.cat([vae.likelihood(some).log_prob(x) for some in z.split(_DRAWS)])
    log_weight = vae.prior().log_prob(z) + likelihood - q.log_prob(z)
    weight = log_weight.softmax(0).unsqueeze(-1)
    centre = (weight * z).sum(0)
    measured = (weight * (z - centre).square()).sum(0)
    predicted = covariance.diagonal(dim1=-2, dim2=-1)
    return [
        _of_each(
            "25",
            "½ log det Σ of the posterior, nats",
            -_information(predicted),
            -_information(measured),
        )
    ]


CHECKS: tuple[Callable[[Trained], list[Check]], ...] = (
    optimal_prior_variance,
    optimal_decoder,
    gradients,
    posterior_mean,
    posterior_variance,
    evidence,
    change_of_variables,
    gaps,
    log_determinant,
    penalty,
    true_posterior,
)
"""In the order of the equations."""


# -- numbers ---------------------------------------------------------------------------------------


def _of_each(
    equation: str,
    about: str,
    predicted: Tensor,
    measured: Tensor,
    total: Callable[[Tensor], Tensor] = torch.mean,
) -> Check:
    """Of numbers for each datum: their means, and how far single ones are apart."""
    difference = (predicted - measured).square().mean().sqrt()
    spread = (difference / measured.square().mean().sqrt()).item()
    return Check(equation, about, total(predicted).item(), total(measured).item(), spread=spread)


def _norms(equation: str, about: str, predicted: Tensor, measured: Tensor) -> Check:
    """Of vectors for each datum: their root mean square norms, and that of the difference."""

    def norm(vectors: Tensor) -> float:
        return vectors.square().sum(1).mean().sqrt().item()

    spread = norm(predicted - measured) / norm(measured)
    return Check(equation, about, norm(predicted), norm(measured), spread=spread)
