"""Guides: what they say they can do, and that their densities are those of their samples."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from torch import Tensor, nn

from pyro_vae import (
    ELBO,
    IWAE,
    VAE,
    BernoulliLikelihood,
    DReG,
    FlowGuide,
    FlowPrior,
    FullCovarianceGuide,
    Guide,
    InverseFlowGuide,
    LogisticGuide,
    NormalGuide,
    PairError,
    ShapeError,
    StandardNormalPrior,
    StudentTGuide,
    SubstitutionGuide,
    UniformGuide,
)
from pyro_vae.distributions import Flip
from pyro_vae.evaluation import active_units, posterior_moments, reconstruction_error
from tests.models.goodness import check_plane
from tests.registry import DATA, GUIDES, LATENT, PRIORS, Cubic, encoder

over_guides = pytest.mark.parametrize("make", GUIDES.values(), ids=GUIDES.keys())


def some_data(count: int = 1) -> Tensor:
    return torch.rand(count, DATA, generator=torch.Generator().manual_seed(1)).double()


@over_guides
def test_capabilities_are_what_it_can_do(make: Callable[[], Guide]) -> None:
    torch.manual_seed(0)
    guide = make().double()
    x = some_data(4)
    q = guide.posterior(x)
    z = q.rsample() if q.has_rsample else q.sample()
    q.log_prob(z)
    attempts = {
        "scores_given": lambda: q.log_prob(z.clone()),
        "closed_form_kl": lambda: torch.distributions.kl_divergence(
            q, PRIORS["StandardNormalPrior"]().double()().expand((4,))
        ),
        "reparameterised": lambda: torch.autograd.grad(q.rsample().sum(), list(guide.parameters())),
    }
    for name, attempt in attempts.items():
        if getattr(guide.capabilities, name):
            attempt()
        else:
            with pytest.raises((PairError, NotImplementedError)):
                attempt()


@over_guides
def test_a_closed_kl_is_that_of_samples(make: Callable[[], Guide]) -> None:
    torch.manual_seed(0)
    guide = make().double()
    if not guide.capabilities.closed_form_kl:
        pytest.skip("has none, and says so")
    p = PRIORS["StandardNormalPrior"]().double()()
    with torch.no_grad():
        q = guide.posterior(some_data())
        z = q.sample((100_000,))
        sampled = q.log_prob(z) - p.log_prob(z)
        found = torch.distributions.kl_divergence(q, p.expand((1,)))
    # 5 standard errors for each of some ten guides: a false alarm once in 10⁵.
    assert (sampled.mean(0) - found).abs() < 5 * sampled.std(0) / len(z) ** 0.5 + 1e-9


ON_THE_PLANE = sorted(
    GUIDES.keys() - {
        "DirichletGuide",  # on a line of the plane
        "UniformGuide", "GammaGuide", "BetaGuide", "LogNormalGuide",  # jumps and poles: see below
        "FlowGuide, planar", "SubstitutionGuide",  # score their own samples only
    }
)  # fmt: skip


@pytest.mark.parametrize("name", ON_THE_PLANE)
def test_samples_are_from_the_density_which_integrates_to_one(name: str) -> None:
    # A false alarm once in 10⁵ suites.
    torch.manual_seed(0)
    guide = GUIDES[name]().double()
    with torch.no_grad(), pyro.validation_enabled(False):  # points beyond a support have no mass
        for parameter in guide.parameters():
            parameter.mul_(1.2)  # away from what the networks start with
        q = guide.posterior(some_data())
        samples = q.sample((20_000,))[:, 0]
        width = 1.2 * samples.abs().max().item() + 0.1
        inside = (samples.abs() < min(width, 12.0)).all(-1)
        tail = 1 - inside.double().mean().item()
        assert tail < 1e-3
        bound = min(width, 12.0)
        check_plane(q.log_prob, samples[inside], -bound, bound)


@pytest.mark.parametrize("name", ["FlowGuide, planar", "SubstitutionGuide"])
def test_what_scores_its_own_samples_only_has_densities_that_integrate_to_one(name: str) -> None:
    """E_q[h(z)/q(z)] = ∫h = 1 for any density h within q's reach."""
    torch.manual_seed(0)
    guide = GUIDES[name]().double()
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.mul_(1.2)
        q = guide.posterior(some_data().expand(100_000, -1))
        z = q.sample()
        h = dist.Normal(z.mean(0), 0.7 * z.std(0)).to_event(1)
        ratio = (h.log_prob(z) - q.log_prob(z)).exp()
    # 5 standard errors, which are below 0.01: a false alarm once in 10⁶.
    error = ratio.std() / len(z) ** 0.5
    assert error < 0.01
    assert abs(ratio.mean() - 1) < 5 * error


