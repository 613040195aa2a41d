"""The report: what was run, what came out, and whether Fyffe's claim held."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.machine import machines
from experiments.markdown import figure, minus, table
from experiments.paired import Estimate, estimate, paired_difference
from experiments.posterior_variance.config import Config
from experiments.posterior_variance.figures import PAPER
from experiments.posterior_variance.methods import BASELINE, METHODS

__all__ = ["csv_table", "report", "summary"]

_SEEDS_FOR_A_CLAIM = 3
_NAMES = {"mnist": "MNIST", "digits": "the 8×8 digits that scikit-learn carries"}
_COLUMNS = (
    "method",
    "seed",
    "bound",
    "reconstruction",
    "kl",
    "log_evidence",
    "log_evidence_error",
    "active_units",
    "reconstruction_error",
    "training_seconds",
)

Results = Sequence[dict[str, Any]]


def csv_table(results: Results) -> str:
    """One line a run."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(results)
    return out.getvalue()


def summary(results: Results) -> dict[str, Any]:
    """Means over seeds and paired differences, as numbers."""
    return {
        "bound": {m: vars(estimate(_values(results, m, "bound"))) for m in METHODS},
        "log_evidence": {m: vars(estimate(_values(results, m, "log_evidence"))) for m in METHODS},
        "difference": {m: vars(_difference(results, m)) for m in METHODS if m != BASELINE},
        "evidence_difference": {
            m: vars(_difference(results, m, name="log_evidence")) for m in METHODS if m != BASELINE
        },
        "bilbo_less_constant": vars(_difference(results, "BILBO", "Constant Σ")),
    }


