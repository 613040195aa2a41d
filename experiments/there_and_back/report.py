"""The report: each equation predicted and measured, and what variances do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.machine import machines
from experiments.markdown import figure, minus, number, table
from experiments.there_and_back.config import Config
from experiments.there_and_back.figures import label
from experiments.there_and_back.jobs import folder_of
from experiments.there_and_back.variants import STUDIES, Variant, variants

__all__ = ["report"]


def report(config: Config, root: Path, captions: Mapping[str, str], command: str) -> str:
    """The Markdown of ``report.md``.

    Args:
        config: the settings.
        root: the run folder.
        captions: of the figures, by name.
        command: that makes this run.
    """
    parts = [f"# There and back again: {config.data}", _QUESTION]
    for study in config.studies:
        parts += _PARTS[study](config, root)
    parts += ["## What was run", _settings(config, root, command)]
    if captions:
        parts += ["## Figures", *(figure(name, caption) for name, caption in captions.items())]
    return "\n\n".join(parts) + "\n"


_QUESTION = (
    "Fyffe (*There and Back Again: Unraveling the Variational Auto-Encoder*) derives what a VAE's "
    "prior, decoder and posterior are at its optimum, and from that two ways to do without learned "
    "variances. Here each equation is held against trained networks, and each way against the "
    "others. What the variances of posteriors cost, learned and constant, is on a page of its own: "
    "`python -m experiments posterior_variance`."
)


def _results(root: Path, found: Iterator[Variant]) -> dict[Variant, dict[str, Any]]:
    return {variant: folder_of(root, variant).result() for variant in found}


# -- equations -------------------------------------------------------------------------------------


def _equations(config: Config, root: Path) -> list[str]:
    found = _results(root, STUDIES["equations"](config))
    parts = ["## The equations", _ABOUT_EQUATIONS.format(checked=f"{config.checked:,}")]
    for variant, result in found.items():
        title = f"### {variant.likelihood}, {variant.latent} latents"
        if "failed" in result:
            parts += [title, f"Training failed: {result['failed']}"]
            continue
        rows = [_check(check) for check in result["checks"]]
        head = ["equation", "what", "predicted", "measured", "difference", "spread"]
        parts += [title, table(head, rows, "llrrrr")]
    return parts


_ABOUT_EQUATIONS = (
    "Of VAEs with learned posterior variances under N(0, I), trained by the ELBO, on {checked} "
    "held-out data (eq. 6 and 7: training data). *Predicted*: by the equation from the trained "
    "networks. *Measured*: without it — by descent, by automatic differentiation of many draws, by "
    "importance sampling, by another factorisation. *Difference*: of the means. *Spread*: the root "
    "mean square difference of single data over that of what is measured; 0 % where each datum "
    "agrees, 100 % where the prediction says nothing of it."
)


def _check(check: Mapping[str, Any]) -> list[str]:
    predicted, measured = check["predicted"], check["measured"]
    error = "" if check["error"] is None else f" ± {number(check['error'])}"
    relative = 100 * (predicted / measured - 1) if measured else float("nan")
    return [
        check["equation"],
        check["about"],
        minus(_signed(predicted)),
        minus(_signed(measured)) + error,
        minus(f"{relative:+.1f} %"),
        "–" if check["spread"] is None else f"{100 * check['spread']:.0f} %",
    ]


def _signed(value: float) -> str:
    return f"-{number(-value)}" if value < 0 else number(value)


# -- likelihoods -----------------------------------------------------------------------------------


def _likelihoods(title: str, study: str) -> Callable[[Config, Path], list[str]]:
    def parts(config: Config, root: Path) -> list[str]:
        found = _results(root, STUDIES[study](config))
        rows = [[str(v.latent), label(v), *_numbers(result)] for v, result in found.items()]
        head = ["latents", "likelihood", "bound", "bits a dimension", "KL", "log p(x)", "σ²"]
        head += ["samples to data", "data to samples", "largest drop"]
        return [f"## {title}", _ABOUT_LIKELIHOODS, table(head, rows, "rl" + "r" * 8)]

    return parts


_ABOUT_LIKELIHOODS = (
    "BILBO with Σ = I, one seed. Nats a test image, of densities in the data's own unit: for data "
    "times λ, m log λ is added and σ² divided by λ². *log p(x)*: importance sampling, of the first "
    "test images. *Samples to data*: the mean squared distance, a pixel, of 1,000 generated images "
    "to the nearest of 5,000 test images, and *data to samples* the other way. *Largest drop*: by "
    "how many nats the bound on the test set fell at most from one measurement to a later one."
)


def _numbers(result: Mapping[str, Any]) -> list[str]:
    if "failed" in result:
        return ["failed", *["–"] * 7]
    variance = result.get("variance")
    return [
        minus(f"{result['bound']:.1f}"),
        minus(f"{result['bits_per_dim']:.3f}"),
        f"{result['kl']:.1f}",
        minus(f"{result['log_evidence']:.1f} ± {result['log_evidence_error']:.1f}"),
        "–" if variance is None else number(variance),
        f"{result['to_data']:.4f}",
        f"{result['from_data']:.4f}",
        f"{_largest_drop(result):.1f}",
    ]


def _largest_drop(result: Mapping[str, Any]) -> float:
    """Of the held-out bound, from the best so far."""
    best, drop = float("-inf"), 0.0
    for record in result["history"]:
        if record["validation"] is not None:
            best = max(best, record["validation"])
            drop = max(drop, best - record["validation"])
    return drop


# -- posteriors ------------------------------------------------------------------------------------


def _posteriors(title: str, study: str, about: str) -> Callable[[Config, Path], list[str]]:
    def parts(config: Config, root: Path) -> list[str]:
        found = _results(root, STUDIES[study](config))
        settings: dict[tuple[float, float | None], list[float]] = {}
        for variant, result in found.items():
            key = (variant.factor, variant.deviation)
            settings.setdefault(key, []).append(result["bound"])
        rows = [
            [
                f"{factor:g}",
                "learned" if deviation is None else f"{deviation:g}",
                minus(f"{sum(bounds) / len(bounds):.2f}"),
                minus(f"{min(bounds):.2f} to {max(bounds):.2f}"),
            ]
            for (factor, deviation), bounds in settings.items()
        ]
        head = ["factor", "σ", "bound, mean over seeds", "range"]
        return [f"## {title}", about, table(head, rows, "rrrr")]

    return parts


_START = (
    "The encoder's means are multiplied by a factor at its end, and the decoder's latents divided "
    "by it at its beginning: by eq. 2 the bound's optimum is the same for every factor and σ, and "
    "what differs is what training starts with. Bernoulli likelihood, two latents; nats a test "
    "image at the end of training."
)
_DEVIATIONS = "BILBO with Σ = σ² I, Bernoulli likelihood, two latents, one seed; nats a test image."
_PARTS: dict[str, Callable[[Config, Path], list[str]]] = {
    "scales": _likelihoods("Likelihood variances and the scale of the data", "scales"),
    "taus": _likelihoods("The information factor", "taus"),
    "deviations": _posteriors("The posterior's scale", "deviations", _DEVIATIONS),
    "start": _posteriors("The start of training", "start", _START),
    "equations": _equations,
}


# -- what was done ---------------------------------------------------------------------------------


def _settings(config: Config, root: Path, command: str) -> str:
    runs = list(_results(root, iter(variants(config))).values())
    training = sum(run.get("training_seconds", 0.0) for run in runs)
    evaluation = sum(run.get("evaluation_seconds", 0.0) for run in runs)
    layers = " – ".join(map(str, config.hidden))
    rows = {
        "command": f"`{command}`",
        "networks": f"encoder and decoder with hidden layers {layers}, ReLU, Glorot-uniform",
        "training": f"{config.epochs} epochs (the study of what training starts with: "
        f"{config.start_epochs}), batch {config.batch_size}, Adam {config.learning_rate:g}; the "
        "paper's: 200 and 400 epochs",
        "time": f"{training / 60:.0f} minutes of training and {evaluation / 60:.0f} of evaluation "
        f"of all {len(runs)} runs added up",
        **machines(runs),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")
