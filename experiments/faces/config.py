"""What a run of the experiment is, and nothing it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.settings import changed

__all__ = ["Config", "default_config"]


@dataclass(frozen=True)
class Config:
    """Settings of one run: equal settings, equal run folder.

    Latents and iterations are Fyffe's, section 7; batch and learning rate are those of the VAE
    example of TensorFlow Probability, since the paper has none.

    Args:
        data: ``"frey"``, one face in grey, or ``"celeba"``.
        latent: dimensions of z.
        width: channels of the outer convolutions; the inner ones have twice as many.
        iterations: updates at least; a run ends with the epoch.
        batch_size, learning_rate: of all.
        held_out: test images at most that are measured.
        elbo_samples, evidence_samples: latents an image for the bound and the log evidence.
    """

    data: str = "frey"
    latent: int = 16
    width: int = 32
    iterations: int = 10_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    held_out: int = 1_000
    elbo_samples: int = 50
    evidence_samples: int = 1_000
    device: str = "cpu"

    def epochs(self, data: int) -> int:
        """The fewest through so many data that have the iterations."""
        return -(-self.iterations // -(-data // self.batch_size))


_QUICK: dict[str, Any] = {
    "latent": 4,
    "width": 4,
    "iterations": 1,
    "batch_size": 100,
    "held_out": 20,
    "elbo_samples": 2,
    "evidence_samples": 20,
}


def default_config(*, quick: bool = False, **given: Any) -> Config:
    """The settings; what is given (not ``None``) replaces them."""
    return changed(Config(), _QUICK if quick else {}, **given)
