"""What training does to weights, history and the world around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_vae import (
    BILBO,
    ELBO,
    IWAE,
    VAE,
    BernoulliLikelihood,
    ConstantNormalGuide,
    EarlyStopping,
    FloatingPriorELBO,
    Objective,
    Pair,
    StandardNormalPrior,
    adam,
    cosine_decay,
    fit,
    step_decay,
)
from pyro_vae.data import Examples, Grey, examples
from pyro_vae.nn import MLP
from pyro_vae.testing import linear_gaussian
from tests.training.pairs import (
    Blind,
    MeanModel,
    column,
    floating_vae,
    identical,
    mean_bound,
    mean_pair,
    optimal_vae,
    small_vae,
    some_digits,
    weights,
    without_seconds,
)

quietly = partial(fit, progress=False)
standing_still = partial(torch.optim.SGD, lr=0.0)


def sgd(rate: float) -> Any:
    return partial(torch.optim.SGD, lr=rate)


# -- steps ------------------------------------------------------------------------------------


def test_a_step_of_gradient_descent_is_that_of_the_formula() -> None:
    x = column(1.0, 2.0, 6.0)
    pair = mean_pair(1.0)
    quietly(pair, x, epochs=1, batch_size=3, optimizer=sgd(0.1))
    # the gradient of −log N(x; μ, 1), averaged over the data, is μ − 3
    torch.testing.assert_close(pair.model.mean.detach(), torch.tensor([1.0 - 0.1 * (1.0 - 3.0)]))


def test_a_step_of_a_vae_is_the_gradient_of_minus_its_bound_at_the_seeds_draws() -> None:
    x = some_digits(count=5, dynamic=False).values
    vae, by_hand = small_vae(), small_vae()
    quietly(vae, x, epochs=1, batch_size=5, optimizer=sgd(0.1), seed=7)

    torch.manual_seed(7)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(7 * 1_000_003 + 1))
    x = x[order]
    mean, raw = by_hand.guide.encoder(x).chunk(2, -1)
    scale = softplus(raw)
    q = torch.distributions.Normal(mean, scale)
    z = q.rsample()
    logits = by_hand.likelihood.decoder(z)
    log_p_x = -nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
    log_p_z = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    (-(log_p_x + log_p_z - q.log_prob(z).sum(-1)).mean()).backward()
    for trained, parameter in zip(vae.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(trained, parameter - 0.1 * parameter.grad)


@pytest.mark.parametrize(("clip", "length"), [(0.5, 0.5), (100.0, 2.0)])
def test_a_gradient_longer_than_clip_norm_is_scaled_to_it(clip: float, length: float) -> None:
    x = column(1.0, 2.0, 6.0)  # a gradient of −2 at μ = 1
    pair = mean_pair(1.0)
    quietly(pair, x, epochs=1, batch_size=3, optimizer=sgd(0.1), clip_norm=clip)
    moved = torch.tensor([1.0 + 0.1 * length])
    torch.testing.assert_close(pair.model.mean.detach(), moved, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        adam(1e-2),
        torch.optim.Adam,
        partial(torch.optim.AdamW, lr=1e-2),
        partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
    ],
)
def test_any_optimizer_of_torch_raises_the_bound(optimizer: Any) -> None:
    history = quietly(small_vae(), some_digits(), epochs=4, batch_size=50, optimizer=optimizer)
    assert history["bound"][-1] > history["bound"][0] + 0.5


@pytest.mark.parametrize("objective", [ELBO(), ELBO(3, analytic_kl=True), IWAE(4)])
def test_any_objective_trains(objective: Objective) -> None:
    history = quietly(
        small_vae(), some_digits(), objective=objective, epochs=4, optimizer=adam(1e-2)
    )
    assert history["bound"][-1] > history["bound"][0] + 0.5


@pytest.mark.parametrize("objective", [ELBO(), BILBO(), FloatingPriorELBO()])
def test_a_floating_prior_trains_under_each_of_its_objectives(objective: Objective) -> None:
    history = quietly(
        floating_vae(),
        some_digits(),
        objective=objective,
        epochs=4,
        optimizer=adam(1e-2),
        validation=some_digits(200, 100),
    )
    assert history["validation"][-1] > history["validation"][0]


# -- history ----------------------------------------------------------------------------------


def test_the_bound_in_the_history_weighs_unequal_batches_by_their_size() -> None:
    x = torch.randn(10, 1)
    history = quietly(mean_pair(0.3), x, epochs=1, batch_size=4, optimizer=standing_still)
    assert history["bound"] == [pytest.approx(mean_bound(0.3, x), rel=1e-6)]


def test_the_validation_in_the_history_is_the_mean_over_all_held_out_data() -> None:
    held_out = torch.randn(1003, 1)  # two chunks, of 1000 and of 3
    history = quietly(
        mean_pair(0.3),
        torch.randn(4, 1),
        epochs=1,
        optimizer=standing_still,
        validation=held_out,
    )
    assert history["validation"] == [pytest.approx(mean_bound(0.3, held_out), rel=1e-5)]


def test_bytes_are_never_floats_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # CelebA's training images are 2 GB of bytes, and 8 GB of floats.
    sizes = []

    @dataclass(frozen=True)
    class Watched(Grey):
        def draw(self, values: Tensor) -> Tensor:
            sizes.append(len(values))
            return super().draw(values)

    monkeypatch.setattr(examples, "_NUMBERS_AT_ONCE", 30 * 64)
    pixels = (255 * some_digits(count=120, dynamic=False).values).byte()
    data = Examples(pixels, binarisation=Watched())
    history = quietly(floating_vae(), data, epochs=2, batch_size=20, validation=data)
    assert max(sizes) <= 30 < len(data)

    whole = floating_vae()
    floats = data.draw()
    monkeypatch.undo()
    expected = quietly(whole, floats, epochs=2, batch_size=20, validation=floats)
    assert history["bound"] == pytest.approx(expected["bound"], abs=1e-5)
    # Other latents are drawn, of 120 data: their means differ by a nat only if something is wrong.
    assert history["validation"] == pytest.approx(expected["validation"], abs=1.0)


def test_validation_is_every_so_many_epochs_and_in_the_last() -> None:
    x = torch.randn(4, 1)
    history = quietly(mean_pair(), x, epochs=5, validation=x, validate_every=2)
    assert [bound is not None for bound in history["validation"]] == [
        False,
        True,
        False,
        True,
        True,
    ]


def test_a_record_says_which_epoch_and_how_long() -> None:
    history = quietly(mean_pair(), torch.randn(4, 1), epochs=2)
    assert history["epoch"] == [1, 2]
    assert all(seconds > 0 for seconds in history["seconds"])


def test_step_decay_multiplies_the_rate_at_fractions_of_the_run() -> None:
    history = quietly(
        mean_pair(),
        torch.randn(4, 1),
        epochs=10,
        batch_size=2,
        optimizer=sgd(0.8),
        schedule=step_decay(0.5, 0.8),
    )
    # the rate after an epoch's last step
    assert history["learning_rate"] == pytest.approx([0.8] * 4 + [0.4] * 3 + [0.2] * 3)


def test_cosine_decay_goes_from_the_optimizers_rate_to_the_final_one() -> None:
    history = quietly(
        mean_pair(),
        torch.randn(4, 1),
        epochs=4,
        batch_size=2,
        optimizer=sgd(1.0),
        schedule=cosine_decay(0.2),
    )
    angle = torch.pi * torch.arange(1, 5) / 4
    expected = 0.2 + 0.8 * (1 + angle.cos()) / 2
    assert history["learning_rate"] == pytest.approx(expected.tolist(), rel=1e-5)


# -- seeds ------------------------------------------------------------------------------------


def trained(seed: int, **options: Any) -> dict[str, Tensor]:
    vae = small_vae()
    quietly(vae, some_digits(), epochs=2, batch_size=64, seed=seed, **options)
    return weights(vae)


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before() -> None:
    first = trained(seed=3)
    torch.manual_seed(99)
    assert identical(first, trained(seed=3))


def test_another_seed_gives_other_weights() -> None:
    assert not identical(trained(seed=3), trained(seed=4))


class Recorder(MeanModel):
    """Keeps the data of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.seen.append(x)
        return super().forward(x)


