"""Counts that programs are run with: NumPy's integers are integers."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from pyro_vae.diagnostics._programs import check_counts


@pytest.mark.parametrize("count", [1, np.int64(3), np.uint8(3), np.arange(2, 4)[0]])
def test_an_integral_number_of_any_kind_is_a_count(count: Any) -> None:
    check_counts("there", draws=count)


@pytest.mark.parametrize("count", [0, -1, np.int64(0), True, np.True_, 2.0, np.float64(2), "2"])
def test_what_is_no_integer_or_below_one_is_refused(count: Any) -> None:
    with pytest.raises(ValueError, match="there: expected draws ≥ 1, an integer; got"):
        check_counts("there", draws=count)


OF_NUMPY = """
import numpy as np
from pyro_vae.diagnostics import posterior_predictive_check, simulation_based_calibration, to_arviz
from pyro_vae.testing import linear_gaussian
pair, five = linear_gaussian(), np.int64(5)
of = pair.model, pair.guide, pair.x
assert to_arviz(*of, five, seed=0).posterior.sizes["draw"] == 5
assert len(simulation_based_calibration(*of, num_simulations=4 * five, num_draws=five).ranks) == 20
posterior_predictive_check(*of, {"mean": lambda x: x.mean(1)}, num_draws=five)
"""


def test_functions_take_counts_of_numpy() -> None:
    """In a process of its own: in this one a check of types refuses what is no ``int``."""
    subprocess.run([sys.executable, "-c", OF_NUMPY], check=True)
