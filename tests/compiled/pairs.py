"""Pairs as people write them, and how a compiled run is held against an eager one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.optim import Optimizer

from pyro_vae import VAE, BernoulliLikelihood, NormalGuide, StandardNormalPrior
from pyro_vae.nn import MLP
from pyro_vae.training import CompiledSVI
from pyro_vae.training.compiled import replay

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


def adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    return torch.optim.Adam(parameters, lr=1e-2)


def sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """One step of this is the gradient itself."""
    return torch.optim.SGD(parameters, lr=1e-3)


class Counting:
    """A backend that counts the graphs it is given, and runs them as they were recorded."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        self.graphs += 1
        return replay(graph, inputs)


def small_vae(seed: int = 0, dropout: float = 0.0) -> VAE:
    torch.manual_seed(seed)
    encoder: nn.Module = MLP(6, [5], 4, activation=nn.Tanh)
    if dropout:
        encoder = nn.Sequential(nn.Dropout(dropout), encoder)
    return VAE(
        prior=StandardNormalPrior(2),
        likelihood=BernoulliLikelihood(MLP(2, [5], 6, activation=nn.Tanh)),
        guide=NormalGuide(encoder),
    )


def some_data(count: int = 12) -> Tensor:
    return torch.rand(count, 6, generator=torch.Generator().manual_seed(3)).round()


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


class TutorialVAE(nn.Module):
    """The VAE of Pyro's own tutorial, as it is written there, on smaller images."""

    def __init__(self, z_dim: int = 3, hidden_dim: int = 8) -> None:
        super().__init__()
        self.encoder = _Encoder(z_dim, hidden_dim)
        self.decoder = _Decoder(z_dim, hidden_dim)
        self.z_dim = z_dim

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z_loc = x.new_zeros(torch.Size((x.shape[0], self.z_dim)))
            z_scale = x.new_ones(torch.Size((x.shape[0], self.z_dim)))
            z = pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))
            loc_img = self.decoder(z)
            pyro.sample("obs", dist.Bernoulli(loc_img).to_event(1), obs=x.reshape(-1, 6))

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            z_loc, z_scale = self.encoder(x)
            pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))


class _Encoder(nn.Module):
    def __init__(self, z_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(6, hidden_dim)
        self.fc21 = nn.Linear(hidden_dim, z_dim)
        self.fc22 = nn.Linear(hidden_dim, z_dim)
        self.softplus = nn.Softplus()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.softplus(self.fc1(x.reshape(-1, 6)))
        return self.fc21(hidden), torch.exp(self.fc22(hidden))


class _Decoder(nn.Module):
    def __init__(self, z_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(z_dim, hidden_dim)
        self.fc21 = nn.Linear(hidden_dim, 6)
        self.softplus = nn.Softplus()

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.fc21(self.softplus(self.fc1(z))))


class TwoLevels(nn.Module):
    """A hierarchical VAE, p(z2) p(z1|z2) p(x|z1), with a bottom-up guide."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Linear(2, 3)
        self.decode = nn.Linear(3, 6)
        self.up = nn.Linear(6, 6)
        self.top = nn.Linear(3, 4)
        self.scale = nn.Parameter(torch.zeros(3))

    def model(self, x: Tensor) -> None:
        pyro.module("two_levels", self)
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(self.down(z2), self.scale.exp()).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decode(z1)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            loc, raw = self.up(x).chunk(2, -1)
            q1 = dist.Normal(loc, nn.functional.softplus(raw)).to_event(1)
            z1 = pyro.sample("z1", q1, infer={"is_auxiliary": False})
            loc, raw = self.top(z1).chunk(2, -1)
            pyro.sample("z2", dist.Normal(loc, nn.functional.softplus(raw)).to_event(1))


class Subsampled(nn.Module):
    """Each step looks at some of the data: which, is drawn inside the model and the guide."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.decode, self.encode, self.size = nn.Linear(2, 6), nn.Linear(6, 2), size

    def model(self, x: Tensor) -> None:
        pyro.module("subsampled", self)
        with pyro.plate("data", len(x), subsample_size=self.size) as rows:
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            logits = self.decode(z)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x[rows])

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample_size=self.size) as rows:
            pyro.sample("z", dist.Normal(self.encode(x[rows]), 0.5).to_event(1))


def trained(
    make: Callable[[], Any],
    objective: Callable[[], Any],
    x: Tensor,
    *,
    optimizer: MakeOptimizer = adam,
    steps: int = 4,
    backend: Any = replay,
    **options: Any,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses and final weights of a pair, from the same start and random numbers each time."""
    pyro.clear_param_store()
    pyro.set_rng_seed(1)
    pair = make()
    svi = CompiledSVI(
        pair.model,
        pair.guide,
        optimizer(pair.parameters()),
        objective(),
        backend=backend,
        **options,
    )
    pyro.set_rng_seed(2)
    losses = torch.stack([svi.step(x) for _ in range(steps)])
    assert svi.compiled is options.get("compile", True)
    return losses, weights(pair)


def check_same(
    make: Callable[[], Any], objective: Callable[[], Any], x: Tensor, **options: Any
) -> None:
    """Compiled and eager steps give the same losses and weights."""
    eager, expected = trained(make, objective, x, compile=False, **options)
    losses, got = trained(make, objective, x, **options)
    tolerance = 1e-10 if x.dtype == torch.float64 else 2e-5
    close = {"rtol": tolerance, "atol": tolerance, "check_dtype": False}
    torch.testing.assert_close(losses, eager, **close)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, **close, msg=lambda m, n=name: f"{n}: {m}")
    assert losses.unique().numel() == len(losses)  # random numbers are fresh at each step
