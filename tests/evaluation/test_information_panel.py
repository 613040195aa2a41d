"""The information panel: closed forms, enumeration, naive sums, limits that hold, no change."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions import transforms
from torch import Tensor, nn

from pyro_vae import (
    VAE,
    BernoulliLikelihood,
    ConstantNormalGuide,
    FixedPrior,
    FlowGuide,
    FullCovarianceGuide,
    Guide,
    MixturePrior,
    NonFiniteError,
    NormalGuide,
    NormalLikelihood,
    PairError,
    StandardNormalPrior,
    SubstitutionGuide,
    UniformGuide,
)
from pyro_vae.evaluation import Estimate, Information, active_units, bound_terms, information
from pyro_vae.evaluation.active_units import normal_scores
from pyro_vae.testing import LinearGaussian, linear_gaussian
from tests.evaluation.test_evaluation import assert_unchanged, everything, fingerprint
from tests.objectives.pairs import global_pair, hierarchical_pair, scalar_pair

# The package's name for it is the function's.
module = sys.modules["pyro_vae.evaluation.information"]

pytestmark = pytest.mark.usefixtures("float64")


def exact_pair(num_data: int = 20, **options: Any) -> LinearGaussian:
    return linear_gaussian(num_data=num_data, dtype=torch.float64, **options)


def vae_of(guide: Guide, latent_dim: int, data_dim: int, prior: Any = None) -> VAE:
    prior = StandardNormalPrior(latent_dim) if prior is None else prior
    likelihood = NormalLikelihood(nn.Linear(latent_dim, data_dim))
    return VAE(prior=prior, likelihood=likelihood, guide=guide).double()


def constant_guide(weight: Tensor, scale: float) -> ConstantNormalGuide:
    """q(z|x) = N(Wx, s² I)."""
    encoder = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        encoder.weight.copy_(weight)
    return ConstantNormalGuide(encoder, scale)


def panel(vae: VAE, x: Tensor, **options: Any) -> Information:
    return information(vae.model, vae.guide, x, **options)


def within(estimate: Estimate | None, truth: float, errors: float = 5, slack: float = 0) -> bool:
    assert estimate is not None
    return abs(estimate.value - truth) < errors * estimate.error + slack


def value_of(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


# --- rate and distortion --------------------------------------------------------------------------


def test_rate_and_distortion_are_the_terms_of_the_bound_on_the_same_samples() -> None:
    pair = exact_pair(orthogonal=False)
    found = panel(pair, pair.x)
    terms = bound_terms(pair.model, pair.guide, pair.x, num_samples=10)
    torch.testing.assert_close(found.terms.kl, terms.kl)
    torch.testing.assert_close(found.terms.reconstruction, terms.reconstruction)
    assert found.bound == pytest.approx(terms.mean()["bound"], rel=1e-12)
    assert found.rate.value == pytest.approx(terms.mean()["kl"], rel=1e-12)
    assert found.rate.error == pytest.approx(0.0, abs=1e-12)
    assert found.kl_per_dimension is not None
    assert found.kl_per_dimension.sum().item() == pytest.approx(found.rate.value)


class Reversed(NormalGuide):
    """The same density by a flow, so that no KL is in closed form."""

    def posterior(self, x: Tensor) -> Any:
        q = super().posterior(x)
        base = dist.Normal(q.mean.flip(-1), q.stddev.flip(-1)).to_event(1)
        return dist.TransformedDistribution(base, [transforms.Permute(torch.tensor([1, 0]))])


def with_guide(pair: LinearGaussian, guide: type[NormalGuide]) -> VAE:
    other = guide(pair.guide.encoder)
    return VAE(prior=pair.prior, likelihood=pair.likelihood, guide=other)


def test_with_a_sampled_rate_at_the_exact_posterior_rate_and_distortion_are_the_evidence() -> None:
    pair = exact_pair()
    found = panel(with_guide(pair, Reversed), pair.x)
    torch.testing.assert_close(found.terms.bound, pair.log_evidence(pair.x))
    assert found.bound == pytest.approx(pair.log_evidence(pair.x).mean().item(), rel=1e-12)
    assert found.rate.error > 0
    assert found.kl_per_dimension is None


def test_the_errors_of_rate_and_distortion_are_what_seeds_differ_by() -> None:
    pair = exact_pair(50)
    vae = with_guide(pair, Reversed)
    runs = [panel(vae, pair.x, seed=seed, num_draws=2) for seed in range(40)]
    for name in ("rate", "distortion"):
        estimates = [getattr(run, name) for run in runs]
        spread = torch.tensor([estimate.value for estimate in estimates]).std().item()
        error = sum(estimate.error for estimate in estimates) / 40
        # The deviation of 40 values is good to 11 %: 4.5 of these, a false alarm in 10⁵.
        assert spread == pytest.approx(error, rel=0.5)


# --- information and the aggregate posterior, in closed form --------------------------------------


def test_of_an_exact_guide_the_information_is_that_of_the_gaussian_channel() -> None:
    pair, size = exact_pair(4000), 4000
    found = panel(pair, pair.x)
    channel = 0.5 * pair.posterior(pair.x[:1]).precision_matrix.logdet().item()
    # KL(q(z) ‖ p(z)) of N data is in the mean (E ∫ q(z|x)²/p(z) dz − 1)/2N = (|Λ| − 1)/2N, 0.0032,
    # with a deviation that is smaller.
    bias = (math.exp(2 * channel) - 1) / (2 * size)
    assert within(found.marginal_kl, bias, slack=bias)
    # The rate of a datum has a deviation below 1 over the data: 5 of 1/√4000 for the mean.
    assert found.mutual_information.value == pytest.approx(channel, abs=0.08)
    rate = found.rate.value - found.marginal_kl.value
    assert found.mutual_information.value == pytest.approx(rate, rel=1e-12)
    assert not found.saturated
    assert not found.hole
    # 20 of 2000 draws are below the level; 20 ± √20 of the prior's, with the level's own noise
    # 20 ± 6.3: 5 of these.
    assert found.outside < 0.026


def test_a_channel_wider_than_the_data_is_enclosed_and_the_panel_says_so() -> None:
    pair = exact_pair(300, latent_dim=4, data_dim=8, variance=0.003)
    channel = 0.5 * pair.posterior(pair.x[:1]).precision_matrix.logdet().item()
    found = panel(pair, pair.x)
    assert channel > found.most_information + 3  # 12.8 nats, where 300 data can show 5.7
    assert found.mutual_information.value <= math.log(300)
    assert found.mutual_information.value < channel < found.mutual_information_upper.value + 0.5
    assert found.marginal_kl_lower.value < 0.5 < found.marginal_kl.value
    assert found.saturated
    assert "log 300 = 5.70" in found.summary()
    assert " to " in found.summary()


def test_more_data_bring_both_ends_of_the_information_together() -> None:
    pair = exact_pair(2000, latent_dim=3, data_dim=6, variance=0.1)
    few, many = (panel(pair, pair.x[:size]) for size in (100, 2000))
    gaps = [
        found.mutual_information_upper.value - found.mutual_information.value
        for found in (few, many)
    ]
    assert 0 < gaps[1] < gaps[0] / 3
    channel = 0.5 * pair.posterior(pair.x[:1]).precision_matrix.logdet().item()
    # Noise of the rate over the data, deviation of about 1.2: 5 of 1.2/√2000.
    low, high = many.mutual_information.value, many.mutual_information_upper.value
    assert low - 0.14 < channel < high + 0.14


def test_a_guide_that_is_the_prior_carries_nothing() -> None:
    vae = vae_of(constant_guide(torch.zeros(3, 4), 1.0), 3, 4)
    found = panel(vae, torch.randn(50, 4), num_draws=500)
    for value in (
        found.rate.value,
        found.mutual_information.value,
        found.mutual_information_upper.value,
        found.marginal_kl.value,
        value_of(found.total_correlation),
        value_of(found.dimension_wise_kl),
    ):
        assert value == pytest.approx(0.0, abs=1e-12)
    assert found.active.count == 0
    assert found.carriers() == 0
    assert not found.hole
    assert "No latent by itself carries anything" in str(found)


def test_a_guide_that_is_all_but_deterministic_carries_the_number_of_the_datum() -> None:
    vae = vae_of(constant_guide(torch.eye(2), 1e-6), 2, 2)
    x = torch.randn(40, 2)
    found = panel(vae, x)
    assert found.mutual_information.value == pytest.approx(math.log(40), abs=1e-6)
    assert found.mutual_information_upper.value == pytest.approx(found.rate.value)
    assert found.saturated
    some = panel(vae, x, num_aggregate=10)
    assert some.mutual_information.value == pytest.approx(math.log(10), abs=1e-6)
    assert (some.num_aggregate, len(some.terms.kl)) == (10, 40)


def gaussian_aggregate(num_data: int) -> tuple[VAE, Tensor, Tensor]:
    """Posteriors N(Ax, s² I) of x ~ N(0, I): q(z) tends to N(0, AAᵀ + s² I), whose covariance is
    the third."""
    weight = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.2, 0.0], [0.0, 0.0, 0.4]])
    x = torch.randn(num_data, 3)
    vae = vae_of(constant_guide(weight, 0.6), 3, 3)
    return vae, x, weight @ weight.T + 0.36 * torch.eye(3)


def test_the_parts_of_the_marginal_kl_are_those_of_the_aggregates_normal() -> None:
    vae, x, covariance = gaussian_aggregate(3000)
    found = panel(vae, x, num_draws=3000)
    variance = covariance.diagonal()
    correlation = covariance / (variance[:, None] * variance).sqrt()
    shared = -0.5 * correlation.logdet().item()
    each = 0.5 * (variance - 1 - variance.log())
    whole = 0.5 * (covariance.trace() - 3 - covariance.logdet()).item()
    # 5 errors of the draws. The data's own part, moments of 3000 data that are off by √(2/3000) of
    # them with derivatives below ½, and the bias of 0.003 have 0.07 together: a false alarm in 10⁵.
    assert shared > 0.2
    assert within(found.total_correlation, shared, slack=0.07)
    assert within(found.dimension_wise_kl, each.sum().item(), slack=0.07)
    assert within(found.marginal_kl, whole, slack=0.07)
    assert found.marginal_kl_per_dimension is not None
    torch.testing.assert_close(found.marginal_kl_per_dimension, each, atol=0.07, rtol=0)
    parts = value_of(found.total_correlation) + value_of(found.dimension_wise_kl)
    assert parts == pytest.approx(found.marginal_kl.value, rel=1e-10)
    channel = 0.5 * torch.log(variance / 0.36)
    assert found.information_per_dimension is not None
    torch.testing.assert_close(found.information_per_dimension, channel, atol=0.07, rtol=0)


def test_carriers_are_the_fewest_latents_with_that_share() -> None:
    weight = torch.diag(torch.tensor([1.0, 0.05, 0.6]))
    vae = vae_of(constant_guide(weight, 0.5), 3, 3)
    found = panel(vae, torch.randn(2000, 3))
    # ½ log(1 + a²/s²): 0.80, 0.005, 0.45.
    assert [found.carriers(share) for share in (0.5, 0.95, 1.0)] == [1, 2, 3]
    assert found.active.active.tolist() == [True, False, True]
    assert "2 of 3 latents carry 95 % of it; 2 of 3 latents active." in found.summary()


# --- enumeration and naive sums -------------------------------------------------------------------


class BitsGuide(Guide):
    """q(z|x) of independent bits."""

    def posterior(self, x: Tensor) -> Any:
        return dist.Bernoulli(logits=self.encoder(x)).to_event(1)


def test_of_bits_every_number_is_within_its_error_of_the_enumerated_one() -> None:
    prior = FixedPrior(dist.Bernoulli, probs=torch.tensor([0.3, 0.5, 0.6]))
    encoder = nn.Linear(4, 3)
    with torch.no_grad():
        encoder.weight.mul_(4)
    vae = vae_of(BitsGuide(encoder), 3, 4, prior)
    x = torch.randn(12, 4)
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    with torch.no_grad():
        log_q = vae.guide.posterior(x).log_prob(states[:, None])  # [states, data]
        p = vae.prior().log_prob(states)
        single = vae.guide.posterior(x).base_dist.probs
    q = log_q.exp().mean(1)
    of_data = (log_q.exp() * (log_q - q.log()[:, None])).sum(0).mean().item()
    whole = (q * (q.log() - p)).sum().item()
    marginal = dist.Bernoulli(single.mean(0))
    ones = dist.Bernoulli(prior.probs)
    each = torch.distributions.kl_divergence(marginal, ones)
    found = panel(vae, x, num_samples=500, num_draws=6000)
    # 5 errors each, four numbers: a false alarm in 10⁵.
    assert within(found.marginal_kl, whole)
    assert within(found.mutual_information, of_data)
    assert within(found.dimension_wise_kl, each.sum().item())
    assert within(found.total_correlation, whole - each.sum().item())
    assert found.rate.value == pytest.approx(of_data + whole, rel=1e-9)  # closed


def naive(log_q: Callable[[int, int], Tensor], draws: int, data: int) -> Tensor:
    """log q(z_m) by one sum over all data."""
    table = torch.tensor([[float(log_q(m, n)) for n in range(data)] for m in range(draws)])
    return table.logsumexp(1) - math.log(data)


@pytest.mark.parametrize("guide", ["diagonal", "full", "flow", "mixture prior"])
def test_log_densities_are_those_of_naive_sums(guide: str) -> None:
    encoder = nn.Linear(4, 5 if guide == "full" else 4)
    makers = {"full": FullCovarianceGuide, "flow": flow_guide}
    prior = MixturePrior(2, 3) if guide == "mixture prior" else None
    vae = vae_of(makers.get(guide, NormalGuide)(encoder), 2, 4, prior)
    x = torch.randn(7, 4)
    found = panel(vae, x, num_samples=3)
    assert found.draws.shape == (21, 2)
    with torch.no_grad():
        posteriors = [vae.guide.posterior(datum[None]) for datum in x]
        scores = [[q.log_prob(z[None]).item() for q in posteriors] for z in found.draws]
        of_prior = [[q.log_prob(z[None]).item() for q in posteriors] for z in found.prior_draws]
        log_p = vae.prior().log_prob(found.draws)
    joint = torch.tensor(scores)
    torch.testing.assert_close(found.log_q, joint.logsumexp(1) - math.log(7))
    torch.testing.assert_close(
        found.log_q_of_prior_draws, torch.tensor(of_prior).logsumexp(1) - math.log(7)
    )
    torch.testing.assert_close(found.log_p, log_p)
    # Each draw's own posterior is the one whose sample it is: the data come in an order by chance,
    # each as often as the others.
    left_out = (joint.exp().sum(1) - found.log_q_of_others.exp() * 6).log()
    own = (joint - left_out[:, None]).abs()
    assert own.min(1).values.max() < 1e-6
    assert own.argmin(1).bincount().tolist() == [3] * 7
    assert (found.log_q_per_dimension is None) == (guide == "flow")
    assert (found.log_p_per_dimension is None) == (guide == "mixture prior")


def flow_guide(encoder: nn.Module) -> FlowGuide:
    flow = transforms.conditional_affine_autoregressive(2, 4, [8])
    return FlowGuide(NormalGuide(encoder), [flow])


@pytest.mark.parametrize("guide", [NormalGuide, FullCovarianceGuide])
def test_marginals_are_those_of_naive_sums(guide: type[Guide]) -> None:
    vae = vae_of(guide(nn.Linear(4, 4 if guide is NormalGuide else 5)), 2, 4)
    x = torch.randn(7, 4)
    found = panel(vae, x, num_samples=3)
    with torch.no_grad():
        q = vae.guide.posterior(x)
    single = dist.Normal(q.mean, q.variance.sqrt())
    expected = single.log_prob(found.draws[:, None]).logsumexp(1) - math.log(7)
    torch.testing.assert_close(found.log_q_per_dimension, expected)
    torch.testing.assert_close(
        found.log_p_per_dimension, dist.Normal(0.0, 1.0).log_prob(found.draws)
    )


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_the_size_of_passes_changes_no_number(batch_size: int) -> None:
    pair = exact_pair(30)
    one, other = (panel(pair, pair.x, batch_size=size) for size in (None, batch_size))
    assert torch.equal(one.draws, other.draws)
    for name in ("log_q", "log_q_of_others", "log_q_per_dimension", "log_q_of_prior_draws"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-12, atol=1e-12)
    assert one.rate == other.rate


@pytest.mark.parametrize("memory", [7, 50])
def test_little_memory_changes_no_number(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = exact_pair(12)
    plenty = panel(pair, pair.x, num_draws=50)
    monkeypatch.setattr(module, "_AT_ONCE", memory)
    little = panel(pair, pair.x, num_draws=50)
    for name in ("log_q", "log_q_of_others", "log_q_per_dimension", "log_q_of_prior_draws"):
        torch.testing.assert_close(
            getattr(plenty, name), getattr(little, name), rtol=1e-12, atol=1e-12
        )


def test_draws_are_spread_evenly_over_the_data() -> None:
    x = 100.0 * torch.arange(30)[:, None]
    vae = vae_of(constant_guide(torch.ones(1, 1), 0.1), 1, 1)
    for draws, least, most in ((60, 2, 2), (45, 1, 2), (10, 0, 1)):
        found = panel(vae, x, num_draws=draws)
        times = (found.draws / 100).round().long().flatten().bincount(minlength=30)
        assert (len(found.draws), times.min(), times.max()) == (draws, least, most)


def test_the_seed_decides_the_draws() -> None:
    pair = exact_pair()
    one, same, other = (panel(pair, pair.x, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.log_q, same.log_q)
    assert not torch.equal(one.log_q, other.log_q)


def test_single_precision_stays_so_and_is_near() -> None:
    single, double = (
        linear_gaussian(num_data=100, dtype=t) for t in (torch.float32, torch.float64)
    )
    found = panel(single, single.x, num_samples=50, num_draws=5000)
    expected = panel(double, double.x, num_samples=50, num_draws=5000)
    assert found.draws.dtype == torch.float32
    assert found.terms.kl.dtype == torch.float32
    # Other random numbers: 5 errors, each about 0.004.
    difference = found.mutual_information.value - expected.mutual_information.value
    assert abs(difference) < 5 * 2**0.5 * found.mutual_information.error


# --- any pair -------------------------------------------------------------------------------------


def normal(mean: Tensor, scale: float) -> dist.Distribution:
    return dist.Normal(mean, torch.tensor(scale))


@pytest.mark.parametrize("top_first", [True, False])
def test_of_a_hierarchy_of_functions_both_sites_are_scored_together(top_first: bool) -> None:
    model, guide = hierarchical_pair(top_first=top_first)
    x = torch.randn(6)
    found = information(model, guide, x, num_samples=3)
    assert found.latents == (("u", "z") if top_first else ("z", "u"))
    first, second = found.draws.T[:, :, None]
    if top_first:
        log_q = normal(0.3 * x, 0.8).log_prob(first)
        log_q = log_q + normal(0.6 * x + 0.1 * first, 0.7).log_prob(second)
        u, z = found.draws.T
    else:
        log_q = normal(0.6 * x, 0.7).log_prob(first) + normal(0.3 * first, 0.8).log_prob(second)
        z, u = found.draws.T
    torch.testing.assert_close(found.log_q, log_q.logsumexp(1) - math.log(6))
    log_p = normal(torch.zeros(()), 1.0).log_prob(u) + normal(0.9 * u, 1.0).log_prob(z)
    torch.testing.assert_close(found.log_p, log_p)
    # What depends on another latent has no marginal that is known.
    assert found.total_correlation is None
    assert found.dimension_wise_kl is None
    assert found.information_per_dimension is None
    assert found.carriers() is None
    assert (found.kl_per_dimension is None) == (not top_first)
    assert "2 latents active" in found.summary()


def test_the_rate_of_a_hierarchy_is_that_of_its_normals() -> None:
    model, guide = hierarchical_pair()
    x = torch.randn(40)
    found = information(model, guide, x, num_samples=400, num_draws=2)
    u = 0.5 * (0.64 + (0.3 * x).square() - 1 - math.log(0.64))
    # E over q(u|x) of (0.6 x + 0.1 u − 0.9 u)²
    shift = (0.6 * x - 0.8 * 0.3 * x).square() + 0.64 * 0.64
    z = 0.5 * (0.49 + shift - 1 - math.log(0.49))
    assert within(found.rate, (u + z).mean().item())
    assert found.kl_per_dimension is not None
    assert found.kl_per_dimension[0].item() == pytest.approx(u.mean().item())
    assert found.kl_per_dimension.sum().item() == pytest.approx(found.rate.value)


def nested_model(x: Tensor) -> None:
    """x [groups, members]: a latent of each group, and one of each member."""
    groups = pyro.plate("groups", len(x), dim=-1)
    with groups:
        u = pyro.sample("u", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("members", x.shape[1], dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(u + z, 1.0), obs=x.T)


def nested_guide(x: Tensor) -> None:
    with pyro.plate("groups", len(x), dim=-1):
        pyro.sample("u", dist.Normal(0.3 * x.mean(1), 0.8))
        with pyro.plate("members", x.shape[1], dim=-2):
            pyro.sample("z", dist.Normal(0.6 * x.T, 0.7))


def test_members_in_a_plate_of_their_own_are_dimensions() -> None:
    x = torch.randn(5, 3)
    found = information(nested_model, nested_guide, x, num_samples=4, max_plate_nesting=2)
    assert found.latents == ("u[0]", "z[0]", "z[1]", "z[2]")
    u, z = found.draws[:, None, 0], found.draws[:, None, 1:]
    each = torch.cat(
        [
            normal(0.3 * x.mean(1), 0.8).log_prob(u)[..., None],
            normal(0.6 * x, 0.7).log_prob(z),
        ],
        -1,
    )
    torch.testing.assert_close(found.log_q, each.sum(-1).logsumexp(1) - math.log(5))
    torch.testing.assert_close(found.log_q_per_dimension, each.logsumexp(1) - math.log(5))
    of_u = 0.5 * (0.64 + (0.3 * x.mean(1)).square() - 1 - math.log(0.64))
    of_z = 0.5 * (0.49 + (0.6 * x).square() - 1 - math.log(0.49))
    torch.testing.assert_close(found.terms.kl, of_u + of_z.sum(1))
    assert found.kl_per_dimension is not None
    torch.testing.assert_close(found.kl_per_dimension[1:], of_z.mean(0))


def test_posteriors_of_other_supports_score_zero_beyond_them() -> None:
    encoder = nn.Linear(1, 2)
    with torch.no_grad():
        encoder.weight.copy_(torch.tensor([[1.0], [0.0]]))
        encoder.bias.copy_(torch.tensor([0.0, 0.0]))
    vae = vae_of(UniformGuide(encoder), 1, 1)
    x = 10.0 * torch.arange(8)[:, None]  # intervals that do not meet
    found = panel(vae, x)
    assert found.mutual_information.value == pytest.approx(math.log(8))
    assert found.mutual_information_upper.value == pytest.approx(found.rate.value)
    assert found.hole


def test_scales_leave_the_rate_alone() -> None:
    pair = exact_pair()
    scaled = poutine.scale(pair.model, scale=0.1)
    found = information(scaled, poutine.scale(pair.guide, scale=0.1), pair.x)
    plain = panel(pair, pair.x)
    assert found.rate == plain.rate
    assert found.distortion == plain.distortion
    assert torch.equal(found.log_q, plain.log_q)


# --- active units, holes --------------------------------------------------------------------------


def test_active_units_are_those_of_active_units() -> None:
    vae = vae_of(NormalGuide(nn.Linear(4, 6)), 3, 4)
    x = torch.randn(50, 4)
    found, expected = panel(vae, x).active, active_units(vae.guide, x)
    torch.testing.assert_close(found.variance, expected.variance)
    # The prior's variance is that of 500 draws: 5 deviations of √(2/500).
    torch.testing.assert_close(found.threshold, torch.full((3,), 0.01), rtol=0.32, atol=0)


def test_of_a_posterior_without_a_mean_the_draws_noise_is_taken_off() -> None:
    pair = exact_pair(500)
    found = panel(with_guide(pair, Reversed), pair.x, num_samples=50)
    exact = pair.posterior(pair.x).mean.var(0)
    # Of 500 data and 50 samples each: the noise is a tenth of this.
    torch.testing.assert_close(found.active.variance, exact, rtol=0.1, atol=0)


def half_cauchy_pair(posterior: Callable[[Tensor], Any]) -> tuple[Any, Any]:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.HalfCauchy(torch.ones(len(x))))
            pyro.sample("x", dist.Normal(z.log(), 0.5), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", posterior(x))

    return model, guide


@pytest.mark.parametrize(
    "posterior",
    [
        lambda x: dist.LogNormal(0.85 * x, 0.45),
        lambda x: dist.HalfCauchy(x.exp()),
    ],
    ids=["with moments", "without"],
)
def test_a_latent_without_moments_that_carries_nats_is_active(
    posterior: Callable[[Tensor], Any],
) -> None:
    x = dist.HalfCauchy(1.0).sample((300,)).log()
    found = information(*half_cauchy_pair(posterior), x)
    assert found.mutual_information.value > 0.3
    assert "1 of 1 latents carries 95 % of it; 1 of 1 latents active." in found.summary()
    assert not found.active.unknown.any()


def test_a_latent_without_moments_that_says_nothing_is_not_active() -> None:
    x = dist.HalfCauchy(1.0).sample((1000,)).log()
    pair = half_cauchy_pair(lambda x: dist.HalfCauchy(torch.ones_like(x)))
    found = information(*pair, x, num_samples=50)
    assert found.rate.value == pytest.approx(0.0, abs=1e-12)
    # Noise of √(2/1000)/50 = 0.0009: the threshold is more than 10 of these.
    assert found.active.variance.abs().item() < 0.005
    assert found.active.count == 0


def test_of_a_latent_whose_values_are_names_activity_is_unknown() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Categorical(torch.ones(4)))
            y = pyro.sample("y", dist.Normal(torch.zeros(len(x)), 1.0)) if both else 0.0
            pyro.sample("x", dist.Normal(3.0 * z + y, 0.5), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            logits = -(x[:, None] - 3 * torch.arange(4.0)).square()
            pyro.sample("z", dist.Categorical(logits=logits))
            if both:
                pyro.sample("y", dist.Normal(0.3 * x, 0.9))

    x = 3.0 * torch.randint(4, (200,)) + 0.5 * torch.randn(200)
    both = False
    found = information(model, guide, x)
    assert found.mutual_information.value > 1
    assert found.active.unknown.all()
    assert "carries 95 % of it; which are active is unknown, as they have no" in found.summary()
    both = True
    assert (
        "1 of 2 latents active, unknown of 1 without a mean."
        in information(model, guide, x).summary()
    )


def test_normal_scores_of_a_normal_priors_draws_are_these_and_of_any_function_that_rises() -> None:
    prior, z = torch.randn(20_000, 2), torch.linspace(-2.0, 2.0, 9)[:, None].expand(9, 2)
    scores = normal_scores(z, prior)
    # An error of √(F(1 − F)/20,000)/φ, 0.02 at 2: 5 of these.
    torch.testing.assert_close(scores, z.double(), rtol=0, atol=0.1)
    assert torch.equal(normal_scores(z.exp(), prior.exp()), scores)
    assert torch.equal(normal_scores(z.expand(3, 9, 2), prior)[1], scores)
    ends = torch.tensor([[-math.inf], [math.inf], [math.nan]])
    low, high, none = normal_scores(ends, prior[:, :1])
    assert low.item() == pytest.approx(-high.item())
    assert low.isfinite().all()
    assert none.isnan()


def test_sites_that_the_guide_has_in_another_order_are_held_against_their_own_prior() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            u = pyro.sample("u", dist.Normal(torch.zeros(len(x)), 10.0))
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 0.1))
            pyro.sample("x", dist.Normal(u + z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 0.1))
            pyro.sample("u", dist.Normal(0.99 * x, 1.0))

    found = information(model, guide, 10 * torch.randn(100))
    assert found.latents == ("z", "u")
    expected = torch.tensor([0.1, 10.0])
    torch.testing.assert_close(found.prior_draws.std(0), expected, rtol=0.15, atol=0)
    # 0.01 of the prior's variance, which 1000 draws give to 4.5 %: 5 of these.
    torch.testing.assert_close(found.active.threshold, 0.01 * expected.square(), rtol=0.23, atol=0)


def test_a_gap_between_posteriors_is_a_hole() -> None:
    """Half of the posteriors at −2, half at 2, none between, where the prior puts most samples."""
    vae = vae_of(constant_guide(torch.tensor([[2.0]]), 0.3), 1, 1)
    found = panel(vae, torch.tensor([[-1.0], [1.0]]).repeat(200, 1))
    low, high = (dist.Normal(0.0, 1.0).cdf(torch.tensor(v)) for v in (-1.4, 1.4))
    assert found.outside > (high - low).item() - 0.1
    assert found.hole
    assert "Hole" in found.summary()


# --- what is refused ------------------------------------------------------------------------------


def planar(encoder: nn.Module) -> FlowGuide:
    return FlowGuide(NormalGuide(encoder), [transforms.conditional_planar(2, 4, [8])])


class Shift(nn.Module):
    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return x[..., :2] + noise


@pytest.mark.parametrize(
    "guide",
    [lambda: planar(nn.Linear(4, 4)), lambda: SubstitutionGuide(Shift(), StandardNormalPrior(2))],
    ids=["planar flow", "substitution"],
)
def test_a_guide_that_scores_only_its_own_samples_is_named(guide: Callable[[], Guide]) -> None:
    vae = vae_of(guide(), 2, 4)
    name = type(vae.guide).__name__
    with pytest.raises(PairError, match=f"{name}, site 'z': expected a distribution that scores"):
        panel(vae, torch.randn(5, 4))


def test_latents_outside_the_plate_over_the_data_are_refused() -> None:
    with pytest.raises(PairError, match=r"for each of 6 data; got 1\. Put every sample site"):
        information(*global_pair(), torch.randn(6))


def test_masked_latents_are_refused_and_masked_data_are_not() -> None:
    pair = scalar_pair(observed=torch.tensor([True, False, True]))
    with pytest.raises(PairError, match="expected a latent of every datum; got a masked one"):
        information(*pair, torch.randn(3))

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.4 * x, 0.8))

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with poutine.mask(mask=x > 0):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = torch.tensor([1.0, -1.0, 2.0])
    found = information(model, guide, x)
    assert found.terms.reconstruction[1] == 0


def test_auxiliary_latents_are_refused() -> None:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            a = pyro.sample("a", dist.Normal(x, 1.0), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(a, 1.0))

    model, _ = scalar_pair()
    with pytest.raises(PairError, match=r"got \['a'\]"):
        information(poutine.mask(model, mask=True), guide, torch.randn(4))


def test_a_prior_of_each_datum_is_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.1 * x, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, 1.0))

    with pytest.raises(PairError, match=r"expected one p\(z\) for all data"):
        information(model, guide, torch.randn(4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 1}, "num_samples: expected ≥ 2; got 1"),
        ({"num_draws": 1}, "num_draws: expected ≥ 2; got 1"),
        ({"num_aggregate": 1}, "num_aggregate: expected ≥ 2; got 1"),
        ({"batch_size": 0}, "batch_size: expected ≥ 1; got 0"),
    ],
)
def test_counts_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    pair = exact_pair()
    with pytest.raises(ValueError, match=message):
        panel(pair, pair.x, **options)
    with pytest.raises(ValueError, match="expected two data or more; got 1"):
        panel(pair, pair.x[:1])


def test_what_is_not_finite_is_named() -> None:
    pair = exact_pair()
    with torch.no_grad():
        pair.likelihood.decoder.bias.fill_(math.inf)
    with pyro.validation_enabled(False), pytest.raises(NonFiniteError, match=r"datum 0 .*log p\(x"):
        panel(pair, pair.x)


# --- nothing changes ------------------------------------------------------------------------------


def test_the_panel_changes_nothing() -> None:
    vae, x = everything()
    before = fingerprint(vae)
    panel(vae, x)
    assert_unchanged(before, fingerprint(vae))


def test_the_panel_is_of_the_pair_in_evaluation_mode() -> None:
    vae, x = everything()
    training = panel(vae, x)
    vae.eval()
    assert torch.equal(training.log_q, panel(vae, x).log_q)


@pytest.mark.gpu
def test_on_a_gpu_the_panel_is_that_of_the_processor_within_its_error() -> None:
    pair = exact_pair(500)
    expected = panel(pair, pair.x)
    pair.cuda()
    found = panel(pair, pair.x.cuda())
    assert found.log_q.device.type == "cuda"
    # Other random numbers: 5 errors.
    difference = found.mutual_information.value - expected.mutual_information.value
    assert abs(difference) < 5 * 2**0.5 * expected.mutual_information.error
    assert found.rate.value == pytest.approx(expected.rate.value)


@pytest.mark.slow
def test_errors_of_the_marginal_kl_are_what_seeds_differ_by() -> None:
    vae = VAE(
        prior=StandardNormalPrior(2),
        likelihood=BernoulliLikelihood(nn.Linear(2, 4)),
        guide=NormalGuide(nn.Linear(4, 4)),
    ).double()
    x = torch.rand(100, 4)
    runs = [panel(vae, x, num_draws=100, seed=seed) for seed in range(100)]
    values = torch.tensor([run.marginal_kl.value for run in runs])
    error = sum(run.marginal_kl.error for run in runs) / 100
    # Spread evenly over the data, draws vary less than the error says, and not by much. A deviation
    # of 100 values is good to 7 %: 5 of these above it.
    assert 0.4 * error < values.std().item() < 1.35 * error
