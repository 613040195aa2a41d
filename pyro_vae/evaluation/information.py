"""What latents carry: rate and distortion, mutual information, the aggregate posterior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import pyro
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_vae._errors import PairError
from pyro_vae._modes import forked_rng
from pyro_vae._shapes import Data
from pyro_vae.evaluation._given_latents import (
    Density,
    Draws,
    Program,
    Samples,
    Values,
    chosen_rows,
    end_to_end,
    latent_names,
    prior_draws,
    score,
    table,
    undisturbed,
)
from pyro_vae.evaluation.active_units import (
    ActiveUnits,
    Coordinates,
    normal_scores,
    side_by_side,
)
from pyro_vae.evaluation.evidence import check_densities, not_finite, rows_at_once
from pyro_vae.evaluation.terms import BoundTerms

__all__ = ["Estimate", "Information", "information"]

PerLatent = Float[Tensor, "latent"]
PerDraw = Float[Tensor, "draws"]
Indices = Int[Tensor, "draws"]

# Densities that are held at once: 4 MB, which a processor's cache can hold; enough for a GPU.
_AT_ONCE, _AT_ONCE_ON_GPU = 1_000_000, 50_000_000

_REGRESSED = 30  # draws; of fewer a regression would find what is not there
_NOTHING = 0.01  # nats
_ACTIVE = 0.01  # of the prior's variance, as in active_units
_RARE = 0.01  # of the posteriors' own draws are where q(z) is less than anywhere else
_MANY = 5  # times as many of the prior's draws are a hole


@dataclass(frozen=True)
class Estimate:
    """A mean over draws of z and its Monte-Carlo standard error, in nats."""

    value: float
    error: float

    def __str__(self) -> str:
        return _number(self.value) + (f" ± {self.error:.1g}" if self.error else "")


@dataclass(frozen=True)
class Information:
    """What the latents of a pair carry, in nats a datum: see :func:`information`.

    What needs the single dimensions of z is ``None`` where they are not known.
    """

    rate: Estimate
    """R = E KL(q(z|x) ‖ p(z)), what the posteriors cost; without error where it is closed."""
    distortion: Estimate
    """D = −E log p(x|z)."""
    terms: BoundTerms
    """Both of each datum: ``kl`` and ``reconstruction``, [data]."""
    latents: tuple[str, ...]
    """The dimensions' names, such as ``"z[0]"``, sites in the guide's order."""
    kl_per_dimension: PerLatent | None
    """E KL(q(z_j|x) ‖ p(z_j)), [latent]; their sum is the rate."""
    active: ActiveUnits
    """Which dimensions vary with x: see :func:`~pyro_vae.evaluation.active_units`. Of a posterior
    that does not know its mean, as a flow does not, A_j has noise of √(2/data) / ``num_samples`` of
    its variance. Where posterior or prior have no finite mean and variance, as a ``HalfCauchy``,
    A_j is that of Φ⁻¹ of z's rank among the prior's draws, with the same noise; of a
    ``Categorical``, whose values are names, it is unknown, NaN."""
    num_aggregate: int
    """N, the number of data that q(z) is made of."""
    aggregate_rate: Estimate
    """The rate of these data."""
    draws: Draws
    """z ~ q(z), and of each of them:"""
    datum: Indices
    """n, the datum whose posterior it was drawn from;"""
    log_q_of_own: PerDraw
    """log q(z|x_n);"""
    log_q: PerDraw
    """log q(z);"""
    log_q_of_others: PerDraw
    """log q(z) without datum n;"""
    log_p: PerDraw
    """log p(z);"""
    log_q_per_dimension: Draws | None
    """log q(z_j);"""
    log_p_per_dimension: Draws | None
    """log p(z_j)."""
    prior_draws: Draws
    """z ~ p(z), as many, and of each of them:"""
    log_q_of_prior_draws: PerDraw
    """log q(z)."""

    @property
    def bound(self) -> float:
        """The evidence lower bound, −(R + D)."""
        return -(self.rate.value + self.distortion.value)

    @property
    def marginal_kl(self) -> Estimate:
        """KL(q(z) ‖ p(z)) of these data: too high for the population, in the mean."""
        return self._mean(self.log_q - self.log_p)

    @property
    def marginal_kl_lower(self) -> Estimate:
        """The same with a datum's own posterior left out of q(z), or 0: too low, in the mean."""
        kl = self._mean(self.log_q_of_others - self.log_p)
        return kl if kl.value > 0 else Estimate(0.0, 0.0)

    @property
    def mutual_information(self) -> Estimate:
        """I(x; z) = R − KL(q(z) ‖ p(z)): too low for the population, and never above log N."""
        return self._mean(self.log_p - self.log_q, and_rate=True)

    @property
    def mutual_information_upper(self) -> Estimate:
        """R − ``marginal_kl_lower``: too high for the population, in the mean."""
        if self.marginal_kl_lower.value == 0:
            return self.aggregate_rate
        return self._mean(self.log_p - self.log_q_of_others, and_rate=True)

    @property
    def most_information(self) -> float:
        """log N, which I(x; z) of N data cannot exceed."""
        return math.log(self.num_aggregate)

    @property
    def saturated(self) -> bool:
        """Whether I(x; z) is within a nat of log N, and so rather a count of the data."""
        return self.mutual_information.value > self.most_information - 1

    @property
    def total_correlation(self) -> Estimate | None:
        """KL(q(z) ‖ Π_j q(z_j)), what the dimensions share; too high as ``marginal_kl`` is."""
        if self.log_q_per_dimension is None:
            return None
        return self._mean(self.log_q - self.log_q_per_dimension.sum(-1))

    @property
    def dimension_wise_kl(self) -> Estimate | None:
        """Σ_j KL(q(z_j) ‖ p(z_j))."""
        ratio = self._log_ratio_per_dimension()
        return None if ratio is None else self._mean(ratio.sum(-1))

    @property
    def marginal_kl_per_dimension(self) -> PerLatent | None:
        """KL(q(z_j) ‖ p(z_j)), [latent]."""
        ratio = self._log_ratio_per_dimension()
        return None if ratio is None else ratio.mean(0)

    @property
    def information_per_dimension(self) -> PerLatent | None:
        """I(x; z_j) = E KL(q(z_j|x) ‖ p(z_j)) − KL(q(z_j) ‖ p(z_j)), [latent]."""
        marginal = self.marginal_kl_per_dimension
        if self.kl_per_dimension is None or marginal is None:
            return None
        return self.kl_per_dimension - marginal

    @property
    def outside(self) -> float:
        """The share of the prior's draws where q(z) is less than at 99 % of new data's z."""
        level = self.log_q_of_others.kthvalue(self._rare).values
        q = self.log_q_of_prior_draws
        return ((q < level) | (q == -math.inf)).double().mean().item()

    @property
    def hole(self) -> bool:
        """Whether ``outside`` is more than five times what it is where q(z) is the prior."""
        return self.outside > _MANY * self._rare / len(self.log_q)

    def carriers(self, share: float = 0.95) -> int | None:
        """How many dimensions carry that share of Σ_j I(x; z_j)."""
        if (each := self.information_per_dimension) is None:
            return None
        carried = each.clamp(min=0).sort(descending=True).values.cumsum(0)
        if carried[-1] < _NOTHING:
            return 0
        return int((carried < share * carried[-1]).sum()) + 1

    def summary(self) -> str:
        """The verdict in words."""
        return "\n".join(
            [self._plane(), self._carried(), self._carriers(), self._aggregate(), self._samples()]
        )

    def __str__(self) -> str:
        return self.summary()

    @property
    def _rare(self) -> int:
        return max(1, round(_RARE * len(self.log_q)))

    def _mean(self, values: Tensor, *, and_rate: bool = False) -> Estimate:
        """Of numbers of the draws, with the rate added, if so asked.

        Of two others the means are known: log q(z|x_n) − log p(z) less KL_n, and KL_n less R. What
        the draws have these off by is taken off in proportion (control variates): where posteriors
        are narrow, that is nearly all of the noise.
        """
        rate, kl = self.aggregate_rate, self.terms.kl[self.datum].double()
        known = torch.stack([self.log_q_of_own - self.log_p - kl, kl - rate.value], -1)
        weights = _weights(values, known)
        mean, error = _mean_and_error(values - known @ weights)
        # A rate that was sampled has noise, and the first of the two has it too.
        of_rate = (int(and_rate) + weights[0].item()) * rate.error
        return Estimate(mean + int(and_rate) * rate.value, math.hypot(error, of_rate))

    def _log_ratio_per_dimension(self) -> Tensor | None:
        if self.log_q_per_dimension is None or self.log_p_per_dimension is None:
            return None
        return self.log_q_per_dimension - self.log_p_per_dimension

    def _plane(self) -> str:
        return (
            f"Rate {self.rate}, distortion {self.distortion} nats a datum: the bound is "
            f"{_number(self.bound)}."
        )

    def _carried(self) -> str:
        nats = _range(self.mutual_information, self.mutual_information_upper)
        said = f"x and z share {nats} nats."
        if not self.saturated:
            return said
        return (
            f"{said} The lower end is within a nat of log {self.num_aggregate} = "
            f"{self.most_information:.2f}, the most that so many data can show: give more."
        )

    def _carriers(self) -> str:
        count = len(self.latents)
        active = self._active_ones(count)
        if (carriers := self.carriers()) is None:
            return f"{active[0].upper()}{active[1:]}."
        if carriers == 0:
            return f"No latent by itself carries anything of it; {active}."
        verb = "carries" if carriers == 1 else "carry"
        return f"{carriers} of {count} latents {verb} 95 % of it; {active}."

    def _active_ones(self, count: int) -> str:
        unknown = int(self.active.unknown.sum())
        if unknown == count:
            return "which are active is unknown, as they have no mean"
        said = f"{self.active.count} of {count} latents active"
        return f"{said}, unknown of {unknown} without a mean" if unknown else said

    def _aggregate(self) -> str:
        nats = _range(self.marginal_kl, self.marginal_kl_lower)
        said = f"The aggregate posterior is {nats} nats from the prior"
        if self.dimension_wise_kl is None:
            return f"{said}."
        return (
            f"{said}: {self.dimension_wise_kl} by single dimensions, at most "
            f"{self.total_correlation} by what they share."
        )

    def _samples(self) -> str:
        if not self.hole:
            return "Samples from the prior land where the decoder was trained."
        return (
            f"Hole: {self.outside:.0%} of the prior's samples land where hardly any posterior has "
            "led the decoder in training. Train the prior, or sample from the aggregate posterior."
        )


