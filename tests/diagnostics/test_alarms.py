"""Alarms: each fires on what is planted, none in a healthy training, and nothing is changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from torch import Tensor, nn

from pyro_vae import (
    ELBO,
    VAE,
    BernoulliLikelihood,
    DecodedVariance,
    DiscretisedLogisticLikelihood,
    FixedVariance,
    FloatingPrior,
    FlowGuide,
    History,
    LearnedVariance,
    NormalGuide,
    NormalLikelihood,
    OptimalVariance,
    PairError,
    StandardNormalPrior,
    adam,
    fit,
)
from pyro_vae.data import digits
from pyro_vae.diagnostics.alarms import (
    Alarm,
    CollapseAlarm,
    CollapseWarning,
    Kind,
    Thresholds,
)
from pyro_vae.nn import MLP
from pyro_vae.testing import LinearGaussian, linear_gaussian
from tests.evaluation.test_evaluation import assert_unchanged, everything, fingerprint
from tests.objectives.pairs import global_pair, hierarchical_pair

AT_ONCE = Thresholds(looks=1)


def healthy(num_data: int = 300) -> LinearGaussian:
    return linear_gaussian(num_data=num_data)


def watched(vae: VAE, x: Tensor, thresholds: Thresholds = AT_ONCE, **options: Any) -> CollapseAlarm:
    """An alarm that has had its first look, and tells nobody."""
    alarm = CollapseAlarm(vae.model, vae.guide, x, thresholds, tell=_silent, **options)
    alarm(1)
    return alarm


def _silent(message: str) -> None:
    """Nobody is told."""


def kinds(alarm: CollapseAlarm) -> list[tuple[int, Kind, bool]]:
    return [(each.epoch, each.kind, each.ended) for each in alarm.alarms]


def begun(alarm: CollapseAlarm) -> set[Kind]:
    return {each.kind for each in alarm.alarms if not each.ended}


def message(alarm: CollapseAlarm, kind: Kind) -> str:
    [found] = [each.message for each in alarm.alarms if each.kind is kind and not each.ended]
    return found


@torch.no_grad()
def change(tensor: Tensor, value: Tensor | float) -> None:
    tensor.copy_(torch.as_tensor(value).expand_as(tensor))


# --- what is seen ---------------------------------------------------------------------------------


def test_a_look_has_the_terms_of_the_bound_and_the_moments_of_the_aggregate() -> None:
    pair = healthy(2000)
    [look] = watched(pair, pair.x).history
    q = pair.posterior(pair.x)
    kl = 0.5 * (q.variance + q.mean.square() - 1 - q.variance.log()).mean(0).double()
    assert look.kl is not None
    torch.testing.assert_close(look.kl, kl, rtol=1e-4, atol=1e-4)
    assert look.rate == pytest.approx(kl.sum().item(), rel=1e-4)
    # 8000 draws of log p(x|z), deviation below 3: 5 errors.
    assert look.bound == pytest.approx(pair.log_evidence(pair.x).mean().item(), abs=0.17)
    # Moments of 8000 draws against those of 8000 of the prior, of 2000 data: 5 errors.
    ones, spread = torch.ones(2, dtype=torch.float64), 5 * (1 / 2000 + 2 / 8000) ** 0.5
    torch.testing.assert_close(look.shift, 0 * ones, rtol=0, atol=spread)
    torch.testing.assert_close(look.spread, ones, rtol=0, atol=spread)
    torch.testing.assert_close(look.activity, q.mean.var(0).double(), rtol=0.1, atol=0)
    # The deviation is that of a pass, 1000 data.
    assert look.scale == pytest.approx(0.5**0.5 / pair.x.std().item(), rel=0.02)


def test_the_mismatch_is_the_kl_of_normals() -> None:
    pair = healthy()
    [look] = watched(pair, pair.x).history
    q, p = dist.Normal(look.shift, look.spread), dist.Normal(torch.zeros(2).double(), 1.0)
    torch.testing.assert_close(look.mismatch, torch.distributions.kl_divergence(q, p))


def test_many_data_are_looked_at_in_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = healthy()
    [whole] = watched(pair, pair.x).history
    monkeypatch.setattr("pyro_vae.diagnostics.alarms._AT_ONCE", 200)
    [parts] = watched(pair, pair.x).history
    assert parts.rate == pytest.approx(whole.rate, rel=1e-5)
    # Other draws: 1200 of log p(x|z), deviation of the difference below 3.
    assert parts.distortion == pytest.approx(whole.distortion, abs=0.5)
    assert parts.reliance > 1


# --- each alarm -----------------------------------------------------------------------------------


def test_a_healthy_pair_whose_weights_move_a_little_alarms_nobody() -> None:
    pair = healthy()
    alarm = watched(pair, pair.x)
    for epoch in range(2, 6):
        change(pair.guide.encoder.weight, 1.02 * pair.guide.encoder.weight)
        change(pair.likelihood.decoder.weight, 0.98 * pair.likelihood.decoder.weight)
        alarm(epoch)
    assert alarm.alarms == []
    assert [look.epoch for look in alarm.history] == [1, 2, 3, 4, 5]


def prior_in_latent(pair: LinearGaussian, latent: int) -> None:
    """Puts N(0, 1) in the place of the posterior of one latent: weight 0, softplus⁻¹(1)."""
    change(pair.guide.encoder.weight[latent], 0.0)
    change(pair.guide.encoder.bias[latent], 0.0)
    change(pair.guide.encoder.bias[2 + latent], math.log(math.e - 1))


def test_a_latent_that_collapses_is_said_once_and_so_is_its_return() -> None:
    pair = healthy()
    before = {name: value.clone() for name, value in pair.guide.state_dict().items()}
    alarm = watched(pair, pair.x)
    prior_in_latent(pair, 1)
    alarm(2)
    alarm(3)
    pair.guide.load_state_dict(before)
    alarm(4)
    alarm(5)
    collapse = Kind.POSTERIOR_COLLAPSE
    assert kinds(alarm) == [(2, collapse, False), (4, collapse, True)]
    assert alarm.latents == ("z[0]", "z[1]")
    assert "z[1] has" in alarm.alarms[0].message
    assert "z[0]" not in alarm.alarms[0].message
    assert alarm.alarms[1].message == "epoch 4: posterior collapse: no longer so: z[1]."


def test_a_latent_that_was_never_in_use_has_not_collapsed() -> None:
    pair = healthy()
    prior_in_latent(pair, 1)
    alarm = watched(pair, pair.x)
    change(pair.guide.encoder.bias[1], 0.3)  # 0.045 nats
    alarm(2)
    change(pair.guide.encoder.bias[1], 0.0)
    alarm(3)
    assert alarm.alarms == []


def test_a_collapse_lasts_until_the_latent_is_in_use_again() -> None:
    """Between the two thresholds nothing begins and nothing ends."""
    pair = healthy()
    alarm = watched(pair, pair.x)
    for epoch, mean in enumerate((0.0, 0.5, 0.0, 1.2), 2):  # 0, 0.125, 0 and 0.72 nats
        prior_in_latent(pair, 1)
        change(pair.guide.encoder.bias[1], mean)
        alarm(epoch)
    collapse = Kind.POSTERIOR_COLLAPSE
    assert kinds(alarm) == [(2, collapse, False), (5, collapse, True)]


def test_a_collapse_of_all_is_whole_and_no_latent_is_active() -> None:
    pair = healthy()
    alarm = watched(pair, pair.x)
    for latent in (0, 1):
        prior_in_latent(pair, latent)
    alarm(2)
    assert begun(alarm) == {Kind.POSTERIOR_COLLAPSE, Kind.WHOLE_COLLAPSE}
    assert "no latent's posterior mean varies" in message(alarm, Kind.POSTERIOR_COLLAPSE)
    assert "the rate is" in message(alarm, Kind.WHOLE_COLLAPSE)


def test_many_latents_are_counted_in_place_of_named() -> None:
    vae = VAE(
        prior=StandardNormalPrior(8),
        likelihood=NormalLikelihood(nn.Linear(8, 8)),
        guide=NormalGuide(nn.Linear(8, 16)),
    )
    change(vae.guide.encoder.weight, torch.cat([3 * torch.eye(8), torch.zeros(8, 8)]))
    alarm = watched(vae, torch.randn(100, 8), Thresholds(looks=1, aggregate_kl=math.inf))
    change(vae.guide.encoder.weight, 0.0)
    change(vae.guide.encoder.bias, torch.tensor([0.0] * 8 + [math.log(math.e - 1)] * 8))
    alarm(2)
    assert "and 4 more" in message(alarm, Kind.POSTERIOR_COLLAPSE)  # with "no latent's mean …"


def test_a_decoder_that_does_not_read_z_is_told_from_one_that_does() -> None:
    pair = healthy()
    alarm = watched(pair, pair.x)
    assert alarm.history[0].reliance > 1
    change(pair.likelihood.decoder.weight, 0.0)
    alarm(2)
    assert begun(alarm) >= {Kind.IGNORED_LATENTS}
    assert alarm.history[1].reliance == pytest.approx(0.0, abs=1e-5)
    assert "with the z of another datum log p(x|z) changes by 0 nats, at a rate of 1." in message(
        alarm, Kind.IGNORED_LATENTS
    )


def test_a_rate_that_explodes_while_the_bound_falls() -> None:
    pair = healthy()
    alarm = watched(pair, pair.x, Thresholds(looks=1, aggregate_kl=math.inf))
    change(pair.guide.encoder.weight, 4 * pair.guide.encoder.weight)
    alarm(2)
    assert kinds(alarm) == [(2, Kind.KL_EXPLOSION, False)]
    assert message(alarm, Kind.KL_EXPLOSION).startswith(
        "epoch 2: KL explosion: since epoch 1 the rate has risen from 1."
    )


def test_a_rate_that_rises_with_the_bound_is_learning() -> None:
    pair = healthy()
    good = {name: value.clone() for name, value in pair.guide.state_dict().items()}
    change(pair.guide.encoder.weight, 0.2 * pair.guide.encoder.weight)
    alarm = watched(pair, pair.x)
    pair.guide.load_state_dict(good)
    alarm(2)
    assert alarm.history[1].rate > 1.2 * alarm.history[0].rate
    assert alarm.alarms == []


def test_numbers_that_are_none_are_said() -> None:
    pair = healthy()
    alarm = watched(pair, pair.x)
    change(pair.likelihood.decoder.bias, math.inf)
    with pyro.validation_enabled(False):
        alarm(2)
    assert "are no numbers" in message(alarm, Kind.KL_EXPLOSION)


VARIANCES: dict[str, Callable[[], NormalLikelihood]] = {
    "learned": lambda: NormalLikelihood(nn.Linear(2, 5), LearnedVariance()),
    "of each dimension": lambda: NormalLikelihood(nn.Linear(2, 5), LearnedVariance((5,))),
    "decoded": lambda: NormalLikelihood(nn.Linear(2, 10), DecodedVariance()),
}


@pytest.mark.parametrize("likelihood", VARIANCES.values(), ids=VARIANCES.keys())
def test_a_variance_that_runs_to_zero(likelihood: Callable[[], NormalLikelihood]) -> None:
    pair = healthy()
    vae = VAE(prior=pair.prior, likelihood=likelihood(), guide=pair.guide)
    alarm = watched(vae, pair.x)
    [log_variance] = [
        parameter if name.endswith("log_variance") else parameter[5:]
        for name, parameter in vae.likelihood.named_parameters()
        if name.endswith("log_variance") or parameter.shape == (10,)
    ]
    change(log_variance[..., :1] if log_variance.dim() else log_variance, -30.0)
    alarm(2)
    assert Kind.UNBOUNDED_LIKELIHOOD in begun(alarm)
    assert "deviations of the data" in message(alarm, Kind.UNBOUNDED_LIKELIHOOD)


def test_a_variance_that_is_small_by_choice_runs_nowhere() -> None:
    pair = healthy()
    likelihood = NormalLikelihood(pair.likelihood.decoder, FixedVariance(1e-8))
    vae = VAE(prior=pair.prior, likelihood=likelihood, guide=pair.guide)
    alarm = watched(vae, pair.x)
    change(pair.guide.encoder.weight, 1.01 * pair.guide.encoder.weight)
    alarm(2)
    assert alarm.history[1].scale == pytest.approx(1e-4 / pair.x.std().item(), rel=1e-3)
    assert Kind.UNBOUNDED_LIKELIHOOD not in begun(alarm)


@pytest.mark.parametrize(
    "likelihood",
    [
        lambda: BernoulliLikelihood(nn.Linear(2, 5)),
        lambda: DiscretisedLogisticLikelihood(nn.Linear(2, 5), LearnedVariance(), bins=2),
    ],
    ids=["Bernoulli", "discretised logistic"],
)
def test_a_likelihood_of_probabilities_has_no_scale_to_watch(likelihood: Callable[[], Any]) -> None:
    vae = VAE(prior=StandardNormalPrior(2), likelihood=likelihood(), guide=healthy().guide)
    [look] = watched(vae, torch.randint(2, (30, 5)).float()).history
    assert look.scale is None


def test_an_aggregate_posterior_beside_the_prior() -> None:
    pair = healthy()
    alarm = watched(pair, pair.x)
    change(pair.guide.encoder.bias[1], pair.guide.encoder.bias[1] + 3.0)
    alarm(2)
    said = message(alarm, Kind.AGGREGATE_MISMATCH)
    assert "z[1] has the mean 3." in said
    assert "z[0]" not in said
    change(pair.guide.encoder.bias[1], pair.guide.encoder.bias[1] - 3.0)
    alarm(3)
    assert (3, Kind.AGGREGATE_MISMATCH, True) in kinds(alarm)


# --- when and how it is said ----------------------------------------------------------------------


def test_what_passes_within_three_looks_is_not_said() -> None:
    pair = healthy()
    alarm = watched(pair, pair.x, Thresholds())
    weight = pair.likelihood.decoder.weight.clone()
    for epoch, is_read in enumerate((0, 0, 1, 0, 0, 0, 0, 1), 2):
        change(pair.likelihood.decoder.weight, is_read * weight)
        alarm(epoch)
    ignored = Kind.IGNORED_LATENTS
    assert [each for each in kinds(alarm) if each[1] is ignored] == [
        (7, ignored, False),
        (9, ignored, True),
    ]


def test_before_anything_is_learned_nothing_is_said() -> None:
    pair = healthy()
    change(pair.likelihood.decoder.weight, 0.0)
    for latent in (0, 1):
        prior_in_latent(pair, latent)
    alarm = watched(pair, pair.x)
    alarm(2)
    alarm(3)
    assert alarm.alarms == []
    change(pair.likelihood.decoder.bias, 0.1)
    alarm(4)
    assert Kind.WHOLE_COLLAPSE in begun(alarm)


def test_without_a_listener_it_warns_in_a_category_of_its_own() -> None:
    pair = healthy()
    alarm = CollapseAlarm(pair.model, pair.guide, pair.x, AT_ONCE)
    alarm(1)
    change(pair.likelihood.decoder.weight, 0.0)
    with pytest.warns(CollapseWarning, match="epoch 2: ignored latents") as caught:
        alarm(2)
    assert [str(each.message) for each in caught] == [each.message for each in alarm.alarms]


def test_a_listener_gets_the_messages() -> None:
    pair, heard = healthy(), []
    alarm = CollapseAlarm(pair.model, pair.guide, pair.x, AT_ONCE, tell=heard.append)
    alarm(1)
    change(pair.likelihood.decoder.weight, 0.0)
    alarm(2)
    assert heard
    assert heard == [each.message for each in alarm.alarms]
    assert all(isinstance(each, Alarm) for each in alarm.alarms)


@pytest.mark.parametrize(
    ("data", "options", "text"),
    [(1, {}, "got 1 data"), (5, {"num_samples": 1}, "num_samples 1")],
)
def test_too_little_to_look_at_is_refused(data: int, options: dict[str, int], text: str) -> None:
    pair = healthy(5)
    with pytest.raises(ValueError, match=text):
        CollapseAlarm(pair.model, pair.guide, pair.x[:data], **options)
    with pytest.raises(ValueError, match="looks: expected ≥ 1; got 0"):
        Thresholds(looks=0)


# --- any pair -------------------------------------------------------------------------------------


def test_a_hierarchy_of_functions_is_watched() -> None:
    alarm = CollapseAlarm(*hierarchical_pair(), torch.randn(40), AT_ONCE, tell=_silent)
    alarm(1)
    assert alarm.latents == ("u", "z")
    change(pyro.get_param_store()["a"], 0.0)
    change(pyro.get_param_store()["b"], 0.0)
    alarm(2)
    assert "no latent's posterior mean varies" in message(alarm, Kind.POSTERIOR_COLLAPSE)


def test_a_guide_that_scores_only_its_own_samples_is_watched() -> None:
    pair = healthy()
    flow = transforms.conditional_planar(2, 5, [4])
    vae = VAE(
        prior=pair.prior,
        likelihood=pair.likelihood,
        guide=FlowGuide(NormalGuide(pair.guide.encoder), [flow]),
    )
    alarm = watched(vae, pair.x)
    assert alarm.history[0].kl is None
    change(pair.guide.encoder.weight, 0.0)
    for name, parameter in flow.named_parameters():
        if name.endswith("weight"):  # by which it sees x
            change(parameter, 0.0)
    alarm(2)
    assert Kind.POSTERIOR_COLLAPSE in begun(alarm)


def one_latent(
    prior: Any, decoded: Callable[[Tensor], Tensor], posterior: Callable[[Tensor, float], Any]
) -> tuple[Any, Callable[[float], Callable[[Tensor], None]]]:
    """A model, and a guide of how far it listens to x."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(decoded(z), 0.5), obs=x)

    def guide(listens: float) -> Callable[[Tensor], None]:
        def run(x: Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", posterior(x, listens))

        return run

    return model, guide


def heavy_tailed() -> Any:
    """log z for what is decoded: the posterior is known well, and the prior has no moments."""
    return one_latent(
        dist.HalfCauchy(torch.tensor(1.0)),
        torch.log,
        lambda x, a: dist.LogNormal(0.85 * a * x, 0.45 * a + 1.5 * (1 - a)),
    )


def nominal() -> Any:
    centres = 3 * torch.arange(4.0)
    return one_latent(
        dist.Categorical(torch.ones(4)),
        lambda z: 3.0 * z,
        lambda x, a: dist.Categorical(logits=-a * (x.unsqueeze(-1) - centres).square()),
    )


def looks(pair: Any, x: Tensor, *listening: float) -> CollapseAlarm:
    model, guide = pair
    now = [listening[0]]
    alarm = CollapseAlarm(model, lambda x: guide(now[0])(x), x, AT_ONCE, tell=_silent)
    for epoch, now[0] in enumerate(listening, 1):
        alarm(epoch)
    return alarm


@pytest.mark.parametrize("seed", range(5))
def test_a_latent_without_moments_that_is_in_use_alarms_nobody(seed: int) -> None:
    """The variance of a few draws of a HalfCauchy is that of the largest: by it no posterior mean
    varied, and the aggregate posterior was far from the prior."""
    torch.manual_seed(seed)
    alarm = looks(heavy_tailed(), dist.HalfCauchy(1.0).sample((300,)).log(), 0.9, 1.0)
    assert alarm.alarms == []
    [_, look] = alarm.history
    assert 0.3 < look.activity.item() < 1
    assert look.mismatch.item() < 0.2


def test_a_latent_without_moments_that_collapses_is_said() -> None:
    torch.manual_seed(0)
    alarm = looks(heavy_tailed(), dist.HalfCauchy(1.0).sample((300,)).log(), 1.0, 0.0)
    said = message(alarm, Kind.POSTERIOR_COLLAPSE)
    assert "no latent's posterior mean varies" in said


def test_of_a_latent_whose_values_are_names_activity_is_unknown() -> None:
    torch.manual_seed(0)
    x = 3.0 * torch.randint(4, (300,)) + 0.5 * torch.randn(300)
    alarm = looks(nominal(), x, 0.9, 1.0)
    assert alarm.alarms == []
    look = alarm.history[-1]
    assert all(each.isnan().all() for each in (look.activity, look.shift, look.spread))
    assert look.rate > 1


def test_sites_that_the_guide_has_in_another_order_are_held_against_their_own_prior() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            u = pyro.sample("u", dist.Normal(0.0, 10.0))
            z = pyro.sample("z", dist.Normal(0.0, 0.1))
            pyro.sample("x", dist.Normal(u + z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 0.1))
            pyro.sample("u", dist.Normal(0.99 * x, 1.0))

    alarm = CollapseAlarm(model, guide, 10 * torch.randn(200), tell=_silent)
    alarm(1)
    assert alarm.latents == ("z", "u")
    # Of 800 draws: a deviation is good to 2.5 %, 5 of these and as many of the data's.
    torch.testing.assert_close(
        alarm.history[0].spread, torch.ones(2).double(), rtol=0.3, atol=0, check_dtype=False
    )
    assert alarm.history[0].activity[0] < 0.01 < alarm.history[0].activity[1] < 2


def test_a_pair_with_a_global_latent_is_refused() -> None:
    with pytest.raises(PairError, match="for each of 6 data"):
        CollapseAlarm(*global_pair(), torch.randn(6))(1)


# --- in training ----------------------------------------------------------------------------------


def digits_vae(latent_dim: int = 4) -> VAE:
    torch.manual_seed(0)
    return VAE(
        prior=StandardNormalPrior(latent_dim),
        likelihood=BernoulliLikelihood(MLP(latent_dim, [32], 64)),
        guide=NormalGuide(MLP(64, [32], 2 * latent_dim)),
    )


def train(
    vae: VAE, hook: str | None = None, **options: Any
) -> tuple[History, CollapseAlarm, list[Tensor]]:
    examples = digits().train
    x = examples.batch(slice(0, 300))
    alarm = CollapseAlarm(vae.model, vae.guide, x, tell=_silent)
    hooks = {} if hook is None else {hook: alarm}
    history = fit(vae, examples, batch_size=100, progress=False, **hooks, **options)
    return history, alarm, [parameter.detach().clone() for parameter in vae.parameters()]


def test_a_healthy_training_on_digits_alarms_nobody() -> None:
    history, alarm, _ = train(digits_vae(), "after_epoch", epochs=10, optimizer=adam(3e-3))
    assert history["bound"][-1] > history["bound"][0] + 10
    assert len(alarm.history) == 10
    assert alarm.alarms == []


def test_a_beta_of_50_collapses_and_is_said() -> None:
    crushed = ELBO(beta=50.0)
    _, alarm, _ = train(
        digits_vae(), "after_epoch", epochs=8, objective=crushed, optimizer=adam(1e-2)
    )
    assert Kind.WHOLE_COLLAPSE in begun(alarm)
    assert not any(each.ended for each in alarm.alarms)


def untimed(history: History) -> dict[str, Any]:
    return {name: history[name] for name in ("epoch", "bound", "learning_rate")}


@pytest.mark.parametrize("hook", ["before_epoch", "after_epoch"])
def test_a_training_with_an_alarm_is_the_one_without(hook: str) -> None:
    plain, _, weights = train(digits_vae(), epochs=3)
    history, alarm, watched_weights = train(digits_vae(), hook, epochs=3)
    assert len(alarm.history) == 3
    assert untimed(history) == untimed(plain)
    for one, other in zip(weights, watched_weights, strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_a_compiled_training_with_an_alarm_is_the_one_without() -> None:
    plain, _, weights = train(digits_vae(), epochs=3, compile=True)
    history, _, watched_weights = train(digits_vae(), "before_epoch", epochs=3, compile=True)
    assert untimed(history) == untimed(plain)
    for one, other in zip(weights, watched_weights, strict=True):
        assert torch.equal(one, other)


def estimating() -> VAE:
    return VAE(
        prior=FloatingPrior(2),
        likelihood=NormalLikelihood(nn.Linear(2, 5), OptimalVariance()),
        guide=NormalGuide(nn.Linear(5, 4)),
    )


@pytest.mark.parametrize("hook", ["before_epoch", "after_epoch"])
def test_what_is_estimated_over_the_training_set_need_not_be_yet(hook: str) -> None:
    x = healthy().x
    vae = estimating()
    alarm = CollapseAlarm(vae.model, vae.guide, x[:100], tell=_silent)
    fit(vae, x, epochs=2, progress=False, **{hook: alarm})
    assert [look.epoch for look in alarm.history] == [1, 2]
    assert all(math.isfinite(look.bound) for look in alarm.history)


def test_a_look_changes_nothing() -> None:
    vae, x = everything()
    before = fingerprint(vae)
    watched(vae, x)
    assert_unchanged(before, fingerprint(vae))


def test_looks_at_the_same_weights_are_the_same() -> None:
    pair = healthy()
    alarm = watched(pair, pair.x)
    torch.randn(3)
    alarm(2)
    assert alarm.history[0].terms == alarm.history[1].terms
