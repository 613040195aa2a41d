"""What a pair estimates on the training set."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyro_vae import (
    VAE,
    ConstantNormalGuide,
    FloatingPrior,
    NormalLikelihood,
    OptimalVariance,
    Pair,
    fit,
    update_statistics,
)
from tests.training.pairs import (
    floating_vae,
    identical,
    optimal_vae,
    small_vae,
    some_digits,
    weights,
)


def estimating_vae() -> VAE:
    """Both estimates; of z the decoder takes nothing, so that σ² is known exactly."""
    torch.manual_seed(0)
    decoder = nn.Linear(2, 3)
    nn.init.zeros_(decoder.weight)
    return VAE(
        prior=FloatingPrior(2),
        likelihood=NormalLikelihood(decoder, OptimalVariance()),
        guide=ConstantNormalGuide(nn.Linear(3, 2), scale=0.5),
    )


def test_estimates_are_exact_with_an_unequal_last_batch() -> None:
    vae, x = estimating_vae(), torch.randn(25, 3)
    update_statistics(vae.model, vae.guide, x, batch_size=10)
    with torch.no_grad():
        means, decoded = vae.guide.encoder(x), vae.likelihood.decoder.bias
    # Fyffe, eq. 4: S² = E[Σ + μ²]; Yu, eq. 43: σ² = MSE
    torch.testing.assert_close(vae.prior().variance, 0.25 + means.square().mean(0))
    torch.testing.assert_close(vae.likelihood.variance(), (x - decoded).square().mean().detach())


def test_estimates_do_not_depend_on_the_batch_size() -> None:
    x = torch.randn(25, 3)

    def estimate(batch_size: int) -> Tensor:
        vae = estimating_vae()
        update_statistics(vae.model, vae.guide, x, batch_size=batch_size)
        return vae.prior().variance

    torch.testing.assert_close(estimate(7), estimate(25))


def test_a_second_estimate_forgets_the_first() -> None:
    vae, x = estimating_vae(), torch.randn(25, 3)
    update_statistics(vae.model, vae.guide, 5 + torch.randn(25, 3))
    update_statistics(vae.model, vae.guide, x)
    once = estimating_vae()
    update_statistics(once.model, once.guide, x)
    assert torch.equal(vae.prior().variance, once.prior().variance)


def test_parameters_modes_and_random_state_stay() -> None:
    vae = optimal_vae()
    vae.train()
    vae.guide.encoder.eval()  # a mixture that has to come back
    modes = [module.training for module in vae.modules()]
    parameters, state = weights(vae), torch.get_rng_state()
    update_statistics(vae.model, vae.guide, some_digits(dynamic=False).values)
    assert [module.training for module in vae.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    after = weights(vae)
    changed = [name for name in after if not torch.equal(after[name], parameters[name])]
    assert changed == ["model.likelihood.variance.squared_error.mean"]


def test_latents_are_those_of_the_seed() -> None:
    vae, x = optimal_vae(), some_digits(dynamic=False).values

    def estimate(seed: int) -> Tensor:
        update_statistics(vae.model, vae.guide, x, seed=seed)
        return vae.likelihood.variance().clone()

    assert torch.equal(estimate(1), estimate(1))
    assert not torch.equal(estimate(1), estimate(2))


def test_dropout_is_off_in_the_estimate() -> None:
    vae = estimating_vae()
    x = torch.randn(25, 3)
    update_statistics(vae.model, vae.guide, x)
    without = vae.prior().variance.clone()
    vae.guide.encoder = nn.Sequential(vae.guide.encoder, nn.Dropout(0.5))
    vae.train()
    update_statistics(vae.model, vae.guide, x)
    assert torch.equal(vae.prior().variance, without)


def test_a_pair_with_nothing_to_estimate_is_not_run() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> None:
            raise AssertionError("it was run")

    pair = Pair(Fails(), Fails())
    update_statistics(pair.model, pair.guide, torch.randn(3, 2))


def test_fit_ends_with_the_training_sets_estimates() -> None:
    vae, data = floating_vae(), some_digits(dynamic=False)
    fit(vae, data, epochs=1, batch_size=64, progress=False)
    fitted = vae.prior().variance.clone()
    update_statistics(vae.model, vae.guide, data.values)
    assert torch.equal(fitted, vae.prior().variance)


def test_nothing_of_the_estimate_is_left_in_the_checkpoint_of_other_pairs() -> None:
    before = small_vae()
    names = set(before.state_dict())
    fit(before, some_digits(), epochs=1, progress=False)
    assert set(before.state_dict()) == names
    assert identical(names, set(small_vae().state_dict()))
