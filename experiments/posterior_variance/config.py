"""What a run of the experiment is, and nothing it finds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Config"]


@dataclass(frozen=True)
class Config:
    """Settings of one run: equal settings, equal run folder.

    The defaults are seed 003's, section 7: four layers of 200, Adam at 1e-3, batch 300, 200
    epochs, a two-dimensional latent space; Glorot-uniform weights and zero biases.
    """

    data: str = "mnist"
    seeds: int = 5
    epochs: int = 200
    latent: int = 2
    hidden: tuple[int, ...] = (200, 200, 200, 200)
    batch_size: int = 300
    learning_rate: float = 1e-3
    elbo_samples: int = 50
    evidence_samples: int = 500
    device: str = "cpu"

    @property
    def validate_every(self) -> int:
        """Epochs between two points of the held-out curve: some 25 points a run."""
        return max(1, self.epochs // 25)
