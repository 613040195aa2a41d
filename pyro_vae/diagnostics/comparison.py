"""Models compared by log p(x) of the same data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from pyro_vae._errors import NonFiniteError, ShapeError
from pyro_vae._shapes import Data
from pyro_vae.diagnostics.reliability import Program, Reliability, reliability
from pyro_vae.evaluation import LogEvidence

__all__ = ["compare"]

Model: TypeAlias = tuple[Program, Program] | Reliability | LogEvidence | Tensor | NDArray[Any]
"""A pair (model, guide), or log p(x) of each datum."""

# A weight at the lower bound is none; the bound keeps the logarithm finite on the way.
_NO_WEIGHT = 1e-12


def compare(
    models: Mapping[str, Model],
    x: Data | None = None,
    *,
    num_samples: int = 1000,
    max_plate_nesting: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Models by their log evidence of the same data, in the form of arviz's ``compare``:

    .. math:: \\text{elpd} = \\sum_i \\log p(x_i), \\qquad
       \\text{dse} = \\sqrt{n \\operatorname{var}_i(\\log p_\\text{best}(x_i) - \\log p(x_i))}

    ============= =========================================================================
    column        holds
    ============= =========================================================================
    rank          0 for the largest elpd
    elpd          Σ log p(x), in nats
    elpd_diff     how far below the best model's
    weight        of the model in the best mixture Σ w_m p_m(x) of them all (stacking)
    se            standard error of elpd, √(n var log p(x)): over data like these
    dse           the same of ``elpd_diff``, *paired*: of the differences datum by datum
    warning       whether a k̂ lies above the threshold: see ``reliability``
    share_above   the share of data whose k̂ does; NaN where evidences came without k̂
    scale         ``log``
    elpd_loo      elpd once more, by the name that ``plot_compare`` of arviz 0.x looks for
    ============= =========================================================================

    Data that are hard for one model are hard for the others: ``dse``, not ``se``, is what
    ``elpd_diff`` is to be held against. The errors are over data, with the Monte-Carlo noise of
    log p(x) in them; they say nothing of a training from another seed. log p(x) must be densities
    by the same measure: a Bernoulli likelihood's and a normal one's have no difference.

    With latents of its own for each datum, log p(x) *is* what leave-one-out is to estimate. Given
    the networks, data are independent, and the others say nothing of z_i:
    p(x_i | all others) = ∫ p(x_i|z_i) p(z_i) dz_i = p(x_i). ``az.loo`` on log p(x|z) is no way
    there: its harmonic mean of p(x_i|z_i) over draws from q(z_i|x_i) has to widen each posterior to
    the prior, with weights of hopeless k̂, and comes out far too large. Neither takes out of the
    networks that they have seen the datum: compare on held-out data, which alone say how networks
    generalise. For the same reason there is no effective number of parameters, arviz's ``p``.

    Args:
        models: name → (model, guide), whose log p(x) is estimated by :func:`reliability`; or name →
            what it has been found to be: a :class:`Reliability`, a ``LogEvidence``, or an array
            [data], in nats.
        x: data, [data, *event], for pairs.
        num_samples, max_plate_nesting, seed: see :func:`reliability`.

    Raises:
        ValueError: fewer than two models or data; a pair without ``x``.
        ShapeError: log evidences that are not one a datum.
        NonFiniteError: a NaN or an infinity among them.

    Source:
        Vehtari, Gelman and Gabry, "Practical Bayesian Model Evaluation Using Leave-One-Out
        Cross-Validation and WAIC" (2017), eq. 23 and 24; Yao, Vehtari, Simpson and Gelman, "Using
        Stacking to Average Bayesian Predictive Distributions" (2018), section 3, for the weights.

    >>> from pyro_vae import testing
    >>> true, other = (testing.linear_gaussian(seed=seed, num_data=200) for seed in (0, 1))
    >>> table = compare(
    ...     {"other": (other.model, other.guide), "true": (true.model, true.guide)}, true.x
    ... )
    >>> table[["rank", "elpd", "elpd_diff", "dse", "weight"]].round(1)
           rank    elpd  elpd_diff   dse  weight
    true      0 -1394.5        0.0   0.0     1.0
    other     1 -2528.9     1134.4  73.8     0.0
    """
    if len(models) < 2:
        raise ValueError(f"models: expected two or more to compare; got {len(models)}.")

    def estimate(model: Program, guide: Program) -> Reliability:
        if x is None:
            raise ValueError("x: expected data, for models that are pairs; got none.")
        return reliability(
            model,
            guide,
            x,
            num_samples=num_samples,
            max_plate_nesting=max_plate_nesting,
            seed=seed,
        )

    found = {name: _evidence(name, model, estimate) for name, model in models.items()}
    _check_same_data({name: len(evidence.log_p) for name, evidence in found.items()})
    # The best first; of equals the one that was named first.
    names = sorted(found, key=lambda name: -found[name].log_p.sum())
    return _table({name: found[name] for name in names})


