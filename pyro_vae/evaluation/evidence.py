from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution, biject_to

from pyro_vae._errors import NonFiniteError, PairError
from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae._shapes import Data, PerDatum, PerParticle, check_some
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
        ShapeError: no data.
        PairError: a pair without a plate over the data that all its sites share, or with a
            subsampled one; ``poutine.scale`` on some sites; a latent that has a density in the
            model and none in the guide, such as a ``Delta``.
        NonFiniteError: a NaN, +∞, or a datum whose weights are all zero; it names the term.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()  # its guide is the exact posterior
    >>> estimate = log_evidence(pair.model, pair.guide, pair.x, num_samples=10)
    >>> torch.allclose(estimate.value, pair.log_evidence(pair.x), atol=1e-4)
    True
    """
    if num_samples < 2:
        raise ValueError(f"num_samples: expected ≥ 2; got {num_samples}.")
    check_some(x)
    estimates = []
    with forked_rng(seed, x.device):
        at_once = rows_at_once(x)
        size = max(1, at_once // min(num_samples, at_once))
        for batch in in_batches(model, guide, x, size, max_plate_nesting):
            weights = log_weights(model, guide, batch, num_samples, max_plate_nesting)
            estimates.append(log_mean_and_error(weights))
    value, error = (torch.cat(part) for part in zip(*estimates, strict=True))
    return LogEvidence(value, error)


def log_weights(
    model: Program, guide: Program, x: Data, num_samples: int, max_plate_nesting: int = 1
) -> PerParticle:
    """log p(x, z) − log q(z|x) for z ~ q(z|x), [num_samples, data], in nats, evaluation mode.

    Raises:
        PairError, ShapeError: as of :func:`log_evidence`.
        NonFiniteError: a NaN, +∞, or a datum whose weights are all zero; it names the term.
    """
    check_some(x)
    return weigh(model, guide, x, num_samples, max_plate_nesting)


@torch.no_grad()
def weigh(
    model: Program,
    guide: Program,
    x: Tensor,
    num_samples: int,
    max_plate_nesting: int,
    tell: Callable[[int], object] | None = None,
) -> Tensor:
    """:func:`log_weights`, which tells after each pass how many weights are made."""
    most = max(1, rows_at_once(x) // len(x))
    sizes = [most] * (num_samples // most) + [num_samples % most] * (num_samples % most > 0)
    with evaluation_mode(*modules_of(model, guide)):
        runs = []
        for size in sizes:
            run = run_particles(
                model, guide, x, num_particles=size, max_plate_nesting=max_plate_nesting
            )
            _check_weights(run, len(x))
            runs.append(run)
            if tell is not None:
                tell(size * len(x))
        found = torch.cat([run.log_weight for run in runs])
    # One weight of zero is a sample where p(x, z) is; a datum of nothing else is an error.
    bad = found.isnan().any(0) | (found == math.inf).any(0) | (found == -math.inf).all(0)
    if bool(bad.any()):
        raise not_finite(runs, int(bad.nonzero()[0]), len(bad))
    return found


def in_batches(
    model: Program, guide: Program, x: Tensor, size: int, max_plate_nesting: int
) -> Iterator[Tensor]:
    """The data in batches. Of one datum nothing tells a plate over the data from none: where
    batches are of one, two data are tried first."""
    if size == 1 < len(x):
        with torch.no_grad(), evaluation_mode(*modules_of(model, guide)), forked_rng(0, x.device):
            _check_weights(
                run_particles(model, guide, x[:2], max_plate_nesting=max_plate_nesting), 2
            )
    yield from x.split(size)


def _check_weights(run: Particles, data: int) -> None:
    """``PairError`` for a pair whose log p(x, z) − log q(z|x) is no log-weight of each datum."""
    check_even(run)
    if (found := run.log_weight.shape[1]) != data:
        raise PairError(
            f"log-weights: expected a log-weight for each of {data} data; got {found}. Put every "
            'sample site of model and guide in `with pyro.plate("data", len(x), dim=-1):`, without '
            "subsampling."
        )
    check_densities(run)


def check_densities(run: Particles) -> None:
    """``PairError`` for a guide without a density at a latent where the model has one."""
    posteriors = {site.name: (site.p, site.q) for site in run.latents}
    for name in without_density(posteriors):
        raise PairError(
            f"site {name!r}: expected a guide with a density, as the model has one there; got "
            f"{posteriors[name][1]}, whose log q(z|x) is of a mass: p(x, z)/q(z|x) is no weight, "
            "and gives no log p(x). Take a guide with a spread, such as NormalGuide; about a mode, "
            "a normal of the precision that posterior_precision has there."
        )


Posteriors = Mapping[str, tuple[Distribution | None, Distribution]]
"""Of each latent site, prior and posterior; no prior of an auxiliary one."""


def without_density(sites: Posteriors) -> list[str]:
    """The sites at which the guide has a mass and the model a density.

    A ``Delta`` that carries an auxiliary sample over, as in Pyro's autoguides, has one: there are
    then as many numbers in auxiliary sites as such sites have without their constraints.
    """
    masses = [n for n, (p, q) in sites.items() if p is not None and _is_mass_of_density(q, p)]
    auxiliary = sum(_shape(q).numel() for p, q in sites.values() if p is None)
    carried = sum(_free_numbers(*sites[name]) for name in masses if _singular(sites[name][1]))
    return [n for n in masses if carried > auxiliary or not _singular(sites[n][1])]


def _is_mass_of_density(q: Distribution, p: Distribution) -> bool:
    if _singular(p) or _discrete(p):
        return False
    return _singular(q) or (_discrete(q) is True and _discrete(p) is False)


def _singular(d: Distribution) -> bool:
    """Whether it is a ``Delta``, or has one for a part."""
    return any(isinstance(part, Delta) for part in _parts(d))


def _parts(d: Distribution) -> Iterable[Distribution]:
    yield d
    for name in ("base_dist", "component_distribution", "component0", "component1"):
        if isinstance(part := getattr(d, name, None), Distribution):
            yield from _parts(part)


def _discrete(d: Distribution) -> bool | None:
    """``None`` where it does not say."""
    try:
        return None if d.support is None else d.support.is_discrete
    except (NotImplementedError, ValueError):
        return None


def _free_numbers(p: Distribution | None, q: Distribution) -> int:
    """How many numbers a site has without the constraints of its prior."""
    try:
        support = None if p is None else p.support
        shape = _shape(q) if support is None else biject_to(support).inverse_shape(_shape(q))
    except NotImplementedError:
        shape = _shape(q)
    return torch.Size(shape).numel()


def _shape(d: Distribution) -> torch.Size:
    return d.batch_shape + d.event_shape


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