@pytest.mark.parametrize(
    ("name", "support"),
    [("GammaGuide", "positive"), ("BetaGuide", "unit_interval"), ("LogNormalGuide", "positive")],
)
def test_samples_lie_on_the_support(name: str, support: str) -> None:
    torch.manual_seed(0)
    q = GUIDES[name]().posterior(some_data(3).float())
    z = q.sample((1000,))
    assert getattr(dist.constraints, support).check(z).all()
    assert q.log_prob(z).isfinite().all()


def test_a_uniform_guide_is_flat_between_its_ends() -> None:
    torch.manual_seed(0)
    q = GUIDES["UniformGuide"]().double().posterior(some_data(3))
    z = q.sample((2000,))
    low, high = q.base_dist.low, q.base_dist.high
    assert (z >= low).all()
    assert (z < high).all()
    assert ((z.mean(0) - (low + high) / 2).abs() < 0.05 * (high - low)).all()  # 7 errors
    expected = -(high - low).log().sum(-1)
    torch.testing.assert_close(q.log_prob(z), expected.expand(2000, 3))


# -- full covariance ------------------------------------------------------------------------------


def test_the_full_covariance_is_a_product_of_triangles() -> None:
    guide = FullCovarianceGuide(encoder(3 + 6))
    outputs = guide.encoder(some_data(4).float())
    q = guide.posterior(some_data(4).float())
    factor = torch.zeros(4, 3, 3)
    rows, columns = torch.tril_indices(3, 3)
    factor[:, rows, columns] = outputs[:, 3:]
    diagonal = torch.arange(3)
    factor[:, diagonal, diagonal] = nn.functional.softplus(factor[:, diagonal, diagonal])
    torch.testing.assert_close(q.mean, outputs[:, :3])
    torch.testing.assert_close(q.covariance_matrix, factor @ factor.mT)


def test_its_closed_kl_is_that_of_two_normals_and_of_samples() -> None:
    torch.manual_seed(0)
    q = FullCovarianceGuide(encoder(5)).double().posterior(some_data())
    mean, scale = torch.tensor([0.3, -1.0]).double(), torch.tensor([0.5, 2.0]).double()
    p = dist.Normal(mean, scale).to_event(1)
    found = torch.distributions.kl_divergence(q, p)
    full = dist.MultivariateNormal(mean, scale_tril=torch.diag(scale))
    torch.testing.assert_close(found, torch.distributions.kl_divergence(q, full))
    z = q.sample((50_000,))
    sampled = q.log_prob(z) - p.log_prob(z)
    assert abs(sampled.mean() - found) < 5 * sampled.std() / len(z) ** 0.5  # once in 10⁶


@pytest.mark.parametrize("outputs", [1, 3, 4, 6, 8])
def test_outputs_that_are_no_mean_and_triangle_are_refused(outputs: int) -> None:
    with pytest.raises(ShapeError, match=rf"n \+ n\(n\+1\)/2 outputs .* got {outputs}"):
        FullCovarianceGuide(nn.Linear(4, outputs))


