"""Convolutions as in the VAE example of TensorFlow Probability, of which Barron's VAE for CelebA
(A General and Adaptive Robust Loss Function, the paper's source) is made."""

from __future__ import annotations

from torch import Size, Tensor, nn

from pyro_vae.nn import LeadingShape

__all__ = ["decoder", "encoder"]


def encoder(shape: Size, width: int, latent: int, outputs: int) -> nn.Module:
    """Images in [0, 1] to features: five by five, at full size and twice halved, then one
    convolution over all that is left and a linear layer.

    Args:
        shape: channels, rows and columns, the latter divisible by four.
        width: channels at full size; twice as many below.
        latent: a quarter of the features before the last layer.
        outputs: features.
    """
    channels, rows, columns = shape
    return LeadingShape(
        nn.Sequential(
            _Centred(),
            *_same(channels, width),
            *_halved(width, width),
            *_same(width, 2 * width),
            *_halved(2 * width, 2 * width),
            nn.Conv2d(2 * width, 4 * latent, (rows // 4, columns // 4)),
            nn.LeakyReLU(),
            nn.Flatten(),
            nn.Linear(4 * latent, outputs),
        ),
        event_dim=3,
    )


def decoder(shape: Size, width: int, latent: int) -> nn.Module:
    """Latents to the means of images: the encoder's layers the other way round."""
    channels, rows, columns = shape
    return LeadingShape(
        nn.Sequential(
            nn.Unflatten(1, (latent, 1, 1)),
            nn.ConvTranspose2d(latent, 2 * width, (rows // 4, columns // 4)),
            nn.LeakyReLU(),
            *_same(2 * width, 2 * width),
            *_doubled(2 * width, 2 * width),
            *_same(2 * width, width),
            *_doubled(width, width),
            *_same(width, width),
            nn.Conv2d(width, channels, 5, padding=2),
        ),
        event_dim=1,
    )


def _same(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 5, padding=2), nn.LeakyReLU()]


def _halved(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 5, stride=2, padding=2), nn.LeakyReLU()]


def _doubled(inputs: int, outputs: int) -> list[nn.Module]:
    doubled = nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1)
    return [doubled, nn.LeakyReLU()]


class _Centred(nn.Module):
    """[0, 1] to [−1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x - 1