@dataclass(frozen=True)
class _Evidence:
    """log p(x) of each datum, and the share of data with too large a k̂, NaN if unknown."""

    log_p: NDArray[np.float64]
    share_above: float = np.nan


def _evidence(
    name: str, model: Model, estimate: Callable[[Program, Program], Reliability]
) -> _Evidence:
    if isinstance(model, tuple):
        model = estimate(*model)
    if isinstance(model, Reliability):
        return _Evidence(_log_p(name, model.log_evidence), model.share_above)
    return _Evidence(_log_p(name, model.value if isinstance(model, LogEvidence) else model))


def _log_p(name: str, values: Any) -> NDArray[np.float64]:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1:
        raise ShapeError(
            f"models[{name!r}]: expected one log evidence a datum, [data]; got {array.shape}."
        )
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array))[0])
        raise NonFiniteError(
            f"models[{name!r}]: expected finite log evidences; got {array[bad]} at datum {bad}. "
            "Leave the datum out of every model, or the model out."
        )
    return array.astype(np.float64)


def _check_same_data(sizes: Mapping[str, int]) -> None:
    if len(set(sizes.values())) > 1:
        raise ShapeError(
            f"models: expected log evidences of the same data; got {sizes} data. Differences are "
            "taken datum by datum."
        )
    if min(sizes.values()) < 2:
        raise ValueError("models: expected two data or more, for a standard error; got fewer.")


def _table(ranked: Mapping[str, _Evidence]) -> pd.DataFrame:
    log_p = np.stack([evidence.log_p for evidence in ranked.values()], axis=1)
    share = np.array([evidence.share_above for evidence in ranked.values()])
    below = log_p[:, :1] - log_p
    columns = {
        "rank": np.arange(len(ranked)),
        "elpd": log_p.sum(0),
        "elpd_diff": below.sum(0),
        "weight": _stacking(log_p),
        "se": _error_of_sum(log_p),
        "dse": _error_of_sum(below),
        "warning": share > 0,
        "share_above": share,
        "scale": "log",
        "elpd_loo": log_p.sum(0),
    }
    return pd.DataFrame(columns, index=list(ranked))


def _error_of_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """√(n var), the standard error of each column's sum."""
    error: NDArray[np.float64] = np.sqrt(len(values) * values.var(0))
    return error


def _stacking(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights on the simplex that maximise Σ_i log Σ_m w_m p_m(x_i); log_p is [data, models].

    Without Σ w = 1, but with Σ w taken off the mean, the maximum is the same: at it
    Σ_m w_m ∂/∂w_m of the mean, which is 1 for any w, equals Σ w.
    """
    p = np.exp(log_p - log_p.max(1, keepdims=True))

    def loss(weight: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixture = p @ weight
        return weight.sum() - np.log(mixture).mean(), 1 - (p / mixture[:, None]).mean(0)

    count = p.shape[1]
    found = minimize(
        loss,
        np.full(count, 1 / count),
        jac=True,
        bounds=[(_NO_WEIGHT, None)] * count,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-9},
    )
    weight: NDArray[np.float64] = found.x - _NO_WEIGHT
    return weight / weight.sum()
