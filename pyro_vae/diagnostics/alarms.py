"""Alarms during training: latents that collapse, rates that explode, variances that run to zero."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_vae._modes import forked_rng
from pyro_vae._module import EstimatedMean
from pyro_vae._shapes import Data
from pyro_vae.evaluation._given_latents import (
    Given,
    Program,
    Samples,
    Values,
    end_to_end,
    latent_names,
    table,
    undisturbed,
)
from pyro_vae.evaluation.active_units import Coordinates
from pyro_vae.evaluation.information import Averages

__all__ = ["Alarm", "CollapseAlarm", "CollapseWarning", "Kind", "Look", "Thresholds"]

PerLatent = Float[Tensor, "latent"]

_AT_ONCE = 4_000  # samples · data in a pass, as in evaluation
_NAMED = 5  # latents that are named in a message; of more, their number is said


class CollapseWarning(UserWarning):
    """What a :class:`CollapseAlarm` has to say."""


class Kind(StrEnum):
    """What an alarm is about."""

    POSTERIOR_COLLAPSE = "posterior collapse"
    WHOLE_COLLAPSE = "whole collapse"
    IGNORED_LATENTS = "ignored latents"
    KL_EXPLOSION = "KL explosion"
    UNBOUNDED_LIKELIHOOD = "unbounded likelihood"
    AGGREGATE_MISMATCH = "aggregate mismatch"


@dataclass(frozen=True)
class Alarm:
    """Something that began, or ended, between the last look and this one."""

    epoch: int
    kind: Kind
    ended: bool
    message: str


@dataclass(frozen=True)
class Thresholds:
    """From where on something is an alarm. Numbers in nats are of a datum.

    Raises:
        ValueError: fewer than one look.
    """

    looks: int = 3
    """At how many looks in a row it must be so: much that is odd at first passes by itself."""
    used_kl: float = 0.5
    """KL, in nats, by which a latent counts as used …"""
    collapsed_kl: float = 0.05
    """… and below which one that was used has collapsed."""
    active: float = 0.01
    """Variance of a posterior mean, of the prior's, below which a latent is inactive."""
    least_rate: float = 0.1
    """Rate, in nats, below which z says nothing of x."""
    least_reliance: float = 0.1
    """Nats by which log p(x|z) must change when z is another datum's."""
    rate_rise: float = 0.2
    """How much more than at the best bound the rate is in an explosion, relative to it …"""
    bound_fall: float = 0.1
    """… and what the bound has lost of all it had won; never less than a nat."""
    least_scale: float = 1e-3
    """σ of p(x|z), relative to the deviation of the data."""
    aggregate_kl: float = 2.0
    """KL, in nats a latent, between normals with the aggregate posterior's moments and the prior's:
    a mean that is off by two deviations, or a deviation 2.6 times the prior's."""

    def __post_init__(self) -> None:
        if self.looks < 1:
            raise ValueError(f"looks: expected ≥ 1; got {self.looks}.")


@dataclass(frozen=True)
class Look:
    """What was seen of a pair. [latent] in the order of :attr:`CollapseAlarm.latents`.

    Where posterior or prior have no finite mean and variance, as a ``HalfCauchy``, ``activity``,
    ``shift`` and ``spread`` are those of Φ⁻¹ of z's rank among the prior's draws. Of a
    ``Categorical``, whose values are names, they are unknown, NaN.
    """

    epoch: int
    rate: float
    """KL(q(z|x) ‖ p(z)), nats a datum."""
    distortion: float
    """−E log p(x|z), nats a datum."""
    reliance: float
    """How far log p(x|z) is from log p(x|z′), z′ of another datum: the mean size, nats a datum."""
    scale: float | None
    """The smallest σ of p(x|z), relative to the deviation of the data; ``None`` without a σ."""
    kl: PerLatent | None
    """The rate of each latent, where guide and prior factorise."""
    activity: PerLatent
    """The variance over the data of its posterior mean, relative to the prior's; what may be noise
    is taken off where a posterior knows its mean by draws only."""
    shift: PerLatent
    """Mean of the aggregate posterior less the prior's, in deviations of the prior."""
    spread: PerLatent
    """Deviation of the aggregate posterior, relative to the prior's."""

    @property
    def terms(self) -> tuple[float, float]:
        """Rate and distortion."""
        return self.rate, self.distortion

    @property
    def bound(self) -> float:
        """The evidence lower bound, −(rate + distortion)."""
        return -(self.rate + self.distortion)

    @property
    def mismatch(self) -> PerLatent:
        """KL of the normals with these moments, ½ (spread² − 1 − log spread² + shift²)."""
        variance = self.spread.square()
        return 0.5 * (variance - 1 - variance.log() + self.shift.square())


