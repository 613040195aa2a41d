"""The variational autoencoder: a pair of Pyro programs made of three distributions."""

from __future__ import annotations

import itertools
from typing import Any

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_vae._errors import ShapeError
from pyro_vae._handlers import posterior
from pyro_vae._module import Program, feature_count
from pyro_vae._shapes import Data, Latents
from pyro_vae.distributions import mean_and_variance
from pyro_vae.guides import Guide
from pyro_vae.likelihoods import Likelihood
from pyro_vae.priors import Prior, VampPrior

__all__ = ["VAE", "Pair"]

_unnamed = itertools.count(1)


class Pair(nn.Module):
    """A model and a guide that are trained together: what :func:`pyro_vae.fit` takes.

    A :class:`VAE` is one. Two modules of your own make one too; the data come to both as their
    first argument.

    Args:
        model: a Pyro program that is a module.
        guide: the same for the posterior.
    """

    def __init__(self, model: nn.Module, guide: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.guide = guide


class VAE(Pair):
    """A variational autoencoder, p(x, z) = p(z) p(x|z) with a guide q(z|x).

    ``vae.model(x)`` and ``vae.guide(x)`` are PyroModules with the sites ``"z"`` and ``"x"`` in a
    plate ``"data"`` at dimension −1, for any of Pyro's or this library's inference::

        SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(x)

    Args:
        prior: p(z).
        likelihood: p(x|z), with its decoder.
        guide: q(z|x), with its encoder.
        name: the root of the parameters' names in Pyro's global store; by default ``"vae"`` and a
            number, so that two VAEs in one process do not share parameters. Copies of a VAE keep
            a name that was given, and then share them.

    Raises:
        ShapeError: latent sizes of prior, encoder and decoder that differ: here where the
            networks tell them, else on the first batch.
        ValueError: a :class:`~pyro_vae.priors.VampPrior` of another guide.

    >>> from pyro_vae import BernoulliLikelihood, NormalGuide, StandardNormalPrior
    >>> vae = VAE(
    ...     prior=StandardNormalPrior(2),
    ...     likelihood=BernoulliLikelihood(nn.Linear(2, 64)),
    ...     guide=NormalGuide(nn.Linear(64, 4)),
    ... )
    >>> vae.guide(torch.rand(5, 64)).shape
    torch.Size([5, 2])
    """

    model: _Model
    guide: Guide

    def __init__(
        self, *, prior: Prior, likelihood: Likelihood, guide: Guide, name: str | None = None
    ) -> None:
        _check_latent_sizes(prior, likelihood, guide)
        _check_guide_of(prior, guide)
        super().__init__(_Model(prior, likelihood, guide), guide)
        self._name = name
        self._set_root_name()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy, or what was pickled, gets a number of its own."""
        super().__setstate__(state)
        for part in self.modules():
            if isinstance(part, PyroModule):
                part._pyro_context.used = False  # a copy has not run yet: its names may change
        self._set_root_name()

    def _set_root_name(self) -> None:
        # The root name makes the parameters' names unique in Pyro's global store: without it a
        # second VAE's parameters are looked up under the first one's names and do not train.
        root = f"vae{next(_unnamed)}" if self._name is None else self._name
        for part, program in {"model": self.model, "guide": self.guide}.items():
            program._pyro_set_supermodule(f"{root}.{part}", program._pyro_context)

    @property
    def prior(self) -> Prior:
        """p(z)."""
        return self.model.prior

    @property
    def likelihood(self) -> Likelihood:
        """p(x|z)."""
        return self.model.likelihood

    @torch.no_grad()
    def generate(self, num_samples: int) -> Tensor:
        """Means of p(x|z) at ``num_samples`` draws z ~ p(z), [num_samples, *event]."""
        return self.decode(self.prior().sample((num_samples,)))

    @torch.no_grad()
    def decode(self, z: Latents) -> Tensor:
        """Means of p(x|z), [..., *event] for latents [..., latent]."""
        return self.likelihood(z).mean

    @torch.no_grad()
    def reconstruct(self, x: Data) -> Data:
        """Means of p(x|z) at the posterior means, [batch, *event].

        A posterior without a closed form of its mean has that of 1,000 draws in its place.
        """
        mean, _ = mean_and_variance(self.guide.posterior(x))
        return self.decode(mean)


class _Model(Program):
    """The generative program: z ~ p(z), x ~ p(x|z)."""

    _guide: Guide

    def __init__(self, prior: Prior, likelihood: Likelihood, guide: Guide) -> None:
        super().__init__()
        self.prior = prior
        self.likelihood = likelihood
        # Held without registering it: the guide's parameters are not the model's.
        object.__setattr__(self, "_guide", guide)

    def forward(self, x: Tensor) -> Tensor:
        """Sample the latents and score (or, unconditioned, sample) the data, [batch, *event]."""
        q = lambda: posterior("z", lambda: self._guide.posterior(x))  # noqa: E731
        prior = self.prior.during_inference(q)
        with pyro.plate("data", x.shape[0], dim=-1):
            z = pyro.sample("z", prior)
            _check_latent(z, self.prior.latent_dim)
            likelihood = self.likelihood.during_inference(z, x, q)
            _check_event(likelihood.event_shape, x)
            return pyro.sample("x", likelihood, obs=x)


def _check_latent_sizes(prior: Prior, likelihood: Likelihood, guide: Guide) -> None:
    sizes = {
        "prior": prior.latent_dim,
        "guide": guide.latent_dim,
        "decoder": feature_count(likelihood.decoder, "in_features"),
    }
    known = {part: size for part, size in sizes.items() if size is not None}
    if len(set(known.values())) > 1:
        found = ", ".join(f"{part} {size}" for part, size in known.items())
        raise ShapeError(f"VAE: expected one latent size; got {found}. Make them equal.")


def _check_guide_of(prior: Prior, guide: Guide) -> None:
    if isinstance(prior, VampPrior) and prior.guide is not guide:
        raise ValueError(
            "VAE: expected a VampPrior made of the VAE's own guide; got one of another, which "
            "would never be trained. Pass the same guide to both."
        )


def _check_latent(z: Tensor, latent_dim: int) -> None:
    if z.shape[-1] != latent_dim:
        raise ShapeError(
            f"VAE: expected latents of the prior's size {latent_dim}; got {z.shape[-1]} from the "
            "guide. Make the encoder's outputs or the prior's latent_dim fit."
        )


def _check_event(event_shape: torch.Size, x: Tensor) -> None:
    if x.shape[1:] != event_shape:
        raise ShapeError(
            f"VAE: expected data of shape [batch, {', '.join(map(str, event_shape))}], what the "
            f"decoder gives; got {list(x.shape)}. Reshape the data or change the decoder."
        )