def order_under(objective: Objective, seed: int = 0) -> Tensor:
    recorder = Recorder()
    x = torch.arange(10.0)[:, None]
    quietly(Pair(recorder, Blind()), x, objective=objective, epochs=3, batch_size=4, seed=seed)
    return torch.cat(recorder.seen).reshape(3, 10)


def test_the_datas_order_is_the_same_for_every_objective() -> None:
    assert torch.equal(order_under(ELBO()), order_under(IWAE(1)))


def test_every_epoch_has_all_data_in_an_order_of_its_own() -> None:
    order = order_under(ELBO())
    assert all(torch.equal(epoch.sort().values, torch.arange(10.0)) for epoch in order)
    assert len({tuple(epoch.tolist()) for epoch in order}) == 3


def test_another_seed_gives_another_order() -> None:
    assert not torch.equal(order_under(ELBO(), seed=0), order_under(ELBO(), seed=1))


# -- the world around -------------------------------------------------------------------------


def world() -> dict[str, Any]:
    # Not Python's random state: beartype, which checks signatures in these tests, draws from it.
    return {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "settings": pyro.settings.get(),
        "validation": torch.distributions.Distribution._validate_args,
        "store": sorted(pyro.get_param_store().keys()),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
    }


class Shift(pyro.nn.PyroModule):
    """A hand-written Pyro program with a parameter of its own, which Pyro names ``"mean"``."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(self.mean, 1.0).to_event(1), obs=x)


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("make", [small_vae, optimal_vae, lambda: Pair(Shift(), Blind())])
def test_fit_leaves_the_world_as_it_was(make: Callable[[], Pair], validation: bool) -> None:
    pair, data = make(), some_digits()
    with pyro.validation_enabled(validation):
        before = world()
        quietly(pair, data, epochs=1, validation=data)
        assert identical(world(), before)


def test_a_run_that_fails_leaves_the_world_as_it_was_too() -> None:
    def fail(epoch: int) -> None:
        raise InterruptedError

    vae, data = small_vae(), some_digits()
    before = world()
    with pytest.raises(InterruptedError):
        quietly(vae, data, epochs=1, before_epoch=fail)
    assert identical(world(), before)


@pytest.mark.parametrize("make", [small_vae, lambda: Pair(Shift(), Blind())])
def test_two_models_in_one_process_train_each_as_if_alone(make: Callable[[], Pair]) -> None:
    data = some_digits()
    first, second = make(), make()
    second.load_state_dict(first.state_dict())
    untrained = weights(first)
    quietly(first, data, epochs=1)
    assert identical(weights(second), untrained)
    quietly(second, data, epochs=1)
    assert not identical(weights(first), untrained)
    assert identical(weights(second), weights(first))


def test_two_models_trained_in_turn_are_as_if_trained_alone(tmp_path: Any) -> None:
    data, alone = some_digits(), small_vae(1)
    quietly(alone, data, epochs=2, seed=1)
    pairs = [small_vae(0), small_vae(1)]
    for epochs in (1, 2):
        for seed, pair in enumerate(pairs):
            folder = tmp_path / str(seed)
            quietly(pair, data, epochs=epochs, seed=seed, checkpoints=folder)
    assert identical(weights(pairs[1]), weights(alone))


# -- modes ------------------------------------------------------------------------------------


class Moods(Blind):
    """Notes its mode in the training steps, and elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.in_steps: set[bool] = set()
        self.elsewhere: list[bool] = []
        self.dropout = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.in_steps.add(self.dropout.training)
        else:
            self.elsewhere.append(self.dropout.training)
        return super().forward(x)


