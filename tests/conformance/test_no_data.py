"""An empty selection of data is refused by name, whatever is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from pyro_vae import ShapeError, testing, update_statistics
from pyro_vae.diagnostics import amortisation_audit, nuts_reference, reliability, to_arviz
from pyro_vae.evaluation import (
    annealed_log_evidence,
    bidirectional_log_evidence,
    bound_terms,
    closed_form_evidence,
    grid_log_evidence,
    log_evidence,
    log_weights,
    optimal_prior,
    posterior_moments,
    quadrature_log_evidence,
    reconstruction_error,
)

Ask = Callable[[testing.LinearGaussian, Tensor], Any]

OF_PAIRS = (
    amortisation_audit,
    annealed_log_evidence,
    bidirectional_log_evidence,
    bound_terms,
    closed_form_evidence,
    log_evidence,
    reconstruction_error,
    reliability,
    update_statistics,
)
ASKED: dict[str, Ask] = {
    **{ask.__name__: lambda pair, x, ask=ask: ask(pair.model, pair.guide, x) for ask in OF_PAIRS},
    "log_weights": lambda pair, x: log_weights(pair.model, pair.guide, x, 5),
    "to_arviz": lambda pair, x: to_arviz(pair.model, pair.guide, x, 5),
    "nuts_reference": lambda pair, x: nuts_reference(pair.model, x),
    "quadrature_log_evidence": lambda pair, x: quadrature_log_evidence(pair.model, x),
    "grid_log_evidence": lambda pair, x: grid_log_evidence(pair.prior, pair.likelihood, x),
    "posterior_moments": lambda pair, x: posterior_moments(pair.guide, x),
    "optimal_prior": lambda pair, x: optimal_prior(pair.guide, x),
}


@pytest.mark.parametrize("name", ASKED)
def test_no_data_are_refused_by_name(name: str) -> None:
    pair = testing.linear_gaussian(orthogonal=False)
    with pytest.raises(ShapeError, match=r"x: expected one datum or more; got shape \[0, \d+\]"):
        ASKED[name](pair, pair.x[:0])
