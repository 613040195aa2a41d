from __future__ import annotations

from dataclasses import replace
from typing import Any

from pyro.poutine.messenger import Messenger

from pyro_vae._errors import PairError
from pyro_vae._shapes import PerDatum
from pyro_vae.objectives._decoded import decode
from pyro_vae.objectives._objective import Objective, Program
from pyro_vae.objectives._particles import Particles

__all__ = ["LaplaceEvidence"]


class LaplaceEvidence(Objective):
    """Fyffe's "exact log evidence" (eq. 16, and 26 for any T), trained in the ELBO's place:

    .. math:: \\log p(x) \\simeq \\log p(x, z = μ) - \\log N(μ; μ, Λ^{-1}), \\quad
       Λ = S^{-2} + J^⊤T^{-1}J

    at the mean μ of the guide's posterior, whose variance is not read: no samples, and the Jacobian
    J of the decoder in every step, n passes of the decoder side by side. Exact where the decoder is
    linear and μ the posterior's mode; else neither an upper nor a lower bound, so that
    :meth:`for_evaluation` is the ordinary ELBO — of a guide whose variance nobody has trained:
    judge a model by :func:`~pyro_vae.evaluation.log_evidence` with a
    :class:`~pyro_vae.guides.DecoderPrecisionGuide`. Against ELBO it has no noise of z, and pays for
    curvature with second derivatives of the decoder.

    Args:
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.

    Raises:
        PairError: when called on a pair that does not have one latent vector and one observed site,
            a diagonal normal prior, and a likelihood whose Fisher information is known
            (:func:`~pyro_vae.distributions.location_and_information`).

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> loss = LaplaceEvidence().loss(pair.model, pair.guide, pair.x)
    >>> abs(loss + pair.log_evidence(pair.x).sum().item()) < 1e-3
    True
    """

    def __init__(self, *, max_plate_nesting: int = 1) -> None:
        super().__init__(1, max_plate_nesting=max_plate_nesting)

    def particles(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Particles:
        found = super().particles(model, _MeanMessenger()(guide), *args, **kwargs)
        if len(found.latents) != 1 or len(found.observed) != 1 or len(args) != 1:
            raise PairError(
                "LaplaceEvidence: expected a pair called with the data alone, of one latent vector "
                f"and one observed site; got {[site.name for site in found.latents]} and "
                f"{[site.name for site in found.observed]}. Use ELBO."
            )
        [latent], [observed] = found.latents, found.observed
        decoded = decode(model, args[0], latent.value, latent.name, observed.name)
        return replace(found, latents=(replace(latent, log_q=decoded.log_height().unsqueeze(0)),))

    def bound(self, particles: Particles) -> PerDatum:
        return particles.log_weight.mean(0)

    def settings(self) -> dict[str, Any]:
        return {}


class _MeanMessenger(Messenger):
    """Gives every sample its distribution's mean."""

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if not msg["is_observed"] and msg["value"] is None and hasattr(msg["fn"], "mean"):
            msg["value"], msg["done"] = msg["fn"].mean, True
