"""The experiment's figures, from saved results; nothing is trained here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.misconceptions.config import Config
from experiments.misconceptions.jobs import folder_of
from experiments.misconceptions.scales import LOSSES
from pyro_vae import figures

__all__ = ["draw"]

_CAPTION = (
    "Held-out images, and the decoder's mean at the posterior's mean, by the loss and by what the "
    "images were multiplied by before training (drawn divided by it again)."
)


def draw(config: Config, root: Path) -> dict[str, str]:
    """Draw every figure into ``root / "figures"``; name → caption."""
    first = folder_of(root, ("MSE", config.scales[0])).arrays()["originals"]
    rows = {
        f"{loss}, ×{scale:g}": np.clip(
            folder_of(root, (loss, scale)).arrays()["reconstructions"], 0, 1
        )
        for loss in LOSSES
        for scale in config.scales
    }
    figures.save(figures.reconstructions(first, rows), root / "figures" / "reconstructions.png")
    return {"reconstructions.png": _CAPTION}