@pytest.mark.parametrize("kind", [LogisticGuide, StudentTGuide, UniformGuide, NormalGuide])
def test_an_odd_number_of_outputs_is_refused(kind: type) -> None:
    with pytest.raises(ShapeError, match=rf"{kind.__name__}: expected an encoder with 2·latent"):
        kind(nn.Linear(4, 3))


@pytest.mark.parametrize("degrees", [0.0, -1.0, float("inf")])
def test_degrees_of_freedom_are_positive(degrees: float) -> None:
    with pytest.raises(ValueError, match="degrees_of_freedom: expected a positive"):
        StudentTGuide(nn.Linear(4, 4), degrees)


# -- flows ----------------------------------------------------------------------------------------

FLOWS = {name: make for name, make in GUIDES.items() if name.startswith("FlowGuide")}
over_flows = pytest.mark.parametrize("name", FLOWS)


def steps(guide: FlowGuide, x: Tensor) -> list[torch.distributions.Transform]:
    return guide.posterior(x).transforms


@over_flows
def test_the_inverse_undoes_each_transform(name: str) -> None:
    torch.manual_seed(0)
    guide = FLOWS[name]().double()
    if not guide.capabilities.scores_given:
        pytest.skip("has none, and says so")
    x, z = some_data(50), torch.randn(50, LATENT).double()
    with torch.no_grad():
        for step in steps(guide, x):
            torch.testing.assert_close(step.inv(step(z).clone()), z, atol=1e-6, rtol=1e-6)


@over_flows
def test_the_log_determinant_is_that_of_automatic_differentiation(name: str) -> None:
    torch.manual_seed(0)
    guide = FLOWS[name]().double()
    for row in some_data(5):
        for step in steps(guide, row[None]):
            z = torch.randn(1, LATENT).double()
            matrix = torch.autograd.functional.jacobian(lambda v, s=step: s(v)[0], z)[:, 0]
            expected = torch.linalg.slogdet(matrix).logabsdet
            found = step.log_abs_det_jacobian(z, step(z))
            torch.testing.assert_close(found[0], expected, atol=1e-8, rtol=1e-6)


@over_flows
def test_gradients_reach_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    guide = FLOWS[name]()
    vae = vae_with(guide)
    ELBO(8).differentiable_loss(vae.model, vae.guide, some_data(20).float()).backward()
    for parameter_name, parameter in guide.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


def vae_with(guide: Guide) -> VAE:
    return VAE(
        prior=StandardNormalPrior(LATENT),
        likelihood=BernoulliLikelihood(nn.Linear(LATENT, DATA)),
        guide=guide,
    )


def test_a_flow_without_transforms_is_its_base_and_shares_no_names_with_it() -> None:
    base = NormalGuide(encoder(2 * LATENT))
    guide = FlowGuide(base, [])
    x, z = some_data(4).float(), torch.randn(4, LATENT)
    torch.testing.assert_close(guide.posterior(x).log_prob(z), base.posterior(x).log_prob(z))
    assert all(name.startswith("base.encoder.") for name, _ in guide.named_parameters())
    assert guide.latent_dim == LATENT


def test_the_context_may_be_a_network() -> None:
    context = nn.Linear(DATA, 3)
    flow = transforms.conditional_affine_autoregressive(LATENT, 3, [8])
    vae = vae_with(FlowGuide(NormalGuide(encoder(2 * LATENT)), [flow], context))
    IWAE(4).differentiable_loss(vae.model, vae.guide, some_data(4).float()).backward()
    assert context.weight.grad is not None


def test_a_planar_flow_says_that_it_cannot_score_a_given_z() -> None:
    vae = vae_with(FLOWS["FlowGuide, planar"]())
    x = some_data(4).float()
    assert IWAE(3).loss(vae.model, vae.guide, x) > 0
    with pytest.raises(PairError, match=r"expected a sample of its own.*no inverse"):
        DReG(3).differentiable_loss(vae.model, vae.guide, x)


