"""Log evidence by annealed importance sampling, and between bounds from both sides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor
from tqdm import tqdm

from pyro_vae._errors import PairError
from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae._shapes import Data, PerDatum, PerParticle, check_some
from pyro_vae.evaluation._hmc import Kernel, Walk, anneal, derived_seed, noise, tuned_step_sizes
from pyro_vae.evaluation._unconstrained import (
    Coordinates,
    Density,
    Point,
    Program,
    check_pair,
    is_in_support,
    unconstrained,
)
from pyro_vae.evaluation.evidence import LogEvidence, log_mean_and_error, not_finite, rows_at_once
from pyro_vae.objectives import run_particles

__all__ = [
    "AnnealedEvidence",
    "BidirectionalEvidence",
    "annealed_log_evidence",
    "bidirectional_log_evidence",
    "linear_schedule",
    "prior_guide",
    "sigmoidal_schedule",
]

_DRAWN_AT_ONCE = 1_000  # data; not the batch size, which is to change no number
_DRAWS_FOR_SCALE = 64  # a datum
_LEAST = {
    "num_chains": 2,
    "num_temperatures": 1,
    "leapfrog_steps": 1,
    "max_plate_nesting": 1,
    "batch_size": 1,
}
_SIMULATION, _PILOT, _PILOT_NOISE, _FORWARD, _FORWARD_NOISE, _REVERSE_NOISE = range(6)

Betas = Float[Tensor, "temperatures"]
Schedule = Callable[[Betas], Betas]


@dataclass(frozen=True)
class AnnealedEvidence(LogEvidence):
    """Annealed importance sampling's log p(x) of each datum, in nats.

    ``error`` is by the delta method, as :class:`LogEvidence`'s. That of an upper bound is of the
    chains alone: they share their exact sample.
    """

    log_weight: PerParticle
    """Of each chain, [chains, data]; of an upper bound, minus the log of what estimates 1/p(x)."""
    ess: PerDatum
    """The effective number of chains, (Σw)²/Σw². Where it is near one, ``error`` is no guide."""
    acceptance: Float[Tensor, "transitions batch"]
    """Mean acceptance of each transition, in the order of β; near 0.65 where step sizes suit."""


@dataclass(frozen=True)
class BidirectionalEvidence:
    """Bounds on log p(x) from both sides, in nats, for data that were drawn from the model."""

    x: Data
    """The simulated data."""
    lower: AnnealedEvidence
    """From forward chains, which start at the guide."""
    upper: AnnealedEvidence
    """From reverse chains, which start at the latents that the data were drawn with."""

    @property
    def gap(self) -> PerDatum:
        """upper − lower of each datum. By chance it may be negative."""
        return self.upper.value - self.lower.value

    def mean_gap(self) -> float:
        """The mean gap, nats a datum: what ``lower`` falls short of log p(x) by, at the most."""
        return self.gap.double().mean().item()

    def mean_gap_error(self) -> float:
        """The standard error of :meth:`mean_gap`, from its spread over the data."""
        return self.gap.double().std().item() / math.sqrt(len(self.gap))


def sigmoidal_schedule(fraction: Betas) -> Betas:
    """β = σ(8t − 4) over t, scaled to go from 0 to 1: slow at both ends (Wu et al., 2017)."""
    rising = torch.sigmoid(8 * fraction - 4)
    return (rising - rising[0]) / (rising[-1] - rising[0])


def linear_schedule(fraction: Betas) -> Betas:
    """β = t."""
    return fraction


def prior_guide(model: Program) -> Program:
    """The prior p(z) of a model as a guide: for a path that starts there.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> start = prior_guide(pair.model)
    >>> found = annealed_log_evidence(pair.model, start, pair.x, num_temperatures=50)
    >>> abs(found.mean() - pair.log_evidence(pair.x).mean().item()) < 0.1
    True
    """
    return poutine.block(model, hide_fn=lambda s: s["type"] == "sample" and s["is_observed"])


def annealed_log_evidence(
    model: Program,
    guide: Program,
    x: Data,
    *,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    schedule: Schedule = sigmoidal_schedule,
    leapfrog_steps: int = 3,
    max_plate_nesting: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> AnnealedEvidence:
    """log p(x) of each datum by annealed importance sampling (Neal, 2001) from the guide:

    .. math:: \\log p(x) \\approx \\log \\tfrac1K \\sum_k w_k, \\quad
       w = \\prod_{t=0}^{T-1} \\Big(\\frac{p(x, z_t)}{q(z_t|x)}\\Big)^{β_{t+1} - β_t}

    Each chain starts at z_0 ~ q(z|x) and goes to the posterior by way of
    :math:`q(z|x)^{1-β} p(x, z)^β`, with one HMC transition at every β between 0 and 1. Where plain
    importance sampling, :func:`log_evidence`, needs a guide that is near the posterior everywhere,
    this needs only that HMC can follow the path; T = 1 is plain importance sampling. The weights'
    mean is p(x) in expectation, so the log of it is a stochastic lower bound: it exceeds log p(x)
    by b nats with a probability of at most e⁻ᵇ. How far it is below can be measured on simulated
    data: :func:`bidirectional_log_evidence`.

    Step sizes are adapted to an acceptance of 0.65 for each datum and β, as Wu et al. (2017) do,
    but by a pilot: a quarter as many chains, of a seed of their own, go first, and what they
    learned stays fixed in the chains that are weighed. Had these adapted themselves, their
    transitions would depend on their past and the weights be biased. The pilot's draws from the
    guide also give the scale of each latent. Latents of any continuous support are moved in
    unconstrained coordinates; they stay where the guide's density is positive, as those of
    importance sampling do.

    Runs in evaluation mode, all chains of a batch side by side; weights, modes and the global
    random state stay as they are. A module that a plain function merely calls is not seen: call
    ``.eval()`` on it yourself. The guide draws for up to 1,000 data at once, and data have random
    numbers of their own: the batch size changes results by rounding only.

    Args:
        model, guide: any Pyro pair, called as ``model(x)`` and ``guide(x)``. In the guide's place
            :func:`prior_guide` starts at the prior, as Wu et al. do: a longer way.
        x: data, [data, *event].
        num_chains: K.
        num_temperatures: T, the steps of β from 0 to 1. Its cost is linear in it, and better spent
            there than on ``leapfrog_steps``.
        schedule: takes t/T, [T + 1], to β.
        leapfrog_steps: of a transition, each a gradient of the model and the guide.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.
        seed: of all draws.
        batch_size: data in one pass; by default as many as make 4,000 rows with their chains, on a
            GPU 100,000.
        progress: whether to show a bar.

    Raises:
        ValueError: fewer than two chains, which have no error, or counts below one; a schedule that
            does not rise from 0 to 1.
        ShapeError: no data.
        PairError: discrete latents; a site that data share; a subsample; a guide without a density,
            or one that cannot score a latent that it did not draw: take :func:`prior_guide`.
        NonFiniteError: a NaN, +∞, or a datum whose weights are all zero, where chains start; it
            names the term. A trajectory that meets one later is rejected.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian(orthogonal=False)  # its guide is diagonal
    >>> found = annealed_log_evidence(pair.model, pair.guide, pair.x, num_temperatures=30)
    >>> found.log_weight.shape, found.acceptance.shape
    (torch.Size([16, 20]), torch.Size([29, 20]))
    >>> abs(found.mean() - pair.log_evidence(pair.x).mean().item()) < 4 * found.mean_error()
    True
    """
    settings = _Settings(
        num_chains, num_temperatures, schedule, leapfrog_steps, max_plate_nesting, seed, batch_size
    )
    with _evaluating(model, guide, x, settings):
        [forward] = _Annealing(model, guide, x, settings).run(progress)
    return _lower(*forward)


def bidirectional_log_evidence(
    model: Program,
    guide: Program,
    x: Data,
    *,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    schedule: Schedule = sigmoidal_schedule,
    leapfrog_steps: int = 3,
    max_plate_nesting: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> BidirectionalEvidence:
    """Bounds on log p(x) from both sides, for data simulated from the model (Grosse et al., 2015):

    .. math:: \\log \\tfrac1K \\sum_k w_k \\;\\le\\; \\log p(x) \\;\\le\\;
       -\\log \\tfrac1K \\sum_k \\tilde w_k, \\quad z^* \\sim p(z),\\; x \\sim p(x|z^*)

    in expectation. As x comes with the z* that it was drawn with, z* is an exact sample of the
    posterior p(z|x). Reverse chains from there to the guide, by the transitions of
    :func:`annealed_log_evidence` in reverse order, have weights whose mean is 1/p(x): an upper
    bound. In expectation the gap between the bounds is no less than what either is wrong by. It
    certifies T, K and the guide on data like the model's; real data that the model has not
    learned may be harder (Grosse et al., 2016).

    The reverse chains of a datum share one exact sample, so that its ``upper.error`` tells only a
    part; errors over data, such as :meth:`BidirectionalEvidence.mean_gap_error`, tell all.

    Args:
        model, guide, and others: as of :func:`annealed_log_evidence`.
        x: a template for the data, [data, *event]: as many are simulated, of this shape. The model
            may use its size, not its values.

    Raises:
        As :func:`annealed_log_evidence`, and
        PairError: a model with another number of observed sites than one, or one that is not of x's
            shape; whose p(x, z) depends on x elsewhere than at that site; that draws latents where
            the guide has no density.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian(orthogonal=False)
    >>> found = bidirectional_log_evidence(pair.model, pair.guide, pair.x, num_temperatures=30)
    >>> exact = pair.log_evidence(found.x).mean().item()
    >>> found.lower.mean() - 0.05 < exact < found.upper.mean() + 0.05
    True
    >>> abs(found.mean_gap()) < 0.05
    True
    """
    settings = _Settings(
        num_chains, num_temperatures, schedule, leapfrog_steps, max_plate_nesting, seed, batch_size
    )
    with _evaluating(model, guide, x, settings):
        data, exact = _simulated(model, guide, x, settings)
        forward, reverse = _Annealing(model, guide, data, settings).run(progress, exact)
    return BidirectionalEvidence(data, _lower(*forward), _upper(*reverse))


@dataclass(frozen=True)
class _Settings:
    num_chains: int
    num_temperatures: int
    schedule: Schedule
    leapfrog_steps: int
    max_plate_nesting: int
    seed: int
    batch_size: int | None

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}: expected ≥ {least}; got {value}.")

    def data_at_once(self, x: Tensor) -> int:
        return self.batch_size or max(1, rows_at_once(x) // self.num_chains)

    def betas(self) -> list[float]:
        """β_0, …, β_T."""
        fraction = torch.linspace(0, 1, self.num_temperatures + 1, dtype=torch.float64)
        betas = self.schedule(fraction)
        rising = betas.shape == fraction.shape and bool((betas.diff() > 0).all())
        if not (rising and betas[0] == 0 and betas[-1] == 1):
            raise ValueError(
                f"schedule: expected {len(fraction)} numbers that rise from 0 to 1, one for each "
                f"of the fractions given; got {betas}."
            )
        return betas.tolist()

    def seed_of(self, stream: int) -> int:
        return derived_seed(self.seed, stream)


@contextmanager
def _evaluating(model: Program, guide: Program, x: Tensor, settings: _Settings) -> Iterator[None]:
    """A pair that was checked, in evaluation mode, with random numbers and checks put back after.

    Pyro's own checks are made once: they take time, and a trajectory may try where no density is.
    """
    check_some(x)
    modules = modules_of(model, guide)
    with torch.no_grad(), evaluation_mode(*modules), forked_rng(settings.seed, x.device):
        check_pair(model, guide, x[: settings.data_at_once(x)], settings.max_plate_nesting)
        with pyro.validation_enabled(False):
            yield


@dataclass(frozen=True)
class _Chains:
    """Where chains start, u of all data, which way they go, and their stream of noise."""

    start: Tensor
    reverse: bool
    stream: int

    def ordered(self, by_beta: Tensor) -> Tensor:
        """What is sorted by β in the order that they come by it, and the other way about."""
        return by_beta.flip(0) if self.reverse else by_beta


class _Annealing:
    """Chains between a guide and its model, batch after batch of data, a pilot first in each."""

    def __init__(self, model: Program, guide: Program, x: Tensor, settings: _Settings) -> None:
        self._model, self._guide, self._x, self._settings = model, guide, x, settings
        self._betas = settings.betas()
        self._coordinates, draws = self._drawn(_DRAWS_FOR_SCALE, _PILOT)
        self._scale = _scale(draws)
        self._pilot = _Chains(draws[: max(2, settings.num_chains // 4)], False, _PILOT_NOISE)

    def run(self, progress: bool, exact: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """Log-weights and acceptances of forward chains, and of reverse ones from ``exact``."""
        _, drawn = self._drawn(self._settings.num_chains, _FORWARD)
        runs = [_Chains(drawn, False, _FORWARD_NOISE)]
        if exact is not None:
            runs.append(_Chains(exact, True, _REVERSE_NOISE))
        size = self._settings.data_at_once(self._x)
        batches = [range(len(self._x))[i : i + size] for i in range(0, len(self._x), size)]
        total = len(batches) * (1 + len(runs)) * (len(self._betas) - 2)
        with tqdm(total=total, unit="step", disable=not progress, dynamic_ncols=True) as bar:
            parts = [self._batch(data, runs, bar) for data in batches]
        return [_side_by_side(of_all) for of_all in zip(*parts, strict=True)]

    def _batch(self, data: range, runs: list[_Chains], bar: tqdm) -> list[tuple[Tensor, Tensor]]:
        x, scale = self._x[data.start : data.stop], self._scale[data.start : data.stop]
        density = Density(self._model, self._guide, x, self._coordinates)
        kernel = Kernel(density, scale, self._settings.leapfrog_steps)
        step_sizes = tuned_step_sizes(kernel, self._walk(density, self._pilot, data), bar)
        found = []
        for chains in runs:
            walk = self._walk(density, chains, data)
            _check_start(density, walk.start)
            log_weight, acceptance = anneal(kernel, walk, chains.ordered(step_sizes), bar)
            found.append((log_weight.to(scale.dtype), chains.ordered(acceptance)))
        return found

    def _walk(self, density: Density, chains: _Chains, data: range) -> Walk:
        u = chains.start[:, data.start : data.stop]
        betas = self._betas[::-1] if chains.reverse else self._betas
        return Walk(density(u), betas, noise(self._settings.seed_of(chains.stream), data, u))

    def _drawn(self, count: int, stream: int) -> tuple[Coordinates, Tensor]:
        """u of draws from the guide, [count, data, size]."""
        nesting = self._settings.max_plate_nesting
        with forked_rng(self._settings.seed_of(stream), self._x.device):
            rows = self._x.split(_DRAWN_AT_ONCE)
            passes = [unconstrained(self._guide, x, count, nesting) for x in rows]
        return passes[0][0], torch.cat([u for _, u in passes], 1)


def _side_by_side(runs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Log-weights and acceptances of all data, from those of batches."""
    log_weights, acceptances = zip(*runs, strict=True)
    return torch.cat(log_weights, 1), torch.cat(acceptances, 1)


