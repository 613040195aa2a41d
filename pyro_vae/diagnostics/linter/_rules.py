"""Every rule, in steps: what a step finds wrong, later steps would only find again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pyro_vae.diagnostics.linter import (
    _densities,
    _dependence,
    _estimators,
    _parameters,
    _scales,
    _setting,
    _shapes,
    _sites,
    _supports,
)
from pyro_vae.diagnostics.linter._findings import Finding
from pyro_vae.diagnostics.linter._runs import Runs

Rule = Callable[[Runs], Iterator[Finding]]
"""Reads the pair's runs and yields what it finds wrong; its name names its findings, the first
line of its docstring says what holds in a pair without."""

STEPS: tuple[tuple[Rule, ...], ...] = (
    (
        _setting.validation_off,
        _setting.local_parameters,
        _setting.evaluation_mode_parts,
        _parameters.finite_weights,
        _setting.finite_data,
        _setting.data_unchanged,
    ),
    (
        # on what a program got to, if it did not get to its end
        _parameters.names_in_the_store,
        _sites.no_data_in_the_guide,
        _shapes.same_event_shapes,
        _shapes.declared_events,
        _shapes.size_of_the_data_plate,
    ),
    (_shapes.runs_at_all,),
    (
        _sites.latents_in_the_guide,
        _sites.latents_in_the_model,
        _sites.some_data,
        _sites.some_latents,
        _sites.a_plate_over_the_data,
        _sites.batches_in_the_plate,
        _sites.same_plates,
        _sites.sites_of_all_data,
        _sites.plates_within_max_plate_nesting,
    ),
    (
        _densities.shape_of_values,
        _supports.same_measure,
        _scales.same_scale_of_a_latent,
        _scales.same_scale_of_all,
        _scales.no_scale,
    ),
    (
        _supports.latents_on_the_support,
        _supports.data_on_the_support,
        _supports.covered_support,
        _supports.densities_in_the_guide,
    ),
    (_densities.scorable, _densities.finite_log_probabilities),
    (
        _parameters.registered,
        _parameters.programs_are_modules,
        _parameters.parameters_that_svi_sees,
        _parameters.parameters_of_one,
        _parameters.trained_parameters,
        _estimators.no_enumeration,
        _estimators.reparameterised,
        _estimators.runs_with_particles,
    ),
    (
        _dependence.used_latents,
        _dependence.guide_that_sees_the_data,
        _dependence.data_apart_in_the_guide,
        _dependence.data_apart_in_the_model,
        _dependence.any_batch_size,
    ),
)