def test_dropout_is_on_in_every_step_also_after_a_validation() -> None:
    guide, x = Moods(), torch.randn(4, 1)
    quietly(Pair(MeanModel(), guide), x, epochs=3, validation=x)
    assert guide.in_steps == {True}


def test_dropout_is_off_in_validations() -> None:
    guide, x = Moods(), torch.randn(4, 1)
    quietly(Pair(MeanModel(), guide), x, epochs=3, validation=x)
    dry_runs = guide.elsewhere.index(False)
    assert guide.elsewhere[dry_runs:] == [False] * 3


def test_the_pair_ends_in_evaluation_mode() -> None:
    vae = small_vae()
    quietly(vae, some_digits(), epochs=1)
    assert not any(module.training for module in vae.modules())


def test_the_dry_run_on_the_first_batch_leaves_no_trace() -> None:
    def with_batch_norm() -> VAE:
        encoder = nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 2))
        return VAE(
            prior=StandardNormalPrior(2),
            likelihood=BernoulliLikelihood(MLP(2, [4], 64)),
            guide=ConstantNormalGuide(encoder),
        )

    vae = with_batch_norm()
    quietly(vae, some_digits(count=100), epochs=1, batch_size=50)
    assert vae.guide.encoder[0].num_batches_tracked == 2


