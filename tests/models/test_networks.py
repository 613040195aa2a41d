"""Networks: sizes, starting weights, leading shapes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pyro_vae import ShapeError
from pyro_vae.nn import (
    MLP,
    ConvDecoder,
    ConvEncoder,
    LeadingShape,
    Scale,
    glorot_uniform,
    he_uniform,
    torch_default,
)


def test_an_mlp_has_the_layers_it_is_asked_for() -> None:
    network = MLP(7, [5, 4], 3)
    linear = [layer for layer in network.layers if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(7, 5), (5, 4), (4, 3)]
    assert (network.in_features, network.out_features) == (7, 3)
    assert isinstance(network.layers[-1], nn.Linear)
    assert network(torch.zeros(2, 9, 7)).shape == (2, 9, 3)


def test_an_mlp_without_hidden_layers_is_linear() -> None:
    network = MLP(4, [], 2)
    one, two = torch.randn(5, 4), torch.randn(5, 4)
    sum_of = network(one) + network(two) - network(torch.zeros(4))
    torch.testing.assert_close(network(one + two), sum_of)


@pytest.mark.parametrize("sizes", [(0, [5], 2), (3, [0], 2), (3, [5], 0)])
def test_an_mlp_refuses_empty_layers(sizes: tuple[int, list[int], int]) -> None:
    with pytest.raises(ShapeError, match="≥ 1"):
        MLP(*sizes)


@pytest.mark.parametrize(
    "layer", [nn.Linear(300, 200), nn.Conv2d(8, 16, 4), nn.ConvTranspose2d(8, 16, 4)], ids=repr
)
def test_glorot_uniform_fills_its_range_and_zeroes_the_bias(layer: nn.Module) -> None:
    glorot_uniform(layer)
    area = layer.weight[0, 0].numel()
    limit = math.sqrt(6 / (area * sum(layer.weight.shape[:2])))
    assert layer.weight.abs().max() <= limit
    # The largest of n ≥ 2048 draws is below 99 % of the limit with probability 0.99ⁿ < 1e-8.
    assert layer.weight.abs().max() > 0.99 * limit
    assert (layer.bias == 0).all()


@pytest.mark.parametrize(
    "layer", [nn.Linear(300, 200), nn.Conv2d(8, 16, 4), nn.ConvTranspose2d(8, 16, 4)], ids=repr
)
def test_he_uniform_fills_its_range_with_weights_and_biases(layer: nn.Module) -> None:
    he_uniform(layer)
    limit = math.sqrt(6 / layer.weight[0].numel())
    assert 0.99 * limit < layer.weight.abs().max() <= limit  # as above
    assert 0 < layer.bias.abs().max() <= limit


def test_he_uniform_keeps_the_variance_through_relus() -> None:
    torch.manual_seed(0)
    network = MLP(400, [400] * 6, 400, initialisation=he_uniform)
    for layer in network.layers:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    # E h² is kept by a layer of n = 400 inputs but for a factor with a deviation of about
    # √(5/n) = 0.11; over seven layers 0.3, and 2 is three of them away on a log scale.
    second_moment = network(torch.randn(2000, 400)).square().mean().item() / 2
    assert 0.5 < second_moment < 2


def test_scale_multiplies() -> None:
    assert torch.equal(Scale(0.5)(torch.ones(2, 3)), torch.full((2, 3), 0.5))
    assert not list(Scale(0.5).parameters())


def test_glorot_uniform_is_the_default_and_torchs_own_can_be_had() -> None:
    assert (MLP(3, [4], 2).layers[0].bias == 0).all()
    assert (MLP(3, [4], 2, initialisation=torch_default).layers[0].bias != 0).any()
    assert (
        ConvEncoder((1, 8, 8), 2, initialisation=torch_default).network.network[0].bias != 0
    ).any()


def test_a_leading_shape_of_any_length_goes_through_a_convolution() -> None:
    convolution = nn.Conv2d(1, 2, 3)
    wrapped = LeadingShape(convolution, 3)
    x = torch.randn(4, 5, 1, 8, 8)
    expected = torch.stack([convolution(part) for part in x])
    torch.testing.assert_close(wrapped(x), expected)
    torch.testing.assert_close(wrapped(x[0]), expected[0])
    torch.testing.assert_close(wrapped(x[0, 0]), expected[0, 0])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 8)])
def test_the_decoder_is_the_mirror_of_the_encoder(shape: tuple[int, int, int]) -> None:
    encoder, decoder = ConvEncoder(shape, 4, channels=2), ConvDecoder(4, shape, channels=2)
    x = torch.randn(3, 5, *shape)
    assert encoder(x).shape == (3, 5, 4)
    assert decoder(encoder(x)).shape == x.shape
    assert (encoder.out_features, decoder.in_features) == (4, 4)


@pytest.mark.parametrize("make", [lambda s: ConvEncoder(s, 4), lambda s: ConvDecoder(4, s)])
@pytest.mark.parametrize("shape", [(1, 6, 8), (1, 8, 10), (1, 2, 2)])
def test_images_that_cannot_be_halved_are_refused(make: type, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ShapeError, match="divisible by 2\\^depth = 4"):
        make(shape)