class CollapseAlarm:
    """Watches a pair while it trains, and says in words when something goes wrong:

    ====================== ==================================================================
    kind                   begins where
    ====================== ==================================================================
    posterior collapse     the KL of a latent that was in use falls to nothing, or no latent's
                           posterior mean varies with x any more
    whole collapse         the rate is next to nothing: the decoder gets nothing from x
    ignored latents        log p(x|z) is the same with the z of another datum
    KL explosion           the rate rises while the bound falls, or either is no number
    unbounded likelihood   a σ of p(x|z) that was larger runs to zero, and log p(x|z) to infinity
    aggregate mismatch     mean or deviation of q(z), the mean of all q(z|x), are far from those of
                           the prior: samples from the prior are then none of the data
    ====================== ==================================================================

    To be called with the epoch's number, once an epoch: ``fit(…, after_epoch=alarm)``, or
    ``before_epoch=alarm``, which sees the epoch before. Each alarm is said once when it begins, at
    the third look in a row at which it is so (``Thresholds.looks``), and once when it ends. The
    first look, and others as long as nothing has been learned, are only what later ones are
    compared with: an untrained encoder says next to nothing of x.

    Each look runs the pair on ``x`` with the same random numbers, in evaluation mode; variances
    that are estimated (``FloatingPrior``, ``OptimalVariance``) are those of ``x``. It changes
    nothing: no weights, modes, gradients or random state, and a training with it is the same, bit
    for bit, as without.

    Args:
        model, guide: the pair, modules or functions of x.
        x: data to watch, [data, *event], some hundreds; held-out data show overfitting, too.
        thresholds: from where on something is an alarm.
        tell: what is called with a message; by default ``warnings.warn``, with the category
            :class:`CollapseWarning`.
        num_samples: draws z ~ q(z|x) a datum.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.
        seed: of the draws.

    Raises:
        ValueError: fewer than two data, or two samples.
        PairError: when called, for a pair with a latent outside the plate over the data.

    Source:
        Bowman et al. (2016), Sønderby et al. (2016), for posterior collapse; Burda et al. (2016)
        for active units; Rezende and Viola, "Taming VAEs" (2018), for variances running to zero.

    A guide that stops looking at x:

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian(num_data=200)
    >>> alarm = CollapseAlarm(pair.model, pair.guide, pair.x, Thresholds(looks=1), tell=print)
    >>> alarm(1)
    >>> with torch.no_grad():
    ...     _ = pair.guide.encoder.weight.zero_()
    ...     _ = pair.guide.encoder.bias.copy_(torch.tensor([0.0, 0.0, 0.541, 0.541]))
    >>> alarm(2)
    epoch 2: posterior collapse: z[0] has ... nats of the 0.53 it once had, z[1] has ... nats of the
    1.09 it once had, no latent's posterior mean varies with x. Let ELBO's beta rise from 0
    (before_epoch), or give it free_bits.
    epoch 2: whole collapse: the rate is ... nats. The decoder gets nothing of x: a smaller beta,
    free_bits, or a smaller σ of p(x|z).
    >>> alarm.history[-1].rate < 1e-6
    True
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        x: Data,
        thresholds: Thresholds | None = None,
        *,
        tell: Callable[[str], Any] | None = None,
        num_samples: int = 4,
        max_plate_nesting: int = 1,
        seed: int = 0,
    ) -> None:
        if len(x) < 2 or num_samples < 2:
            raise ValueError(
                f"CollapseAlarm: expected ≥ 2 data and num_samples ≥ 2; got {len(x)} data and "
                f"num_samples {num_samples}."
            )
        self.history: list[Look] = []
        """Every look, in order."""
        self.alarms: list[Alarm] = []
        """Every alarm, in order."""
        self.latents: tuple[str, ...] = ()
        """The names of the latents' dimensions, once there was a look."""
        self._eye = _Eye(model, guide, x, num_samples, max_plate_nesting, seed)
        self._thresholds = Thresholds() if thresholds is None else thresholds
        self._tell = _warn if tell is None else tell
        self._looks: dict[Kind, Counter[str]] = {kind: Counter() for kind in Kind}

    def __call__(self, epoch: int, /) -> None:
        look, self.latents = self._eye.look(epoch)
        self.history.append(look)
        if all(look.terms == self.history[0].terms for look in self.history):
            return
        for kind, rule in _RULES.items():
            found = rule.judge(self.history, self._thresholds, self.latents)
            before, now = self._looks[kind], {what: self._looks[kind][what] + 1 for what in found}
            self._looks[kind] = Counter(now)
            least = self._thresholds.looks
            if begun := [found[what] for what, looks in now.items() if looks == least]:
                self._raise(epoch, kind, f"{_listed(begun)}. {rule.advice}")
            ended = [what for what, looks in before.items() if looks >= least and what not in now]
            if ended:
                self._raise(epoch, kind, f"no longer so: {_listed(ended)}.", ended=True)

    def _raise(self, epoch: int, kind: Kind, said: str, *, ended: bool = False) -> None:
        alarm = Alarm(epoch, kind, ended, f"epoch {epoch}: {kind}: {said}")
        self.alarms.append(alarm)
        self._tell(alarm.message)