# -- validation and early stopping ------------------------------------------------------------


class Judged(ELBO):
    """An objective with another for evaluation."""

    def for_evaluation(self) -> Objective:
        return Flat()


class Flat(ELBO):
    def bound(self, particles: Any) -> Tensor:
        return torch.full_like(super().bound(particles), 42.0)


def test_validation_is_under_the_objective_for_evaluation() -> None:
    x = torch.randn(4, 1)
    history = quietly(mean_pair(), x, objective=Judged(), epochs=1, validation=x)
    assert history["validation"] == [42.0]
    assert history["bound"] != [42.0]


@pytest.mark.parametrize("make", [small_vae, floating_vae, optimal_vae])
def test_validation_does_not_disturb_training(make: Callable[[], VAE]) -> None:
    with_it, without = make(), make()
    quietly(with_it, some_digits(), epochs=3, validation=some_digits(200, 50))
    quietly(without, some_digits(), epochs=3)
    assert identical(dict(with_it.named_parameters()), dict(without.named_parameters()))


def overshooting(epochs: int, **options: Any) -> tuple[Pair, list[float]]:
    """μ goes from 0 past the held-out data's mean at 1 towards the training data's at 5."""
    pair = mean_pair(0.0)
    history = quietly(
        pair,
        column(5.0, 5.0),
        epochs=epochs,
        batch_size=2,
        optimizer=sgd(0.06),
        validation=column(0.5, 1.5),
        **options,
    )
    return pair, history["validation"]


def test_early_stopping_stops_and_puts_the_best_weights_back() -> None:
    pair, bounds = overshooting(50, early_stopping=EarlyStopping(patience=3))
    best = bounds.index(max(bounds)) + 1
    assert 1 < best < 10
    assert len(bounds) == best + 3
    assert identical(weights(pair), weights(overshooting(best)[0]))


def test_a_rise_smaller_than_min_rise_is_none() -> None:
    _, bounds = overshooting(50, early_stopping=EarlyStopping(patience=3, min_rise=10.0))
    assert len(bounds) == 1 + 3


def test_without_a_stop_the_best_weights_are_put_back_at_the_end() -> None:
    pair, bounds = overshooting(6, early_stopping=EarlyStopping(patience=100))
    best = bounds.index(max(bounds)) + 1
    assert best < 6
    assert identical(weights(pair), weights(overshooting(best)[0]))


def test_a_run_that_stopped_early_stays_stopped_when_called_again(tmp_path: Any) -> None:
    options = {"early_stopping": EarlyStopping(patience=3), "checkpoints": tmp_path}
    pair, bounds = overshooting(50, **options)
    again, same_bounds = overshooting(50, **options)
    assert same_bounds == bounds
    assert identical(weights(again), weights(pair))


@pytest.mark.parametrize("options", [{"patience": 0}, {"min_rise": -0.1}])
def test_early_stopping_refuses_what_makes_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected patience ≥ 1 and min_rise ≥ 0"):
        EarlyStopping(**options)


def test_before_epoch_may_anneal_the_objective() -> None:
    objective, betas = ELBO(beta=0.0), []

    def anneal(epoch: int) -> None:
        objective.beta = epoch / 3
        betas.append(objective.beta)

    annealed, whole = small_vae(), small_vae()
    quietly(annealed, some_digits(), objective=objective, epochs=3, before_epoch=anneal)
    quietly(whole, some_digits(), epochs=3)
    assert betas == [1 / 3, 2 / 3, 1.0]
    assert not identical(weights(annealed), weights(whole))


# -- pairs of one's own -----------------------------------------------------------------------


