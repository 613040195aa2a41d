"""The equations on trained networks: predicted, measured, and where the evidence departs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from experiments.markdown import minus, number, table
from experiments.there_and_back.config import Config
from experiments.there_and_back.figures import label
from experiments.there_and_back.jobs import results_of
from experiments.there_and_back.variants import STUDIES, Variant

__all__ = ["equations"]


def equations(config: Config, root: Path) -> list[str]:
    found = results_of(root, STUDIES["equations"](config))
    trained = {v: result for v, result in found.items() if "failed" not in result}
    parts = ["## The equations", _ABOUT_EQUATIONS.format(checked=f"{config.checked:,}")]
    for variant, result in found.items():
        parts.append(f"### {_name(variant)}")
        if variant in trained:
            pairs = zip(*result["checks"].values(), strict=True)
            rows = [_row(*checks) for checks in pairs]
            head = ["equation", "what", *["predicted", "measured", "agreement"] * 2]
            parts.append(table(head, rows, "llrrlrrl"))
        else:
            parts.append(f"Training failed: {result['failed']}")
    parts += ["### Which hold", _verdicts(trained)]
    return [*parts, "### Where the closed evidence departs", *_departures(trained)]


_ABOUT_EQUATIONS = (
    "Of VAEs with learned posterior variances under N(0, I), trained by the ELBO. *Predicted*: by "
    "the equation from the trained networks. *Measured*: without it — by descent, by automatic "
    "differentiation of many draws, by differences, by another factorisation; log p(x) of two "
    "latents by quadrature, of more by importance sampling around the posterior's mode and around "
    "the encoder's, a lower bound where the posterior has other modes. The first three columns of "
    "numbers are of {checked} data that were trained on, where the conditions of an optimum are "
    "meant to hold; the last three of as many held out. *Agreement*: how far the prediction's "
    "mean is from the measured one; and, after ±, the root mean square difference of single data "
    "over that of what is measured: ± 0 % where each datum agrees, ± 100 % where the prediction "
    "says nothing of it. In **bold** what is met within 1 %, or within two standard errors where "
    "those are at most a fifth of it."
)


def _row(training: Mapping[str, Any], held_out: Mapping[str, Any]) -> list[str]:
    return [training["equation"], training["about"], *_check(training), *_check(held_out)]


def _check(check: Mapping[str, Any]) -> list[str]:
    error = "" if check["error"] is None else f" ± {number(check['error'])}"
    measured = minus(_signed(check["measured"])) + error
    return [minus(_signed(check["predicted"])), measured, _agreement(check)]


def _agreement(check: Mapping[str, Any]) -> str:
    sign = "+" if check["predicted"] >= check["measured"] else "−"
    told = _percent(_relative(check), sign)
    told = f"**{told}**" if _met(check) else told
    return told if check["spread"] is None else f"{told} ± {_percent(check['spread'])}"


def _relative(check: Mapping[str, Any]) -> float:
    """How far the prediction's mean is off."""
    difference, measured = abs(check["predicted"] - check["measured"]), abs(check["measured"])
    return difference / measured if measured else float("inf")


def _met(check: Mapping[str, Any]) -> bool:
    """Within 1 %, or within two standard errors where those are small."""
    twice = 2 * (check["error"] or 0.0)
    off = abs(check["predicted"] - check["measured"])
    return _relative(check) <= 0.01 or off <= twice <= 0.2 * abs(check["measured"])


def _verdicts(trained: Mapping[Variant, Mapping[str, Any]]) -> str:
    """By equation: in how many of the VAEs it is met, and how far off it is in the middle one."""
    found: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = {}
    for result in trained.values():
        for data, checks in result["checks"].items():
            for check in checks:
                of_one = found.setdefault((check["equation"], check["about"]), {})
                of_one.setdefault(data, []).append(check)
    rows = [
        [equation, about, *(_verdict(checks) for checks in by_data.values())]
        for (equation, about), by_data in found.items()
    ]
    text = "In how many of these VAEs it is met, as above; and the median of how far it is off."
    return f"{text}\n\n{table(['equation', 'what', 'training', 'held-out'], rows, 'llrr')}"


def _verdict(checks: list[Mapping[str, Any]]) -> str:
    off = _percent(median(map(_relative, checks)))
    return f"{sum(map(_met, checks))} of {len(checks)}, {off}"


def _percent(share: float, sign: str = "") -> str:
    if share > 10:
        return f"beyond {sign}1,000 %"
    return f"{sign}{100 * share:.{1 if share < 0.1 else 0}f} %"


def _departures(trained: Mapping[Variant, Mapping[str, Any]]) -> list[str]:
    rows = [
        [
            _name(variant),
            name,
            _nats(found["at_mean"]),
            f"{_nats(found['at_mode'])} ± {number(found['error'])}",
            f"{found['distance']:.2f}",
            f"{found['bend']:.2f}",
            f"{found['rank']:.1f}",
        ]
        for variant, result in trained.items()
        for name, found in result["departure"].items()
    ]
    head = ["VAE", "data", "at the encoder's mean", "at the mode", "distance", "bend", "rank"]
    return [_ABOUT_DEPARTURE, table(head, rows, "llrrrrr"), _within(trained)]


def _within(trained: Mapping[Variant, Mapping[str, Any]]) -> str:
    """In how many cases eq. 16 and 26 are within 1 %: at the encoder's mean, and at the mode."""
    found = [
        (abs(found["at_mean"] / evidence), abs(found["at_mode"] / evidence))
        for result in trained.values()
        for name, found in result["departure"].items()
        for evidence in [_measured(result["checks"][name], "16, 26")]
    ]
    if not found:
        return ""
    at_mean, at_mode = zip(*found, strict=True)
    told = [
        f"{name} in {sum(off <= 0.01 for off in offs)} of {len(offs)} cases, the median of "
        f"{_percent(median(offs))} off"
        for name, offs in (("at the encoder's mean", at_mean), ("at the mode", at_mode))
    ]
    return f"Within 1 % of log p(x): {'; '.join(told)}."


def _measured(checks: Sequence[Mapping[str, Any]], equation: str) -> float:
    return next(check["measured"] for check in checks if check["equation"] == equation)


_ABOUT_DEPARTURE = (
    "Eq. 16 and 26 are Laplace's approximation of log p(x), taken at the encoder's mean. What "
    "they are off by, in nats: there, and *at the mode* of the posterior, found by Gauss–Newton "
    "steps from there. The first less the second is what encoders that miss the mode cost; what "
    "is left at the mode is the posterior's shape: its bend, and other modes. ± is the standard "
    "error of log p(x). *Distance*: of mean and mode, in the posterior's standard deviations. "
    "*Bend*: by how many nats ½ log det(S⁻² + JᵀT⁻¹J) changes from the mode to a draw from the "
    "normal posterior there; 0 for a linear decoder. *Rank*: directions that the data determine "
    "better than the prior does."
)


def _nats(value: float) -> str:
    return minus(f"{value:+.3f}" if abs(value) < 0.1 else f"{value:+.2f}")


def _signed(value: float) -> str:
    return f"-{number(-value)}" if value < 0 else number(value)


def _name(variant: Variant) -> str:
    return f"{label(variant)}, {variant.latent} latent{'s' * (variant.latent > 1)}"
