"""Numbers to be held against: the paper's, and the goals."""

from __future__ import annotations

__all__ = ["GOALS", "PAPER"]

PAPER = {
    "VAE": {
        "8gaussians": (-1.81, -1.86),
        "checkerboard": (-0.73, -0.81),
        "2spirals": (-1.98, -2.15),
    },
    "VAE, large batch": {
        "8gaussians": (-1.90, -1.91),
        "checkerboard": (-0.87, -0.92),
        "2spirals": (-2.09, -2.21),
    },
    "IWAE-10": {
        "8gaussians": (-1.85, -1.91),
        "checkerboard": (-0.84, -0.88),
        "2spirals": (-2.25, -2.30),
    },
}
"""Yu, tables 1 and 2: −ELBO (for the IWAE, the objective of 10 samples) and NLL, in bits."""

GOALS = {"8gaussians": 0.005, "checkerboard": 0.03, "2spirals": 0.017}
"""The gap to the entropy, in bits, that the best method is meant to reach: a spline flow's."""
