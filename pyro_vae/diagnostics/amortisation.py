"""What an amortised guide falls short of log p(x) by, and why: its family, or its encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from pyro_vae._errors import NonFiniteError, PairError, ShapeError
from pyro_vae._modes import evaluation_mode, forked_rng, own_param_store
from pyro_vae._shapes import Data, PerDatum, check_some
from pyro_vae.diagnostics._programs import Program, as_module, check_counts
from pyro_vae.diagnostics._psis import LEAST_SAMPLES, smooth, threshold_of
from pyro_vae.diagnostics._refine import PerDatumGuide, RefinedGuide, Search, guide_sites, refined
from pyro_vae.diagnostics._richer import RicherGuide, richer
from pyro_vae.evaluation import LogEvidence, log_weights

__all__ = ["AmortisationAudit", "AuditComparison", "Estimate", "amortisation_audit"]

_WHERE = "amortisation_audit"
_DATA = 400  # that are searched for at once
_CERTAIN = 3.0  # standard errors that a gap is told from zero by
_NOTHING = 0.01  # nats a datum that no verdict is about
_MOST = 2 / 3  # of a gap: then it has one cause
_BEYOND_CHANCE = 5.0  # standard errors between two estimates of one number
_FINITE_VARIANCE = 0.5  # k̂ below which an importance-sampling estimate's error is a guide
_ROUNDING = 100  # machine precisions of a log-weight that are only noise
_OF_ENCODER = "Train it longer, make it larger, or refine its q for each datum."


@dataclass(frozen=True)
class Estimate:
    """A number of each datum in nats, and its Monte-Carlo standard error, [data], in doubles."""

    value: PerDatum
    error: PerDatum

    def mean(self) -> float:
        """The mean, nats a datum."""
        return self.value.double().mean().item()

    def mean_error(self) -> float:
        """The Monte-Carlo standard error of :meth:`mean`: the data are as given, z is drawn."""
        return self.error.double().norm().item() / len(self.error)

    def __str__(self) -> str:
        return f"{self.mean():.3f} ± {self.mean_error():.2g}"


@dataclass(frozen=True)
class AuditComparison:
    """Two audits, of training and of held-out data: see :meth:`AmortisationAudit.compare`.

    Means over data in nats, with standard errors from their spread over the data.
    """

    amortisation: float
    """Amortisation gap of held-out data less that of training data: the encoder's overfitting."""
    amortisation_error: float
    approximation: float
    """The same of the approximation gap: about zero, as no encoder has part in it."""
    approximation_error: float

    def summary(self) -> str:
        """The verdict in words."""
        return (
            f"Held-out less training data: amortisation gap {self.amortisation:+.3f} ± "
            f"{self.amortisation_error:.2g}, approximation gap {self.approximation:+.3f} ± "
            f"{self.approximation_error:.2g} nats a datum.\n{self._verdict()}"
        )

    def __str__(self) -> str:
        return self.summary()

    def _verdict(self) -> str:
        if self.amortisation > _CERTAIN * self.amortisation_error:
            return (
                "Too little data: the encoder has overfitted, and is worse on data that it was not "
                "trained on. Regularise it, stop earlier, or train it on more data, such as the "
                "model's own."
            )
        return (
            "The encoder finds the posteriors of held-out data as well as those of training data."
        )