def information(
    model: Program,
    guide: Program,
    x: Data,
    *,
    num_samples: int = 10,
    num_draws: int = 2000,
    num_aggregate: int | None = None,
    max_plate_nesting: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
) -> Information:
    """What the latents carry: rate R, distortion D, and the two parts of the rate,

    .. math:: R = E\\,KL(q(z|x)\\,\\|\\,p(z)) = I(x; z) + KL(q(z)\\,\\|\\,p(z)), \\quad
       q(z) = \\tfrac1N \\sum_n q(z|x_n), \\quad D = -E \\log p(x|z)

    in nats a datum; −(R + D) is the evidence lower bound. At R = 0 the latents say nothing of x.
    What goes from the rate into KL(q(z) ‖ p(z)) says nothing of x either, and means that the prior
    samples other latents than the decoder was trained on. Where the prior factorises, that KL has
    two parts itself, the total correlation and what single dimensions are off by:

    .. math:: KL(q(z)\\,\\|\\,p(z)) = KL(q(z)\\,\\|\\,\\textstyle\\prod_j q(z_j))
       + \\sum_j KL(q(z_j)\\,\\|\\,p(z_j))

    *The estimator.* z is drawn from the posteriors, as often from each as from the next, and log
    q(z) is the logarithm of the mean of **all** N posteriors there, its own among them. So q(z) of
    these data is exact (from a mini-batch, as in training, it is off by nats). The noise of the
    draws' rate, whose mean is known, is taken off; errors are those of the draws, for the data as
    they are.

    *Its bias.* Against q(z) of the population that x is from, that of N data is too peaked: I(x; z)
    comes out too low in the mean, and never above log N; KL(q(z) ‖ p(z)) and the total correlation
    too high by as much; single dimensions hardly. With the own posterior left out of q(z), I(x; z)
    comes out too high instead. The two, and R, enclose what more data would show.

    *The prior's samples.* ``outside`` is the share of z ~ p(z) where q(z) is less than at 99 % of
    z ~ q(z|x_n), datum n left out of q(z): about 1 % where q(z) is the prior. More is a hole, where
    the prior puts samples and no datum led the decoder in training.

    In evaluation mode (a module that a plain function merely calls is not seen: call ``.eval()`` on
    it yourself), in passes of bounded memory. Time goes with ``num_draws`` · N · latents; where one
    latent site of the guide depends on another, the guide runs for each draw and datum. A KL is in
    closed form where torch has one, else sampled; scales (``poutine.scale``) are left out. Weights,
    modes and the global random state stay as they are.

    Args:
        model, guide: the pair, modules or functions of x.
        x: data, [data, *event], at least two.
        num_samples: draws z ~ q(z|x) a datum, at least two.
        num_draws: at how many of these q(z) is evaluated.
        num_aggregate: N, of how many data q(z) is made, chosen at random; all by default. Fewer
            save time at the price of bias; fewer ``num_draws`` at that of noise.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.
        seed: of the draws.
        batch_size: data that score the draws in one pass; by default what memory allows. It changes
            no number but by rounding.

    Raises:
        ValueError: a count out of range.
        PairError: a guide that cannot score a given z, or has no density, such as a ``Delta``; a
            latent outside the plate over the data, or masked, or auxiliary; a prior that differs
            from datum to datum.
        NonFiniteError: a rate or distortion that is NaN or infinite; it names the term.

    Source:
        Alemi et al., "Fixing a Broken ELBO" (2018), the plane of R and D. Hoffman and Johnson,
        "ELBO surgery" (2016), the parts of R. Chen et al., "Isolating Sources of Disentanglement in
        Variational Autoencoders" (2018), the parts of the KL. Poole et al., "On Variational Bounds
        of Mutual Information" (2019), bounds with and without a datum's own posterior.

    Where the guide is exact, q(z) tends to the prior, and I(x; z) is ½ log|Λ|, here 1.65:

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian(num_data=500)
    >>> print(information(pair.model, pair.guide, pair.x))
    Rate 1.70, distortion 5.40 ± 0.01 nats a datum: the bound is −7.10.
    x and z share 1.69 ± 0.004 nats.
    2 of 2 latents carry 95 % of it; 2 of 2 latents active.
    The aggregate posterior is 0.010 ± 0.004 nats from the prior: 0.003 ± 0.002 by single
    dimensions, at most 0.007 ± 0.003 by what they share.
    Samples from the prior land where the decoder was trained.
    """
    counts = _Counts(len(x), num_samples, num_draws, num_aggregate, batch_size)
    with undisturbed(model, guide), forked_rng(seed, x.device):
        return _Panel(model, guide, x, counts, max_plate_nesting, seed).information()