def test_an_unconditional_transform_can_be_copied_after_it_was_used() -> None:
    guide = FlowGuide(NormalGuide(encoder(4)), [transforms.planar(2), Flip()])
    vae = vae_with(guide)
    ELBO().differentiable_loss(vae.model, vae.guide, some_data(4).float()).backward()
    assert copy.deepcopy(vae).guide is not guide


def test_dreg_through_an_inverse_autoregressive_flow_agrees_with_iwae() -> None:
    torch.manual_seed(0)
    vae = vae_with(FLOWS["FlowGuide, IAF"]()).double()
    x = some_data().repeat(2000, 1)
    found = {}
    for objective in (IWAE(3), DReG(3)):
        runs = []
        for _ in range(20):
            loss = objective.differentiable_loss(vae.model, vae.guide, x) / len(x)
            flat = torch.autograd.grad(loss, list(vae.guide.parameters()))
            runs.append(torch.cat([g.flatten() for g in flat]))
        found[type(objective)] = torch.stack(runs)
    difference = found[IWAE].mean(0) - found[DReG].mean(0)
    error = ((found[IWAE].var(0) + found[DReG].var(0)) / 20).sqrt()
    # Some 200 parameters, t with about 30 degrees of freedom: beyond 8 once in 10⁶.
    assert (difference.abs() <= 8 * error + 1e-12).all()


def test_moments_and_reconstructions_of_a_flow_are_those_of_samples() -> None:
    torch.manual_seed(0)
    affine = transforms.AffineTransform(torch.tensor([0.5, -1.0]), torch.tensor([2.0, 3.0]), 1)
    base = NormalGuide(encoder(2 * LATENT))
    vae, x = vae_with(FlowGuide(base, [affine])), some_data(3).float()
    mean, variance = posterior_moments(vae.guide, x)
    expected = base.posterior(x)
    scale = expected.stddev * torch.tensor([2.0, 3.0])
    # Of 1,000 draws: 6 values of each, a false alarm once in 10⁵.
    exact = affine(expected.mean)
    assert ((mean - exact).abs() < 5 * scale / 1000**0.5).all()
    assert ((variance / scale**2 - 1).abs() < 5 * (2 / 1000) ** 0.5).all()
    assert torch.allclose(vae.reconstruct(x), vae.decode(exact), atol=0.1)


def test_a_flow_knows_its_new_weights_for_a_latent_it_has_seen() -> None:
    """Pyro's transforms remember their last input by the tensor itself."""
    torch.manual_seed(0)
    prior, z = FlowPrior(2, [transforms.affine_coupling(2, [6])]), torch.randn(4, 2)
    before = prior().log_prob(z)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter += 0.5
    torch.testing.assert_close(prior().log_prob(z), prior().log_prob(z.clone()))
    assert not torch.allclose(before, prior().log_prob(z))
    for _ in range(2):
        prior().log_prob(z).sum().backward()


def test_an_inverse_flow_knows_its_new_weights_for_data_it_has_seen_and_can_be_copied() -> None:
    torch.manual_seed(0)
    guide, x = InverseFlowGuide(transforms.affine_coupling(2, [6]), 0.1), torch.randn(4, 2)
    guide.posterior(x)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.5
    torch.testing.assert_close(guide.posterior(x).mean, guide.posterior(x.clone()).mean)
    copied = copy.deepcopy(guide)
    torch.testing.assert_close(guide.posterior(x).mean, copied.posterior(x).mean)


@pytest.mark.parametrize(
    "make",
    [
        lambda: transforms.conditional_neural_autoregressive(LATENT, DATA, [8]),
        lambda: dist.conditional.ConditionalComposeTransformModule(
            [transforms.conditional_planar(LATENT, DATA, [4])]
        ),
    ],
    ids=["neural autoregressive", "planar inside"],
)
def test_what_has_no_inverse_says_so_wherever_it_is(make: Callable[[], nn.Module]) -> None:
    guide = FlowGuide(NormalGuide(encoder(2 * LATENT)), [make()])
    assert not guide.capabilities.scores_given
    vae, x = vae_with(guide), some_data(4).float()
    assert ELBO().loss(vae.model, vae.guide, x) > 0
    with pytest.raises(PairError, match="expected a sample of its own"):
        DReG(3).differentiable_loss(vae.model, vae.guide, x)


