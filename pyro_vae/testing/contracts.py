"""What every prior, likelihood, guide and objective keeps to; each check raises AssertionError.

They run over this library's own in its tests, and over yours where you call them.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.guides import Guide
from pyro_vae.likelihoods import Likelihood
from pyro_vae.objectives import Objective
from pyro_vae.priors import Prior
from pyro_vae.testing.linear_gaussian import linear_gaussian

__all__ = ["check_guide", "check_likelihood", "check_objective", "check_prior"]


def check_prior(prior: Prior) -> None:
    """A distribution over one latent vector, that samples, scores, and follows the module.

    >>> from pyro_vae import StandardNormalPrior
    >>> check_prior(StandardNormalPrior(3))
    """
    p = prior()
    _expect(p.batch_shape == (), f"batch shape (); got {tuple(p.batch_shape)}")
    _expect(
        p.event_shape == (prior.latent_dim,),
        f"event shape ({prior.latent_dim},); got {tuple(p.event_shape)}",
    )
    z = p.sample((7,))
    _expect(p.log_prob(z).shape == (7,), "log_prob of shape (7,) for 7 latents")
    _expect(bool(p.log_prob(z).isfinite().all()), "finite log-densities of its own samples")
    doubled = prior.double()().sample()
    _expect(doubled.dtype == torch.float64, f"float64 after .double(); got {doubled.dtype}")
    prior.float()


def check_likelihood(likelihood: Likelihood, latent_dim: int, x: Tensor) -> None:
    """A distribution over data for latents of any leading shape, that has a gradient.

    Args:
        likelihood: the likelihood.
        latent_dim: the size of z.
        x: data [batch, *event] on its support.
    """
    q = dist.Normal(torch.zeros(len(x), latent_dim), 1.0).to_event(1)
    for leading in [(len(x),), (3, len(x))]:
        z = torch.randn(*leading, latent_dim, requires_grad=True)
        p = likelihood.during_inference(z, x, lambda: q)
        _expect(p.batch_shape == leading, f"batch shape {leading}; got {tuple(p.batch_shape)}")
        _expect(p.event_shape == x.shape[1:], f"event shape {x.shape[1:]}; got {p.event_shape}")
        log_prob = p.log_prob(x)
        _expect(log_prob.shape == leading, f"log_prob {leading}; got {tuple(log_prob.shape)}")
        (gradient,) = torch.autograd.grad(log_prob.sum(), z)
        _expect(bool(gradient.isfinite().all()), "a finite gradient with respect to z")
        _expect(p.sample().shape == (*leading, *x.shape[1:]), "samples of the data's shape")


def check_guide(guide: Guide, latent_dim: int, x: Tensor) -> None:
    """A program with site ``"z"`` in plate ``"data"``, each datum's posterior its own.

    Args:
        guide: the guide.
        latent_dim: the size of z.
        x: data, [batch, *event], at least three.
    """
    trace = poutine.trace(guide).get_trace(x)
    site = trace.nodes["z"]
    _expect([f.name for f in site["cond_indep_stack"]] == ["data"], "site z in plate data")
    _expect(
        site["value"].shape == (len(x), latent_dim),
        f"z of shape {(len(x), latent_dim)}; got {tuple(site['value'].shape)}",
    )
    _expect(site["fn"].log_prob(site["value"]).shape == (len(x),), "one log-density a datum")
    _expect(
        site["fn"].has_rsample == guide.capabilities.reparameterised,
        "capabilities that say whether samples are reparameterised",
    )
    if not guide.capabilities.scores_given:
        return
    z = site["value"][:1]
    with pyro.validation_enabled(False):  # another datum's posterior may have another support
        alone = guide.posterior(x[:1]).log_prob(z)
        together = guide.posterior(x).log_prob(z.expand(len(x), -1))[:1]
    _expect(torch.allclose(alone, together, atol=1e-4), "a posterior that reads its datum only")


def check_objective(make: Callable[[int], Objective]) -> None:
    """A bound [batch], below log p(x) on average over draws, whose loss is its negated sum.

    Args:
        make: the objective for a number of particles. Held against a linear-Gaussian pair; the
            average may exceed log p(x) by chance once in 10⁶ calls.
    """
    pair = linear_gaussian(orthogonal=False, num_data=50, dtype=torch.float64)
    exact = pair.log_evidence(pair.x).mean()
    for num_particles in (1, 5):
        objective = make(num_particles)
        particles = objective.particles(pair.model, pair.guide, pair.x)
        bound = objective.bound(particles)
        _expect(bound.shape == (50,), f"a bound of shape (50,); got {tuple(bound.shape)}")
        loss = objective.loss_of(particles)
        _expect(torch.allclose(loss, -bound.sum()), "a loss that is minus the bound's sum")
        gradients = torch.autograd.grad(loss, list(pair.parameters()))
        _expect(all(bool(g.isfinite().all()) for g in gradients), "finite gradients")
        judged = objective.for_evaluation()
        repeated = pair.x.repeat(200, 1)
        bounds = judged.per_datum(pair.model, pair.guide, repeated, batch_size=len(repeated))
        means = bounds.reshape(200, len(pair.x)).mean(1)
        error = means.std() / len(means) ** 0.5
        _expect(
            bool(means.mean() <= exact + 5 * error),
            f"a bound below log p(x) = {exact:.4f}; got {means.mean():.4f} ± {error:.4f}",
        )


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(f"expected {what}")
