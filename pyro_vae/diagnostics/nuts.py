"""Posteriors of chosen data by a Markov chain, to hold a guide against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
import xarray as xr
from numpy.typing import NDArray
from pyro import poutine
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide.initialization import init_to_sample, init_to_value
from torch import Tensor
from tqdm import tqdm

from pyro_vae._errors import NonFiniteError, PairError
from pyro_vae._modes import evaluation_mode, forked_rng, modules_of, own_param_store
from pyro_vae._shapes import Data, check_some
from pyro_vae.diagnostics._arrays import dataset, latent_dim, site_array
from pyro_vae.diagnostics._container import Container, az, build
from pyro_vae.diagnostics._programs import Program, check_counts, in_plate
from pyro_vae.diagnostics._sites import Sites, data_sites, latent_sites, log_probs
from pyro_vae.evaluation._unconstrained import to_support

__all__ = ["nuts_reference"]

Start = Callable[..., Any]

_WHERE = "nuts_reference"
_DESCRIPTIONS = {
    "posterior": "Draws from p(z|x) by NUTS, each datum by chains of its own.",
    "sample_stats": "lp: log p(x, z) per draw, in nats. diverging: whether the trajectory to it "
    "left the region where it can be trusted. r_hat and ess: rank-normalised split R-hat and bulk "
    "effective sample size of each site, per datum and dimension.",
    "observed_data": "The data x.",
}


def nuts_reference(
    model: Program,
    x: Data,
    *,
    num_samples: int = 500,
    warmup: int = 500,
    num_chains: int = 4,
    guide: Program | None = None,
    max_plate_nesting: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> Container:
    """Draws from p(z|x) of a few data by the no-U-turn sampler, in arviz's container.

    Given the networks, data are independent: each has chains of its own, with its own step size and
    mass matrix. Chains run one after another in this process. (Pyro's parallel chains pickle the
    model for new processes, which fails for functions that are defined in a script or a test.) It
    is slow, a second or more for a hundred draws of a small model: choose the data, such as those
    of the largest k̂ (:meth:`Reliability.worst`). Use double precision for model and data: rounding
    of log p(x, z) counts as acceptance or rejection.

    The groups, with the dims of :func:`to_arviz`, ``[chain, draw, datum, …]``:

    ============= =============================================================================
    group         holds
    ============= =============================================================================
    posterior     each latent site of the model: draws from p(z|x)
    sample_stats  ``lp`` = log p(x, z) in nats and ``diverging``, [chain, draw, datum]; for each
                  site z ``r_hat_z`` and ``ess_z``, rank-normalised split R̂ and bulk effective
                  sample size, [datum, latent] of a vector z
    observed_data each observed site's data, [datum, …]
    ============= =============================================================================

    Trust a datum's draws where every R̂ is below 1.01 (1.05 for a look), ess is some hundreds and
    no draw diverges; and not even then all of the posterior, where a mode was found by no chain.

    The model is in evaluation mode (a module that a plain function merely calls is not seen: call
    ``.eval()`` on it yourself). Weights, modes, Pyro's parameter store and the global random state
    stay as they are.

    Args:
        model: a Pyro program called as ``model(x)``, every site in a plate over the data at dim −1,
            that lets a plate be put around it, as ``num_particles`` does.
        x: the chosen data, [data, *event].
        num_samples: draws a chain that are kept, 4 or more.
        warmup: draws before, in which step size and mass matrix are learned.
        num_chains: 2 or more, without which there is no R̂.
        guide: where chains start: at draws from it. By default at draws from the prior, and so far
            apart, which makes R̂ worth more, but needs more ``warmup``.
        max_plate_nesting: dims that the model's own plates take up.
        seed: of the draws; those of a datum depend on its position too.
        progress: show a bar with the chains that are done.

    Raises:
        PairError: a latent site that is discrete, or outside of the plate over the data; a model
            without latent or observed sites.
        ValueError: a count that is too small.
        ShapeError: no data.
        NonFiniteError: a datum for which log p(x, z) or its gradient is not finite at the start.

    Source:
        Hoffman and Gelman, "The No-U-Turn Sampler" (2014), as Pyro has it. Vehtari, Gelman,
        Simpson, Carpenter and Bürkner, "Rank-Normalization, Folding, and Localization" (2021).

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian(dtype=torch.float64)
    >>> data = nuts_reference(pair.model, pair.x[:1], num_samples=30, warmup=30, num_chains=2)
    >>> data.posterior["z"].shape
    (2, 30, 1, 2)
    >>> data.sample_stats["r_hat_z"].dims
    ('datum', 'latent')
    """
    _check_settings(x, num_samples, warmup, num_chains, max_plate_nesting)
    programs = modules_of(*([model] if guide is None else [model, guide]))
    count = len(x) * num_chains
    with (
        torch.enable_grad(),
        evaluation_mode(*programs),
        own_param_store(),
        forked_rng(seed, x.device),
        tqdm(total=count, unit="chain", disable=not progress, dynamic_ncols=True) as bar,
    ):
        observed = _check_model(model, x)
        chains = _Chains(model, guide, num_samples, warmup, num_chains, max_plate_nesting, bar)
        found = [chains.of(i, datum) for i, datum in enumerate(x.split(1))]
    groups = {group: _along_data([each[group] for each in found]) for group in found[0]}
    groups["sample_stats"] |= _convergence(xr.Dataset(groups["posterior"]))
    groups["observed_data"] = {name: site_array(name, site) for name, site in observed.items()}
    return _container(groups, _attributes(num_samples, warmup, num_chains, seed))


Arrays = dict[str, xr.DataArray]


@dataclass(frozen=True)
class _Chains:
    """Chains of one datum after another."""

    model: Program
    guide: Program | None
    num_samples: int
    warmup: int
    num_chains: int
    max_plate_nesting: int
    bar: tqdm

    def of(self, position: int, x: Tensor) -> dict[str, Arrays]:
        """The groups of one datum."""
        latents = latent_sites(poutine.trace(self.model).get_trace(x))
        runs = [self._chain(position, x, latents) for _ in range(self.num_chains)]
        posterior, stats, dims = {}, {}, latent_dim(latents)
        for name, site in latents.items():
            one = site_array(name, site, dims)
            draws = np.stack([samples[name].cpu().numpy() for samples, _ in runs])
            draws = draws.reshape(self.num_chains, self.num_samples, *one.shape)
            posterior[name] = xr.DataArray(draws, dims=["chain", "draw", *one.dims])
        found = {
            "lp": np.stack([self._log_joint(x, samples, latents) for samples, _ in runs]),
            "diverging": np.stack([diverging for _, diverging in runs]),
        }
        for name, values in found.items():
            stats[name] = xr.DataArray(values[..., None], dims=["chain", "draw", "datum"])
        return {"posterior": posterior, "sample_stats": stats}

    def _chain(
        self, position: int, x: Tensor, latents: Sites
    ) -> tuple[dict[str, Tensor], NDArray[np.bool_]]:
        """Draws of each site, [draw, …], and whether they diverge."""
        # In our coordinates: Pyro's own round near the corners of a simplex.
        transforms = {name: to_support(site["fn"].support).inv for name, site in latents.items()}
        sampler = MCMC(
            NUTS(self.model, init_strategy=self._start(x), transforms=transforms),
            num_samples=self.num_samples,
            warmup_steps=self.warmup,
            disable_progbar=True,
        )
        try:
            sampler.run(x)
        except ValueError as error:
            if "cannot find valid initial params" not in str(error):
                raise
            raise NonFiniteError(
                f"{_WHERE}: expected a finite log p(x, z) with a finite gradient at the start; got "
                f"none at datum {position}. Check that datum, or give a guide to start at."
            ) from error
        self.bar.update()
        diverging = np.zeros(self.num_samples, dtype=bool)
        diverging[sampler.diagnostics()["divergences"]["chain 0"]] = True
        return sampler.get_samples(), diverging

    def _start(self, x: Tensor) -> Start:
        if self.guide is None:
            return init_to_sample
        drawn = latent_sites(poutine.trace(self.guide).get_trace(x))
        values = {name: site["value"].detach() for name, site in drawn.items()}
        return init_to_value(values=values, fallback=init_to_sample)

    @torch.no_grad()
    def _log_joint(
        self, x: Tensor, samples: dict[str, Tensor], latents: Sites
    ) -> NDArray[np.floating]:
        """log p(x, z) of each draw."""
        nesting = self.max_plate_nesting
        placed = {
            name: samples[name].reshape(
                self.num_samples,
                *[1] * (nesting - len(site["fn"].batch_shape)),
                *site["fn"].shape(),
            )
            for name, site in latents.items()
        }
        model = poutine.condition(in_plate(self.model, self.num_samples, nesting), placed)
        terms = log_probs(poutine.trace(model).get_trace(x), nesting + 1)
        return torch.stack([*terms.values()]).sum(0)[:, 0].cpu().numpy()


def _check_settings(
    x: Tensor, num_samples: int, warmup: int, num_chains: int, max_plate_nesting: int
) -> None:
    check_counts(_WHERE, warmup=warmup, max_plate_nesting=max_plate_nesting)
    if num_samples < 4 or num_chains < 2:
        raise ValueError(
            f"{_WHERE}: expected num_samples ≥ 4 and num_chains ≥ 2, for R̂; got {num_samples} and "
            f"{num_chains}."
        )
    check_some(x, f"{_WHERE}: x")


def _check_model(model: Program, x: Tensor) -> Sites:
    """The observed sites of a model that NUTS can be run on, datum by datum."""
    trace = poutine.trace(model).get_trace(x)
    latents, observed = latent_sites(trace), data_sites(trace)
    for kind, sites in {"latent": latents, "observed": observed}.items():
        if not sites:
            raise PairError(f"{_WHERE}: expected a model with at least one {kind} site; got none.")
    for name, site in (latents | observed).items():
        if not any(f.dim == -1 and f.size == len(x) for f in site["cond_indep_stack"]):
            raise PairError(
                f"site {name!r}: expected one for each of {len(x)} data, whose posteriors are then "
                "independent; got it outside of a plate over them. Put it in "
                '`with pyro.plate("data", len(x), dim=-1):`, without subsampling.'
            )
    for name, site in latents.items():
        if site["fn"].support.is_discrete:
            raise PairError(
                f"site {name!r}: expected a continuous latent, along whose gradient NUTS goes; got "
                f"{type(site['fn']).__name__}. Sum it out of the model, as MixtureSameFamily does."
            )
    return observed


def _along_data(parts: list[Arrays]) -> Arrays:
    """Of one datum after another."""
    return {
        name: xr.DataArray(
            np.concatenate(
                [part[name].values for part in parts], axis=parts[0][name].dims.index("datum")
            ),
            dims=parts[0][name].dims,
        )
        for name in parts[0]
    }


def _convergence(posterior: xr.Dataset) -> Arrays:
    """R̂ and effective sample sizes under either arviz: of a dataset both give a dataset."""
    # Of chains that do not move R-hat is infinite or NaN, which says enough.
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {"r_hat": az.rhat(posterior), "ess": az.ess(posterior)}
    return {
        f"{measure}_{name}": xr.DataArray(values[name].values, dims=posterior[name].dims[2:])
        for measure, values in found.items()
        for name in posterior
    }


def _container(groups: dict[str, Arrays], attrs: dict[str, str | int]) -> Container:
    described = {
        name: dataset(groups[name], {**attrs, "description": description})
        for name, description in _DESCRIPTIONS.items()
    }
    return build(described, attrs)


def _attributes(num_samples: int, warmup: int, num_chains: int, seed: int) -> dict[str, str | int]:
    return {
        "created_by": "pyro_vae",
        "inference_library": "pyro",
        "inference_library_version": pyro.__version__,
        "sampler": "NUTS",
        "num_samples": num_samples,
        "warmup": warmup,
        "num_chains": num_chains,
        "seed": seed,
    }
