"""Rules about parameters: whose they are, and who trains them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.diagnostics.linter._crash import Crash
from pyro_vae.diagnostics.linter._findings import Finding, error, warning
from pyro_vae.diagnostics.linter._runs import Run, Runs, Unchecked, names

Parameters = dict[str, Tensor]


def finite_weights(runs: Runs) -> Iterator[Finding]:
    """No parameter is NaN or infinite."""
    for run in runs.both:
        parameters = _of_program(runs, run).items()
        if bad := [name for name, value in parameters if not bool(value.isfinite().all())]:
            yield error(
                run.program,
                f"expected finite parameters; got NaN or an infinity in {names(bad)}",
                why="everything they touch is NaN, and no step of training heals it",
                fix="go back to weights from before it happened, with a lower learning rate or "
                "clipped gradients",
            )


def names_in_the_store(runs: Runs) -> Iterator[Finding]:
    """Names in Pyro's parameter store stand for the pair's own tensors."""
    taken = [name for run in runs.both for name in run.params if _is_anothers(run, name)]
    if taken := [*dict.fromkeys(taken), *runs.modules.replaced()]:
        yield error(
            "model and guide",
            f"expected the pair's own tensors in Pyro's parameter store; got others under the "
            f"names {names(taken)}",
            why="the store goes by names. Another module, of this pair or trained earlier in this "
            "process, has these: SVI trains its tensors, and this pair's, silently, not (or a "
            "PyroParam becomes one tensor of two modules)",
            fix='super().__init__(name="model_2") in the root PyroModule, another for the guide; '
            "pyro.clear_param_store(), if what is stored is no longer needed; or fit",
        )


def registered(runs: Runs) -> Iterator[Finding]:
    """A module's parameters are registered with it."""
    known = _ids(_seen_by_svi(runs)) | _ids(_seen_by_modules(runs))
    for run in runs.both:
        lost = {n: p for n, p in _used(runs, run).items() if id(p) not in known}
        if lost and runs.module(run.program) is not None:
            yield error(
                run.program,
                f"expected parameters registered with the model or the guide; got {names(lost)}, "
                "which neither knows of",
                why="no trainer finds them, no state_dict holds them, and .to(device) leaves them "
                "behind",
                fix="self.layers = nn.ModuleList(layers), or nn.Parameter as an attribute of the "
                "module",
            )


def programs_are_modules(runs: Runs) -> Iterator[Finding]:
    """A program with parameters is a module."""
    stored = _ids(_seen_by_svi(runs))
    for run in runs.both:
        used = _used(runs, run)
        if used and runs.module(run.program) is None:
            unseen = [name for name, parameter in used.items() if id(parameter) not in stored]
            yield warning(
                run.program,
                f"expected a module, since it has parameters ({names(used)}); got "
                f"{_kind(runs.programs[run.program])}",
                why="objective(model, guide).parameters(), as of Trace_ELBO()(model, guide), does "
                "not have them, and fit cannot train them"
                + (f"; SVI does not find {names(unseen)} either" if unseen else ""),
                fix="class Model(pyro.nn.PyroModule): def forward(self, x): …"
                + ('; for SVI alone pyro.module("decoder", decoder)' if unseen else ""),
            )


def parameters_that_svi_sees(runs: Runs) -> Iterator[Finding]:
    """A module's parameters are known to SVI, too."""
    stored = _ids(_seen_by_svi(runs))
    for run in runs.both:
        module = runs.module(run.program)
        own = set() if module is None else _ids(dict(module.named_parameters()))
        used = _used(runs, run).items()
        if hidden := [name for name, p in used if id(p) in own and id(p) not in stored]:
            yield warning(
                run.program,
                f"expected a PyroModule; got a plain module with parameters ({names(hidden)})",
                why="fit and objective(model, guide) train them; pyro.infer.SVI trains none of "
                "them and does not say so",
                fix=f"class {type(module).__name__}(pyro.nn.PyroModule): …",
            )


def parameters_of_one(runs: Runs) -> Iterator[Finding]:
    """No parameter belongs to both model and guide."""
    guide, model = (_of_program(runs, run) for run in runs.both)
    if shared := [name for name, p in model.items() if id(p) in _ids(guide)]:
        yield warning(
            "model and guide",
            f"expected parameters of the model or of the guide; got {names(shared)} in both",
            why="what trains the two apart (learning rates, DReG, wake–sleep) trains these twice, "
            "and a copy of one carries parts of the other",
            fix='object.__setattr__(self, "_guide", guide) holds a module without registering '
            "its parameters; else give each its own",
        )