def test_a_flow_may_stand_on_a_substitution_or_a_flow() -> None:
    flow = transforms.conditional_affine_autoregressive(LATENT, DATA, [8])
    for base in (
        SubstitutionGuide(Cubic(), StandardNormalPrior(LATENT)),
        FLOWS["FlowGuide, IAF"](),
    ):
        vae = vae_with(FlowGuide(base, [flow]))
        assert ELBO().loss(vae.model, vae.guide, some_data(4).float()) > 0


@pytest.mark.parametrize("name", ["FlowGuide, planar", "SubstitutionGuide"])
def test_reconstructions_of_posteriors_without_a_mean_are_at_that_of_draws(name: str) -> None:
    vae, x = vae_with(GUIDES[name]()), some_data(4).float()
    expected = (x - vae.reconstruct(x)).square().mean(1)
    torch.testing.assert_close(
        reconstruction_error(vae.model, vae.guide, x), expected, rtol=0.1, atol=0.02
    )


def test_a_posterior_without_a_mean_is_refused_by_name() -> None:
    guide, x = StudentTGuide(encoder(4), 1.0), some_data(4).float()
    with pytest.raises(PairError, match=r"posterior: expected one with a mean.*Student-t"):
        active_units(guide, x)


# -- substitution ---------------------------------------------------------------------------------


class Rotation(nn.Module):
    """z = μ(x) + A ε with a matrix A."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[1.2, 0.7], [-0.3, 0.5]]))
        self.mean = nn.Linear(DATA, 2)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.mean(x) + noise @ self.matrix.mT

    def inverse(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.linalg.solve(self.matrix, (z - self.mean(x)).mT).mT


def test_a_linear_substitution_is_a_normal_with_its_covariance() -> None:
    torch.manual_seed(0)
    g = Rotation().double()
    guide = SubstitutionGuide(g, StandardNormalPrior(2).double(), inverse=g.inverse)
    x = some_data(4)
    expected = dist.MultivariateNormal(g.mean(x), g.matrix @ g.matrix.mT)
    q = guide.posterior(x)
    z = q.rsample()
    torch.testing.assert_close(q.log_prob(z), expected.log_prob(z))
    other = torch.randn(4, 2).double()
    torch.testing.assert_close(q.log_prob(other), expected.log_prob(other))
    ours = torch.autograd.grad(q.log_prob(other).sum(), g.matrix)
    theirs = torch.autograd.grad(expected.log_prob(other).sum(), g.matrix)
    torch.testing.assert_close(ours, theirs)


def test_a_substitution_without_inverse_scores_its_own_samples() -> None:
    torch.manual_seed(0)
    guide = SubstitutionGuide(Cubic(), StandardNormalPrior(LATENT))
    vae = vae_with(guide)
    x = some_data(4).float()
    particles = IWAE(5).particles(vae.model, vae.guide, x)
    [site] = particles.latents
    y = (site.value - guide.g.mean(x)).double()
    # ε of ε + ε³ = y by Newton's rule, then the change of variables by hand.
    noise = torch.zeros_like(y)
    for _ in range(100):
        noise = noise - (noise + noise**3 - y) / (1 + 3 * noise**2)
    by_hand = (dist.Normal(0.0, 1.0).log_prob(noise) - (1 + 3 * noise**2).log()).sum(-1)
    torch.testing.assert_close(site.log_q.double(), by_hand, atol=1e-4, rtol=1e-4)
    with pytest.raises(PairError, match="expected the z that it drew last"):
        DReG(3).differentiable_loss(vae.model, vae.guide, x)
