"""The loss of every case written once more, in double precision, to check the contenders against.

It shares nothing with them but the arrays, and for the flows Pyro's autoregressive network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn.functional import binary_cross_entropy_with_logits, linear, softplus

from experiments.speed.cases import VARIANCE, Case
from experiments.speed.contenders.pairs import autoregressive_network
from experiments.speed.inputs import Inputs

__all__ = ["reference_losses"]


@torch.no_grad()
def reference_losses(case: Case, inputs: Inputs, count: int) -> dict[str, list[float]]:
    """Draws of the loss of the first batch at the first weights, a sum over the batch in nats.

    ``"bound"`` is minus the bound, log mean w over the particles; ``"weighted"`` is minus
    Σ w log w / Σ w, which has the same gradient where the weights outside the logarithm are held.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        x = torch.from_numpy(inputs.data[: case.batch]).double()
        parameters = _network(inputs, "encoder", x).split(case.latent, -1)
        draws = [_log_weights(case, inputs, x, *parameters) for _ in range(count)]
    return {
        "bound": [-float((w.logsumexp(0) - math.log(len(w))).sum()) for w in draws],
        "weighted": [-float((w.softmax(0) * w).sum()) for w in draws],
    }


def _log_weights(
    case: Case, inputs: Inputs, x: Tensor, mean: Tensor, raw_scale: Tensor, *context: Tensor
) -> Tensor:
    """log p(x|z) + log p(z) − log q(z|x) of one draw of the particles, [particles, batch]."""
    q = Normal(mean, softplus(raw_scale))
    z = q.sample((case.particles,))
    log_q = q.log_prob(z).sum(-1)
    for number in range(case.flows):
        shift, log_scale = _autoregressive(case, inputs, number, z, context[0])
        z = shift + log_scale.exp() * z
        log_q = log_q - log_scale.sum(-1)
    log_p = Normal(0.0, 1.0).log_prob(z).sum(-1)
    output = _network(inputs, "decoder", z)
    if case.pixels:
        pixels = x.expand_as(output)
        log_p -= binary_cross_entropy_with_logits(output, pixels, reduction="none").sum(-1)
    else:
        log_p += Normal(output, math.sqrt(VARIANCE)).log_prob(x).sum(-1)
    return log_p - log_q


def _network(inputs: Inputs, name: str, values: Tensor) -> Tensor:
    for number, (weight, bias) in enumerate(inputs.layers(name)):
        values = values if number == 0 else values.relu()
        values = linear(values, torch.from_numpy(weight).double(), torch.from_numpy(bias).double())
    return values


def _autoregressive(
    case: Case, inputs: Inputs, number: int, z: Tensor, context: Tensor
) -> tuple[Tensor, Tensor]:
    shift, log_scale = autoregressive_network(case, inputs, number).double()(z, context)
    return shift, log_scale.clamp(-5.0, 3.0)  # Pyro's default limits