def _scale(draws: Tensor) -> Tensor:
    """The deviation of each coordinate, [data, size]."""
    deviation = draws.std(0)
    if bool((deviation == 0).any()):
        raise PairError(
            f"guide: expected latents with a density; got the same value in all of {len(draws)} "
            "draws, as from a Delta. Take a guide with a spread, such as NormalGuide."
        )
    return torch.where(deviation.isfinite(), deviation, 1.0)  # _check_start tells more of others


def _check_start(density: Density, point: Point) -> None:
    """Raise :class:`NonFiniteError` as ``log_weights`` does: some weights of zero are no error."""
    found = point.log_weight
    bad = found.isnan().any(0) | (found == math.inf).any(0) | (found == -math.inf).all(0)
    if bool(bad.any()):
        raise not_finite([density.particles(point.u)], int(bad.nonzero()[0]), len(bad))


def _lower(log_weight: Tensor, acceptance: Tensor) -> AnnealedEvidence:
    value, error = log_mean_and_error(log_weight)
    ess = (2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0)).exp()
    return AnnealedEvidence(value, error, log_weight, ess, acceptance)


def _upper(log_weight: Tensor, acceptance: Tensor) -> AnnealedEvidence:
    """From weights whose mean is 1/p(x)."""
    inverse = _lower(log_weight, acceptance)
    return replace(inverse, value=-inverse.value, log_weight=-log_weight)