@dataclass(frozen=True)
class AmortisationAudit:
    """Where each datum's log p(x) − ELBO comes from: see :func:`amortisation_audit`."""

    log_evidence: Estimate
    """log p(x)."""
    encoder_elbo: Estimate
    """The ELBO at the encoder's q(z|x)."""
    refined_elbo: Estimate
    """The ELBO at the best q of the same family, searched for from the encoder's."""
    richer_elbo: Estimate
    """The ELBO at the best q of a richer family, searched for from there."""
    encoder_evidence: Estimate
    """log p(x) by the encoder's own weights, to hold ``log_evidence`` against where their k̂,
    ``encoder_k``, is fine. It is below where the encoder misses a mode, whatever k̂ says."""
    inference_gap: Estimate
    """log p(x) − ELBO at the encoder's q: the sum of the next two."""
    amortisation_gap: Estimate
    """What the encoder is to blame for: ELBO at the best q of the family − at the encoder's."""
    approximation_gap: Estimate
    """What the family is to blame for: log p(x) − ELBO at the best q of it."""
    richer_gap: Estimate
    """What would be left of the approximation gap with the richer family."""
    rising: PerDatum
    """What the last third of the search still gained, [data], in nats: near zero if it is over."""
    k: PerDatum | None
    """Pareto k̂ of the weights that log p(x) comes from, of the richer family; ``None`` where it was
    given. A large one is no alarm where ``richer_gap`` is 0.01 nats or less: they hardly vary."""
    encoder_k: PerDatum
    """Pareto k̂ of the encoder's own weights."""
    refined: RefinedGuide
    """A guide for these data: the best q of the family."""
    richer: RicherGuide
    """A guide for these data: the best q of the richer family."""
    num_samples: int

    def compare(self, held_out: AmortisationAudit) -> AuditComparison:
        """This audit, of training data, beside that of held-out data, for the same pair.

        Raises:
            ValueError: fewer than two data in either.
        """
        if min(len(self.rising), len(held_out.rising)) < 2:
            raise ValueError("compare: expected two data or more in each audit; got fewer.")
        return AuditComparison(
            *_difference(held_out.amortisation_gap, self.amortisation_gap),
            *_difference(held_out.approximation_gap, self.approximation_gap),
        )

    def summary(self) -> str:
        """The numbers, nats a datum ± their Monte-Carlo errors, and the verdict in words."""
        return "\n".join([self._numbers(), self._verdict(), *self._reservations()])

    def __str__(self) -> str:
        return self.summary()

    def _numbers(self) -> str:
        return (
            f"log p(x) of {len(self.rising)} data: {self.log_evidence}. ELBO: encoder "
            f"{self.encoder_elbo}, best of the family {self.refined_elbo}, of a richer one "
            f"{self.richer_elbo}.\n"
            f"Amortisation gap {self.amortisation_gap}, approximation gap "
            f"{self.approximation_gap}, with the richer family {self.richer_gap}."
        )

    def _verdict(self) -> str:
        gap = self.inference_gap.mean()
        if gap < max(_NOTHING, _CERTAIN * self.inference_gap.mean_error()):
            return "Nothing to gain: the ELBO is log p(x), as far as these samples tell."
        if told := self._disagreement(gap):
            return told
        share = self.amortisation_gap.mean() / gap
        if share > _MOST:
            return f"Too weak an encoder: {share:.0%} of the gap. {_OF_ENCODER}"
        if share < 1 - _MOST:
            return f"Too simple a family: {1 - share:.0%} of the gap. {self._of_family()}"
        return (
            f"Both: the encoder has {share:.0%} of the gap, the family the rest. {_OF_ENCODER} "
            f"{self._of_family()}"
        )

    def _disagreement(self, gap: float) -> str:
        """In words that the weights of the richer family make more of log p(x) than the encoder's
        can, whose k̂ is fine, by what would change the verdict; else nothing."""
        fine = self.encoder_k < _FINITE_VARIANCE
        if self.k is None or not bool(fine.any()):
            return ""
        more = (self.log_evidence.value - self.encoder_evidence.value)[fine]
        errors = torch.stack([self.log_evidence.error, self.encoder_evidence.error])[:, fine]
        by, count = Estimate(more, errors.norm(dim=0)), len(fine)
        if by.mean() < max(_NOTHING, _BEYOND_CHANCE * by.mean_error()):
            return ""
        if more.sum().item() / count < (1 - _MOST) * gap:
            return ""
        return (
            f"Undecided: log p(x) by the weights of the richer family is {by} nats above that by "
            f"the encoder's own, of the {len(more) / count:.0%} of the data whose k̂ of these is "
            f"below {_FINITE_VARIANCE}. Either the encoder misses a mode, and the family is too "
            "simple, or the richer family's numbers are wrong, such as by rounding. Give the pair "
            "and x in double precision, and the evidence of annealed importance sampling."
        )

    def _of_family(self) -> str:
        closed = 1 - self.richer_gap.mean() / self.approximation_gap.mean()
        if closed > 0.5:
            return f"The richer family closes {closed:.0%}: take correlated latents, or a flow."
        return "Nor does the richer family help: posteriors may have several modes."

    def _reservations(self) -> list[str]:
        found = []
        if self.rising.double().mean() > max(_NOTHING, 0.1 * self.inference_gap.mean()):
            found.append(
                f"The search was not over: its last third gained {self.rising.mean():.3f} nats a "
                "datum. Give it more steps: the encoder's share is larger than this."
            )
        threshold, doubtful = threshold_of(self.num_samples), self._doubtful()
        if doubtful > 0:
            found.append(
                f"log p(x) may be larger for {doubtful:.1%} of the data, whose k̂ is above "
                f"{threshold:.2f}, and then so is the family's share. Give more samples, or the "
                "evidence of annealed importance sampling."
            )
        return found

    def _doubtful(self) -> float:
        """The share of data with a large k̂ of weights that vary: where the richer family leaves
        next to nothing, they hardly do, and their tail does not matter."""
        if self.k is None:
            return 0.0
        large = self.k > threshold_of(self.num_samples)
        return (large & (self.richer_gap.value > _NOTHING)).double().mean().item()


