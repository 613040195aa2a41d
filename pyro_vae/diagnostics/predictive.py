from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyro_vae._errors import NonFiniteError, ShapeError
from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae.diagnostics._programs import Program, check_counts, chunks
from pyro_vae.diagnostics._simulation import Rebuild, SimulatedPair

__all__ = ["PredictiveCheck", "posterior_predictive_check"]

Statistic = Callable[[Tensor], Tensor]
"""Data as the pair takes them to a number a datum, [data]."""

PerStatistic = Float[np.ndarray, "statistics"]

_WHERE = "posterior_predictive_check"
_EXTREME = 0.01  # Gelman et al., "Bayesian Data Analysis", section 6.3


@dataclass(frozen=True, eq=False)
class PredictiveCheck:
    """Statistics T of the data beside those of replicates: :func:`posterior_predictive_check`.

    *Pooled* is the mean over the data, of the data and of each replicate.
    """

    names: tuple[str, ...]
    observed: Float[np.ndarray, "statistics data"]
    """T(x) of each datum."""
    replicated: Float[np.ndarray, "statistics draws data"]
    """T(x') of each datum's replicates."""

    @property
    def p_values(self) -> Float[np.ndarray, "statistics data"]:
        """P(T(x') > T(x)) + ½ P(T(x') = T(x)) of each datum, [statistics, data].

        Near 0: T(x) is larger than the model makes it. Near 1: smaller.
        """
        return _share_above(self.replicated, self.observed[:, None]).mean(1)

    @property
    def pooled_p_values(self) -> PerStatistic:
        """The same of the mean over the data, [statistics]."""
        pooled = self.replicated.mean(-1), self.observed.mean(-1)[:, None]
        return _share_above(*pooled).mean(-1)

    @property
    def verdicts(self) -> dict[str, str]:
        """For each statistic, by its pooled p-value: ``"reproduced"``, or that T(x) is ``"larger"``
        (below 0.01) or ``"smaller"`` (above 0.99) than the model makes it."""
        return dict(zip(self.names, map(_in_words, self.pooled_p_values), strict=True))

    def __str__(self) -> str:
        """The verdicts in words, each with T(x) beside the mean and deviation of replicates."""
        pooled = self.replicated.mean(-1)
        rows = zip(
            self.verdicts.items(),
            self.observed.mean(-1),
            pooled.mean(-1),
            pooled.std(-1),
            self.pooled_p_values,
            strict=True,
        )
        lines = [
            f"{name}: {verdict}, {value:.4g} beside {mean:.4g} ± {deviation:.2g} (p {p:.3f})"
            for (name, verdict), value, mean, deviation, p in rows
        ]
        _, draws, data = self.replicated.shape
        heading = f"Posterior predictive check of {data} data, {draws} replicates:"
        return "\n".join([heading, *lines])