def trained_parameters(runs: Runs) -> Iterator[Finding]:
    """The ELBO has a gradient for every parameter."""
    if isinstance(runs.loss, Crash):
        raise Unchecked("there is no ELBO of two particles")
    for run in runs.both:
        parameters = {n: p for n, p in _of_program(runs, run).items() if p.requires_grad}
        gradients = _gradients(runs.loss, parameters)
        dead = [name for name, gradient in gradients.items() if gradient is None]
        if not _starts_at_zero(parameters.values()):
            dead += [n for n, g in gradients.items() if g is not None and not g.any()]
        if dead:
            yield warning(
                run.program,
                f"expected a gradient of the ELBO for every parameter; got none for {names(dead)}",
                why="they stay where they are: not used, behind a detach() or no_grad(), or behind "
                "units that are zero for the whole batch",
                fix="use them, drop them, or say that they are meant to stay: "
                "parameter.requires_grad_(False)",
            )


def _is_anothers(run: Run, name: str) -> bool:
    """Whether the store has, under a name, something else than what was to be stored there."""
    site = run.params[name]
    initial = site["args"][1] if len(site["args"]) > 1 else None
    if isinstance(initial, nn.Parameter):
        return _stored(site) is not initial
    return isinstance(initial, Tensor) and initial.shape != site["value"].shape


def _stored(site: Any) -> Tensor:
    """The leaf that the parameter store holds for a ``pyro.param`` statement."""
    value = site["value"]
    return value.unconstrained() if hasattr(value, "unconstrained") else value


def _seen_by_svi(runs: Runs) -> Parameters:
    """What is, or by its statement was to be, in the store."""
    found: Parameters = {}
    for run in runs.both:
        for name, site in run.params.items():
            found[name] = _stored(site)
            if len(site["args"]) > 1 and isinstance(site["args"][1], nn.Parameter):
                found[f"{name}, as given"] = site["args"][1]
    return found


def _seen_by_modules(runs: Runs) -> Parameters:
    modules = {program: runs.module(program) for program in runs.programs}
    return {
        f"{program}.{name}": parameter
        for program, module in modules.items()
        if module is not None
        for name, parameter in module.named_parameters()
    }


def _of_program(runs: Runs, run: Run) -> Parameters:
    """The parameters of a program: its module's, and its ``pyro.param`` statements'."""
    module = runs.module(run.program)
    own: Parameters = {} if module is None else dict(module.named_parameters())
    held = _ids(own)
    stored = {name: _stored(site) for name, site in run.params.items()}
    return own | {name: p for name, p in stored.items() if id(p) not in held}


def _used(runs: Runs, run: Run) -> Parameters:
    """The parameters that a program's samples and log-probabilities depend on, by name."""
    samples = [site["value"] for site in run.latents.values()]
    scores = [value for value in run.log_probs.values() if isinstance(value, Tensor)]
    leaves = _leaves([*samples, *scores])
    known = {id(_stored(site)): name for name, site in run.params.items()}
    known |= {
        id(parameter): f"{where}.{name}"
        for where, module in runs.modules
        for name, parameter in module.named_parameters(recurse=False)
    }
    named = {name: leaves[i] for i, name in known.items() if i in leaves}
    others = [leaf for i, leaf in leaves.items() if i not in known]
    # A tensor that is no nn.Parameter may be the leaf of a derivative that the program takes.
    unnamed = [leaf for leaf in others if isinstance(leaf, nn.Parameter)]
    return named | {f"a parameter of shape {list(leaf.shape)}": leaf for leaf in unnamed}


def _leaves(tensors: Iterable[Tensor]) -> dict[int, Tensor]:
    """The leaves of a graph that have a gradient."""
    found = {id(t): t for t in tensors if t.is_leaf and t.requires_grad}
    ahead = [t.grad_fn for t in tensors if t.grad_fn is not None]
    seen = set(ahead)
    while ahead:
        node: Any = ahead.pop()
        if hasattr(node, "variable"):
            found[id(node.variable)] = node.variable
        following = [f for f, _ in node.next_functions if f is not None and f not in seen]
        ahead.extend(following)
        seen.update(following)
    return found


def _gradients(loss: Tensor, parameters: Parameters) -> dict[str, Tensor | None]:
    if not (parameters and loss.requires_grad):
        return dict.fromkeys(parameters)
    found = torch.autograd.grad(
        loss, list(parameters.values()), retain_graph=True, allow_unused=True
    )
    return dict(zip(parameters, found, strict=True))


def _starts_at_zero(parameters: Iterable[Tensor]) -> bool:
    """Whether a weight matrix is zero, as of a last layer at its start: then gradients before it
    are zero at first, and nothing is wrong."""
    return any(parameter.dim() > 1 and not parameter.any() for parameter in parameters)


def _ids(parameters: Mapping[str, Tensor]) -> set[int]:
    return {id(parameter) for parameter in parameters.values()}


def _kind(program: Any) -> str:
    return "a bound method" if hasattr(program, "__self__") else "a function"
