"""What Fyffe's closed forms say of a trained pair: log evidence, gaps, the cost of one variance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_vae._modes import evaluation_mode, modules_of
from pyro_vae._shapes import Data, PerDatum, check_some
from pyro_vae.evaluation.curvature import (
    Matrices,
    check_positive,
    of_normal_prior,
    parts,
)
from pyro_vae.evaluation.latents import posterior_moments
from pyro_vae.objectives._objective import Program

__all__ = [
    "ConstantVariance",
    "closed_form_evidence",
    "constant_variance",
    "optimal_prior",
    "variance_gap",
    "variance_gap_expanded",
]

Latent = Float[Tensor, "latent"]


def closed_form_evidence(
    model: Program, guide: Program, x: Data, *, latent: str = "z", site: str = "x"
) -> PerDatum:
    """Fyffe's "exact log evidence" (eq. 16, and 26 for any T) of each datum, [data], in nats:

    .. math:: \\log p(x) \\simeq -\\tfrac12\\left(m \\log 2π + |S^{-1}μ|^2
       + (x - ν)^⊤T^{-1}(x - ν) + \\log|JS^2J^⊤ + T|\\right)

    at the posterior mean μ, without any posterior variance and without samples. It is
    log p(x, z = μ) + (n/2) log 2π − ½ log|S⁻² + JᵀT⁻¹J|, Laplace's approximation with the
    Gauss–Newton matrix, and that is how it is computed: any likelihood whose information is known
    has one. Exact where the decoder is linear and μ the posterior's mode; else neither an upper nor
    a lower bound: hold it against :func:`log_evidence`.

    Args:
        model, guide: the pair, one latent vector a datum.
        x: data, [data, *event].
        latent, site: the names of the two sites.

    Raises:
        PairError: a prior that is not a diagonal normal, a likelihood whose information is not
            known, or a site that is not there.
        ShapeError: no data.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> evidence = closed_form_evidence(pair.model, pair.guide, pair.x)
    >>> torch.allclose(evidence, pair.log_evidence(pair.x), atol=1e-4)
    True
    """
    mean, _ = posterior_moments(guide, x, site=latent)
    found = []
    with torch.no_grad(), evaluation_mode(*modules_of(model)):
        for batch, z, part in of_normal_prior(parts(model, x, mean, latent, site)):
            joint = part.prior.log_prob(z) + part.likelihood.log_prob(batch)
            found.append(joint - part.log_height())
    return torch.cat(found)


def variance_gap(precision: Matrices, variance: Tensor) -> PerDatum:
    """log p(x) − ELBO of a posterior with the right mean and variance Σ (Fyffe, eq. 18), [data]:

    .. math:: \\tfrac12(tr\\,ΛΣ - \\log|eΛΣ|), \\quad Λ = S^{-2} + J^⊤T^{-1}J

    in nats: the divergence between two normals of one mean, zero where Σ = Λ⁻¹.

    Args:
        precision: Λ, [data, latent, latent], of :func:`posterior_precision`.
        variance: Σ, its diagonal [data, latent] or the same for all, [latent]; positive.

    Raises:
        ValueError: a variance that is not positive and finite.
    """
    check_positive(variance, "variance_gap")
    trace = (precision.diagonal(dim1=-2, dim2=-1) * variance).sum(-1)
    size = precision.shape[-1]
    log_determinant = torch.linalg.slogdet(precision).logabsdet + variance.log().sum(-1)
    return 0.5 * (trace - size - log_determinant)


def variance_gap_expanded(precision: Matrices, variance: Tensor) -> PerDatum:
    """:func:`variance_gap` to second order (Fyffe, eq. 21), [data], in nats: ¼ tr[(ΛΣ − I)²].

    What eq. 18 expands to; it is printed there as ¼ tr²(ΛΣ − I). Arguments and errors as
    above. The terms left out are of the third order in ΛΣ − I, whose eigenvalues must be well below
    1 for it to mean anything.
    """
    check_positive(variance, "variance_gap_expanded")
    deviation = precision * variance.unsqueeze(-2) - torch.eye(
        precision.shape[-1], dtype=precision.dtype, device=precision.device
    )
    return 0.25 * (deviation * deviation.mT).sum((-2, -1))


@dataclass(frozen=True)
class ConstantVariance:
    """The cost of one posterior variance for all data, in nats a datum (Fyffe, section 4.3)."""

    covariance: Float[Tensor, "latent latent"]
    """Σ̃ = E[Λ]⁻¹, the best there is."""
    penalty: float
    """¼ tr CV²[Λ] (eq. 22): to second order."""
    penalty_exact: float
    """½ (log|E[Λ]| − E[log|Λ|]), what eq. 18 comes to at Σ̃, without expansion."""


def constant_variance(precision: Matrices) -> ConstantVariance:
    """What the best constant posterior covariance costs against each datum's own (Fyffe, eq. 22):

    .. math:: E[\\log p(x) - ELBO_{\\tilde Σ}] \\simeq \\tfrac14 tr\\,CV^2[Λ], \\quad
       \\tilde Σ = E[Λ]^{-1}, \\quad CV^2[Λ] = E[(Λ\\tilde Σ - I)^2]

    Args:
        precision: Λ of each datum, [data, latent, latent], of :func:`posterior_precision`.

    Raises:
        ShapeError: no data.

    >>> same = torch.eye(2).expand(5, 2, 2)
    >>> constant_variance(same).penalty
    0.0
    """
    check_some(precision, "precision")
    mean = precision.mean(0)
    covariance = torch.linalg.inv(mean)
    size = precision.shape[-1]
    deviation = precision @ covariance - torch.eye(size, dtype=mean.dtype, device=mean.device)
    # Square, then trace: Σ_jk D_jk D_kj.
    penalty = 0.25 * (deviation * deviation.mT).sum((-2, -1)).double().mean().item()
    log_determinants = torch.linalg.slogdet(precision).logabsdet
    exact = 0.5 * (torch.linalg.slogdet(mean).logabsdet - log_determinants.mean()).item()
    return ConstantVariance(covariance, penalty, exact)


def optimal_prior(guide: Program, x: Data, *, site: str = "z", batch_size: int = 1000) -> Latent:
    """S² = E[Σ + μ²], the diagonal of the best normal prior N(0, S²) (Fyffe, eq. 4), [latent].

    Args:
        guide: a guide.
        x: data, [data, *event].
        site: the latent site.
        batch_size: data at a time.

    Raises:
        PairError: a site that the guide does not have.
        ShapeError: no data.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian(num_data=20_000)
    >>> optimal_prior(pair.guide, pair.x).round(decimals=1)  # the data are from a prior N(0, I)
    tensor([1., 1.])
    """
    mean, variance = posterior_moments(guide, x, site=site, batch_size=batch_size)
    return (variance + mean.square()).mean(0)