def _simulated(
    model: Program, guide: Program, x: Tensor, settings: _Settings
) -> tuple[Tensor, Tensor]:
    """As many data as x from the model, and u of the latents they were drawn with, [K, …]."""
    with forked_rng(settings.seed_of(_SIMULATION), x.device):
        passes = [_simulate(model, guide, rows, settings) for rows in x.split(_DRAWN_AT_ONCE)]
    data, exact = zip(*passes, strict=True)
    return torch.cat(data), torch.cat(exact, 1)


def _simulate(
    model: Program, guide: Program, x: Tensor, settings: _Settings
) -> tuple[Tensor, Tensor]:
    trace = poutine.trace(poutine.uncondition(model)).get_trace(x)
    data = _simulated_data(trace, x)
    with poutine.replay(trace=trace):
        run = run_particles(model, guide, data, max_plate_nesting=settings.max_plate_nesting)
    drawn, scored = trace.log_prob_sum().item(), run.log_joint.sum().item()
    if not math.isclose(drawn, scored, rel_tol=1e-4):
        raise PairError(
            "model: expected p(x, z) to depend on x at its observed site alone; got "
            f"{drawn:.6g} nats where x was drawn and {scored:.6g} where it was given. What all "
            "data share may come by a closure, lambda x: model(x, context). What each datum has of "
            "its own may not, since the pair is given parts of x: make it columns of x, and take "
            "annealed_log_evidence, which draws no x."
        )
    if not all(is_in_support(site) for site in run.latents):
        raise PairError(
            "guide: expected a density wherever the model draws latents; got one that excludes "
            "some, from which no upper bound follows. Take prior_guide(model)."
        )
    _, u = unconstrained(guide, data, settings.num_chains, settings.max_plate_nesting, at=trace)
    return data, u


def _simulated_data(trace: Trace, x: Tensor) -> Tensor:
    """The value of the model's one observed site."""
    sites = trace.nodes.items()
    observed = {n: s["value"] for n, s in sites if s.get("infer", {}).get("was_observed")}
    shapes = {name: list(value.shape) for name, value in observed.items()}
    if list(shapes.values()) != [list(x.shape)]:
        raise PairError(
            f"model: expected one observed site, of x's shape {list(x.shape)}, so that what is "
            f"simulated can be given to the pair; got {shapes}. Observe x at one site; where "
            "columns of x are covariates, take annealed_log_evidence, which draws no x."
        )
    [data] = observed.values()
    return data
