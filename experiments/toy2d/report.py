"""The report: what was run, and how far each density is from the true one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.machine import machines
from experiments.markdown import figure, table
from experiments.paired import estimate
from experiments.toy2d.config import Config
from experiments.toy2d.paper import GOALS, PAPER
from pyro_vae.data.densities import DENSITIES

__all__ = ["report"]

Results = Sequence[Mapping[str, Any]]

_ROUNDING = 0.005  # bits, of the paper's numbers


def report(config: Config, results: Results, captions: Mapping[str, str], command: str) -> str:
    """The Markdown of ``report.md``."""
    parts = ["# VAEs of densities on the plane", _QUESTION, "## Result", _best(config, results)]
    for name in config.densities:
        parts += [f"### {DENSITIES[name].name}", _table(config, name, results)]
    if set(config.methods) & PAPER.keys():
        parts += ["## The paper's rows", _against_the_paper(config, results)]
    parts += ["## What the numbers are", _meaning(config), "## What was run"]
    parts += [_settings(config, results, command), "## Figures"]
    parts += [figure(name, caption) for name, caption in captions.items()]
    return "\n\n".join(parts) + "\n"


_QUESTION = (
    "How close does a VAE with a two-dimensional latent space come to a density on the plane? Yu "
    "(*A Tutorial on VAEs*, section 6) trains a typical VAE and an importance-weighted one on "
    "three densities, and finds both short of the entropy, the VAE by more. Below are the VAEs "
    "trained here, on points drawn anew at each step."
)


# -- results --------------------------------------------------------------------------------------


def _best(config: Config, results: Results) -> str:
    rows = []
    for name in config.densities:
        gaps = {m: _mean(results, name, m, "gap") for m in config.methods}
        best = min(gaps, key=gaps.__getitem__)
        goal, verdict = GOALS[name], "reached"
        if gaps[best] > goal:
            verdict = f"**missed by {gaps[best] - goal:.3f}**"
        error = _mean(results, name, best, "gap_error")
        seconds = _mean(results, name, best, "training_seconds")
        rows.append(
            [
                DENSITIES[name].name,
                best,
                f"{gaps[best]:.4f} ± {error:.4f}",
                f"{goal:g}",
                verdict,
                f"{seconds / 60:.1f}",
            ]
        )
    head = ["density", "best method", "gap, bits", "goal", "", "minutes"]
    text = (
        "The gap is the mean of log₂ p(x) − log₂ p_model(x), the divergence from the true density "
        "to the model's. The smallest of each data set:"
    )
    return f"{text}\n\n{table(head, rows, 'llrrlr')}"


def _table(config: Config, name: str, results: Results) -> str:
    rows = []
    for method in config.methods:
        paper = PAPER.get(method, {}).get(name)
        told = ("–", "–") if paper is None else tuple(f"{value:.2f}" for value in paper)
        rows.append(
            [
                method,
                *(_number(_on_all(results, name, method, key)) for key in ("negative_elbo", "nll")),
                f"{_mean(results, name, method, 'gap'):.4f} ± "
                f"{_mean(results, name, method, 'gap_error'):.4f}",
                _number(_mean(results, name, method, "grid_nll")),
                f"{100 * _mean(results, name, method, 'dark_mass'):.1f} %",
                *(value.replace("-", "−") for value in told),
                f"{_mean(results, name, method, 'training_seconds') / 60:.1f}",
            ]
        )
    head = ["method", "−ELBO", "NLL", "gap", "NLL on the grid", "dark mass"]
    head += ["paper's −ELBO", "paper's NLL", "minutes"]
    entropy = _mean(results, name, config.methods[0], "entropy")
    on_grid = _mean(results, name, config.methods[0], "grid_entropy")
    about = f"Entropy {_number(entropy)} bits; on the grid {_number(on_grid)}. In bits"
    over = f"means over {config.seeds} seeds" if config.seeds > 1 else "one seed"
    return f"{about}, {over}.\n\n{table(head, rows, 'l' + 'r' * 8)}"


def _against_the_paper(config: Config, results: Results) -> str:
    rows = []
    for method in config.methods:
        for name in config.densities if method in PAPER else ():
            _, paper = PAPER[method][name]
            ours = _on_all(results, name, method, "nll")
            missed = ours - paper > _ROUNDING
            verdict = f"**missed by {ours - paper:.3f}**" if missed else "reached"
            rows.append([method, DENSITIES[name].name, _number(paper)[:-1], _number(ours), verdict])
    text = (
        f"The paper's networks are 1,024 wide, these {config.growth}; its large batches are 60,000 "
        f"of 40,000 points, these {config.large_steps:,} of {config.large_batch:,}. *Reached* "
        "allows for its two decimals."
    )
    return f"{text}\n\n{table(['method', 'density', 'paper: NLL', 'ours', ''], rows, 'llrrl')}"


def _mean(results: Results, density: str, method: str, key: str) -> float:
    found = [r[key] for r in results if (r["density"], r["method"]) == (density, method)]
    return estimate(found).mean


def _on_all(results: Results, density: str, method: str, key: str) -> float:
    """A mean over the points drawn, less what those have by chance: log p(x) as control variate."""
    by_chance = _mean(results, density, method, "nll") - _mean(results, density, method, "gap")
    entropy = _mean(results, density, method, "entropy")
    return _mean(results, density, method, key) - by_chance + entropy


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


# -- what was done --------------------------------------------------------------------------------


def _meaning(config: Config) -> str:
    return (
        f"*gap*: the mean difference to the true log-density over {config.points:,} fresh points, "
        "± its standard error; the model's by importance sampling with "
        f"{config.evidence_samples:,} latents a point. What both owe to which points were drawn "
        "cancels. *NLL*: the entropy and the gap. *−ELBO*: on the same points, one latent each, "
        "with the same correction for which they are. *NLL on "
        "the grid*: the paper's measure, Σ p(x) · −log₂ max(p_model(x), 10⁻²⁰) over the cells of a "
        f"grid, here {config.grid} a side (1,024 there) at the cells' centres (left edges there), "
        "with 100 latents a cell. *dark mass*: the part of the model's mass, on the grid, where "
        "the true density is below a hundredth of its mean over its own points.\n\n"
        "The entropies are exact (`pyro_vae.data.densities`), on the whole plane; the paper has "
        "−1.92, −1 and −2.34. Its −ELBO for the IWAE is the objective of 10 samples; here it is "
        "the ELBO of one, for all methods alike."
    )


def _settings(config: Config, results: Results, command: str) -> str:
    training = sum(result["training_seconds"] for result in results)
    rows = {
        "command": f"`{command}`",
        "networks": f"encoder and decoder dense blocks: depth {config.depth}, growth "
        f"{config.growth}, ReLU, weight norm (the paper's growth: 1,024); weights start with "
        "He's variance; the encoder's input divided by the data's deviation",
        "training": f"Adam, β₂ = {config.beta2:g}{', amsgrad' * config.amsgrad}, "
        f"{config.learning_rate:g} (IWAE and large batches: {config.half_rate:g}) "
        "halved at 60, 70, 80 and 90 %; "
        f"{config.steps:,} steps of {config.batch_size} points; for IWAE {config.half_steps:,}; "
        f"large batches {config.large_steps:,} of {config.large_batch:,} (the paper's: 60,000 of "
        "40,000)",
        "flow prior": "six spline couplings of 16 bins, x = z/7 with a noise of 3·10⁻⁴; batch "
        f"{config.flow_batch}, Adam {config.flow_rate:g} with a cosine decay, as many steps",
        "free bits": "0.05 bits a dimension of each point for VAE and VAE, large batch, as in the "
        "paper's notebook; none for the others",
        "seeds": "0" if config.seeds == 1 else f"0–{config.seeds - 1}",
        "training time": f"{training / 60:.0f} minutes of all {len(results)} runs added up",
        **machines(results),
    }
    return table(["", ""], [[name, str(value)] for name, value in rows.items()], "ll")
