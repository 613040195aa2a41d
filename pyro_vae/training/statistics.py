from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pyro_vae._modes import evaluation_mode, forked_rng
from pyro_vae._module import EstimatedMean
from pyro_vae._shapes import check_some
from pyro_vae.objectives import run_particles

__all__ = ["update_statistics", "update_statistics_from"]


def update_statistics(
    model: nn.Module,
    guide: nn.Module,
    x: Tensor,
    *,
    batch_size: int = 1000,
    seed: int = 0,
) -> None:
    """Estimate on ``x`` what a pair estimates on the training set for evaluation.

    That is the variance S² of a :class:`~pyro_vae.priors.FloatingPrior` (Fyffe, eq. 4), and the σ²
    of an :class:`~pyro_vae.likelihoods.OptimalVariance` (Yu, eq. 43) or of
    :class:`~pyro_vae.likelihoods.BAGGINS` (Fyffe, eq. 29). Parameters, modes and the global random
    state stay as they are. A pair with nothing to estimate is left alone. :func:`pyro_vae.fit`
    calls this before each validation and at its end.

    Args:
        model, guide: the pair.
        x: the training data, [data, *event].
        batch_size: data at a time.
        seed: of the latents drawn for σ².

    Raises:
        ShapeError: no data.
    """
    check_some(x)
    update_statistics_from(model, guide, x.split(batch_size), seed, x.device)


@torch.no_grad()
def update_statistics_from(
    model: nn.Module,
    guide: nn.Module,
    batches: Iterable[Tensor],
    seed: int,
    device: torch.device,
) -> None:
    """The same from batches, which need not all be in memory at once."""
    parts = [*model.modules(), *guide.modules()]
    estimates = [part for part in parts if isinstance(part, EstimatedMean)]
    if not estimates:
        return
    with evaluation_mode(model, guide), forked_rng(seed, device):
        for estimate in estimates:
            estimate.train()
            estimate.start()
        for batch in batches:
            run_particles(model, guide, batch)
        for estimate in estimates:
            estimate.finish()