def report(
    config: Config,
    results: Results,
    captions: dict[str, str],
    command: str,
) -> str:
    """The Markdown of ``report.md``."""
    parts = [
        f"# Learned against constant posterior variance: {_subject(config)}",
        _question(config),
        "## Result",
        _table(config, results),
        _differences(results),
        _verdict(results),
        *_against_the_paper(config, results),
        "## What the numbers are",
        _meaning(config),
        "## What was run",
        _settings(config, results, command),
        "## Figures",
        *(figure(name, caption) for name, caption in captions.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _values(results: Results, method: str, name: str) -> list[float]:
    return [result[name] for result in results if result["method"] == method]


def _difference(
    results: Results, method: str, baseline: str = BASELINE, name: str = "bound"
) -> Estimate:
    return paired_difference(_values(results, method, name), _values(results, baseline, name))


def _subject(config: Config) -> str:
    return config.data if config.latent == 2 else f"{config.data}, {config.latent} latents"


def _question(config: Config) -> str:
    return (
        "Does a VAE need to learn the variance of its posteriors? Fyffe (*There and Back "
        "Again: Unraveling the Variational Auto-Encoder*) says no: with a constant variance and a "
        "prior whose own variance floats, the lower bound is no worse, and in its experiments "
        f"better. Here are the three methods of its figure 4 on {_NAMES[config.data]}, each on the "
        "same seeds, starting decoders and order of the data."
    )


def _is_papers(config: Config) -> bool:
    """Whether the paper has a number to stand beside."""
    return config.data == "mnist" and config.latent == 2


def _table(config: Config, results: Results) -> str:
    paper = _is_papers(config)
    head = ["method", "bound", "± s.e.", "E log p(x\\|z)", "KL", "log evidence", "active units"]
    rows = [_row(method, results) + [_number(PAPER[method], 1)] * paper for method in METHODS]
    told = table(head + ["paper's bound"] * paper, rows, "l" + "r" * (len(head) - 1 + paper))
    over = f"means over {config.seeds} seeds" if config.seeds > 1 else "one seed"
    return f"Nats a test image, {over}.\n\n{told}"


def _row(method: str, results: Results) -> list[str]:
    bound = estimate(_values(results, method, "bound"))
    means = {
        name: estimate(_values(results, method, name)).mean
        for name in ("reconstruction", "kl", "log_evidence", "active_units")
    }
    return [
        method,
        _number(bound.mean),
        "–" if bound.error is None else f"{bound.error:.2f}",
        _number(means["reconstruction"]),
        _number(means["kl"]),
        _number(means["log_evidence"]),
        f"{means['active_units']:.1f}",
    ]


def _differences(results: Results) -> str:
    pairs = [("Constant Σ", BASELINE), ("BILBO", BASELINE), ("BILBO", "Constant Σ")]
    rows = []
    for a, b in pairs:
        found = [_difference(results, a, b, name) for name in ("bound", "log_evidence")]
        rows.append([f"{a} − {b}", *(cell for d in found for cell in _mean_and_interval(d))])
    head = ["paired by seed", "bound", "95 % interval", "log evidence", "95 % interval"]
    return table(head, rows, "lrrrr")


def _mean_and_interval(difference: Estimate) -> list[str]:
    return [_signed(difference.mean), _interval(difference)]


def _verdict(results: Results) -> str:
    told = [_one_verdict(m, _difference(results, m)) for m in METHODS if m != BASELINE]
    if len(results) < _SEEDS_FOR_A_CLAIM * len(METHODS):
        told = [f"No claim: it takes {_SEEDS_FOR_A_CLAIM} seeds to tell a gain from their spread."]
    return "**Is a constant variance better?** " + " ".join(told)


def _one_verdict(method: str, difference: Estimate) -> str:
    if not difference.excludes_zero():
        return f"{method}: undecided, the 95 % interval of its difference to {BASELINE} holds zero."
    answer, found = ("yes", "above") if difference.mean > 0 else ("no, worse", "below")
    return (
        f"{method}: {answer}, the 95 % interval of its difference to {BASELINE} lies {found} zero."
    )


def _against_the_paper(config: Config, results: Results) -> list[str]:
    """How far each mean is from the paper's, and what that makes of the differences."""
    if not _is_papers(config):
        return []
    means = {m: estimate(_values(results, m, "bound")).mean for m in METHODS}
    far = ", ".join(f"{m} {_beside(means[m] - PAPER[m])} ({_number(PAPER[m], 1)})" for m in METHODS)
    of_baseline = _values(results, BASELINE, "bound")
    low, high = _number(min(of_baseline)), _number(max(of_baseline))
    gains = "; ".join(_gain(m, means) for m in METHODS if m != BASELINE)
    told = f"Against the paper's bounds: {far}. {BASELINE}'s seeds lie between {low} and {high}."
    return [f"{told} {gains}.{_of_the_baseline(means)}"]


def _beside(distance: float) -> str:
    return f"is {abs(distance):.1f} nats {'above' if distance > 0 else 'below'}"


def _gain(method: str, means: Mapping[str, float]) -> str:
    """A difference beside the paper's."""
    ours, papers = means[method] - means[BASELINE], PAPER[method] - PAPER[BASELINE]
    return (
        f"{method} − {BASELINE}, {_signed(ours)}, is {ours / papers:.1f} times the paper's "
        f"{_signed(papers, 1)}"
    )


def _of_the_baseline(means: Mapping[str, float]) -> str:
    weaker = PAPER[BASELINE] - means[BASELINE]
    if weaker <= 0:
        return ""
    return f" {weaker:.1f} nats of each are there because {BASELINE} is worse here than there."


def _meaning(config: Config) -> str:
    return (
        "*Bound*: the evidence lower bound (Fyffe, eq. 1 and 2) with the KL in closed form and "
        f"{config.elbo_samples} samples of z an image. For the constant variance the prior is "
        "N(0, S²) with S² from the training set (eq. 4), put into this ordinary bound: an S² from "
        "each batch would flatter it by about n/(2B) nats. *Log evidence*: importance sampling "
        f"with {config.evidence_samples:,} samples, of the first {config.evidence_data:,} test "
        "images where there are more. The likelihood is a Bernoulli on grey values: a cross "
        "entropy, comparable between the methods here and with Fyffe's numbers, not with binarised "
        "data. *s.e.* is over seeds; intervals are Student's t on paired differences.\n\n"
        "Constant Σ and BILBO maximise the same function: with S² from the batch and the KL in "
        "closed form, eq. 24 is eq. 2 averaged over the batch, in value and gradient. On the same "
        "seed they differ by rounding alone, which training then amplifies: their difference shows "
        "the noise floor of the other two."
    )


def _settings(config: Config, results: Results, command: str) -> str:
    layers = " – ".join(map(str, config.hidden))
    training = sum(result["training_seconds"] for result in results)
    rows = {
        "command": f"`{command}`",
        "data": f"{config.data}, grey values",
        "networks": f"encoder and decoder with hidden layers {layers}, ReLU, Glorot-uniform "
        "weights, zero biases",
        "latent dimensions": str(config.latent),
        "training": f"{config.epochs} epochs, batch {config.batch_size}, Adam "
        f"{config.learning_rate:g}, {_seeds(config)}",
        "training time": f"{training / 60:.1f} minutes of all {len(results)} runs added up",
        **machines(results),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")


def _seeds(config: Config) -> str:
    return "seed 0" if config.seeds == 1 else f"seeds 0–{config.seeds - 1}"


def _number(value: float, digits: int = 2) -> str:
    return minus(f"{value:.{digits}f}")


def _signed(value: float, digits: int = 2) -> str:
    return minus(f"{value:+.{digits}f}")


def _interval(difference: Estimate) -> str:
    if difference.half_width is None:
        return "– (one seed)"
    low, high = (difference.mean + s * difference.half_width for s in (-1, 1))
    return f"[{_signed(low)}, {_signed(high)}]"
