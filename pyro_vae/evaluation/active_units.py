from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae._shapes import Data
from pyro_vae.evaluation._given_latents import Samples, Values
from pyro_vae.evaluation.latents import posterior_moments
from pyro_vae.objectives._objective import Program

__all__ = ["ActiveUnits", "active_units"]


@dataclass(frozen=True)
class ActiveUnits:
    """The variance over the data of each latent's posterior mean, and what it must exceed."""

    variance: Tensor
    threshold: Tensor

    @property
    def active(self) -> Tensor:
        """Whether each latent dimension is active, [latent]; not so where that is unknown."""
        return (self.variance > self.threshold) & ~self.unknown

    @property
    def count(self) -> int:
        """How many are."""
        return int(self.active.sum())

    @property
    def unknown(self) -> Tensor:
        """Whether there are no such numbers, [latent]: a ``Categorical`` has no mean, a
        ``HalfCauchy`` no variance."""
        return ~(self.variance.isfinite() & self.threshold.isfinite())


def active_units(
    guide: Program,
    x: Data,
    *,
    threshold: float = 0.01,
    prior_variance: Tensor | float = 1.0,
    site: str = "z",
) -> ActiveUnits:
    """Which latent dimensions carry information (Burda et al., 2016, section 5.2):

    .. math:: A_j = Cov_x(E_{q(z_j|x)}[z_j]) > 0.01 \\, S_j^2

    with S² = 1 there; a floating prior has another, and the scale of its latents means nothing.
    Of a posterior or prior without these moments, such as a ``HalfCauchy``, it is unknown:
    :func:`information` has it by ranks.

    Args:
        guide: the guide.
        x: data, [data, *event], at least two.
        threshold: on A_j / S²_j.
        prior_variance: S², a number or [latent], e.g. ``vae.prior().variance``.
        site: the latent site.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian(latent_dim=2)
    >>> active_units(pair.guide, pair.x).count
    2
    """
    mean, _ = posterior_moments(guide, x, site=site)
    variance = mean.var(0)
    return ActiveUnits(variance, torch.as_tensor(threshold * prior_variance).to(variance))


class Coordinates(NamedTuple):
    """In what each latent is measured: in itself, or by rank where it has no moments.

    By rank is by its normal score, Φ⁻¹ of its rank among draws of the prior. Of a normal prior that
    is z itself but for its unit; it has moments whatever the tails of z, and is the same for z as
    for an increasing function of z.
    """

    ranked: Tensor
    """Whether posterior or prior lack a finite mean or variance, [latent]."""
    unknown: Tensor
    """Whether values are names, as a ``Categorical``'s, with neither mean nor rank, [latent]."""

    @classmethod
    def of(cls, found: Samples) -> Coordinates:
        """Those of a pair, by its prior and posteriors of some data."""
        ranked, unknown = [], []
        for site in found.run.latents:
            size = found.values[site.name][0, 0].numel()
            names = _has_names(site.q)
            lacking = not (_has_moments(site.q) and (site.p is None or _has_moments(site.p)))
            unknown += [names] * size
            ranked += [lacking and not names] * size
        device = found.run.latents[0].value.device
        return cls(*(torch.tensor(each, device=device) for each in (ranked, unknown)))

    def means(self, found: Samples, prior: Tensor) -> Tensor:
        """E z where the posterior knows it, else z, [samples, data, latent]; ``prior`` are draws of
        the prior, [draws, latent]."""
        if not bool(self.ranked.any()):
            return found.means
        scores = normal_scores(side_by_side(found.values), prior)
        return scores.to(found.means).where(self.ranked, found.means)

    def draws(self, z: Tensor, prior: Tensor) -> Tensor:
        """Draws z, [draws, latent], in these coordinates; NaN where they are unknown."""
        ranked, unknown = self.ranked.to(z.device), self.unknown.to(z.device)
        if bool(ranked.any()):
            z = normal_scores(z, prior).to(z).where(ranked, z)
        return z.masked_fill(unknown, torch.nan)


def side_by_side(values: Values) -> Tensor:
    """All dimensions of the latents of each sample and datum, [samples, data, latent]."""
    parts = [value.reshape(*value.shape[:2], -1) for value in values.values()]
    whole = torch.cat(parts, -1)
    return whole if whole.is_floating_point() else whole.to(torch.get_default_dtype())


def normal_scores(z: Tensor, prior: Tensor) -> Tensor:
    """Φ⁻¹ of the rank of each z, [..., latent], among the prior's draws, [draws, latent]; halfway
    between ranks where draws are alike. In double precision.

    >>> normal_scores(torch.tensor([[0.0], [9.0]]), torch.tensor([[-2.0], [0.0], [2.0]]))
    tensor([[0.0000],
            [1.1503]], dtype=torch.float64)
    """
    ordered = prior.T.contiguous().sort(-1).values
    columns = z.reshape(-1, z.shape[-1]).T.contiguous()
    below = torch.searchsorted(ordered, columns)
    up_to = torch.searchsorted(ordered, columns, right=True)
    share = (below + up_to + 1).double() / (2 * len(prior) + 2)
    return torch.special.ndtri(share).masked_fill(columns.isnan(), torch.nan).T.reshape(z.shape)


def _has_names(q: Distribution) -> bool:
    try:
        support, mean = q.support, q.mean
    except NotImplementedError:
        return False
    return support is not None and support.is_discrete and bool(mean.isnan().all())


def _has_moments(d: Distribution) -> bool:
    """Whether mean and variance are finite; so it is taken to be of what does not know them."""
    try:
        return bool(d.mean.isfinite().all() and d.variance.isfinite().all())
    except NotImplementedError:
        return True
