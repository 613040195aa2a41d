"""The audit against closed forms: what encoder and family fall short by, and what must not change.

Statistical tests allow five standard errors of a mean over the data: each fails by chance once in
a million seeds; the seeds are fixed. What a search leaves is allowed for beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from pyro.distributions.transforms import planar
from torch import Tensor, nn
from torch.distributions import biject_to, kl_divergence

from pyro_vae import (
    VAE,
    BernoulliLikelihood,
    ConstantNormalGuide,
    FlowGuide,
    NonFiniteError,
    NormalGuide,
    PairError,
    ShapeError,
    StandardNormalPrior,
    SubstitutionGuide,
    UniformGuide,
)
from pyro_vae.diagnostics import _richer as of_richer
from pyro_vae.diagnostics import amortisation as module
from pyro_vae.diagnostics import reliability, to_arviz
from pyro_vae.diagnostics._families import free_parameters, innermost, moved
from pyro_vae.diagnostics._richer import flow, flow_numbers
from pyro_vae.diagnostics.amortisation import (
    AmortisationAudit,
    Estimate,
    amortisation_audit,
)
from pyro_vae.evaluation import LogEvidence, log_evidence
from pyro_vae.objectives import ELBO
from pyro_vae.testing import LinearGaussian, linear_gaussian

pytestmark = pytest.mark.usefixtures("float64")

FIELDS = [
    *("log_evidence", "encoder_elbo", "refined_elbo", "richer_elbo"),
    *("inference_gap", "amortisation_gap", "approximation_gap", "richer_gap"),
]


def gaussian(*sizes: int, **options: Any) -> LinearGaussian:
    return linear_gaussian(*sizes, dtype=torch.float64, **options)


def assert_mean(found: Estimate, expected: float, left: float = 0.0) -> None:
    """Within five errors; ``left`` is what the search may have left, on either side."""
    assert abs(found.mean() - expected) < 5 * found.mean_error() + left


def precision(pair: LinearGaussian) -> Tensor:
    return torch.eye(pair.weight.shape[1]) + pair.weight.T @ pair.weight / pair.variance


def factorising_costs(precision: Tensor) -> float:
    """½ (Σ_j log Λ_jj − log|Λ|), what the best factorised normal falls short by."""
    return (0.5 * (precision.diagonal().log().sum() - precision.logdet())).item()


def shifted(pair: LinearGaussian, by: Tensor) -> LinearGaussian:
    """The pair with an encoder whose means are off."""
    with torch.no_grad():
        pair.guide.encoder.bias[: len(by)] += by
    return pair


# --- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 1e-3), (torch.float64, 1e-7)])
def test_an_exact_guide_has_no_gap(dtype: torch.dtype, digits: float) -> None:
    pair = linear_gaussian(dtype=dtype)
    audit = amortisation_audit(pair.model, pair.guide, pair.x, steps=20, num_samples=50)
    for name in FIELDS[4:]:
        assert getattr(audit, name).value.abs().max() < digits  # no noise: weights are constant
    torch.testing.assert_close(
        audit.log_evidence.value, pair.log_evidence(pair.x).double(), rtol=0, atol=digits
    )
    assert "Nothing to gain" in str(audit)
    assert next(audit.refined.free.parameters()).dtype == dtype


def test_a_shifted_encoder_costs_half_the_shift_squared_by_the_precision() -> None:
    pair = gaussian(orthogonal=False)
    by = torch.tensor([0.6, -0.4])
    expected = (0.5 * by @ precision(pair) @ by).item()
    best = pair.guide.posterior(pair.x).base_dist
    pair = shifted(pair, by)
    audit = amortisation_audit(pair.model, pair.guide, pair.x, steps=200)
    assert_mean(audit.amortisation_gap, expected, left=0.005)
    assert_mean(audit.approximation_gap, factorising_costs(precision(pair)), left=0.005)
    assert_mean(audit.inference_gap, expected + factorising_costs(precision(pair)))
    assert_mean(audit.log_evidence, pair.log_evidence(pair.x).mean().item())
    # A full covariance is exact.
    assert_mean(audit.richer_gap, 0.0, left=0.005)
    assert "Too weak an encoder" in audit.summary()
    assert audit.rising.mean() < 0.01
    found = pyro.poutine.trace(audit.refined).get_trace(pair.x).nodes["z"]["fn"].base_dist
    # Each datum's within what costs a few hundredths of a nat.
    assert ((found.loc - best.loc) / best.scale).abs().max() < 0.2
    assert (found.scale / best.scale).log().abs().max() < 0.2


def test_each_latent_of_many_is_set_right() -> None:
    """The best of ten dimensions, within a few hundredths of a nat of 93."""
    pair = gaussian(10, 20, orthogonal=False, num_data=10)
    pair = shifted(pair, torch.full((10,), 0.7))
    audit = amortisation_audit(pair.model, pair.guide, pair.x, steps=200)
    assert_mean(audit.approximation_gap, factorising_costs(precision(pair)), left=0.05)
    assert_mean(audit.richer_gap, 0.0, left=0.01)


def test_what_is_constant_belongs_to_the_family() -> None:
    """N(μ, s² I) with s fixed falls short by ½ Σ_j (Λ_jj s² − 1 − log Λ_jj s²)."""
    pair, s = gaussian(), 0.5
    means = nn.Linear(5, 2)
    with torch.no_grad():
        means.weight.copy_(pair.guide.encoder.weight[:2])
        means.bias.copy_(pair.guide.encoder.bias[:2] + 0.3)
    guide = ConstantNormalGuide(means, scale=s)
    audit = amortisation_audit(pair.model, guide, pair.x, steps=100)
    ratio = precision(pair).diagonal() * s**2
    assert [part.name for part in audit.refined.parts] == ["loc"]
    assert_mean(audit.approximation_gap, 0.5 * (ratio - 1 - ratio.log()).sum().item(), left=0.003)
    assert_mean(audit.amortisation_gap, 0.045 * precision(pair).sum().item(), left=0.003)
    assert_mean(audit.richer_gap, 0.0, left=0.003)


def test_a_frozen_encoder_is_no_constant() -> None:
    pair = shifted(gaussian(num_data=4), torch.tensor([0.5, 0.5]))
    pair.requires_grad_(False)
    audit = amortisation_audit(pair.model, pair.guide, pair.x, steps=100)
    assert [part.name for part in audit.refined.parts] == ["loc", "scale"]
    assert_mean(audit.approximation_gap, 0.0, left=0.003)


# --- pairs written by hand ------------------------------------------------------------------------

Pair = tuple[Callable[[Tensor], None], Callable[[Tensor], None]]


def two_sites(of_u: float = 0.0) -> Pair:
    """u ~ N(0, 1), z ~ N(0.9 u, 1), x ~ N(z, 1); q(u) q(z|u), with means that are off."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            u = pyro.sample("u", dist.Normal(torch.zeros(len(x)), 1.0))
            z = pyro.sample("z", dist.Normal(0.9 * u, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(0.6), constraint=constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            u = pyro.sample("u", dist.Normal(0.1 * x, scale))
            pyro.sample("z", dist.Normal(0.5 * x + of_u * u, scale))

    return model, guide


OF_TWO_SITES = torch.tensor([[1.81, -0.9], [-0.9, 2.0]], dtype=torch.float64)


def test_two_independent_sites_are_a_factorised_family() -> None:
    x = torch.linspace(-2, 2, 12)
    audit = amortisation_audit(*two_sites(), x, steps=150)
    expected = dist.Normal(0.0, 2.81**0.5).log_prob(x).mean().item()
    assert_mean(audit.log_evidence, expected, left=1e-3)
    assert_mean(audit.approximation_gap, factorising_costs(OF_TWO_SITES), left=0.003)
    # A full covariance goes across sites.
    assert_mean(audit.richer_gap, 0.0, left=0.003)
    assert "Too simple a family" not in str(audit)
    assert audit.amortisation_gap.mean() > 0.02
    assert set(pyro.get_param_store()) == set()


def test_a_site_may_depend_on_another() -> None:
    """With the posterior's own slope, 0.45 u, nothing is left."""
    x = torch.linspace(-2, 2, 12)
    audit = amortisation_audit(*two_sites(0.45), x, steps=150)
    assert_mean(audit.approximation_gap, 0.0, left=0.003)
    assert audit.amortisation_gap.mean() > 0.02


def counts(family: Callable[..., Any], *parameters: float) -> Pair:
    """z ~ Gamma(2, 1), x ~ Poisson(z): the posterior is Gamma(2 + x, 2)."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Gamma(torch.full((len(x),), 2.0), 1.0))
            pyro.sample("x", dist.Poisson(z), obs=x)

    def guide(x: Tensor) -> None:
        first, second = (p + 0.0 * x for p in parameters)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", family(first, second))

    return model, guide


COUNTS = torch.tensor([0.0, 1.0, 2.0, 4.0, 7.0], dtype=torch.float64)


def test_a_gamma_family_that_holds_the_posterior_has_no_approximation_gap() -> None:
    audit = amortisation_audit(*counts(dist.Gamma, 3.0, 1.5), COUNTS, steps=150)
    exact = dist.Gamma(2 + COUNTS, torch.full_like(COUNTS, 2.0))
    costs = kl_divergence(dist.Gamma(torch.full_like(COUNTS, 3.0), 1.5 + 0 * COUNTS), exact)
    assert_mean(audit.amortisation_gap, costs.mean().item(), left=0.003)
    assert_mean(audit.approximation_gap, 0.0, left=0.003)
    evidence = dist.GammaPoisson(2 + 0 * COUNTS, torch.ones_like(COUNTS)).log_prob(COUNTS)
    torch.testing.assert_close(audit.log_evidence.value, evidence, rtol=0, atol=0.01)


def test_a_log_normal_is_bent_into_a_gamma() -> None:
    audit = amortisation_audit(*counts(dist.LogNormal, 0.5, 0.5), COUNTS, steps=150)
    assert audit.approximation_gap.mean() > 0.01  # the log of a Gamma variable is skewed
    assert_mean(audit.richer_gap, 0.0, left=0.005)
    z = pyro.poutine.trace(audit.richer).get_trace(COUNTS).nodes["z"]["value"]
    assert (z > 0).all()


def sparse(size: int, concentration: float) -> tuple[Pair, Tensor]:
    """z ~ Dirichlet(a, …, a), x ~ Multinomial(20, z), its exact posterior as the guide; data."""
    prior = torch.full((size,), concentration)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Dirichlet(prior.to(x).expand(len(x), -1)))
            pyro.sample("x", dist.Multinomial(20, probs=z), obs=x)

    def guide(x: Tensor) -> None:
        own = pyro.param("own", prior.to(x), constraint=constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Dirichlet(own + x))

    return (model, guide), dist.Multinomial(20, probs=dist.Dirichlet(prior).sample((6,))).sample()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("size", "concentration"), [(5, 0.2), (50, 0.2), (50, 0.1)])
def test_an_exact_dirichlet_guide_has_no_gap(
    size: int, concentration: float, dtype: torch.dtype
) -> None:
    """Draws are near the corners, where nothing may be lost on the way to the real numbers."""
    pair, x = sparse(size, concentration)
    exact = dist.DirichletMultinomial(torch.full((size,), concentration), 20).log_prob(x)
    audit = amortisation_audit(*pair, x.to(dtype), steps=5, num_samples=300)
    for name in FIELDS[4:]:
        assert getattr(audit, name).value.abs().max() < 1e-3  # no noise: weights are constant
    torch.testing.assert_close(audit.log_evidence.value, exact, rtol=0, atol=1e-3)
    torch.testing.assert_close(audit.encoder_evidence.value, exact, rtol=0, atol=1e-3)
    assert "Nothing to gain" in str(audit)


def members_of_groups(x: Tensor) -> tuple[pyro.plate, pyro.plate]:
    groups, members = x.shape
    return pyro.plate("groups", groups, dim=-1), pyro.plate("members", members, dim=-2)


def nested_model(x: Tensor) -> None:
    """A latent u of each group, and z of each member: x ~ N(z, 1), z ~ N(u, 1), u ~ N(0, 1)."""
    groups, members = members_of_groups(x)
    with groups:
        u = pyro.sample("u", dist.Normal(torch.zeros(len(x)), 1.0))
        with members:
            z = pyro.sample("z", dist.Normal(u, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)


def nested_guide(x: Tensor) -> None:
    groups, members = members_of_groups(x)
    with groups:
        pyro.sample("u", dist.Normal(0.2 * x.mean(1), 0.6 + 0.0 * x.mean(1)))
        with members:
            pyro.sample("z", dist.Normal(0.4 * x.T, 0.6 + 0.0 * x.T))


def test_plates_within_the_data() -> None:
    x = torch.randn(5, 3)
    audit = amortisation_audit(nested_model, nested_guide, x, steps=150, max_plate_nesting=2)
    # Of u and three z.
    precision = torch.diag(torch.tensor([4.0, 2.0, 2.0, 2.0]))
    precision[0, 1:] = precision[1:, 0] = -1
    expected = dist.MultivariateNormal(torch.zeros(3), 2 * torch.eye(3) + 1).log_prob(x)
    assert_mean(audit.log_evidence, expected.mean().item(), left=0.005)
    assert_mean(audit.approximation_gap, factorising_costs(precision), left=0.01)
    assert_mean(audit.richer_gap, 0.0, left=0.01)
    again = ELBO(2000, max_plate_nesting=2).per_datum(nested_model, audit.richer, x[[3, 1]])
    torch.testing.assert_close(again, audit.richer_elbo.value[[3, 1]], rtol=0, atol=0.1)


# --- other families -------------------------------------------------------------------------------

DATA = torch.tensor([[0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1]], dtype=torch.float64)


def vae(guide: Any, latent: int = 2) -> VAE:
    decoder = nn.Sequential(nn.Linear(latent, 6), nn.Tanh(), nn.Linear(6, 3))
    return VAE(
        prior=StandardNormalPrior(latent), likelihood=BernoulliLikelihood(decoder), guide=guide
    )


def test_an_elbo_is_never_worse_than_the_encoders() -> None:
    """Not even of a search that leads astray: one step, too long, from much too wide a q."""
    pair = shifted(gaussian(), torch.tensor([0.5, 0.5]))
    with torch.no_grad():
        pair.guide.encoder.bias[2:] += 5.0
    options: dict[str, Any] = {"steps": 1, "learning_rate": 1e3, "num_samples": 200}
    audit = amortisation_audit(pair.model, pair.guide, pair.x, **options)
    assert (audit.amortisation_gap.value >= 0).all()
    assert (audit.refined_elbo.value >= audit.encoder_elbo.value).all()
    assert (audit.richer_elbo.value >= audit.refined_elbo.value).all()
    stayed = audit.amortisation_gap.value == 0
    assert stayed.any()
    for numbers in audit.refined.free:
        assert (numbers[stayed] == 0).all()


@pytest.mark.parametrize(
    "guide",
    [
        lambda: UniformGuide(nn.Linear(3, 4)),  # whose support moves
        lambda: FlowGuide(NormalGuide(nn.Linear(3, 4)), [planar(2)]),  # that has no inverse
    ],
)
def test_guides_without_a_path_gradient(guide: Callable[[], Any]) -> None:
    pair, x = vae(guide()), DATA
    audit = amortisation_audit(pair.model, pair.guide, x, steps=80, num_samples=2000)
    assert audit.amortisation_gap.mean() > 0.1
    for guide_, elbo in [(audit.refined, audit.refined_elbo), (audit.richer, audit.richer_elbo)]:
        again = ELBO(2000).per_datum(pair.model, guide_, x)
        # Two means of heavy-tailed log-weights: 7 errors.
        assert ((again - elbo.value).abs() < 7 * elbo.error).all()


FAMILIES = {
    "normal": lambda a: dist.Normal(a, a.exp()).to_event(1),
    "full": lambda a: dist.MultivariateNormal(a, scale_tril=torch.diag_embed(a.exp())),
    "covariance": lambda a: dist.MultivariateNormal(a, torch.diag_embed(a.exp())),
    "low rank": lambda a: dist.LowRankMultivariateNormal(a, a[..., None], a.exp()),
    "student": lambda a: dist.StudentT(torch.tensor(4.0), a, a.exp()).to_event(1),
    "log-normal": lambda a: dist.LogNormal(a, a.exp()).to_event(1),
    "dirichlet": lambda a: dist.Dirichlet(a.exp()),
    "beta": lambda a: dist.Beta(a.exp(), a.exp()).to_event(1),
    "uniform": lambda a: dist.Uniform(a, a + a.exp()).to_event(1),
    "relaxed": lambda a: dist.RelaxedOneHotCategorical(torch.tensor(0.5), probs=a.softmax(-1)),
    "transformed": lambda a: dist.TransformedDistribution(
        dist.Normal(a, a.exp()), [dist.transforms.SigmoidTransform()]
    ).to_event(1),
    "masked": lambda a: dist.Normal(a, a.exp()).mask(a > 0).to_event(1),
    "expanded": lambda a: dist.torch_distribution.ExpandedDistribution(
        dist.Normal(a[0], a[0].exp()).to_event(1), a.shape[:1]
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_distribution_moved_by_nothing_is_itself_and_else_of_its_family(name: str) -> None:
    a = torch.linspace(-1.0, 0.5, 12).reshape(4, 3).requires_grad_()
    fn = FAMILIES[name](a)
    found = free_parameters("z", fn)
    assert "df" not in {part.name for part in found}
    assert all(part.shape[part.dim] == 4 for part in found)
    nothing = {part.name: torch.zeros(part.shape) for part in found}
    still = moved(fn, nothing)
    assert (still.batch_shape, still.event_shape) == (fn.batch_shape, fn.event_shape)
    z = fn.sample()
    torch.testing.assert_close(still.log_prob(z), fn.log_prob(z))
    for part in found:
        # Of the second datum alone.
        change = torch.zeros(part.shape).movedim(part.dim, 0)
        change[1] = 0.1 * torch.randn(change[1].shape).abs()
        other = moved(fn, nothing | {part.name: change.movedim(0, part.dim)})
        assert type(other) is type(still)
        same = torch.isclose(other.log_prob(z), fn.log_prob(z))
        assert same.tolist() == [True, False, True, True] or name in {"uniform", "masked"}
        assert same[[0, 2, 3]].all()
    assert innermost(still).batch_shape[:1] == (4,)


def test_the_flow_of_zeros_is_the_identity_and_any_other_is_inverted() -> None:
    shapes = flow_numbers(3)
    v = torch.randn(7, 2, 3)
    for size in (0.0, 0.4):
        steps = flow([size * torch.randn(2, *shape) for shape in shapes])
        transform = dist.transforms.ComposeTransform(steps)
        w = transform(v)
        torch.testing.assert_close(transform.inv(w.clone()), v)
        # A vector depends on itself alone.
        jacobian = torch.autograd.functional.jacobian(transform, v)
        blocks = torch.einsum("ijkijl->ijkl", jacobian)
        log_det = transform.log_abs_det_jacobian(v, w)
        torch.testing.assert_close(torch.linalg.slogdet(blocks).logabsdet, log_det)
        if size == 0:
            torch.testing.assert_close(w, v)


# --- log p(x) from elsewhere ----------------------------------------------------------------------


def test_evidence_may_come_from_elsewhere() -> None:
    pair = shifted(gaussian(num_data=6), torch.tensor([0.5, 0.5]))
    exact = pair.log_evidence(pair.x)
    options: dict[str, Any] = {"steps": 30, "num_samples": 200}
    audits = [
        amortisation_audit(pair.model, pair.guide, pair.x, evidence=evidence, **options)
        for evidence in (exact + 1, (exact + 1).numpy(), LogEvidence(exact + 1, 0 * exact + 0.5))
    ]
    for audit in audits:
        torch.testing.assert_close(audit.log_evidence.value, exact + 1)
        gap = audit.log_evidence.value - audit.refined_elbo.value
        torch.testing.assert_close(audit.approximation_gap.value, gap)
        assert audit.k is None
    assert (audits[0].log_evidence.error == 0).all()
    torch.testing.assert_close(audits[2].log_evidence.error, torch.full_like(exact, 0.5))
    squares = (audit.approximation_gap.error.square() for audit in audits)
    alone, _, with_error = squares
    torch.testing.assert_close(with_error, alone + 0.25)


@pytest.mark.parametrize(
    ("evidence", "error", "message"),
    [
        (torch.zeros(3), ShapeError, r"each of 4 data, in nats; got shape \[3\]"),
        (np.zeros((4, 1)), ShapeError, r"got shape \[4, 1\]"),
        (torch.tensor([0.0, 0.0, np.nan, 0.0]), NonFiniteError, "at datum 2"),
    ],
)
def test_evidence_that_is_none(evidence: Any, error: type[Exception], message: str) -> None:
    pair = gaussian(num_data=4)
    with pytest.raises(error, match=message):
        amortisation_audit(pair.model, pair.guide, pair.x, evidence=evidence)


# --- the guides that are found --------------------------------------------------------------------


def test_the_guides_found_go_with_the_other_tools() -> None:
    pair = shifted(gaussian(orthogonal=False, num_data=8), torch.tensor([0.5, 0.5]))
    audit = amortisation_audit(pair.model, pair.guide, pair.x, steps=100)
    assert isinstance(audit.refined, nn.Module)
    for guide, elbo in [(audit.refined, audit.refined_elbo), (audit.richer, audit.richer_elbo)]:
        rows = torch.tensor([5, 0, 5, 2])
        again = ELBO(1000).per_datum(pair.model, guide, pair.x[rows])
        assert ((again - elbo.value[rows]).abs() < 7 * elbo.error[rows] + 1e-6).all()
        evidence = log_evidence(pair.model, guide, pair.x)
        torch.testing.assert_close(evidence.value, pair.log_evidence(pair.x), rtol=0, atol=0.05)
        assert reliability(pair.model, guide, pair.x).ess.min() > 300
        drawn = to_arviz(pair.model, guide, pair.x, 10)
        assert drawn["posterior"]["z"].shape == (1, 10, 8, 2)
        assert deepcopy(guide).float()(pair.x[:1].float()).dtype == torch.float32
        with pytest.raises(ShapeError, match="among the 8 that it is for; got another at position"):
            guide(pair.x[:3] + 1e-9)


def test_data_beyond_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = shifted(gaussian(orthogonal=False, num_data=8), torch.tensor([0.5, 0.5]))
    expected = amortisation_audit(pair.model, pair.guide, pair.x, steps=30)
    monkeypatch.setattr(module, "_DATA", 3)
    audit = amortisation_audit(
        pair.model, pair.guide, pair.x, steps=30, evidence=pair.log_evidence(pair.x)
    )
    assert len(audit.rising) == 8
    for name in ("encoder_elbo", "refined_elbo", "amortisation_gap", "approximation_gap"):
        one, other = getattr(audit, name), getattr(expected, name)
        error = (one.error.square() + other.error.square()).sqrt()
        assert ((one.value - other.value).abs() < 7 * error + 0.01).all()
    again = ELBO(1000).per_datum(pair.model, audit.richer, pair.x)
    assert ((again - audit.richer_elbo.value).abs() < 7 * audit.richer_elbo.error + 1e-6).all()


def test_two_audits_tell_whether_the_encoder_has_overfitted() -> None:
    pair = gaussian(num_data=24)

    def guide(x: Tensor) -> None:
        """Exact for what it was trained on, the first half."""
        known = torch.cdist(x, pair.x[:12]).min(1, keepdim=True).values < 1e-9
        q = pair.guide.posterior(x).base_dist
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(q.loc + 0.5 * ~known, q.scale).to_event(1))

    training, held_out = (
        amortisation_audit(pair.model, guide, x, steps=50, num_samples=500)
        for x in (pair.x[:12], pair.x[12:])
    )
    compared = training.compare(held_out)
    expected = 0.125 * precision(pair).sum().item()
    assert abs(compared.amortisation - expected) < 5 * compared.amortisation_error + 0.01
    assert abs(compared.approximation) < 5 * compared.approximation_error + 0.01
    assert "Too little data" in str(compared)
    assert "as well as" in training.compare(training).summary()


def estimate(mean: float, error: float = 0.01) -> Estimate:
    return Estimate(torch.full((4,), mean), torch.full((4,), 2 * error))


@pytest.mark.parametrize(
    ("amortisation", "approximation", "richer", "words"),
    [
        (0.0, 0.001, 0.0, "Nothing to gain"),
        (3.0, 1.0, 0.5, "Too weak an encoder: 75% of the gap."),
        (1.0, 3.0, 1.0, "Too simple a family: 75% of the gap. The richer family closes 67%"),
        (1.0, 3.0, 2.9, "Nor does the richer family help"),
        (2.0, 2.0, 0.0, "Both: the encoder has 50% of the gap"),
    ],
)
def test_verdicts(amortisation: float, approximation: float, richer: float, words: str) -> None:
    audit = audit_of(amortisation, approximation, richer)
    assert words in audit.summary()
    assert "not over" not in str(audit)
    assert "may be larger" not in str(audit)


def audit_of(
    amortisation: float,
    approximation: float,
    richer: float,
    rising: float = 0.0,
    k: float = 0.2,
    **more: Any,
) -> AmortisationAudit:
    pair = gaussian(num_data=4)
    found = amortisation_audit(pair.model, pair.guide, pair.x, steps=1, num_samples=21)
    gaps = {
        "inference_gap": amortisation + approximation,
        "amortisation_gap": amortisation,
        "approximation_gap": approximation,
        "richer_gap": richer,
    }
    fields = vars(found) | {name: estimate(mean) for name, mean in gaps.items()}
    fields |= {"rising": torch.full((4,), rising), "k": torch.full((4,), k), "num_samples": 1000}
    return AmortisationAudit(**(fields | more))


def test_reservations() -> None:
    assert "its last third gained 0.500 nats" in audit_of(3.0, 1.0, 0.5, rising=0.5).summary()
    assert (
        "log p(x) may be larger for 100.0% of the data" in audit_of(3.0, 1.0, 0.5, k=0.9).summary()
    )
    # Weights that hardly vary: their tail does not matter.
    assert "may be larger" not in audit_of(3.0, 1.0, 0.005, k=0.9).summary()


@pytest.mark.parametrize(
    ("encoders", "encoder_k", "undecided"),
    [
        (-2.5, 0.2, True),
        (-2.5, 0.6, False),  # an estimate that may be that far off
        (-0.03, 0.2, False),  # by chance
        (-0.5, 0.2, False),  # not what the verdict hangs on
        (2.5, 0.2, False),
    ],
)
def test_an_evidence_that_the_encoders_weights_deny_is_not_blamed_on_the_family(
    encoders: float, encoder_k: float, undecided: bool
) -> None:
    others = {"log_evidence": estimate(0.0), "encoder_evidence": estimate(encoders)}
    audit = audit_of(0.0, 3.0, 2.9, encoder_k=torch.full((4,), encoder_k), **others)
    assert ("Undecided: log p(x) by the weights of the richer" in audit.summary()) == undecided
    assert ("Too simple a family" in audit.summary()) != undecided
    if undecided:
        assert "is 2.500 ± 0.014 nats above" in str(audit)
        assert "of the 100% of the data" in str(audit)
    # What was given is not held against weights.
    assert "Too simple a family" in str(replace(audit, k=None))


# --- what must not matter -------------------------------------------------------------------------


def test_nothing_is_changed_and_the_seed_decides() -> None:
    encoder = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 4))
    pair = vae(NormalGuide(encoder))
    encoder[3].eval()
    modes = [part.training for part in pair.modules()]
    state = {name: value.clone() for name, value in pair.state_dict().items()}
    pyro.param("own", torch.tensor(2.0))
    x, before = DATA, torch.get_rng_state()
    audits = [
        amortisation_audit(pair.model, pair.guide, x, steps=5, num_samples=30, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in pair.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in pair.state_dict().items())
    assert all(parameter.grad is None for parameter in pair.parameters())
    assert list(pyro.get_param_store()) == ["own"]
    for name in FIELDS:
        first, second, other = (getattr(audit, name).value for audit in audits)
        assert torch.equal(first, second)
        assert not torch.equal(first, other)


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    pair = gaussian(num_data=2)
    amortisation_audit(pair.model, pair.guide, pair.x, steps=3, num_samples=21)
    assert capsys.readouterr().err == ""
    amortisation_audit(pair.model, pair.guide, pair.x, steps=3, num_samples=21, progress=True)
    assert "6/6" in capsys.readouterr().err


# --- what is refused ------------------------------------------------------------------------------


def model_of(prior: Any) -> Callable[[Tensor], None]:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", prior(x))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return model


def guide_of(posterior: Any) -> Callable[[Tensor], None]:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", posterior(x))

    return guide


class Opaque(dist.TorchDistribution):
    """A normal that does not keep what it was made from."""

    arg_constraints = {"loc": constraints.real}  # noqa: RUF012
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Tensor, shift: float) -> None:
        self.loc, self._normal = loc, dist.Normal(loc + shift, 1.0)
        super().__init__(loc.shape, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._normal.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._normal.log_prob(value)

    def expand(self, batch_shape: Any, _instance: Any = None) -> dist.TorchDistribution:
        return dist.torch_distribution.ExpandedDistribution(self, batch_shape)


NORMAL_PRIOR = model_of(lambda x: dist.Normal(torch.zeros(len(x)), 1.0))


def test_a_way_to_the_real_numbers_that_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_richer, "to_support", biject_to)  # torch's, of simplexes
    pair, x = sparse(50, 0.1)
    with pytest.raises(PairError, match=r"stay the same.*in torch.float32.*\['z'\].*torch.float64"):
        amortisation_audit(*pair, x.float(), steps=1, num_samples=100)


@pytest.mark.parametrize(
    ("model", "posterior", "message"),
    [
        (
            model_of(lambda x: dist.Bernoulli(torch.full((len(x),), 0.5))),
            lambda x: dist.Bernoulli(x.sigmoid()),
            "site 'z': expected reparameterised samples.*got Bernoulli.*Sum discrete latents",
        ),
        (
            NORMAL_PRIOR,
            lambda x: dist.Normal(torch.zeros(len(x)), 1.0),
            r"parameters that it computes; got constants at \['z'\]",
        ),
        (
            NORMAL_PRIOR,
            lambda x: Opaque(x, 0.3),
            r"site 'z': expected a distribution that its arguments make anew; got Opaque",
        ),
    ],
)
def test_pairs_that_have_no_family(model: Any, posterior: Any, message: str) -> None:
    with pytest.raises(PairError, match=message):
        amortisation_audit(model, guide_of(posterior), torch.zeros(3), steps=1)


def test_a_guide_that_transforms_noise_has_no_family() -> None:
    class Shift(nn.Module):
        def forward(self, x: Tensor, noise: Tensor) -> Tensor:
            return x[..., :2] + noise

    pair = vae(SubstitutionGuide(Shift(), StandardNormalPrior(2), lambda x, z: z - x[..., :2]))
    with pytest.raises(PairError, match="noise that it transforms itself"):
        amortisation_audit(pair.model, pair.guide, DATA, steps=1)


def test_sites_outside_the_data() -> None:
    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.tensor(0.0), 1.0))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("z", dist.Normal(x.mean(), 1.0))

    for data in (1, 3):
        with pytest.raises(PairError, match=f"'z': expected a distribution for each of {data} da"):
            amortisation_audit(model, guide, torch.zeros(data), steps=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps ≥ 1"),
        ({"num_samples": 20}, "num_samples: expected ≥ 21; got 20"),
        ({"learning_rate": 0.0}, "learning_rate: expected a positive"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a positive"),
        ({"max_plate_nesting": 0}, "max_plate_nesting ≥ 1"),
    ],
)
def test_settings_that_are_none(options: dict[str, Any], message: str) -> None:
    pair = gaussian(num_data=2)
    with pytest.raises(ValueError, match=message):
        amortisation_audit(pair.model, pair.guide, pair.x, **options)


def test_one_datum() -> None:
    pair = gaussian(num_data=2)
    one = amortisation_audit(pair.model, pair.guide, pair.x[:1], steps=2, num_samples=21)
    assert one.amortisation_gap.value.shape == (1,)
    with pytest.raises(ValueError, match="two data or more in each audit"):
        one.compare(one)


def test_a_log_weight_that_is_not_finite_names_its_term() -> None:
    pair = gaussian(num_data=3)
    x = pair.x.clone()
    x[1, 0] = float("nan")
    with pyro.validation_enabled(False), pytest.raises(NonFiniteError, match="datum 1"):
        amortisation_audit(pair.model, pair.guide, x, steps=1)
