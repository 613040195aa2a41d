from __future__ import annotations

import math
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyro_vae._errors import PairError
from pyro_vae._modes import evaluation_mode, modules_of
from pyro_vae._shapes import PerParticle
from pyro_vae.diagnostics._programs import Program, in_plate
from pyro_vae.diagnostics._ranks import Quantity
from pyro_vae.diagnostics._sites import latent_sites, log_probs, sample_sites

__all__ = ["log_density"]


def log_density(program: Program, *, max_plate_nesting: int = 1) -> Quantity:
    """log p(x, z) of a model, or log q(z|x) of a guide, as a quantity that can be ranked:

    a function of latents {site: [draw, datum, *event]} and data to [draw, datum], in nats, masked
    and unscaled, in evaluation mode. It is −∞ where a latent is not on the support.

    The log joint density is the quantity to add to :func:`simulation_based_calibration`: it sees
    how z and x hang together, which no latent alone does (Modrák et al., 2023).

    Args:
        program: a Pyro program called as ``program(x)``, every site in a plate over the data.
        max_plate_nesting: dims that its own plates take up.

    Returns:
        The function. It raises :class:`PairError` for latent sites that it is given no value for,
        and what the distributions raise that cannot score a given z, such as flows without inverse.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> log_joint = log_density(pair.model)
    >>> log_joint({"z": torch.zeros(3, 20, 2)}, pair.x).shape
    torch.Size([3, 20])
    """

    def quantity(z: dict[str, Tensor], x: Tensor) -> PerParticle:
        draws = len(next(iter(z.values())))
        given = in_plate(poutine.condition(program, data=z), draws, max_plate_nesting)
        # Off the support a distribution would raise an error, where the density is zero.
        with torch.no_grad(), evaluation_mode(*modules_of(program)), pyro.validation_enabled(False):
            trace = poutine.trace(given).get_trace(x)
            _check_that_all_are_given(trace)
            trace.compute_log_prob()
            for site in sample_sites(trace).values():
                _leave_out_what_is_off_the_support(site)
            return torch.stack([*log_probs(trace, max_plate_nesting + 1).values()]).sum(0)

    return quantity


def _leave_out_what_is_off_the_support(site: dict[str, Any]) -> None:
    inside = site["fn"].support.check(site["value"])
    site["unscaled_log_prob"] = site["unscaled_log_prob"].where(inside, -math.inf)


def _check_that_all_are_given(trace: poutine.Trace) -> None:
    if missing := sorted(latent_sites(trace)):
        raise PairError(
            f"log_density: expected a value for every latent site; got none for {missing}. A guide "
            "with auxiliary sites has no density of the others alone: leave it out, as "
            "expected_coverage(joint=False) does."
        )