def amortisation_audit(
    model: Program,
    guide: Program,
    x: Data,
    *,
    steps: int = 500,
    learning_rate: float = 1.0,
    num_samples: int = 1000,
    evidence: LogEvidence | Tensor | NDArray[Any] | None = None,
    max_plate_nesting: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> AmortisationAudit:
    """log p(x) − ELBO of each datum, and what the encoder and what the family has to do with it:

    .. math:: \\log p(x) - L[q] = \\underbrace{L[q^*] - L[q]}_{\\text{amortisation gap}} +
       \\underbrace{\\log p(x) - L[q^*]}_{\\text{approximation gap}}, \\qquad
       q^* = \\arg\\max_{q' \\in Q} L[q']

    L is the ELBO, q the guide's q(z|x), and Q its family: distributions as the guide's, with any
    parameters. For q* each datum's own parameters are searched for, from the encoder's on, all data
    side by side, by Adam with reparameterised samples in the coordinates of their Fisher
    information. What the guide computes of data or weights is a parameter; what is constant, such
    as degrees of freedom or a fixed scale, belongs to the family. Where a flow makes z, the
    parameters are those of its base, and the flow stays as it is. Where a latent's distribution
    depends on another latent, its parameters are moved by the same amount for every value of that.

    A *richer family* puts a flow on top of q*, with numbers of its own for each datum: triangular
    matrices with sinh–arcsinh bends between them, for vectors without constraints. It has any
    covariance of all of a datum's latents, skewness, tails and curves. What it does not close is
    another mode's, mostly. log p(x) is estimated by smoothed importance weights from its best
    member, or is what you pass.

    All ELBOs are of one set of fresh samples, so that errors of differences are those of paired
    samples. Whether a search went well is judged by samples of its own; where it did not, and where
    fresh samples say so, the encoder's q stands for the best: no gap is negative by it. A search
    finds a part of the way: the amortisation gap is at least what is said here, the approximation
    gap at most (see ``rising``), as far as log p(x) can be trusted (see ``k``).

    *Too little data* shows in two audits, one of the training data and one of held-out data, as a
    larger amortisation gap of the latter: ``training.compare(held_out)``.

    The pair is in evaluation mode (a module that a plain function merely calls is not seen: call
    ``.eval()`` on it yourself). Weights, modes, Pyro's parameter store and the global random state
    stay as they are. Memory grows with the data by the numbers of the richer family, 4n² a datum
    for n latents.

    Args:
        model, guide: the pair, modules or functions of x.
        x: data, [data, *event]; some hundreds tell what there is to tell.
        steps: of either search.
        learning_rate: about the root of twice the Kullback–Leibler divergence by which the first
            steps may move a datum's q; half of that for the richer family. Steps fall as half a
            cosine.
        num_samples: fresh samples a datum, 21 or more.
        evidence: log p(x), [data], in nats, where better is known than importance sampling, e.g. by
            ``annealed_log_evidence``: what that returns, or an array.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.
        seed: of all samples.
        progress: show a bar with the steps that are done.

    Raises:
        PairError: a latent site that is discrete, without reparameterised samples or outside of the
            plate over the data; distributions without parameters, or that cannot be made anew with
            others. It names the site. A richer family that would start elsewhere than at q, by
            rounding.
        ValueError: a count or a rate that is too small.
        ShapeError: no data; evidence that is not one number a datum.
        NonFiniteError: a log-weight or an evidence that is not finite.

    Source:
        Cremer, Li and Duvenaud, "Inference Suboptimality in Variational Autoencoders" (2018). For
        the gradient Roeder, Wu and Duvenaud, "Sticking the Landing" (2017); for the bends Jones and
        Pewsey, "Sinh-Arcsinh Distributions" (2009).

    A guide with the best variances for a correlated posterior, but means that are off:

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian(orthogonal=False, num_data=5)
    >>> with torch.no_grad():
    ...     shifted = pair.guide.encoder.bias[:2].add_(0.2)
    >>> audit = amortisation_audit(pair.model, pair.guide, pair.x, steps=100)
    >>> f"{audit.amortisation_gap.mean():.1f}, {audit.approximation_gap.mean():.1f}"
    '0.3, 0.1'
    >>> best = audit.refined  # a guide for these data
    >>> best(pair.x[3:]).shape
    torch.Size([2, 2])
    """
    _check_settings(x, steps, learning_rate, num_samples, max_plate_nesting)
    given = None if evidence is None else _given(evidence, x)
    programs = as_module(model), as_module(guide)
    firsts = range(0, len(x), _DATA)
    with (
        torch.no_grad(),
        evaluation_mode(*programs),
        own_param_store(),
        forked_rng(seed, x.device),
        tqdm(total=2 * steps * len(firsts), disable=not progress, dynamic_ncols=True) as bar,
    ):
        search = Search(steps, learning_rate, max_plate_nesting, bar)
        audit = _Audit(*programs, x, given, num_samples, search)
        pieces = [audit(slice(first, first + _DATA)) for first in firsts]
        own = x.detach().clone()
        best = RefinedGuide.joined(programs[1], own, [piece.refined for piece in pieces])
        top = RicherGuide.joined(best, own, [piece.richer for piece in pieces])
    return AmortisationAudit(
        **{name: _joined([piece.found[name] for piece in pieces]) for name in pieces[0].found},
        rising=torch.cat([piece.rising for piece in pieces]),
        k=torch.cat([piece.k for piece in pieces]) if given is None else None,
        encoder_k=torch.cat([piece.encoder_k for piece in pieces]),
        refined=best,
        richer=top,
        num_samples=num_samples,
    )


@dataclass(frozen=True)
class _Piece:
    """What was found of data that were searched for side by side."""

    found: dict[str, Estimate]
    k: Tensor
    encoder_k: Tensor
    rising: Tensor
    refined: RefinedGuide
    richer: RicherGuide


@dataclass(frozen=True)
class _Audit:
    """The audit of some rows of the data after others."""

    model: nn.Module
    guide: nn.Module
    x: Tensor
    given: Estimate | None
    num_samples: int
    search: Search

    def __call__(self, rows: slice) -> _Piece:
        x = self.x[rows]
        fresh, held_out = torch.randint(2**62, (2,)).tolist()
        sites = guide_sites(self.guide, x)
        encoder = self._weights(self.guide, x, fresh)
        best = refined(self.guide, x, sites)
        rising = self.search(self.model, best, held_out)
        of_best = self._better(best, x, fresh, encoder)
        top = richer(best, x, self.search.max_plate_nesting)
        self._check_start(top, x, fresh, of_best)
        # From nearer, so in smaller steps.
        nearby = replace(self.search, learning_rate=self.search.learning_rate / 2)
        nearby(self.model, top, held_out)
        of_top = self._better(top, x, fresh, of_best)
        own, encoder_k = _Evidence.of(encoder)
        evidence, k = _Evidence.of(of_top)
        if self.given is not None:
            evidence = _Evidence.known(self.given, rows)
        found = {
            "log_evidence": evidence.less(torch.zeros_like(encoder)),
            "encoder_evidence": own.less(torch.zeros_like(encoder)),
            "encoder_elbo": _mean(encoder),
            "refined_elbo": _mean(of_best),
            "richer_elbo": _mean(of_top),
            "inference_gap": evidence.less(encoder),
            "amortisation_gap": _mean(of_best - encoder),
            "approximation_gap": evidence.less(of_best),
            "richer_gap": evidence.less(of_top),
        }
        return _Piece(found, k, encoder_k, rising, best, top)

    def _weights(self, guide: nn.Module, x: Tensor, noise: int) -> Tensor:
        """Log-weights on the samples of the seed ``noise``, [samples, data], in doubles."""
        with forked_rng(noise, x.device):
            found = log_weights(
                self.model, guide, x, self.num_samples, self.search.max_plate_nesting
            )
        if found.shape[1] != len(x):
            raise PairError(
                f"{_WHERE}: expected a log-weight for each of {len(x)} data; got "
                f"{found.shape[1]}. Put every sample site of model and guide in "
                '`with pyro.plate("data", len(x), dim=-1):`, without subsampling.'
            )
        return found.double()

    def _check_start(self, top: RicherGuide, x: Tensor, noise: int, before: Tensor) -> None:
        """Raise :class:`PairError` where a flow that changes nothing does change log-weights."""
        start = self._weights(top, x, noise)
        off = (start.logsumexp(0) - before.logsumexp(0)).abs().mean().item()
        dtype = top.free[0].dtype
        noise_of_sums = _ROUNDING * torch.finfo(dtype).eps * before.logsumexp(0).abs().mean().item()
        if off > _NOTHING + noise_of_sums:
            raise PairError(
                f"{_WHERE}: expected log-weights that stay the same when draws go to the real "
                f"numbers and back, as the richer family takes them; got, in {dtype}, a log p(x) "
                f"that is {off:.2g} nats a datum off. Draws at the edge of the support of one of "
                f"{sorted(top.sites)} are rounded: give the pair and x in torch.float64, or take a "
                "guide whose draws stay away from the edge."
            )

    def _better(self, guide: PerDatumGuide[Any], x: Tensor, noise: int, before: Tensor) -> Tensor:
        """The weights of the guide where its ELBO is the better one; elsewhere those before, and
        the guide is to change nothing there."""
        found = self._weights(guide, x, noise)
        better = found.mean(0) > before.mean(0)
        guide.keep(better)
        return found.where(better, before)


@dataclass(frozen=True)
class _Evidence:
    """log p(x), and what each sample has to do with it, [samples, data], such that its error is
    that of their mean; and an error beside that one."""

    value: Tensor
    influence: Tensor
    error: Tensor

    @classmethod
    def of(cls, log_weight: Tensor) -> tuple[_Evidence, Tensor]:
        """The evidence by smoothed importance weights (delta method), and their k̂."""
        smoothed, k = smooth(log_weight)
        value = smoothed.logsumexp(0) - math.log(len(smoothed))
        return cls(value, (smoothed - value).exp(), torch.zeros_like(value)), k

    @classmethod
    def known(cls, given: Estimate, rows: slice) -> _Evidence:
        """The evidence that was given."""
        value = given.value[rows]
        return cls(value, torch.zeros_like(value)[None], given.error[rows])

    def less(self, elbo: Tensor) -> Estimate:
        """log p(x) − ELBO, of samples [samples, data] of the latter."""
        noise = _mean(self.influence - elbo).error
        return Estimate(self.value - elbo.mean(0), (noise.square() + self.error.square()).sqrt())


def _mean(samples: Tensor) -> Estimate:
    return Estimate(samples.mean(0), samples.std(0) / math.sqrt(len(samples)))


def _joined(parts: Sequence[Estimate]) -> Estimate:
    return Estimate(
        torch.cat([part.value for part in parts]), torch.cat([part.error for part in parts])
    )


def _difference(one: Estimate, other: Estimate) -> tuple[float, float]:
    """Of the means, and its standard error over the data."""
    variances = [each.value.double().var().item() / len(each.value) for each in (one, other)]
    return one.mean() - other.mean(), math.sqrt(sum(variances))


def _given(evidence: LogEvidence | Tensor | NDArray[Any], x: Tensor) -> Estimate:
    known: tuple[Any, Any] = (evidence, 0.0)
    if isinstance(evidence, LogEvidence):
        known = (evidence.value, evidence.error)
    value, error = (torch.as_tensor(each, device=x.device).double() for each in known)
    if value.shape != (len(x),):
        raise ShapeError(
            f"evidence: expected log p(x) of each of {len(x)} data, in nats; got shape "
            f"{list(value.shape)}."
        )
    if not bool(value.isfinite().all()):
        raise NonFiniteError(
            "evidence: expected finite numbers; got NaN or an infinity at datum "
            f"{int((~value.isfinite()).nonzero()[0])}. Leave the datum out."
        )
    return Estimate(value, error.expand(len(x)))


def _check_settings(
    x: Tensor, steps: int, learning_rate: float, num_samples: int, max_plate_nesting: int
) -> None:
    check_counts(_WHERE, steps=steps, max_plate_nesting=max_plate_nesting)
    check_some(x)
    if num_samples < LEAST_SAMPLES:
        raise ValueError(f"num_samples: expected ≥ {LEAST_SAMPLES}; got {num_samples}.")
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate: expected a positive, finite number; got {learning_rate}.")
