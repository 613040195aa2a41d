"""The experiment's figures, from saved results; nothing is trained here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.markdown import scientific
from experiments.misconceptions.config import Config
from experiments.misconceptions.jobs import folder_of, scale_jobs
from experiments.misconceptions.scales import as_fraction
from pyro_vae import figures

__all__ = ["draw"]

_CAPTION = (
    "Held-out images, and the decoder's mean at the posterior's mean, by the loss and by what the "
    "images were multiplied by before training; drawn divided by it again, values clipped to "
    "[0, 1]. The logarithm's at other scales {others}."
)


def draw(config: Config, root: Path) -> dict[str, str]:
    """Draw every figure into ``root / "figures"``; name → caption."""
    arrays = {job: folder_of(root, job).arrays() for job in scale_jobs(config)}
    decoded = {job: found["reconstructions"] for job, found in arrays.items()}
    shown = config.scales[len(config.scales) // 2]
    rows = {
        f"{loss}, ×{as_fraction(scale)}": np.clip(images, 0, 1)
        for (loss, scale), images in decoded.items()
        if loss == "MSE" or scale == shown
    }
    originals = next(iter(arrays.values()))["originals"]
    figures.save(figures.reconstructions(originals, rows), root / "figures" / "reconstructions.png")
    logarithms = [images for (loss, _), images in decoded.items() if loss == "log MSE"]
    most = max(float(np.abs(one - logarithms[0]).max()) for one in logarithms)
    others = f"differ by up to {scientific(most)}" if most else "are the same, bit for bit"
    return {"reconstructions.png": _CAPTION.format(others=others)}