@dataclass(frozen=True)
class _Counts:
    """How many data and draws there are to be.

    Raises:
        ValueError: a count out of range.
    """

    data: int
    num_samples: int
    num_draws: int
    num_aggregate: int | None
    batch_size: int | None

    def __post_init__(self) -> None:
        if self.data < 2:
            raise ValueError(f"x: expected two data or more; got {self.data}.")
        least = {"num_samples": 2, "num_draws": 2, "num_aggregate": 2, "batch_size": 1}
        for name, least_count in least.items():
            count = getattr(self, name)
            if count is not None and count < least_count:
                raise ValueError(f"{name}: expected ≥ {least_count}; got {count}.")


class _Panel:
    """The passes, one after the other."""

    def __init__(
        self, model: Program, guide: Program, x: Tensor, counts: _Counts, nesting: int, seed: int
    ) -> None:
        self._model, self._guide, self._x = model, guide, x
        self._counts, self._nesting = counts, nesting
        # The first sample of each datum, the data in an order by chance, then the second, ….
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(x), generator=generator)[: counts.num_aggregate].to(x.device)
        draws = min(counts.num_draws, counts.num_samples * len(order))
        draw = torch.arange(draws, device=x.device)
        self._aggregate = order.sort().values
        self._datum, self._sample = order[draw % len(order)], draw // len(order)

    def information(self) -> Information:
        drawn, coordinates = self._draw()
        draws, size = drawn.draws, len(self._aggregate)
        with pyro.validation_enabled(False):  # one posterior's draw may be off another's support
            of_prior = prior_draws(self._model, self._x, len(self._datum), self._nesting)
            of_prior = {name: of_prior[name] for name in draws.values}  # in the guide's order
            log_p = self._log_prior(draws.values)
            own = torch.searchsorted(self._aggregate, draws.datum)
            others, each = self._log_sums(draws.values, own)
            at_prior, _ = self._log_sums(of_prior, torch.full_like(own, -1), marginals=False)
        return Information(
            rate=drawn.kl.estimate(),
            distortion=drawn.distortion.estimate(),
            terms=BoundTerms(-drawn.distortion.value, drawn.kl.value),
            latents=latent_names(draws.values),
            kl_per_dimension=_double(_mean_of_rows(drawn.kl_per_dimension)),
            active=_active_units(drawn, coordinates.ranked, table(of_prior)),
            num_aggregate=size,
            aggregate_rate=drawn.kl.of_data(self._aggregate).estimate(),
            draws=table(draws.values),
            datum=draws.datum,
            log_q_of_own=draws.log_q.double(),
            log_q=torch.logaddexp(others, draws.log_q.double()) - math.log(size),
            log_q_of_others=others - math.log(size - 1),
            log_p=log_p.joint.double(),
            log_q_per_dimension=None if each is None else each - math.log(size),
            log_p_per_dimension=_double(log_p.each),
            prior_draws=table(of_prior),
            log_q_of_prior_draws=at_prior - math.log(size),
        )

    def _draw(self) -> tuple[_Drawn, Coordinates]:
        """z of each datum, and of the aggregate's data the draws of q(z); and what z is measured
        in."""
        samples, parts = self._counts.num_samples, []
        coordinates: Coordinates | None = None
        size = max(1, rows_at_once(self._x) // samples)
        for start in range(0, len(self._x), size):
            batch = self._x[start : start + size]
            found = Samples(self._model, self._guide, batch, samples, self._nesting)
            check_densities(found.run)
            _check_finite(found)
            coordinates = coordinates or Coordinates.of(found)
            here = (self._datum >= start) & (self._datum < start + len(batch))
            datum, sample = self._datum[here], self._sample[here]
            parts.append(
                _Drawn(
                    kl=Averages.of(found.kl),
                    distortion=Averages.of(-found.reconstruction),
                    mean=Averages.of(found.means),
                    ranked=side_by_side(found.values)[..., coordinates.ranked].movedim(1, 0),
                    kl_per_dimension=found.kl_per_dimension,
                    draws=_Draws(
                        {n: value[sample, datum - start] for n, value in found.values.items()},
                        datum,
                        found.log_q[sample, datum - start],
                    ),
                )
            )
        assert coordinates is not None
        return end_to_end(parts), coordinates

    def _log_prior(self, values: Values) -> Density:
        """log p(z), [draws], and of each dimension, [draws, latent] or ``None``."""
        chunks = torch.arange(len(self._datum)).split(max(1, rows_at_once(self._x) // 2))
        found = [
            score(self._model, self._x[:2], chosen_rows(values, chunk), self._nesting)
            for chunk in chunks
        ]
        density: Density = end_to_end(found)
        first, second = density.joint.unbind(1)
        if not torch.allclose(first, second, rtol=1e-4, atol=1e-4):
            raise PairError(
                "prior: expected one p(z) for all data; got others for others, to which q(z) has "
                "no KL. Take bound_terms, which gives rate and distortion."
            )
        return Density(first, None if density.each is None else density.each[:, 0])

    def _log_sums(
        self, values: Values, own: Tensor, marginals: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Of latents: log Σ_n q(z|x_n) over all data but their own, [draws]; and log Σ_n q(z_j|x_n)
        over all data, [draws, latent], if asked for and known. In double precision."""
        draws, latents = table(values).shape
        most = _AT_ONCE_ON_GPU if self._x.device.type == "cuda" else _AT_ONCE
        chunks = torch.arange(draws).split(
            max(1, most // (latents * (self._counts.batch_size or 1)))
        )
        size = self._counts.batch_size or max(1, most // (latents * len(chunks[0])))
        return end_to_end(
            [self._sums_of(chosen_rows(values, c), own[c], marginals, size) for c in chunks]
        )

    def _sums_of(
        self, values: Values, own: Tensor, marginals: bool, size: int
    ) -> tuple[Tensor, Tensor | None]:
        total = _log_zero(own)
        totals: Tensor | None = None
        for data in torch.arange(len(self._aggregate), device=own.device).split(size):
            density = score(self._guide, self._x[self._aggregate[data]], values, self._nesting)
            others = density.joint.masked_fill(own[:, None] == data, -math.inf)
            total = torch.logaddexp(total, others.logsumexp(1).double())
            if marginals and density.each is not None:
                sums = density.each.logsumexp(1).double()
                totals = sums if totals is None else torch.logaddexp(totals, sums)
        return total, totals


class Averages(NamedTuple):
    """The mean over the samples of each datum, [data, …], and the variance of that mean."""

    value: Tensor
    variance: Tensor

    @classmethod
    def of(cls, samples: Tensor) -> Averages:
        return cls(samples.mean(0), samples.var(0) / len(samples))

    def of_data(self, chosen: Tensor) -> Averages:
        return Averages(self.value[chosen], self.variance[chosen])

    def between(self) -> Tensor:
        """The variance over the data, without what the samples' noise adds to it."""
        return self.value.var(0) - self.variance.mean(0)

    def between_error(self) -> Tensor:
        """What :meth:`between` may be by that noise alone: its deviation where it should be 0."""
        return self.variance.mean(0) * math.sqrt(2 / (len(self.variance) - 1))

    def estimate(self) -> Estimate:
        """The mean over the data."""
        error = self.variance.double().sum().sqrt() / len(self.variance)
        return Estimate(self.value.double().mean().item(), error.item())


class _Draws(NamedTuple):
    """z ~ q(z), the datum whose posterior each is from, and its density there, [draws]."""

    values: Values
    datum: Tensor
    log_q: Tensor


class _Drawn(NamedTuple):
    """What the samples say of each datum, and those that are draws of q(z)."""

    kl: Averages
    distortion: Averages
    mean: Averages
    ranked: Tensor
    """z of the latents that are measured by rank, [data, samples, ranked]."""
    kl_per_dimension: Tensor | None
    draws: _Draws


def _active_units(drawn: _Drawn, ranked: Tensor, prior: Tensor) -> ActiveUnits:
    """By the moments of z, and of its normal scores where it has none; [draws, latent] of p(z)."""
    variance, of_prior = drawn.mean.between(), prior.var(0)
    if bool(ranked.any()):
        prior = prior[:, ranked]
        scores = normal_scores(drawn.ranked, prior).movedim(1, 0)
        variance[ranked] = Averages.of(scores).between().to(variance)
        of_prior[ranked] = normal_scores(prior, prior).var(0).to(of_prior)
    return ActiveUnits(variance, _ACTIVE * of_prior)


def _check_finite(found: Samples) -> None:
    bad = ~(found.kl + found.reconstruction).isfinite().all(0)
    if bool(bad.any()):
        raise not_finite([found.run], int(bad.nonzero()[0]), len(bad))


def _weights(values: Tensor, known: Tensor) -> Tensor:
    """Of a regression of the values, [draws], on others, [draws, others]."""
    if len(values) < _REGRESSED or not bool(values.isfinite().all()):
        return known.new_zeros(known.shape[1])
    centred = known - known.mean(0)
    return torch.linalg.pinv(centred.mT @ centred, hermitian=True) @ (centred.mT @ values)


def _mean_and_error(values: Tensor) -> tuple[float, float]:
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item()


def _double(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.double()


def _mean_of_rows(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.double().mean(0)


def _log_zero(like: Tensor) -> Tensor:
    return torch.full(like.shape, -math.inf, dtype=torch.float64, device=like.device)


def _number(value: float) -> str:
    digits = 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}".replace("-", "−")


def _range(exact: Estimate, other: Estimate) -> str:
    """From one to the other, where there is more than noise between the two."""
    low, high = sorted((exact.value, other.value))
    if high - low <= max(0.05, 2 * math.hypot(exact.error, other.error)):
        return f"{exact}"
    return f"{_number(low)} to {_number(high)}"