def _warn(message: str) -> None:
    warnings.warn(message, CollapseWarning, stacklevel=4)


def _listed(words: Sequence[str]) -> str:
    more = len(words) - _NAMED
    return ", ".join(words[:_NAMED]) + (f" and {more} more" if more > 0 else "")


# --- what is judged -------------------------------------------------------------------------------

History = Sequence[Look]
Found = dict[str, str]
"""What is affected → what there is to say of it."""


@dataclass(frozen=True)
class _Rule:
    judge: Callable[[History, Thresholds, Sequence[str]], Found]
    advice: str


def _posterior_collapse(history: History, t: Thresholds, latents: Sequence[str]) -> Found:
    found = {}
    if kls := [look.kl for look in history if look.kl is not None]:
        kl = torch.stack(kls)
        most, last = kl.max(0).values.tolist(), kl[-1].tolist()
        found = {
            latents[j]: f"{latents[j]} has {last[j]:.2g} nats of the {most[j]:.2f} it once had"
            for j in _collapsed(kl, t).nonzero().flatten().tolist()
        }
    if bool((history[-1].activity <= t.active).all()):
        found["all latents"] = "no latent's posterior mean varies with x"
    return found


def _collapsed(kl: Tensor, t: Thresholds) -> Tensor:
    """Which latents, of KLs [looks, latent], were in use, fell, and are not back."""
    used = collapsed = torch.zeros_like(kl[0], dtype=torch.bool)
    for each in kl:
        used = used | (each >= t.used_kl)
        collapsed = (collapsed & (each < t.used_kl)) | (used & (each < t.collapsed_kl))
    return collapsed


def _whole_collapse(history: History, t: Thresholds, latents: Sequence[str]) -> Found:
    rate = history[-1].rate
    return {"the rate": f"the rate is {rate:.2g} nats"} if rate < t.least_rate else {}


