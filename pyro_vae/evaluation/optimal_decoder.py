from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_vae._errors import ShapeError
from pyro_vae._shapes import Latents
from pyro_vae.evaluation.curvature import check_positive

__all__ = ["OptimalDecoder"]

Rows = Float[Tensor, "as_many *features"]


class OptimalDecoder(nn.Module):
    """The decoder that no network can beat on a data set, given its posteriors (Fyffe, eq. 6):

    .. math:: ν(z) = \\frac{\\sum_i N(z; μ_i, Σ_i)\\, x_i}{\\sum_i N(z; μ_i, Σ_i)}

    for a normal likelihood: kernel regression of the data on the latents (Nadaraya, 1964; Watson,
    1964) with the posteriors as kernels. Also for a Bernoulli likelihood, whose mean it then is. It
    is a module from latents to means, and stands in a decoder's place to see what is left to gain.
    Far from all posteriors it gives the nearest datum.

    Args:
        mean: μ, [data, latent].
        variance: the diagonals of Σ, [data, latent], or one for all, [latent]; positive.
        x: the data, [data, features]; images flat.
        at_once: weights, latents × data, in one pass; of Jacobians for each latent dimension.

    Raises:
        ShapeError: numbers of data that differ, or none; data that are not flat; a variance of
            another shape.
        ValueError: a variance that is not positive and finite.

    >>> decoder = OptimalDecoder(
    ...     torch.tensor([[-1.0], [1.0]]), torch.ones(1), torch.tensor([[0.0], [2.0]])
    ... )
    >>> decoder(torch.tensor([[0.0], [20.0]]))  # half way, and far out on one side
    tensor([[1.],
            [2.]])
    """

    mean: Tensor
    precision: Tensor
    x: Tensor

    def __init__(
        self,
        mean: Float[Tensor, "data latent"],
        variance: Tensor,
        x: Rows,
        *,
        at_once: int = 20_000_000,
    ) -> None:
        super().__init__()
        _check_data(mean, x)
        _check_variance(variance, mean)
        self.at_once = at_once
        buffers = {"mean": mean, "precision": variance.reciprocal().expand_as(mean), "x": x}
        for name, value in buffers.items():
            self.register_buffer(name, value.detach(), persistent=False)

    def forward(self, z: Latents) -> Tensor:
        """ν(z), [..., features] for latents [..., latent]."""
        flat = z.reshape(-1, z.shape[-1])
        found = torch.cat([self._weights(part) @ self.x for part in self._split(flat)])
        return found.reshape(*z.shape[:-1], -1)

    def jacobian(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch features latent"]:
        """∂ν/∂z in closed form (Fyffe, eq. 7), [batch, features, latent]:

        Σ_i w_i (ν(z) − x_i)(z − μ_i)ᵀΣ_i⁻¹, the w_i being the posteriors' shares at z.
        """
        return torch.cat([self._jacobian(part) for part in self._split(z, z.shape[-1])])

    def _jacobian(self, z: Tensor) -> Tensor:
        weights = self._weights(z)
        pull = weights.unsqueeze(2) * (z.unsqueeze(1) - self.mean) * self.precision
        # Multiplied out: no array of [batch, data, features].
        at_z = (weights @ self.x).unsqueeze(2) * pull.sum(1).unsqueeze(1)
        return at_z - torch.einsum("if,bil->bfl", self.x, pull)

    def _weights(self, z: Tensor) -> Tensor:
        """The posteriors' shares of the density at z, [batch, data]."""
        # −½ Σ_j [(z_j − μ_j)² P_j − log P_j], multiplied out: no array of [batch, data, latent].
        squared = z.square() @ self.precision.T - 2 * z @ (self.mean * self.precision).T
        constant = (self.mean.square() * self.precision - self.precision.log()).sum(1)
        return (-0.5 * (squared + constant)).softmax(1)

    def _split(self, z: Tensor, columns: int = 1) -> tuple[Tensor, ...]:
        return z.split(max(1, self.at_once // (columns * len(self.x))))


def _check_data(mean: Tensor, x: Tensor) -> None:
    if x.dim() != 2 or not len(x):
        raise ShapeError(
            f"OptimalDecoder: expected data of shape [data, features], one or more; got "
            f"{list(x.shape)}. Flatten images: x.flatten(1)."
        )
    if len(mean) != len(x):
        raise ShapeError(
            f"OptimalDecoder: expected a posterior for each of {len(x)} data; got {len(mean)}. "
            "Take the posterior means of the same data."
        )


def _check_variance(variance: Tensor, mean: Tensor) -> None:
    check_positive(variance, "OptimalDecoder")
    try:
        variance.expand_as(mean)
    except RuntimeError as error:
        raise ShapeError(
            f"OptimalDecoder: expected variances of shape {list(mean.shape)} or "
            f"{list(mean.shape[1:])}; got {list(variance.shape)}. Take a diagonal for each datum, "
            "or one for all."
        ) from error