def posterior_predictive_check(
    model: Program,
    guide: Program,
    x: Tensor,
    statistics: Mapping[str, Statistic],
    *,
    num_draws: int = 1000,
    rebuild: Rebuild | None = None,
    max_plate_nesting: int = 1,
    chunk_size: int = 100,
    seed: int = 0,
) -> PredictiveCheck:
    """Statistics of the data beside those of data that the model makes of their own posteriors
    (Gelman, Meng and Stern, 1996):

    .. math:: z \\sim q(z|x), \\quad x' \\sim p(x'|z), \\qquad p = P(T(x') > T(x) \\,|\\, x)

    A p near 0 or 1 says that the model does not make data with this feature. It is a check of the
    model, through the guide; whether the guide is right says :func:`simulation_based_calibration`.

    It uses the data twice: x' comes of the z of the very datum that it is compared with, and an
    amortised posterior has fitted each datum. So p-values crowd about ½, even for data of the model
    itself, and are not uniform: an extreme one says much, one in the middle little. They say least
    of what latents of a datum can fit, such as its mean; choose a T that they do not reach, such as
    what the noise does. For a test of a fair size take a T, or data, that was not fitted.

    The pair is in evaluation mode (a module that a plain function merely calls is not seen: call
    ``.eval()`` on it yourself); weights, modes and the global random state stay as they are.

    Args:
        model: a Pyro program called as ``model(x)``, every sample site in a plate over the data at
            dim −1, that lets a plate be put around it, as ``num_particles`` does.
        guide: the same for q(z|x), called as ``guide(x)``.
        x: the data.
        statistics: name → T, a function of data like ``x`` to [data].
        num_draws: replicates of each datum.
        rebuild: see :func:`simulation_based_calibration`.
        max_plate_nesting: dims that the pair's own plates take up.
        chunk_size: replicates that are made at once: bounds the memory of a pass.
        seed: of the replicates, which depend on ``chunk_size`` too.

    Raises:
        PairError, ShapeError: as :func:`simulation_based_calibration`; ``ShapeError`` for a
            statistic of another shape than [data].
        ValueError: a count below 1, or no statistics.
        NonFiniteError: a statistic that is NaN or infinite; it names it.

    Source:
        Gelman, Meng and Stern, "Posterior Predictive Assessment of Model Fitness via Realized
        Discrepancies" (1996).

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian(num_data=200)
    >>> statistics = {"mean": lambda x: x.mean(1), "sd": lambda x: x.std(1)}
    >>> print(posterior_predictive_check(pair.model, pair.guide, pair.x, statistics))
    Posterior predictive check of 200 data, 1000 replicates:
    mean: reproduced, -0.2573 beside -0.2551 ± 0.023 (p 0.521)
    sd: reproduced, 1.406 beside 1.431 ± 0.028 (p 0.805)
    """
    check_counts(
        _WHERE, num_draws=num_draws, max_plate_nesting=max_plate_nesting, chunk_size=chunk_size
    )
    if not statistics:
        raise ValueError(f"{_WHERE}: expected one statistic or more; got none. Name what to check.")
    with torch.no_grad(), evaluation_mode(*modules_of(model, guide)), forked_rng(seed, x.device):
        pair = SimulatedPair(_WHERE, model, guide, x, rebuild, max_plate_nesting)
        parts = [
            _values(statistics, pair.replicate(size), pair.num_data)
            for size in chunks(num_draws, chunk_size)
        ]
        observed = _values(statistics, [x], pair.num_data)[:, 0]
    return PredictiveCheck(tuple(statistics), observed, np.concatenate(parts, axis=1))


def _values(
    statistics: Mapping[str, Statistic], replicates: list[Tensor], num_data: int
) -> Float[np.ndarray, "statistics draws data"]:
    rows = [
        [_value(name, statistic, x, num_data) for x in replicates]
        for name, statistic in statistics.items()
    ]
    return torch.stack([torch.stack(row) for row in rows]).cpu().numpy()


def _value(name: str, statistic: Statistic, x: Tensor, num_data: int) -> Tensor:
    value = statistic(x)
    if value.shape != (num_data,):
        raise ShapeError(
            f"{_WHERE}: expected statistic {name!r} of shape [data], [{num_data}]; got "
            f"{list(value.shape)}. Reduce the dims of a datum, and not that of the data."
        )
    if not bool(value.isfinite().all()):
        error = NonFiniteError(
            f"{_WHERE}: expected finite statistics; got NaN or an infinity in {name!r}. "
            "Check the statistic, and the data that the model makes."
        )
        error.term = name
        raise error
    return value.double()


def _share_above(replicated: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """1 where a replicate's statistic is above the data's, ½ where they are equal."""
    return (1 + np.sign(replicated - observed)) / 2


def _in_words(p: float) -> str:
    if _EXTREME <= p <= 1 - _EXTREME:
        return "reproduced"
    return "larger" if p < _EXTREME else "smaller"