def _ignored_latents(history: History, t: Thresholds, latents: Sequence[str]) -> Found:
    look = history[-1]
    if not look.reliance < t.least_reliance:
        return {}
    return {
        "the decoder": f"with the z of another datum log p(x|z) changes by {look.reliance:.2g} "
        f"nats, at a rate of {look.rate:.2g}"
    }


def _kl_explosion(history: History, t: Thresholds, latents: Sequence[str]) -> Found:
    look, best = history[-1], max(history, key=lambda look: look.bound)
    if not math.isfinite(look.bound):
        return {"the bound": f"rate {look.rate} and distortion {look.distortion} are no numbers"}
    least = max(1.0, t.bound_fall * (best.bound - history[0].bound))
    if look.rate <= (1 + t.rate_rise) * best.rate or look.bound >= best.bound - least:
        return {}
    return {
        "the rate": f"since epoch {best.epoch} the rate has risen from {best.rate:.2f} to "
        f"{look.rate:.2f} nats, and the bound fallen from {best.bound:.2f} to {look.bound:.2f}"
    }


def _unbounded_likelihood(history: History, t: Thresholds, latents: Sequence[str]) -> Found:
    first, now = history[0].scale, history[-1].scale
    if first is None or now is None or not now < min(t.least_scale, first / 2):
        return {}
    return {"p(x|z)": f"the smallest σ of p(x|z) is {now:.1e} deviations of the data"}


def _aggregate_mismatch(history: History, t: Thresholds, latents: Sequence[str]) -> Found:
    look = history[-1]
    return {
        latents[j]: f"{latents[j]} has the mean {look.shift[j]:.2f} and deviation "
        f"{look.spread[j]:.2f} against the prior's"
        for j in (look.mismatch > t.aggregate_kl).nonzero().flatten().tolist()
    }


_RULES = {
    Kind.POSTERIOR_COLLAPSE: _Rule(
        _posterior_collapse, "Let ELBO's beta rise from 0 (before_epoch), or give it free_bits."
    ),
    Kind.WHOLE_COLLAPSE: _Rule(
        _whole_collapse,
        "The decoder gets nothing of x: a smaller beta, free_bits, or a smaller σ of p(x|z).",
    ),
    Kind.IGNORED_LATENTS: _Rule(
        _ignored_latents, "z is not read: a weaker decoder, or a rate that pays (beta, free_bits)."
    ),
    Kind.KL_EXPLOSION: _Rule(
        _kl_explosion,
        "In training data it is the learning rate (a lower one, or clip_norm), in held-out data "
        "overfitting (early_stopping).",
    ),
    Kind.UNBOUNDED_LIKELIHOOD: _Rule(
        _unbounded_likelihood,
        "log p(x|z) has no upper bound there: give the variance a floor (least=).",
    ),
    Kind.AGGREGATE_MISMATCH: _Rule(
        _aggregate_mismatch,
        "Samples from the prior will be none of the data: beta nearer to 1, or a learned prior.",
    ),
}


# --- what is seen ---------------------------------------------------------------------------------