class Factors(nn.Module):
    """Factor analysis by hand: z ~ N(0, I), x ~ N(Wz, ½)."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(2, 5)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5**0.5).to_event(1), obs=x)


class FactorsGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Linear(5, 2)
        self.log_scale = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.mean(x), self.log_scale.exp()).to_event(1))


def test_a_pair_written_by_hand_trains_to_near_the_truth() -> None:
    truth = linear_gaussian(num_data=200)
    pair = Pair(Factors(), FactorsGuide())
    history = quietly(pair, truth.x, epochs=25, batch_size=50, optimizer=adam(5e-2))
    # The best linear-Gaussian model's evidence is above the true one's, by little.
    assert history["bound"][-1] > truth.log_evidence(truth.x).mean() - 0.3


def test_frozen_parameters_stay() -> None:
    vae = small_vae()
    vae.likelihood.decoder.requires_grad_(False)
    decoder, encoder = weights(vae.likelihood), weights(vae.guide)
    quietly(vae, some_digits(), epochs=1)
    assert identical(weights(vae.likelihood), decoder)
    assert not identical(weights(vae.guide), encoder)


@pytest.mark.parametrize("frozen", [True, False])
def test_nothing_to_train_is_a_clear_error(frozen: bool) -> None:
    model = mean_pair().model.requires_grad_(False) if frozen else nn.Module()
    with pytest.raises(ValueError, match=r"expected parameters to train; got none.*requires_grad"):
        quietly(Pair(model, Blind()), torch.randn(4, 1), epochs=1)


def test_fit_gives_the_same_history_as_a_loop_of_ones_own() -> None:
    vae, by_hand, x = small_vae(), small_vae(), some_digits(dynamic=False).values
    history = quietly(vae, x, epochs=2, batch_size=100, optimizer=adam(1e-2), seed=2)
    torch.manual_seed(2)
    optimizer, bounds = torch.optim.Adam(by_hand.parameters(), lr=1e-2, fused=True), []
    for epoch in (1, 2):
        generator = torch.Generator().manual_seed(2 * 1_000_003 + epoch)
        total = 0.0
        for index in torch.randperm(len(x), generator=generator).split(100):
            optimizer.zero_grad()
            loss = ELBO().differentiable_loss(by_hand.model, by_hand.guide, x[index])
            (loss / len(index)).backward()
            optimizer.step()
            total -= loss.item()
        bounds.append(total / len(x))
    assert history["bound"] == bounds
    assert identical(weights(vae), weights(by_hand))
    assert [set(record) for record in without_seconds(history.records)] == [
        {"epoch", "bound", "validation", "learning_rate"}
    ] * 2


def test_a_guide_reaches_the_best_bound_there_is() -> None:
    truth = linear_gaussian(num_data=200)
    pair = Pair(Factors(), FactorsGuide())
    pair.model.decoder.load_state_dict(truth.likelihood.decoder.state_dict())
    pair.model.requires_grad_(False)
    history = quietly(
        pair, truth.x, epochs=60, batch_size=100, optimizer=adam(5e-2), schedule=cosine_decay()
    )
    optimum = truth.optimal_bound(truth.x).mean().item()
    # An exact guide has no noise in its bound; what is short of exact is within 0.03 nats.
    assert history["bound"][0] < optimum - 0.5
    assert history["bound"][-1] == pytest.approx(optimum, abs=0.03)


# -- looking on -----------------------------------------------------------------------------------


def test_after_each_epoch_the_pair_can_be_looked_at_and_nothing_changes() -> None:
    looked_at, alone = floating_vae(), floating_vae()
    data = some_digits(dynamic=False)
    seen = []

    def look(epoch: int) -> None:
        torch.rand(7)  # of random numbers that are not the run's
        with torch.no_grad():
            mean = looked_at.guide.posterior(data.values).mean
        assert not looked_at.training
        # S² = Σ + E[μ²] of the training set as it is now, not of a batch, nor of an epoch ago
        expected = (1 + mean.square().mean(0)).detach()
        torch.testing.assert_close(looked_at.prior().variance, expected)
        seen.append(epoch)

    first = quietly(looked_at, data, epochs=3, after_epoch=look)
    second = quietly(alone, data, epochs=3)
    assert seen == [1, 2, 3]
    assert first["bound"] == second["bound"]
    assert identical(weights(looked_at), weights(alone))
