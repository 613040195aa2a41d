"""What cannot be trained on is said before training begins: what was expected, what came."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import (
    BAGGINS,
    IWAE,
    VAE,
    BernoulliLikelihood,
    DecoderPrecisionGuide,
    EarlyStopping,
    NormalGuide,
    NormalLikelihood,
    Pair,
    ShapeError,
    StandardNormalPrior,
    fit,
    step_decay,
)
from pyro_vae.data import Examples
from pyro_vae.nn import MLP
from tests.training.pairs import Blind, identical, mean_pair, small_vae, weights

quietly = partial(fit, progress=False, epochs=1)
GOOD = torch.full((300, 64), 0.5)


def spoiled(place: int, value: float) -> Tensor:
    x = GOOD.clone()
    x[place, 3] = value
    return x


def never(epoch: int) -> None:
    raise AssertionError("training began")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (torch.rand(20, 63), r"expected data with 64 features.*got data of shape \[20, 63\]"),
        (torch.rand(20, 8, 8), r"expected data with 64 features.*got data of shape \[20, 8, 8\]"),
        (
            torch.ones(20, 64, dtype=torch.int64),
            r"or floating values; got torch.int64",
        ),
        (torch.ones(20, 64, dtype=torch.uint8), r"expected floating values; got torch.uint8"),
        (torch.ones(0, 64), r"at least one example; got shape \[0, 64\]"),
        (spoiled(7, float("nan")), r"expected finite values; got NaN.*first at 7"),
        (spoiled(290, float("inf")), r"expected finite values; got .*infinity.*first at 290"),
        (spoiled(7, 1.5), r"data at site 'x': expected .* support.*0\.5 and 1\.5 in datum 7\."),
        (spoiled(290, -1.0), r"data at site 'x': expected .* support.*-1 and 0\.5 in datum 290\."),
    ],
)
def test_data_that_do_not_fit(data: Tensor, told: str) -> None:
    vae = small_vae()
    before = weights(vae)
    with pytest.raises(ValueError, match=told):
        quietly(vae, data, before_epoch=never)
    assert identical(weights(vae), before)


@pytest.mark.parametrize(
    ("held_out", "told"),
    [
        (torch.rand(20, 63), r"expected data with 64 features.*got data of shape \[20, 63\]"),
        (spoiled(290, 255.0), r"validation at site 'x': expected .* 0\.5 and 255 in datum 290\."),
        (spoiled(290, float("nan")), "expected finite values"),
    ],
)
def test_held_out_data_that_do_not_fit(held_out: Tensor, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        quietly(small_vae(), GOOD, validation=held_out, before_epoch=never)


def test_an_off_support_value_far_into_the_data_is_found_at_its_place() -> None:
    x = torch.rand(2500, 64)
    x[2345, 0] = 2.0
    with pytest.raises(ValueError, match=r"in datum 2345\."):
        quietly(small_vae(), x, before_epoch=never)


class Convolving(Blind):
    """A guide whose network alone knows what it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv1d(2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.network(x)
        return super().forward(x)


class Independent(nn.Module):
    """x ~ N(μ, 1) for data of any shape."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            normal = dist.Normal(self.mean.expand(x.shape), 1.0).to_event(x.dim() - 1)
            return pyro.sample("x", normal, obs=x)


@pytest.mark.parametrize("name", ["data", "validation"])
def test_a_shape_that_only_the_networks_know_to_be_wrong(name: str) -> None:
    data = {"data": torch.randn(6, 2, 5), "validation": torch.randn(6, 2, 5)}
    data[name] = torch.randn(6, 4, 5)
    told = (
        rf"{name}: expected what the pair takes; got shape \[6, 4, 5\] .* it ended in: .*channels"
    )
    with pytest.raises(ShapeError, match=told):
        quietly(Pair(Independent(), Convolving()), **data, before_epoch=never)


class Failing(Blind):
    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError(self.message)


@pytest.mark.parametrize(
    "message", ["not a matter of form", "Expected all tensors to be on the same device, but got"]
)
def test_an_error_that_is_not_about_the_datas_shape_keeps_its_words(message: str) -> None:
    with pytest.raises(RuntimeError, match=f"^{message}"):
        quietly(Pair(Independent(), Failing(message)), torch.randn(6, 5), before_epoch=never)


def test_an_estimate_that_is_missing_is_told_as_such() -> None:
    prior = StandardNormalPrior(2)
    likelihood = NormalLikelihood(nn.Linear(2, 5), BAGGINS(0.2))
    guide = DecoderPrecisionGuide(nn.Linear(5, 2), prior, likelihood)
    vae = VAE(prior=prior, likelihood=likelihood, guide=guide)
    with pytest.raises(RuntimeError, match=r"^BAGGINS's squared error: expected an estimate"):
        quietly(vae, torch.randn(6, 5), before_epoch=never)


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv1d(1, 4, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.unsqueeze(1)).squeeze(-1)


@pytest.mark.parametrize("encoder", [nn.Linear(64, 4), Convolved()])
def test_data_of_another_dtype_than_the_networks(encoder: nn.Module) -> None:
    vae = VAE(
        prior=StandardNormalPrior(2),
        likelihood=BernoulliLikelihood(nn.Linear(2, 64)),
        guide=NormalGuide(encoder),
    )
    told = r"data: expected the dtype of the networks, torch\.float32; got torch\.float64.*x\.to\("
    with pytest.raises(ValueError, match=told):
        quietly(vae, GOOD.double(), before_epoch=never)


def test_a_decoder_that_takes_no_particles_is_told_of_its_wrapper() -> None:
    decoder = nn.Sequential(nn.Linear(2, 8), nn.Unflatten(1, (2, 4)), nn.ConvTranspose1d(2, 1, 2))
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(5, 4))
    vae = VAE(
        prior=StandardNormalPrior(2),
        likelihood=NormalLikelihood(decoder),
        guide=NormalGuide(encoder),
    )
    x = torch.randn(6, 1, 5)
    assert len(quietly(vae, x)) == 1
    with pytest.raises(ShapeError, match=r"^decoder: expected .*pyro_vae\.nn\.LeadingShape"):
        quietly(vae, x, objective=IWAE(3), before_epoch=never)


def test_data_with_a_single_number_each() -> None:
    history = quietly(Pair(Independent(), Blind()), Examples(torch.randn(10)))
    assert len(history) == 1


def test_a_decoder_of_another_size_than_the_data() -> None:
    vae = VAE(
        prior=StandardNormalPrior(2),
        likelihood=BernoulliLikelihood(MLP(2, [8], 60)),
        guide=NormalGuide(MLP(64, [8], 4)),
    )
    with pytest.raises(ShapeError, match=r"expected data of shape \[batch, 60\].*got \[128, 64\]"):
        quietly(vae, GOOD)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"epochs": 0}, "epochs: expected ≥ 1; got 0"),
        ({"batch_size": 0}, "batch_size: expected ≥ 1; got 0"),
        ({"validate_every": 0}, "validate_every: expected ≥ 1; got 0"),
        ({"checkpoint_every": 0}, "checkpoint_every: expected ≥ 1; got 0"),
        ({"checkpoint_every": -5}, "checkpoint_every: expected ≥ 1; got -5"),
        ({"clip_norm": 0.0}, "clip_norm: expected a positive number; got 0"),
        ({"clip_norm": -1.0}, "clip_norm: expected a positive number; got -1"),
        ({"clip_norm": float("nan")}, "clip_norm: expected a positive number; got nan"),
        ({"early_stopping": EarlyStopping()}, "early_stopping: .*Give validation="),
    ],
)
def test_options_out_of_range(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fit(mean_pair(), torch.randn(4, 1), progress=False, **options)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5])
def test_a_decay_outside_the_run(fraction: float) -> None:
    with pytest.raises(ValueError, match="fractions: expected numbers between 0 and 1"):
        step_decay(0.5, fraction)


def test_a_checkpoint_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match=r"expected to write a checkpoint; got .*file"):
        quietly(mean_pair(), torch.randn(4, 1), checkpoints=tmp_path / "file")


class Counts(nn.Module):
    """x ~ Binomial(total, ½): with a total for every datum, a support for each too."""

    def __init__(self, total: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.total = total
        self.logits = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            binomial = dist.Binomial(self.total(x), logits=self.logits.expand(len(x), 2))
            return pyro.sample("x", binomial.to_event(1), obs=x)


def test_a_support_that_differs_from_datum_to_datum_is_held_against_its_own() -> None:
    x = torch.arange(40.0).reshape(20, 2)
    quietly(Pair(Counts(lambda x: x + 1), Blind()), x, batch_size=8)
    below = Pair(Counts(lambda x: torch.where(x == 35, 34.0, x)), Blind())
    with pytest.raises(ValueError, match=r"got values between 34 and 35 in datum 17\."):
        quietly(below, x, batch_size=8)
