"""Latents as numbers without constraints: nothing is lost on the way there and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import IndependentTransform

from pyro_vae.evaluation import annealed_log_evidence
from pyro_vae.evaluation._unconstrained import StickBreaking, to_support

pytestmark = pytest.mark.usefixtures("float64")

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])

TRIALS = 20.0


def sparse_counts(
    size: int, concentration: float, dtype: torch.dtype
) -> tuple[Callable[[Tensor], None], Callable[[Tensor], None], Tensor, Tensor]:
    """z ~ Dirichlet(a, …, a), x ~ Multinomial(20, z), its exact posterior as the guide, five data,
    and log p(x) of each."""
    prior = torch.full((size,), concentration, dtype=torch.float64)
    x = dist.Multinomial(int(TRIALS), probs=dist.Dirichlet(prior).sample((5,))).sample()

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Dirichlet(prior.to(x).expand(len(x), -1)))
            pyro.sample("x", dist.Multinomial(int(TRIALS), probs=z), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Dirichlet(prior.to(x) + x))

    exact = dist.DirichletMultinomial(prior, int(TRIALS)).log_prob(x)
    return model, guide, x.to(dtype), exact


def test_where_torchs_stick_breaking_has_digits_it_is_the_same() -> None:
    u, torchs, own = torch.randn(7, 4), biject_to(constraints.simplex), StickBreaking()
    z = torchs(u)
    torch.testing.assert_close(own(u), z)
    torch.testing.assert_close(own.inv(z), u)
    volume = torchs.log_abs_det_jacobian(u, z)
    torch.testing.assert_close(own.log_abs_det_jacobian(u, z), volume)
    jacobian = torch.stack([torch.autograd.functional.jacobian(own, one) for one in u])[:, :-1]
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, volume)


@BOTH
@pytest.mark.parametrize(("size", "concentration"), [(5, 0.2), (50, 0.2), (50, 0.1), (1000, 0.1)])
def test_draws_near_a_corner_come_back(size: int, concentration: float, dtype: torch.dtype) -> None:
    q = dist.Dirichlet(torch.full((size,), concentration, dtype=dtype))
    z = q.sample((500,))
    again = to_support(q.support)(to_support(q.support).inv(z))
    # A sum of `size` logarithms of up to 700.
    torch.testing.assert_close(
        q.log_prob(again), q.log_prob(z), rtol=0, atol=size * 100 * torch.finfo(dtype).eps
    )


@BOTH
def test_far_out_densities_and_gradients_are_finite(dtype: torch.dtype) -> None:
    u = (torch.tensor([-1e3, 0.0, 1e3], dtype=dtype) + torch.zeros(3, 3, dtype=dtype)).T
    u = (u + torch.randn(3, 3, dtype=dtype)).requires_grad_()
    to_simplex = StickBreaking()
    z = to_simplex(u)
    density = dist.Dirichlet(torch.full((4,), 0.1, dtype=dtype)).log_prob(z)
    density = density + to_simplex.log_abs_det_jacobian(u, z)
    assert density.isfinite().all()
    density.sum().backward()
    assert u.grad is not None
    assert u.grad.isfinite().all()


@pytest.mark.parametrize(
    "support",
    [
        constraints.real,
        constraints.unit_interval,
        constraints.corr_cholesky,
        constraints.independent(constraints.positive, 1),
    ],
)
def test_of_other_supports_the_transform_is_torchs(support: Constraint) -> None:
    assert str(to_support(support)) == str(biject_to(support))


def test_of_several_simplexes_it_is_that_of_each() -> None:
    transform = to_support(constraints.independent(constraints.simplex, 1))
    assert isinstance(transform, IndependentTransform)
    assert isinstance(transform.base_transform, StickBreaking)
    assert transform(torch.zeros(2, 3)).shape == (2, 4)


@BOTH
def test_annealing_from_an_exact_guide_is_exact_near_a_corner(dtype: torch.dtype) -> None:
    """Of such a guide each weight is p(x), wherever a chain goes; rounded, it was up to 45 nats
    off in either precision."""
    model, guide, x, exact = sparse_counts(50, 0.1, dtype)
    options: dict[str, Any] = {"num_chains": 8, "num_temperatures": 10}
    found = annealed_log_evidence(model, guide, x, **options)
    digits = 1e-3 if dtype == torch.float32 else 1e-9
    assert (found.log_weight.double() - exact).abs().max() < digits
