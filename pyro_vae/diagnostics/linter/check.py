"""The linter of Pyro pairs."""

from __future__ import annotations

import pyro
from torch import Tensor

from pyro_vae.diagnostics.linter._findings import Finding, Findings, Severity, findings, named
from pyro_vae.diagnostics.linter._rules import STEPS
from pyro_vae.diagnostics.linter._runs import Runs, Unchecked
from pyro_vae.diagnostics.linter._untouched import Program, untouched


def check_model(
    model: Program, guide: Program, x: Tensor, *, max_plate_nesting: int = 1, seed: int = 0
) -> Findings:
    """What is wrong with a model/guide pair, found before it is trained.

    Guide and model are run on ``x`` and their traces are read; some rules run them again, on other
    latents, on the data in another order or on half of them. A finding says where it is, what was
    expected and what was found, what follows, and what to write instead. It is an *error* where the
    pair would crash or be scored or trained as something else, a *warning* where it is a pitfall.
    The rules are about

    ============ ================================================================================
    setting      validation, modes, NaN in weights and data
    shapes       ``to_event``, the data plate's size, event shapes of model and guide, exceptions
    sites        latents and data in the right program; the plate over the data; global sites
    scales       subsampled plates and ``poutine.scale``, inside one program or both
    supports     the guide's samples on the prior's, the data on the likelihood's; what is covered;
                 densities in both programs
    densities    shapes of values, log-probabilities that are not finite
    parameters   names in Pyro's parameter store, parameters that a trainer does not find, or that
                 have no gradient
    estimators   enumeration, samples without a gradient, runs with several particles
    dependence   x on z, z on x, a datum on the others of its batch, all on the batch's size
    ============ ================================================================================

    After a step with an error the later ones are not taken, as they would find its consequences;
    :attr:`Findings.unchecked` says which, and why. No finding is no proof: rules see one batch.

    Nothing is changed: weights, buffers, modes, gradients, Pyro's parameter store and settings,
    random states. What the pair's own code ends in is a finding, not an exception.

    Args:
        model: a Pyro program called as ``model(x)``.
        guide: the same for q(z|x).
        x: a batch as the pair is trained on, [batch, …]; four data that differ or more, for all
            rules. A check takes about ten times as long as a training step, and the memory of one
            with two particles.
        max_plate_nesting: dimensions for the pair's own plates, as objectives are given.
        seed: of the samples.

    Returns:
        The findings; true if there are any, ``.ok`` if none is an error.

    Raises:
        ValueError: no program, no data, or a ``max_plate_nesting`` below 1.

    Source:
        The traps of Pyro in ``docs/guide/architecture.md``. Pyro's own checks
        (``check_model_guide_match``, ``check_site_shape``) see a part of them, while training.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from pyro.nn import PyroModule
        >>> from pyro_vae.diagnostics import check_model
        >>> class Model(PyroModule):
        ...     def forward(self, x):
        ...         with pyro.plate("data", x.shape[0], dim=-1):
        ...             z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...             pyro.sample("x", dist.Bernoulli(logits=z).to_event(1), obs=x)
        >>> class Guide(PyroModule):
        ...     def forward(self, x):
        ...         with pyro.plate("data", x.shape[0], dim=-1):
        ...             pyro.sample("z", dist.Normal(x, 1.0))
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
        >>> found = check_model(Model(), Guide(), x)
        >>> found.ok, [(finding.rule, finding.where) for finding in found]
        (False, [('declared-events', "guide, site 'z', plate 'data', dim -1")])
        >>> found.errors[0].fix
        'dist.Normal(…).to_event(1)'
    """
    programs = {"model": model, "guide": guide}
    _check_arguments(programs, x, max_plate_nesting)
    settings = pyro.settings.get()
    with untouched(programs, x.device) as modules:
        runs = Runs(
            model,
            guide,
            x,
            max_plate_nesting=max_plate_nesting,
            seed=seed,
            modules=modules,
            settings=settings,
        )
        return _apply(runs)


def _apply(runs: Runs) -> Findings:
    """All rules, up to the step with an error."""
    found: list[Finding] = []
    checked: list[str] = []
    unchecked: dict[str, str] = {}
    for step in STEPS:
        wrong = any(finding.severity is Severity.ERROR for finding in found)
        for rule in step:
            name = rule.__name__.replace("_", "-")
            try:
                if wrong:
                    raise Unchecked("an error comes first")
                found.extend(named(finding, name) for finding in list(rule(runs)))
                checked.append(name)
            except Unchecked as reason:
                unchecked[name] = str(reason)
            except Exception as error:  # a distribution that cannot be asked: no rule may raise
                unchecked[name] = f"the pair cannot be asked ({type(error).__name__}: {error})"
    return findings(found, checked, unchecked)


def _check_arguments(programs: dict[str, Program], x: Tensor, max_plate_nesting: int) -> None:
    for name, program in programs.items():
        if not callable(program):
            raise ValueError(
                f"check_model: expected {name} to be a Pyro program, a function or module called "
                f"with the data; got {type(program).__name__}."
            )
    if x.dim() == 0 or len(x) == 0:
        raise ValueError(
            f"check_model: expected a batch of data, [batch, …]; got shape {list(x.shape)}. "
            "Give it what the pair is trained on."
        )
    if max_plate_nesting < 1:
        raise ValueError(f"check_model: expected max_plate_nesting ≥ 1; got {max_plate_nesting}.")
