"""What a run of the experiment is, and nothing it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.iwae_mnist.methods import METHODS
from experiments.settings import changed

__all__ = ["STAGES", "Config", "default_config"]

STAGES = 8
"""Of the paper: 3^i epochs at 10⁻³ · 10^(−i/7), i = 0 … 7."""


@dataclass(frozen=True)
class Config:
    """Settings of one run: equal settings, equal run folder.

    The defaults are those of Burda et al.'s text (their code has Adam's β₁ at 0.99), but for the
    number of stages: the paper's eight take 3,280 epochs, the first four of them 40, which two
    cores can carry.

    Args:
        data: ``"mnist"``, or ``"digits"`` to see that everything works.
        methods: by name.
        seeds: 0 … seeds − 1.
        stages: of the schedule.
        hidden, latent: the networks' two layers, and z.
        batch_size: images a step.
        evidence_samples: latents an image for log p(x).
        gradients: repeated for the signal-to-noise ratio.
    """

    data: str = "mnist"
    methods: tuple[str, ...] = tuple(METHODS)
    seeds: int = 1
    stages: int = 4
    hidden: tuple[int, ...] = (200, 200)
    latent: int = 50
    batch_size: int = 20
    evidence_samples: int = 5_000
    gradients: int = 500
    device: str = "cpu"

    @property
    def epochs(self) -> int:
        """Passes through the data: 1 + 3 + 9 + …"""
        return sum(3**i for i in range(self.stages))

    def rate(self, share: float) -> float:
        """The learning rate when a share of all steps is done."""
        done, stage = share * self.epochs, 0
        while stage < self.stages - 1 and done >= (3 ** (stage + 1) - 1) / 2:
            stage += 1
        return 1e-3 * 10 ** (-stage / (STAGES - 1))


_FULL: dict[str, Any] = {"stages": STAGES}
_QUICK: dict[str, Any] = {
    "stages": 1,
    "hidden": (20, 20),
    "latent": 5,
    "evidence_samples": 50,
    "gradients": 20,
}


def default_config(*, quick: bool = False, full: bool = False, **given: Any) -> Config:
    """The settings; what is given (not ``None``) replaces them."""
    return changed(Config(), _FULL if full else {}, _QUICK if quick else {}, **given)
