"""How far a guide's importance weights can be trusted, datum by datum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from tqdm import tqdm

from pyro_vae._errors import NonFiniteError, ShapeError
from pyro_vae._modes import forked_rng
from pyro_vae._shapes import Data, PerDatum, PerParticle, check_some
from pyro_vae.diagnostics._programs import Program, as_module
from pyro_vae.diagnostics._psis import LEAST_SAMPLES, LEAST_TAIL, smooth, threshold_of
from pyro_vae.evaluation.evidence import in_batches, weigh

__all__ = ["Reliability", "pareto_k", "reliability"]

# Weights that are smoothed at once (8 MB a copy), and data whose weights are drawn at once.
_WEIGHTS, _DATA = 1_000_000, 4_000
_NEARLY_ALL = 0.95  # samples that are effective: then weights hardly vary, whatever their tail
_TRUST = "Every log p(x), and its error, can be trusted as far as weights can tell."
_DISTRUST = (
    "Trust neither log p(x) nor its error where k̂ is above. Up to 0.7 more samples help, about "
    "10^(1/(1 − k̂)) a datum; beyond, the guide is too narrow there or misses a part of the "
    "posterior: widen it."
)


@dataclass(frozen=True)
class Reliability:
    """What a guide's importance weights are worth, datum by datum: see :func:`reliability`.

    Tensors have the shape [data], and log evidences are in nats.
    """

    k: PerDatum
    """Pareto k̂ of the weights: −∞ where they are equal, +∞ where a few outweigh all others."""
    log_evidence: PerDatum
    """log p(x) from the smoothed weights."""
    raw_log_evidence: PerDatum
    """log p(x) from the weights as they are, as ``pyro_vae.evaluation.log_evidence`` has it."""
    error: PerDatum
    """The Monte-Carlo standard error of ``log_evidence``; worth nothing where k̂ is too large."""
    ess: PerDatum
    """Effective number of samples, 1 / Σ w̄², of the smoothed weights w̄ that sum to one."""
    num_samples: int
    """S, the number of samples a datum."""

    @property
    def threshold(self) -> float:
        """The k̂ above which S samples are not enough: min(1 − 1/log₁₀ S, 0.7)."""
        return threshold_of(self.num_samples)

    @property
    def share_above(self) -> float:
        """The share of data with k̂ above the threshold."""
        return (self.k > self.threshold).double().mean().item()

    def worst(self, count: int) -> Int[Tensor, " count"]:
        """Indices of the data with the largest k̂, the worst first.

        Raises:
            ValueError: a count below 1 or above the number of data.
        """
        if not 1 <= count <= len(self.k):
            raise ValueError(f"worst: expected a count from 1 to {len(self.k)}; got {count}.")
        return self.k.topk(count).indices

    def summary(self) -> str:
        """The verdict in words."""
        return f"{self._numbers()}\n{self._verdict()}"

    def __str__(self) -> str:
        return self.summary()

    def _numbers(self) -> str:
        data, above = len(self.k), int((self.k > self.threshold).sum())
        mean, error = self.log_evidence.double().mean(), self.error.double().norm() / data
        return (
            f"Pareto k̂ of {data} data, {self.num_samples} samples each: median "
            f"{self.k.median():.2f}, largest {self.k.max():.2f} (datum {int(self.k.argmax())}), "
            f"{above} above {self.threshold:.2f} ({self.share_above:.1%}).\n"
            f"log p(x): {mean:.2f} ± {error:.2g} nats a datum. Effective samples: median "
            f"{self.ess.median():.0f}, least {self.ess.min():.1f}."
        )

    def _verdict(self) -> str:
        above = self.k > self.threshold
        calm = above & (self.ess >= _NEARLY_ALL * self.num_samples)
        verdict = _TRUST if bool(above.equal(calm)) else _DISTRUST
        if not bool(calm.any()):
            return verdict
        return (
            f"{verdict} No alarm for {int(calm.sum())} of those above: {_NEARLY_ALL:.0%} of their "
            "samples or more are effective."
        )


def reliability(
    model: Program,
    guide: Program,
    x: Data,
    *,
    num_samples: int = 1000,
    max_plate_nesting: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> Reliability:
    """Pareto k̂ of each datum's importance weights, and log p(x) from the smoothed weights:

    .. math:: w_s = p(x, z_s) / q(z_s|x), \\quad z_s \\sim q(z|x), \\qquad
       \\log p(x) \\approx \\log \\tfrac1S \\sum_s \\tilde w_s

    A generalised Pareto distribution is fitted to the ⌈min(S/5, 3√S)⌉ largest weights of each
    datum, and its quantiles stand for them in w̃. Its shape k̂ says how many moments the weights
    have, 1/k. Up to ``threshold`` = min(1 − 1/log₁₀ S, 0.7) the estimate and its error can be
    trusted. From there to 0.7 it takes more samples, about 10^(1/(1 − k̂)). Above 0.7 the estimate
    has a bias that no standard error shows and more samples hardly lessen; at 1 and above samples
    tell nothing of the weights' mean. Then the guide is too narrow for this datum's posterior, or
    misses a part of it.

    k̂ is of a datum's own weights; the other data matter to it by the random numbers alone.
    (``pyro.infer.importance.psis_diagnostic`` has one k̂ for the whole batch, which grows with the
    batch.) A small k̂ is no proof: weights say nothing of a mode that no sample has met. Where
    latents are discrete and take a few values, weights are a few values too, and have no tail to
    speak of: look at ``ess``. Where nearly all samples are effective, a large k̂ is no alarm: it is
    the shape of the weights' tail, and not its size.

    In evaluation mode (a module that a plain function merely calls is not seen: call ``.eval()`` on
    it yourself), in passes of bounded memory. Weights, modes and the global random state stay as
    they are.

    Args:
        model, guide: the pair, modules or functions of x.
        x: data, [data, *event].
        num_samples: S, 21 or more.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.
        seed: of the samples.
        progress: show a bar with the weights that are made.

    Raises:
        ValueError: fewer than 21 samples, of which a fifth is no tail.
        ShapeError: no data.
        PairError: a pair without a plate over the data that all its sites share, or with a
            subsampled one; ``poutine.scale`` on some sites; a latent that has a density in the
            model and none in the guide, such as a ``Delta``.
        NonFiniteError: a NaN, +∞, or a datum whose weights are all zero; it names the term.

    Source:
        Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto Smoothed Importance Sampling" (2024): eq.
        11 for the samples that a k̂ takes, eq. 13 for the threshold. Yao, Vehtari, Simpson and
        Gelman, "Yes, but Did It Work?: Evaluating Variational Inference" (2018), for k̂ of a guide.

    The posterior of z ~ N(0, 1), x ~ N(z, 1) is N(x/2, ½). A guide N(x/2, s²) that is narrower has
    weights of k = 1 − 2s², here ⅞:

    >>> import pyro, pyro.distributions as dist
    >>> def guide(x):
    ...     with pyro.plate("data", len(x), dim=-1):
    ...         return pyro.sample("z", dist.Normal(x / 2, 0.25))
    >>> def model(x):
    ...     with pyro.plate("data", len(x), dim=-1):
    ...         z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
    ...         return pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    >>> print(reliability(model, guide, torch.zeros(200)))
    Pareto k̂ of 200 data, 1000 samples each: median 0.78, largest 1.23 (datum 109),
    150 above 0.67 (75.0%).
    log p(x): -1.48 ± 0.0068 nats a datum. Effective samples: median 131, least 12.4.
    Trust neither log p(x) nor its error where k̂ is above. Up to 0.7 more samples help, about
    10^(1/(1 − k̂)) a datum; beyond, the guide is too narrow there or misses a part of the
    posterior: widen it.

    (log p(x) is −1.27.)
    """
    _check_samples(num_samples)
    check_some(x)
    size = max(1, min(_DATA, _WEIGHTS // num_samples))
    programs = as_module(model), as_module(guide)
    with (
        forked_rng(seed, x.device),
        tqdm(
            total=len(x) * num_samples,
            unit="weight",
            unit_scale=True,
            disable=not progress,
            dynamic_ncols=True,
        ) as bar,
    ):
        parts = [
            _measures(weigh(*programs, batch, num_samples, max_plate_nesting, bar.update))
            for batch in in_batches(*programs, x, size, max_plate_nesting)
        ]
    k, value, raw, error, ess = (torch.cat(part) for part in zip(*parts, strict=True))
    return Reliability(k, value, raw, error, ess, num_samples)


@torch.no_grad()
def pareto_k(log_weights: PerParticle) -> PerDatum:
    """Pareto k̂ of each datum, [data], from log-weights log p(x, z) − log q(z|x), [samples, data].

    See :func:`reliability`. The weights of a datum need no normalising, and those of the others do
    not matter to it.

    Args:
        log_weights: in nats, such as ``pyro_vae.evaluation.log_weights`` returns; −∞ is a weight of
            zero.

    Raises:
        ShapeError: other than two dims.
        ValueError: fewer than 21 samples.
        NonFiniteError: a NaN, +∞, or a datum whose weights are all zero.

    >>> z = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    >>> narrow = torch.tensor([0.5, 0.8, 1.0])  # N(0, s²) for N(0, 1): k = 1 − s²
    >>> log_weights = -0.5 * (narrow * z) ** 2 + 0.5 * z**2
    >>> pareto_k(log_weights)
    tensor([0.9736, 0.5696,   -inf])
    """
    if log_weights.dim() != 2:
        raise ShapeError(
            f"log_weights: expected shape [samples, data]; got {list(log_weights.shape)}. "
            "For one datum, log_weights[:, None]."
        )
    _check_samples(len(log_weights))
    _check_finite(log_weights)
    size = max(1, _WEIGHTS // len(log_weights))
    parts = [smooth(part)[1] for part in log_weights.split(size, dim=1)]
    return torch.cat(parts).to(log_weights.dtype)


def _measures(log_weight: Tensor) -> tuple[Tensor, ...]:
    """k̂, log p(x) smoothed and raw, its error and the effective number of samples, [data] each."""
    smoothed, k = smooth(log_weight)
    count = len(log_weight)
    value, raw = (_log_mean(each) for each in (smoothed, log_weight.double()))
    relative = (smoothed - value).exp()  # weights over their mean
    error = relative.std(0) / math.sqrt(count)
    ess = count**2 / relative.square().sum(0)
    return tuple(each.to(log_weight.dtype) for each in (k, value, raw, error, ess))


def _log_mean(log_weight: Tensor) -> Tensor:
    return log_weight.logsumexp(0) - math.log(len(log_weight))


def _check_samples(num_samples: int) -> None:
    if num_samples < LEAST_SAMPLES:
        raise ValueError(
            f"num_samples: expected ≥ {LEAST_SAMPLES}, of which a fifth is a tail of "
            f"{LEAST_TAIL}; got {num_samples}. Take 1000."
        )


def _check_finite(log_weight: Tensor) -> None:
    bad = log_weight.isnan().any(0) | log_weight.max(0).values.isinf()
    if bool(bad.any()):
        error = NonFiniteError(
            "log_weights: expected numbers, or −∞ for some samples of a datum; got NaN, +∞ or only "
            f"−∞ at datum {int(bad.nonzero()[0])}. Check that datum, and the terms of its weights."
        )
        error.term = "log-weight"
        raise error