class _Eye:
    """Looks at a pair on the same data with the same random numbers."""

    def __init__(
        self,
        model: Program,
        guide: Program,
        x: Tensor,
        num_samples: int,
        max_plate_nesting: int,
        seed: int,
    ) -> None:
        self._model, self._guide, self._x = model, guide, x
        self._num_samples, self._nesting, self._seed = num_samples, max_plate_nesting, seed
        self._coordinates: Coordinates | None = None  # of the first look, for all others, too
        # The prior's program: the model without its data.
        self._prior = poutine.block(model, hide_fn=_is_observed)

    def look(self, epoch: int) -> tuple[Look, tuple[str, ...]]:
        """What there is to see, and the names of the latents."""
        passes = -(-len(self._x) * self._num_samples // _AT_ONCE)
        with undisturbed(self._model, self._guide) as modules, self._own_randomness():
            for module in modules:
                _estimate_anew(module)
            seen = end_to_end([self._pass(batch) for batch in self._x.tensor_split(passes)])
            assert self._coordinates is not None
        return _look(epoch, seen, self._coordinates), latent_names(seen.z)

    def _own_randomness(self) -> AbstractContextManager[None]:
        return forked_rng(self._seed, self._x.device)

    def _pass(self, x: Tensor) -> _Seen:
        likelihoods = _Likelihoods()
        with likelihoods:
            found = self._samples(self._guide, x)
        of_prior = self._samples(self._prior, x)
        z, prior = (
            {n: drawn.values[n].flatten(0, 1) for n in found.values} for drawn in (found, of_prior)
        )
        if self._coordinates is None:
            self._coordinates = Coordinates.of(found)
        with Given(_of_another(found, len(x) // 2, self._nesting)):
            elsewhere = self._samples(self._prior, x)
        return _Seen(
            kl=found.kl.mean(0),
            distortion=-found.reconstruction.mean(0),
            reliance=(found.reconstruction - elsewhere.reconstruction).abs().mean(0),
            kl_per_dimension=found.kl_per_dimension,
            mean=Averages.of(self._coordinates.means(found, table(prior))),
            scale=likelihoods.scales,
            z=z,
            prior=prior,
        )

    def _samples(self, guide: Program, x: Tensor) -> Samples:
        return Samples(self._model, guide, x, self._num_samples, self._nesting)


class _Seen(NamedTuple):
    """Of each datum of a pass, or of all: [data, …]; and draws, [samples · data, …]."""

    kl: Tensor
    distortion: Tensor
    reliance: Tensor
    kl_per_dimension: Tensor | None
    mean: Averages
    scale: Tensor
    z: Values
    prior: Values


def _look(epoch: int, seen: _Seen, coordinates: Coordinates) -> Look:
    draws = [table(values).double().cpu() for values in (seen.z, seen.prior)]
    z, prior = (coordinates.draws(each, draws[1]) for each in draws)
    kl = seen.kl_per_dimension
    return Look(
        epoch=epoch,
        rate=_mean(seen.kl),
        distortion=_mean(seen.distortion),
        reliance=_mean(seen.reliance),
        scale=seen.scale.min().item() if len(seen.scale) else None,
        kl=None if kl is None else kl.double().mean(0).cpu(),
        activity=(seen.mean.between() - 2 * seen.mean.between_error()).cpu() / prior.var(0),
        shift=(z.mean(0) - prior.mean(0)) / prior.std(0),
        spread=z.std(0) / prior.std(0),
    )


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def _is_observed(site: dict[str, Any]) -> bool:
    return site["type"] == "sample" and site["is_observed"]


def _estimate_anew(module: nn.Module) -> None:
    """What is estimated over the training set, perhaps not yet: from the batch, as in training."""
    for part in module.modules():
        if isinstance(part, EstimatedMean):
            part.train()


def _of_another(found: Samples, places: int, nesting: int) -> Values:
    """Each datum's z at another's place."""
    return {
        site.name: site.value.roll(places, -1 - len(site.q.event_shape))
        for site in found.run.latents
    }


class _Likelihoods(Messenger):
    """Sees the smallest σ of each observed site, relative to the deviation of what is observed."""

    def __init__(self) -> None:
        super().__init__()
        self._scales: list[Tensor] = []

    @property
    def scales(self) -> Tensor:
        """[sites with a σ]."""
        return torch.stack(self._scales) if self._scales else torch.empty(0)

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        scale = _scale(msg["fn"]) if msg["is_observed"] else None
        if scale is not None:
            deviation = msg["value"].double().std()
            self._scales.append(scale.double().min() / deviation.where(deviation > 0, 1.0))


def _scale(p: Any) -> Tensor | None:
    """σ of a density on the real numbers, which has no bound where σ is 0."""
    while hasattr(p, "base_dist"):
        p = p.base_dist
    scale = getattr(p, "scale", None)
    return scale if isinstance(scale, Tensor) and not p.support.is_discrete else None
