"""What the three methods share, and what they do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from experiments.posterior_variance.config import default_config
from experiments.posterior_variance.methods import METHODS, build
from experiments.posterior_variance.train import train
from pyro_vae import VAE
from pyro_vae.data import Examples, digits
from pyro_vae.nn import MLP
from tests.experiments.runs import TINY


def built(method: str, seed: int = 0, latent: int = 2) -> VAE:
    return build(method, seed, 64, (8, 8), latent)[0]


def networks(vae: VAE) -> tuple[MLP, MLP]:
    """The encoder and the decoder: those two are the only networks in there."""
    by_inputs = {m.in_features == 64: m for m in vae.modules() if isinstance(m, MLP)}
    assert len(by_inputs) == 2
    return by_inputs[True], by_inputs[False]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("method", METHODS)
def test_the_methods_of_a_seed_start_from_the_same_decoder(method: str) -> None:
    _, decoder = networks(built(method))
    _, baseline = networks(built("Learned Σ"))
    assert same(decoder.state_dict(), baseline.state_dict())


def test_constant_variance_and_bilbo_start_from_the_same_encoder() -> None:
    # So that their difference is rounding alone, as the report says.
    one, other = (networks(built(method))[0] for method in ("Constant Σ", "BILBO"))
    assert same(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("method", METHODS)
def test_seeds_start_from_different_networks(method: str) -> None:
    for one, other in zip(networks(built(method, 0)), networks(built(method, 1)), strict=True):
        assert not torch.equal(one.layers[0].weight, other.layers[0].weight)


def test_building_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    built("BILBO", seed=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("latent", [1, 2, 3])
def test_only_learned_variance_doubles_the_encoders_outputs(latent: int) -> None:
    outputs = {m: networks(built(m, latent=latent))[0].out_features for m in METHODS}
    assert outputs == {"Learned Σ": 2 * latent, "Constant Σ": latent, "BILBO": latent}


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_glorot_uniform_and_biases_zero(method: str) -> None:
    # As the report says. Uniform on ±√(6 / (in + out)): of 2 × 100 × 100 weights the largest is
    # within 1 % of the edge but for a probability 0.99^10000 < 1e-43.
    encoder, _ = networks(build(method, 0, 64, (100, 100), 2)[0])
    layer = encoder.layers[2]
    edge = (6 / 200) ** 0.5
    assert 0.99 * edge < layer.weight.abs().max() <= edge
    assert all(not p.any() for n, p in encoder.named_parameters() if n.endswith("bias"))


def test_the_methods_of_a_seed_see_the_data_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = digits()
    taken: list[list[float]] = []
    batch = Examples.batch

    def spy(self: Examples, index: Tensor | slice) -> Tensor:
        x = batch(self, index)
        if isinstance(index, Tensor):
            taken.append(x.sum(1).tolist())
        return x

    monkeypatch.setattr(Examples, "batch", spy)

    def order(method: str, seed: int) -> list[list[float]]:
        taken.clear()
        train(TINY, method, seed, data, tmp_path / f"{method}{seed}", progress=False)
        return list(taken)

    learned, constant, bilbo = (order(method, 0) for method in METHODS)
    assert len(learned) == 2 * 5  # two epochs, 1437 data in batches of 300
    assert learned == constant == bilbo
    assert learned[:5] != learned[5:]
    assert order("Learned Σ", 1) != learned


def test_defaults_are_seed_003s() -> None:
    config = default_config("mnist")
    assert (config.seeds, config.epochs, config.latent) == (5, 200, 2)
    assert (config.hidden, config.batch_size) == ((200, 200, 200, 200), 300)
    assert config.learning_rate == 1e-3


def test_what_is_given_replaces_the_defaults_and_quicks_ones() -> None:
    given = default_config("digits", quick=True, epochs=9, latent=None)
    assert (given.seeds, given.epochs, given.latent) == (2, 9, 2)
    assert given == replace(default_config("digits", quick=True), epochs=9)
