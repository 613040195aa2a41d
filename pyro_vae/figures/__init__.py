"""Figures of variational autoencoders: NumPy arrays in, a `matplotlib.figure.Figure` out.

Every function builds its own figure: no pyplot, no global state, no display. Nothing here knows of
torch or pyro, so a figure can be redrawn from saved arrays wherever matplotlib runs.
"""

from __future__ import annotations

from pyro_vae.figures.amortisation import guide_against_nuts, inference_gaps
from pyro_vae.figures.calibration import coverage, predictive_check, rank_ecdf, rank_histogram
from pyro_vae.figures.density import density_rows, latent_correspondence
from pyro_vae.figures.files import save
from pyro_vae.figures.images import image_grid, reconstructions
from pyro_vae.figures.information import (
    aggregate_marginals,
    kl_per_dimension,
    rate_distortion_plane,
)
from pyro_vae.figures.manifold import inverse_cdf_grid, latent_manifold
from pyro_vae.figures.posterior import posterior_means, posterior_variance_against_mean
from pyro_vae.figures.reliability import sorted_pareto_k, worst_images
from pyro_vae.figures.signal_to_noise import signal_to_noise
from pyro_vae.figures.style import method_colours
from pyro_vae.figures.training import bound_during_training

__all__ = [
    "bound_during_training",
    "posterior_means",
    "posterior_variance_against_mean",
    "image_grid",
    "reconstructions",
    "inverse_cdf_grid",
    "latent_manifold",
    "density_rows",
    "latent_correspondence",
    "guide_against_nuts",
    "inference_gaps",
    "aggregate_marginals",
    "kl_per_dimension",
    "rate_distortion_plane",
    "rank_ecdf",
    "rank_histogram",
    "coverage",
    "predictive_check",
    "method_colours",
    "signal_to_noise",
    "sorted_pareto_k",
    "worst_images",
    "save",
]
