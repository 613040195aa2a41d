from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae._errors import NonFiniteError
from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae._shapes import Data, PerDatum, PerParticle
from pyro_vae.objectives import Particles, run_particles
from pyro_vae.objectives._objective import Program
from pyro_vae.objectives.iwae import check_even

__all__ = ["LogEvidence", "log_evidence", "log_weights"]

# Particles × data in one pass: 12 MB of activations for 784 outputs, which a processor's cache can
# hold, and enough to occupy a GPU.
_RUN, _RUN_ON_GPU = 4_000, 100_000


@dataclass(frozen=True)
class LogEvidence:
    """Importance-sampled log p(x) of each datum, in nats.

    ``error`` is the Monte-Carlo standard error of each ``value``, by the delta method:
    sd(w) / (mean(w) √K). The estimate is biased downwards by about half its square.
    """

    value: PerDatum
    error: PerDatum

    def mean(self) -> float:
        """The mean log evidence, nats a datum."""
        return self.value.double().mean().item()

    def mean_error(self) -> float:
        """The Monte-Carlo standard error of :meth:`mean`: the data are as given, z is drawn."""
        return self.error.double().square().sum().sqrt().item() / len(self.error)


def log_evidence(
    model: Program,
    guide: Program,
    x: Data,
    *,
    num_samples: int = 1000,
    max_plate_nesting: int = 1,
    seed: int = 0,
) -> LogEvidence:
    """log p(x) of each datum by importance sampling from the guide:

    .. math:: \\log p(x) \\approx \\log \\tfrac1K \\sum_k p(x, z_k) / q(z_k|x), \\quad z_k \\sim q

    (Burda et al., 2016; Yu, section 3.2), in evaluation mode, in passes of bounded memory.
    Weights, modes and the global random state stay as they are. A large ``error``, or one that
    does not fall with √K, means that q covers the posterior badly: see ``pyro_vae.diagnostics``.

    Args:
        model, guide: the pair, modules or functions of x.
        x: data, [data, *event].
        num_samples: K.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.
        seed: of the samples.

    Raises:
        ValueError: for fewer than two samples, which have no error.
        PairError: ``poutine.scale`` on some sites, or a subsampled plate around some.
        NonFiniteError: a NaN, +∞, or a datum whose weights are all zero; it names the term.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()  # its guide is the exact posterior
    >>> estimate = log_evidence(pair.model, pair.guide, pair.x, num_samples=10)
    >>> torch.allclose(estimate.value, pair.log_evidence(pair.x), atol=1e-4)
    True
    """
    if num_samples < 2:
        raise ValueError(f"num_samples: expected ≥ 2; got {num_samples}.")
    estimates = []
    with forked_rng(seed, x.device):
        at_once = rows_at_once(x)
        for batch in x.split(max(1, at_once // min(num_samples, at_once))):
            weights = log_weights(model, guide, batch, num_samples, max_plate_nesting)
            estimates.append(log_mean_and_error(weights))
    value, error = (torch.cat(part) for part in zip(*estimates, strict=True))
    return LogEvidence(value, error)


@torch.no_grad()
def log_weights(
    model: Program, guide: Program, x: Data, num_samples: int, max_plate_nesting: int = 1
) -> PerParticle:
    """log p(x, z) − log q(z|x) for z ~ q(z|x), [num_samples, data], in nats, evaluation mode.

    Raises:
        PairError: ``poutine.scale`` on some sites, or a subsampled plate around some.
        NonFiniteError: a NaN, +∞, or a datum whose weights are all zero; it names the term.
    """
    most = max(1, rows_at_once(x) // len(x))
    sizes = [most] * (num_samples // most) + [num_samples % most] * (num_samples % most > 0)
    with evaluation_mode(*modules_of(model, guide)):
        runs = [
            run_particles(model, guide, x, num_particles=size, max_plate_nesting=max_plate_nesting)
            for size in sizes
        ]
        check_even(runs[0])
        found = torch.cat([run.log_weight for run in runs])
    # One weight of zero is a sample where p(x, z) is; a datum of nothing else is an error.
    bad = found.isnan().any(0) | (found == math.inf).any(0) | (found == -math.inf).all(0)
    if bool(bad.any()):
        raise not_finite(runs, int(bad.nonzero()[0]), len(bad))
    return found


def not_finite(runs: list[Particles], datum: int, data: int) -> NonFiniteError:
    """Names the first term of the datum that is NaN or infinite."""
    terms = ((name, values) for run in runs for name, values in run.terms().items())
    of_datum = ((name, values.expand(-1, data)[:, datum]) for name, values in terms)
    name = next((name for name, value in of_datum if not value.isfinite().all()), "log-weight")
    error = NonFiniteError(
        f"log-weights: expected finite numbers; got NaN or an infinity at datum {datum} of the "
        f"batch, in {name}. Check that datum, and the outputs of the networks for it."
    )
    error.term = name
    return error


def rows_at_once(x: Tensor) -> int:
    return _RUN_ON_GPU if x.device.type == "cuda" else _RUN


def log_mean_and_error(log_weight: Tensor) -> tuple[Tensor, Tensor]:
    count = log_weight.shape[0]
    value = log_weight.logsumexp(0) - math.log(count)
    relative = (log_weight - value).exp()  # weights over their mean
    return value, relative.std(0) / math.sqrt(count)
