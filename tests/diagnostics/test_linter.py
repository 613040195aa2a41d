"""The linter: a planted fault is the finding, a faultless pair has none, and nothing is changed."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

from pyro_vae import VAE, DecoderPrecisionGuide
from pyro_vae.diagnostics.linter import Finding, Findings, Severity, check_model
from pyro_vae.diagnostics.linter._rules import STEPS
from pyro_vae.diagnostics.linter._untouched import VALIDATION
from pyro_vae.testing import linear_gaussian
from tests.conformance.test_parts import vae_with
from tests.objectives.pairs import (
    function_guide,
    function_model,
    global_pair,
    hierarchical_pair,
    nested_pair,
    scalar_pair,
)
from tests.registry import (
    DATA,
    GUIDES,
    LATENT,
    LIKELIHOODS,
    PRIORS,
    decoder,
    encoder,
)

Program = Callable[[Tensor], object]

X = torch.tensor(
    [
        [0.0, 1, 1, 0, 1],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1],
        [1, 0, 1, 0, 1],
        [0, 1, 0, 0, 1],
        [1.0] * 5,
    ]
)


class Model(PyroModule):
    """z ~ N(0, I), x ~ Bernoulli; each fault is one method replaced."""

    def __init__(self) -> None:
        super().__init__("model")
        self.decoder = decoder()

    def plate(self, x: Tensor) -> Any:
        return pyro.plate("data", x.shape[0], dim=-1)

    def prior(self, x: Tensor) -> Any:
        return dist.Normal(torch.zeros(LATENT), 1.0).to_event(1)

    def likelihood(self, z: Tensor) -> Any:
        return dist.Bernoulli(logits=self.decoder(z)).to_event(1)

    def forward(self, x: Tensor) -> None:
        with self.plate(x):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", self.likelihood(z), obs=x)


class Guide(PyroModule):
    """z ~ N(μ(x), σ(x)); each fault is one method replaced."""

    def __init__(self) -> None:
        super().__init__("guide")
        self.encoder = encoder(2 * LATENT)

    def plate(self, x: Tensor) -> Any:
        return pyro.plate("data", x.shape[0], dim=-1)

    def parameters_of(self, x: Tensor) -> tuple[Tensor, Tensor]:
        location, raw = self.encoder(x).chunk(2, -1)
        return location, nn.functional.softplus(raw)

    def posterior(self, x: Tensor) -> Any:
        return dist.Normal(*self.parameters_of(x)).to_event(1)

    def forward(self, x: Tensor) -> None:
        with self.plate(x):
            pyro.sample("z", self.posterior(x))


def model(**methods: Any) -> Any:
    """The model with methods of its own."""
    return type(Model)("Model", (Model,), methods)()


def guide(**methods: Any) -> Any:
    """The guide with methods of its own."""
    return type(Guide)("Guide", (Guide,), methods)()


def adding(base: type, attribute: str, value: Any) -> Any:
    program = base()
    setattr(program, attribute, value)
    return program


# --- one planted fault, one finding -------------------------------------------------------------


def of_no_plate(self: Any, x: Tensor) -> Any:
    return poutine.mask(mask=True)


def subsampling(size: int) -> Callable[[Any, Tensor], Any]:
    return lambda self, x: pyro.plate("data", size, subsample_size=len(x), dim=-1)


def model_with(*more: Callable[[], object], observe: bool = True) -> Any:
    def forward(self: Any, x: Tensor) -> None:
        with self.plate(x):
            z = pyro.sample("z", self.prior(x))
            for site in more:
                site()
            if observe:
                pyro.sample("x", self.likelihood(z), obs=x)

    return model(forward=forward)


def guide_with(*more: Callable[[], object]) -> Any:
    def forward(self: Any, x: Tensor) -> None:
        with self.plate(x):
            pyro.sample("z", self.posterior(x))
            for site in more:
                site()

    return guide(forward=forward)


def normal_site(name: str, **options: Any) -> Callable[[], object]:
    return lambda: pyro.sample(name, dist.Normal(0.0, 1.0), **options)


def global_model(self: Any, x: Tensor) -> None:
    shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
    with self.plate(x):
        z = pyro.sample("z", self.prior(x))
        pyro.sample(
            "x", dist.Bernoulli(logits=self.decoder(z) + shift[..., None]).to_event(1), obs=x
        )


def global_guide(self: Any, x: Tensor) -> None:
    pyro.sample("shift", dist.Normal(self.encoder(x).mean(), 1.0))
    with self.plate(x):
        pyro.sample("z", self.posterior(x))


def observing_in_one_piece(self: Any, x: Tensor) -> None:
    with self.plate(x):
        z = pyro.sample("z", self.prior(x))
    pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(2), obs=x)


def scaling(scale: float, *sites: str) -> Callable[[Any, Tensor], None]:
    """The model's program with ``poutine.scale`` at some sites."""

    def forward(self: Any, x: Tensor) -> None:
        with self.plate(x):
            with poutine.scale(scale=scale if "z" in sites else 1.0):
                z = pyro.sample("z", self.prior(x))
            with poutine.scale(scale=scale if "x" in sites else 1.0):
                pyro.sample("x", self.likelihood(z), obs=x)

    return forward


def scaled_guide(scale: float) -> Any:
    def forward(self: Any, x: Tensor) -> None:
        with self.plate(x), poutine.scale(scale=scale):
            pyro.sample("z", self.posterior(x))

    return guide(forward=forward)


def discrete_pair(**infer: str) -> tuple[Any, Any]:
    """z is one of two."""

    def prior(self: Any, x: Tensor) -> Any:
        return dist.OneHotCategorical(torch.ones(LATENT))

    def posterior(self: Any, x: Tensor) -> Any:
        return dist.OneHotCategorical(logits=self.parameters_of(x)[0])

    def forward(self: Any, x: Tensor) -> None:
        with self.plate(x):
            pyro.sample("z", self.posterior(x), infer=infer)

    return model(prior=prior), guide(posterior=posterior, forward=forward)


def broken_weight() -> Any:
    program = Model()
    with torch.no_grad():
        next(program.decoder.parameters())[0, 0] = float("nan")
    return program


def spoiled(value: float) -> Tensor:
    x = X.clone()
    x[3, 1] = value
    return x


class Plain(nn.Module):
    """A guide that is no PyroModule."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder(2 * LATENT)

    def forward(self, x: Tensor) -> None:
        location, raw = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(location, nn.functional.softplus(raw)).to_event(1))


def in_a_list() -> Any:
    """A model whose decoder stands in a plain list."""
    program = Model()
    layers = [decoder()]
    del program.decoder
    program.layers = layers
    object.__setattr__(program, "decoder", lambda z: layers[0](z))
    return program


def with_a_shared_part() -> tuple[Any, Any]:
    first, second = Model(), Guide()
    first.also = second.encoder
    return first, second


def with_one_name() -> tuple[Any, Any]:
    """Two roots without a name, each with a ``net``."""

    class Decoding(Model):
        def __init__(self) -> None:
            PyroModule.__init__(self)
            self.net = decoder()

        def likelihood(self, z: Tensor) -> Any:
            return dist.Bernoulli(logits=self.net(z)).to_event(1)

    class Encoding(Guide):
        def __init__(self) -> None:
            PyroModule.__init__(self)
            self.net = encoder(2 * LATENT)

        def parameters_of(self, x: Tensor) -> tuple[Tensor, Tensor]:
            location, raw = self.net(x).chunk(2, -1)
            return location, nn.functional.softplus(raw)

    return Decoding(), Encoding()


def with_one_pyro_param() -> tuple[Any, Any]:
    """``PyroParam`` of one name in two roots without one."""

    def likelihood(self: Any, z: Tensor) -> Any:
        return dist.Bernoulli(logits=self.width * self.decoder(z)).to_event(1)

    def posterior(self: Any, x: Tensor) -> Any:
        return dist.Normal(self.parameters_of(x)[0], self.width).to_event(1)

    programs = model(likelihood=likelihood), guide(posterior=posterior)
    for program, value in zip(programs, (1.0, 2.0), strict=True):
        program._pyro_name = ""
        program.width = PyroParam(torch.tensor(value), constraint=constraints.positive)
    return programs


class Methods:
    """A pair of bound methods of an object that is no module."""

    def __init__(self) -> None:
        self.modules = Model(), Guide()

    def model(self, x: Tensor) -> None:
        self.modules[0](x)

    def guide(self, x: Tensor) -> None:
        self.modules[1](x)


def one_particle_only(self: Any, z: Tensor) -> Any:
    logits = self.decoder(z.reshape(-1, LATENT)).reshape(-1, DATA)
    return dist.Bernoulli(logits=logits).to_event(1)


def normalising(self: Any, x: Tensor) -> Any:
    return dist.Normal(self.parameters_of(x - x.mean(0))[0], 1.0).to_event(1)


def adding_the_mean(self: Any, z: Tensor) -> Any:
    logits = self.decoder(z)
    return dist.Bernoulli(logits=logits + logits.mean(-2, keepdim=True)).to_event(1)


def batch_norm_guide() -> Any:
    program = guide(
        posterior=lambda self, x: dist.Normal(self.norm(self.parameters_of(x)[0]), 1.0).to_event(1)
    )
    program.norm = nn.BatchNorm1d(LATENT)
    return program


def resting_guide() -> Any:
    program = Guide()
    program.encoder = nn.Sequential(encoder(2 * LATENT), nn.Dropout(0.5)).eval()
    return program


def place_by_place() -> Any:
    """A guide with parameters of each place in the batch."""
    program = guide(posterior=lambda self, x: dist.Normal(self.at, 1.0).to_event(1))
    del program.encoder
    program.at = nn.Parameter(torch.randn(len(X), LATENT))
    return program


def blind(self: Any, x: Tensor) -> Any:
    return dist.Normal(self.encoder(torch.ones(DATA))[:LATENT], 1.0).to_event(1)


def deaf(self: Any, z: Tensor) -> Any:
    return dist.Bernoulli(logits=self.decoder(torch.ones_like(z))).to_event(1)


def clamping(self: Any, x: Tensor) -> None:
    Guide.forward(self, x.clamp_(0.1, 0.9))


def with_nets_of(latent: int, outputs: int) -> tuple[Any, Any]:
    return (
        adding(Model, "decoder", nn.Linear(LATENT, outputs)),
        adding(Guide, "encoder", nn.Linear(DATA, 2 * latent)),
    )


def small_scale(self: Any, x: Tensor) -> Any:
    return dist.Normal(self.parameters_of(x)[0], -1.0).to_event(1)


Case = tuple[Any, Any, Tensor, str, str, str]

ERRORS: dict[str, Callable[[], Case]] = {
    # data and weights
    "NaN in the data": lambda: (
        Model(), Guide(), spoiled(float("nan")), "finite-data", "x", "1 of 6 data, .* datum 3",
    ),
    "infinity in the data": lambda: (
        Model(), Guide(), spoiled(float("inf")), "finite-data", "x", "1 of 6 data, .* datum 3",
    ),
    "NaN in a weight": lambda: (
        broken_weight(), Guide(), X, "finite-weights", "model", r"decoder\.layers\.0\.weight",
    ),
    "data changed in place": lambda: (
        Model(), guide(forward=clamping), X, "data-unchanged", "guide", "in place",
    ),
    # shapes
    "event not declared in the guide": lambda: (
        Model(),
        guide(posterior=lambda self, x: dist.Normal(*self.parameters_of(x))),
        X,
        "declared-events",
        "guide, site 'z', plate 'data', dim -1",
        r"got \[6, 2\]: 1 dimension .*Normal\(…\)\.to_event\(1\)",
    ),
    "event not declared in the guide, as many data as latents": lambda: (
        Model(),
        guide(posterior=lambda self, x: dist.Normal(*self.parameters_of(x))),
        X[:LATENT],
        "declared-events",
        "guide, site 'z'",
        r"got \[2, 2\].*to_event\(1\)",
    ),
    "event not declared in the likelihood": lambda: (
        model(likelihood=lambda self, z: dist.Bernoulli(logits=self.decoder(z))),
        Guide(),
        X,
        "declared-events",
        "model, site 'x'",
        r"Bernoulli\(…\)\.to_event\(1\)",
    ),
    "event declared in part": lambda: (
        model(
            likelihood=lambda self, z: dist.Bernoulli(
                logits=self.decoder(z)[..., None, :].expand(*z.shape[:-1], 3, DATA)
            ).to_event(1),
        ),
        Guide(),
        X,
        "declared-events",
        "model, site 'x'",
        r"got \[6, 3\]: 1 dim.*to_event\(2\)",
    ),
    "event not declared in the prior": lambda: (
        model(prior=lambda self, x: dist.Normal(torch.zeros(LATENT), 1.0)),
        Guide(),
        X,
        "declared-events",
        "model, site 'z'",
        r"Normal\(…\)\.to_event\(1\)",
    ),
    "event not declared in the prior, as many data as latents": lambda: (
        model(prior=lambda self, x: dist.Normal(torch.zeros(LATENT), 1.0)),
        Guide(),
        X[:LATENT],
        "same-event-shapes",
        "model and guide, site 'z'",
        r"\(\) in the model and \(2,\) in the guide.*to_event\(1\) in the model",
    ),
    "latents of another size": lambda: (
        Model(),
        with_nets_of(LATENT + 1, DATA)[1],
        X,
        "same-event-shapes",
        "model and guide, site 'z'",
        r"\(2,\) in the model and \(3,\) in the guide",
    ),
    "plate of the data set's size": lambda: (
        model(plate=lambda self, x: pyro.plate("data", 600, dim=-1)),
        guide(plate=lambda self, x: pyro.plate("data", 600, dim=-1)),
        X,
        "size-of-the-data-plate",
        "plate 'data', dim -1",
        r"size of the batch, 6; got 600.*x\.shape\[0\]",
    ),
    # exceptions
    "decoder of another latent size": lambda: (
        adding(Model, "decoder", nn.Linear(7, DATA)),
        Guide(),
        X,
        "runs-at-all",
        "model",
        r"expected 7 features.*got 2.*nn\.Linear\(2, …\)",
    ),
    "data of another size": lambda: (
        Model(), Guide(), torch.ones(6, 4), "runs-at-all", "guide", "expected 5 features.*got 4",
    ),
    "data of another dtype": lambda: (
        Model(), Guide(), X.to(torch.uint8), "runs-at-all", "guide", r"one dtype.*x\.float\(\)",
    ),
    "a parameter out of range": lambda: (
        Model(),
        guide(posterior=small_scale),
        X,
        "runs-at-all",
        "guide",
        r"a Normal whose scale satisfies GreaterThan.*softplus\(scale\)",
    ),
    "a site twice": lambda: (
        model_with(normal_site("z")), Guide(), X, "runs-at-all", "model, site 'z'", "of its own",
    ),
    "another signature": lambda: (
        Model(),
        guide(forward=lambda self, x, y: None),
        X,
        "runs-at-all",
        "guide",
        "called with the data alone",
    ),
    "an exception of its own": lambda: (
        Model(),
        guide(posterior=lambda self, x: {}["key"]),
        X,
        "runs-at-all",
        "guide",
        "KeyError: 'key'",
    ),
    # sites
    "a latent that the guide lacks": lambda: (
        model_with(normal_site("y")), Guide(), X, "latents-in-the-guide", "guide, site 'y'",
        "got none of this one",
    ),
    "a latent that the model lacks": lambda: (
        Model(), guide_with(normal_site("y")), X, "latents-in-the-model", "model, site 'y'",
        "is_auxiliary",
    ),
    "a latent that the model observes": lambda: (
        model_with(normal_site("y", obs=torch.zeros(6))),
        guide_with(normal_site("y")),
        X,
        "latents-in-the-model",
        "model, site 'y'",
        "got it observed",
    ),
    "data in the guide": lambda: (
        Model(),
        guide_with(normal_site("y", obs=torch.zeros(6))),
        X,
        "no-data-in-the-guide",
        "guide, site 'y'",
        "no observed site",
    ),
    "latent observed in the guide": lambda: (
        Model(),
        guide(forward=lambda self, x: pyro.sample("z", dist.Normal(x, 1.0), obs=x)),
        X,
        "no-data-in-the-guide",
        "guide, site 'z'",
        "no observed site",
    ),
    "no data": lambda: (model_with(observe=False), Guide(), X, "some-data", "model", "obs=x"),
    "no latents": lambda: (
        model(
            forward=lambda self, x: model_of_x(self, x),
        ),
        lambda x: None,
        X,
        "some-latents",
        "model and guide",
        "no posterior|latent site",
    ),
    "no plate": lambda: (
        model(plate=of_no_plate),
        guide(plate=of_no_plate),
        X,
        "a-plate-over-the-data",
        "model and guide",
        "at dim -1; got none",
    ),
    "no plate in the guide": lambda: (
        Model(), guide(plate=of_no_plate), X, "batches-in-the-plate", "guide, site 'z'", r"\[6\]",
    ),
    "one sample for all data": lambda: (
        Model(),
        guide(
            plate=of_no_plate,
            posterior=lambda self, x: dist.Normal(self.encoder(x).mean(0)[:2], 1.0).to_event(1),
        ),
        X,
        "same-plates",
        "site 'z'",
        r"\{-1: 6\} in the model and \{\} in the guide",
    ),
    "plates deeper than said": lambda: (
        *nested_pair(), torch.randn(4, 4), "plates-within-max-plate-nesting", "dim -2",
        "max_plate_nesting=2",
    ),
    # values
    "observed values of another shape": lambda: (
        model(
            likelihood=lambda self, z: dist.Bernoulli(logits=self.decoder(z)[..., 0]),
        ),
        guide(posterior=lambda self, x: Guide.posterior(self, x.expand(-1, DATA))),
        X[:, :1],
        "shape-of-values",
        "model, site 'x'",
        r"shape \[6\].*got \[6, 1\]",
    ),
    "a mass against a density": lambda: (
        Model(), discrete_pair()[1], X, "same-measure", "site 'z'",
        "a density in the model and a discrete",
    ),
    "the simplex against a density": lambda: (
        Model(),
        guide(posterior=lambda self, x: dist.Dirichlet(self.parameters_of(x)[1])),
        X,
        "same-measure",
        "site 'z'",
        "a density on the simplex in the guide",
    ),
    "scaled in the model only": lambda: (
        model(forward=scaling(100.0, "z", "x")),
        Guide(),
        X,
        "same-scale-of-a-latent",
        "site 'z'",
        r"100 \(poutine\.scale\) in the model and 1 in the guide",
    ),
    "subsampled in the model only": lambda: (
        model(plate=subsampling(600)),
        Guide(),
        X,
        "same-scale-of-a-latent",
        "site 'z'",
        r"100 \(600/6 of plate 'data'\) in the model and 1 in the guide",
    ),
    "samples off the prior's support": lambda: (
        model(prior=lambda self, x: dist.Gamma(torch.ones(LATENT), 1.0).to_event(1)),
        Guide(),
        X,
        "latents-on-the-support",
        "site 'z'",
        "infinite",
    ),
    "grey values of a Bernoulli": lambda: (
        Model(), Guide(), 0.5 * X, "data-on-the-support", "model, site 'x'",
        r"between 0 and 0\.5.*BernoulliLikelihood.*GreyBernoulli.*Dynamic",
    ),
    "bytes": lambda: (
        Model(), Guide(), 255 * X, "data-on-the-support", "model, site 'x'", "x = x / 255",
    ),
    "data from −1 to 1": lambda: (
        Model(), Guide(), 2 * X - 1, "data-on-the-support", "model, site 'x'", r"\(x \+ 1\) / 2",
    ),
    "counts below zero": lambda: (
        model(likelihood=lambda self, z: dist.Poisson(self.decoder(z).exp()).to_event(1)),
        Guide(),
        -X,
        "data-on-the-support",
        "model, site 'x'",
        "rescale, round",
    ),
    "a log-probability that overflows": lambda: (
        model(likelihood=lambda self, z: dist.Normal(1e30 * self.decoder(z), 1e-30).to_event(1)),
        Guide(),
        X,
        "finite-log-probabilities",
        "model, site 'x'",
        "an infinity at 6 of 6",
    ),
    # parameters
    "one name for two tensors": lambda: (
        *with_one_name(), X, "names-in-the-store", "model and guide", r"net.*name=\"model_2\"",
    ),
    "one PyroParam for two modules": lambda: (
        *with_one_pyro_param(), X, "names-in-the-store", "model and guide", "width",
    ),
    "layers in a list": lambda: (
        in_a_list(), Guide(), X, "registered", "model", r"MLP\.layers\.\d\.weight.*ModuleList",
    ),
    # particles
    "a reshape that names the batch": lambda: (
        model(likelihood=one_particle_only), Guide(), X, "runs-with-particles", "site 'x'",
        "two particles",
    ),
}  # fmt: skip


def model_of_x(self: Any, x: Tensor) -> None:
    with self.plate(x):
        logits = self.decoder(torch.ones(len(x), LATENT))
        pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)


WARNINGS: dict[str, Callable[[], Case]] = {
    "a variable of all data": lambda: (
        model(forward=global_model), guide(forward=global_guide), X, "sites-of-all-data",
        "model and guide, site 'shift'", "IWAE.*to_arviz",
    ),
    "data as one datum": lambda: (
        model(forward=observing_in_one_piece), Guide(), X, "sites-of-all-data", "model, site 'x'",
        "one datum",
    ),
    "a weighted KL": lambda: (
        model(forward=scaling(0.5, "z")), scaled_guide(0.5), X, "same-scale-of-all",
        "model and guide", r"0\.5 \(poutine\.scale\) at 'z'.*ELBO\(beta",
    ),
    "scaled throughout": lambda: (
        model(forward=scaling(0.5, "z", "x")), scaled_guide(0.5), X, "no-scale",
        "model and guide", r"0\.5 \(poutine\.scale\).*RenyiELBO",
    ),
    "a batch of a data set": lambda: (
        model(plate=subsampling(600)), guide(plate=subsampling(600)), X, "no-scale",
        "model and guide", r"100 \(600/6 of plate 'data'\).*RenyiELBO.*no bound",
    ),
    "a guide of less support": lambda: (
        Model(),
        guide(posterior=lambda self, x: dist.LogNormal(*self.parameters_of(x)).to_event(1)),
        X, "covered-support", "guide, site 'z'", r"GreaterThan.*stay below log p\(x\)",
    ),
    "a guide that is no PyroModule": lambda: (
        Model(), Plain(), X, "parameters-that-svi-sees", "guide", r"class Plain\(pyro\.nn\.Pyro",
    ),
    "a guide of one value": lambda: (
        Model(),
        guide(posterior=lambda self, x: dist.Delta(self.parameters_of(x)[0]).to_event(1)),
        X, "densities-in-the-guide", "guide, site 'z'", "got Delta.*MAP.*nor a weight",
    ),
    "covariates in a closure": lambda: (
        model(likelihood=lambda self, z: dist.Bernoulli(logits=self.decoder(z) + X).to_event(1)),
        Guide(), X, "any-batch-size", "model", "covariates of each datum as columns of x",
    ),
    "a part of both": lambda: (
        *with_a_shared_part(), X, "parameters-of-one", "model and guide", r"'also\.layers\.0\.w",
    ),
    "a parameter that nothing uses": lambda: (
        Model(), adding(Guide, "spare", nn.Linear(2, 2)), X, "trained-parameters", "guide",
        r"'spare\.weight', 'spare\.bias'",
    ),
    "a network behind detach": lambda: (
        model(likelihood=lambda self, z: dist.Bernoulli(
            logits=self.decoder(z).detach() + self.offset).to_event(1), offset=torch.zeros(5)),
        Guide(), X, "trained-parameters", "model", r"decoder\.layers\.0\.weight",
    ),
    "discrete latents": lambda: (
        *discrete_pair(), X, "reparameterised", "guide, site 'z'", "TraceEnum_ELBO",
    ),
    "an enumerated site": lambda: (
        *discrete_pair(enumerate="parallel"), X, "no-enumeration", "site 'z'", "TraceEnum_ELBO",
    ),
    "a decoder that does not get z": lambda: (
        model(likelihood=deaf), Guide(), X, "used-latents", "model, site 'z'", r"decoder\(z\)",
    ),
    "an encoder that does not get x": lambda: (
        Model(), guide(posterior=blind), X, "guide-that-sees-the-data", "guide, site 'z'",
        r"encoder\(x\)",
    ),
    "a guide that normalises over the batch": lambda: (
        Model(), guide(posterior=normalising), X, "data-apart-in-the-guide", "guide, site 'z'",
        "terms of each datum",
    ),
    "a model that adds the batch's mean": lambda: (
        model(likelihood=adding_the_mean), Guide(), X, "data-apart-in-the-model", "model, site 'x'",
        "terms of each datum",
    ),
    "batch normalisation": lambda: (
        Model(), batch_norm_guide(), X, "data-apart-in-the-guide", "guide, site 'z'",
        r"what joins data is 'guide\.norm'",
    ),
    "a plate of a constant size": lambda: (
        model(plate=lambda self, x: pyro.plate("data", 6, dim=-1)), Guide(), X, "any-batch-size",
        "model", "Shape mismatch|at 'z', 'x'",
    ),
    "dropout that rests": lambda: (
        Model(), resting_guide(), X, "evaluation-mode-parts", "guide", r"guide\.encoder\.1",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "severity"),
    [
        *((case, Severity.ERROR) for case in ERRORS.values()),
        *((case, Severity.WARNING) for case in WARNINGS.values()),
    ],
    ids=[*ERRORS, *WARNINGS],
)
def test_a_planted_fault_is_the_one_finding(case: Callable[[], Case], severity: Severity) -> None:
    model, guide, x, rule, where, told = case()
    found = check_model(model, guide, x)
    assert [(finding.severity, finding.rule) for finding in found] == [(severity, rule)], str(found)
    assert where in found[0].where
    assert re.search(told, f"{found[0].what} {found[0].why} {found[0].fix}"), str(found)
    assert found.ok == (severity is Severity.WARNING)


def test_every_rule_has_a_planted_fault() -> None:
    planted = {case()[3] for case in [*ERRORS.values(), *WARNINGS.values()]}
    # about Pyro's settings, and about functions and log-probabilities that do not exist: below
    elsewhere = {"validation-off", "local-parameters", "programs-are-modules", "scorable"}
    rules = {rule.__name__.replace("_", "-") for step in STEPS for rule in step}
    assert planted | elsewhere == rules
    assert all(rule.__doc__ for step in STEPS for rule in step)


@pytest.mark.parametrize("switch", VALIDATION)
def test_validation_that_is_off(switch: str) -> None:
    with pyro.settings.context(**{switch: False}):
        found = check_model(Model(), Guide(), X)
    assert only(found).rule == "validation-off"
    assert switch in found[0].what


def test_with_validation_off_a_fault_is_found_all_the_same() -> None:
    with pyro.validation_enabled(False):
        found = check_model(Model(), guide(posterior=small_scale), X)
    assert [finding.rule for finding in found] == ["runs-at-all", "validation-off"]


def test_a_setting_with_which_svi_ends_in_an_exception() -> None:
    with pyro.settings.context(module_local_params=True):
        found = check_model(Model(), Guide(), X)
    assert "local-parameters" in {finding.rule for finding in found}
    assert found.ok


# --- names, stores, programs that are no modules ------------------------------------------------


def test_of_two_pairs_with_the_same_names_the_second_would_not_train() -> None:
    first, second = (Model(), Guide()), (Model(), Guide())
    Trace_ELBO().loss(*first, X)
    found = check_model(*second, X)
    assert only(found).rule == "names-in-the-store"
    Trace_ELBO().loss(*second, X)
    trained = {id(p) for _, p in pyro.get_param_store().named_parameters()}  # by SVI
    assert trained == {id(p) for program in first for p in program.parameters()}
    pyro.clear_param_store()
    assert not check_model(*second, X)


def test_a_stored_parameter_of_another_shape() -> None:
    pyro.param("weight", torch.zeros(7))
    found = check_model(function_model, function_guide, torch.randn(6, 3))
    assert only(found, Severity.ERROR).rule == "names-in-the-store"
    assert "'weight'" in found.errors[0].what


def test_of_two_vaes_either_would_train() -> None:
    vaes = [vae_with(PRIORS["StandardNormalPrior"]()) for _ in range(2)]
    for vae in vaes:
        Trace_ELBO().loss(vae.model, vae.guide, X)
    assert not any(check_model(vae.model, vae.guide, X) for vae in vaes)


@pytest.mark.parametrize(
    ("model", "guide", "kind", "told"),
    [
        (function_model, function_guide, "a function", "'weight'"),
        (*(lambda pair: (pair.model, pair.guide))(Methods()), "a bound method", "decoder"),
    ],
    ids=["functions", "methods"],
)
def test_programs_that_are_no_modules(model: Program, guide: Program, kind: str, told: str) -> None:
    assert not list(Trace_ELBO()(model, guide).parameters())  # what the finding says
    x = torch.randn(6, 3) if model is function_model else X
    found = check_model(model, guide, x)
    assert [(f.rule, f.program) for f in found] == [
        ("programs-are-modules", "guide"),
        ("programs-are-modules", "model"),
    ]
    assert told in found[1].what
    assert kind in found[1].what


def test_a_network_in_a_function_that_svi_does_not_find() -> None:
    net = encoder(2)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    found = check_model(Model(), guide, X)
    assert only(found).rule == "programs-are-modules"
    assert "SVI does not find 'MLP.layers.0.weight'" in found[0].why


# --- faultless pairs ----------------------------------------------------------------------------


def test_a_faultless_pair_has_no_findings_and_says_what_was_checked() -> None:
    found = check_model(Model(), Guide(), X)
    assert not found
    assert found.ok
    assert len(found.checked) == sum(map(len, STEPS))
    assert not found.unchecked
    assert str(found).startswith("no findings\n  checked: validation-off, ")
    assert repr(found) == "<Findings: no findings>"


def test_the_exact_pair_has_no_findings() -> None:
    for dtype in (torch.float32, torch.float64):
        pair = linear_gaussian(dtype=dtype)
        assert not check_model(pair.model, pair.guide, pair.x)


WARNED = {
    "FloatingPrior": "data-apart-in-the-model",
    "NormalLikelihood, optimal": "data-apart-in-the-model",
    "NormalLikelihood, BAGGINS": "data-apart-in-the-model",
    "NormalLikelihood, BAGGINS of each datum": "data-apart-in-the-model",
    "UniformGuide": "covered-support",
    "LogNormalGuide": "covered-support",
    "GammaGuide": "covered-support",
    "BetaGuide": "covered-support",
}
"""Of this library's parts: estimated on a batch, or of less support than the normal prior."""


@pytest.mark.parametrize("name", [*PRIORS, *LIKELIHOODS, *GUIDES])
def test_a_vae_of_a_registered_part_has_no_finding_that_is_not_known(name: str) -> None:
    part = (PRIORS | LIKELIHOODS | GUIDES)[name]()
    vae = vae_with(part)
    if isinstance(part, DecoderPrecisionGuide):  # of the model's own decoder, as it is meant
        vae = VAE(prior=vae.prior, likelihood=part._likelihood, guide=part)
    found = check_model(vae.model, vae.guide, X)
    assert [finding.rule for finding in found] == ([WARNED[name]] if name in WARNED else [])
    assert found.ok
    vae.eval()
    assert "data-apart-in-the-model" not in {f.rule for f in check_model(vae.model, vae.guide, X)}


def test_a_guide_that_cannot_score_given_latents_is_checked_as_far_as_it_goes() -> None:
    vae = vae_with(GUIDES["SubstitutionGuide"]())
    found = check_model(vae.model, vae.guide, X)
    assert list(found.unchecked) == ["data-apart-in-the-guide"]
    assert "not checked, since the guide cannot score given values" in str(found)


@pytest.mark.parametrize(
    ("pair", "x", "nesting", "rules"),
    [
        (scalar_pair(), torch.randn(6), 1, set()),
        (scalar_pair(observed=torch.arange(6) % 2 == 0), torch.randn(6), 1, set()),
        (scalar_pair(index=torch.tensor([1, 4])), torch.randn(6), 1, {"no-scale"}),
        (scalar_pair(size=3), torch.randn(6), 1, {"no-scale"}),
        (hierarchical_pair(), torch.randn(6), 1, set()),
        (nested_pair(), torch.randn(4, 3), 2, {"size-of-the-data-plate"}),
        (global_pair(), torch.randn(6), 1, {"sites-of-all-data"}),
        (
            global_pair(index=torch.tensor([0, 3])),
            torch.randn(6),
            1,
            {"sites-of-all-data", "same-scale-of-all"},
        ),
    ],
    ids=["plain", "masked", "indexed", "subsampled", "deep", "nested", "global", "global, indexed"],
)
def test_pairs_that_the_objectives_take_have_no_errors(
    pair: tuple[Program, Program], x: Tensor, nesting: int, rules: set[str]
) -> None:
    found = check_model(*pair, x, max_plate_nesting=nesting)
    assert {finding.rule for finding in found} == rules | {"programs-are-modules"}
    assert found.ok


def test_a_guide_of_parameters_for_each_datum_is_told_to_be_one() -> None:
    model = Model()
    for program in (AutoNormal(model), place_by_place()):
        rules = [finding.rule for finding in check_model(model, program, X)]
        assert rules == ["guide-that-sees-the-data", "any-batch-size"]


def test_an_auxiliary_site_of_the_guide_is_no_finding() -> None:
    auxiliary = normal_site("a", infer={"is_auxiliary": True})
    assert not check_model(Model(), guide_with(auxiliary), X)


def test_a_site_that_the_model_enumerates_need_not_be_in_the_guide() -> None:
    def forward(self: Any, x: Tensor) -> None:
        with self.plate(x):
            z = pyro.sample("z", self.prior(x))
            y = pyro.sample("y", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
            logits = self.decoder(z) + y[..., None]
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    found = check_model(model(forward=forward), Guide(), X)
    assert only(found).rule == "no-enumeration"
    assert found[0].site == "y"
    assert found.unchecked["runs-with-particles"] == "a site asks for enumeration"


def test_missing_values_that_the_pair_leaves_out_are_no_finding() -> None:
    def forward(self: Any, x: Tensor) -> None:
        seen, filled = ~x.isnan(), x.nan_to_num()
        with self.plate(x):
            z = pyro.sample("z", self.prior(x))
            bernoulli = dist.Bernoulli(logits=self.decoder(z)).mask(seen).to_event(1)
            pyro.sample("x", bernoulli, obs=filled)

    sees = guide(posterior=lambda self, x: Guide.posterior(self, x.nan_to_num()))
    assert not check_model(model(forward=forward), sees, spoiled(float("nan")))


def test_too_few_data_for_a_rule_are_told() -> None:
    found = check_model(Model(), Guide(), X[:1])
    assert found.ok
    assert found.unchecked == {
        "guide-that-sees-the-data": "there is one datum only",
        "data-apart-in-the-guide": "there is one datum only",
        "data-apart-in-the-model": "there is one datum only",
        "any-batch-size": "there are fewer than four data",
    }


# --- exceptions are findings --------------------------------------------------------------------


class Silent(dist.Normal):
    """A distribution that cannot say what it is asked."""

    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError("no density")

    @property
    def support(self) -> Any:
        raise NotImplementedError

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return super().expand(batch_shape, self._get_checked_instance(Silent, _instance))


def test_a_site_without_a_density() -> None:
    silent = guide(posterior=lambda self, x: Silent(*self.parameters_of(x)).to_event(1))
    found = check_model(Model(), silent, X)
    assert only(found).rule == "scorable"
    assert found[0].where == "guide, site 'z'"
    assert "no density" in found[0].what


def test_an_exception_is_told_with_the_line_at_which_it_arose() -> None:
    found = check_model(Model(), guide(posterior=lambda self, x: {}["key"]), X)
    assert re.search(r"test_linter\.py:\d+, in <lambda>: .*\[\"key\"\]", found[0].source)
    assert f"  --> {found[0].source}" in str(found)


@pytest.mark.parametrize(
    ("message", "what", "fix"),
    [
        ("a: expected b; got c. Do d.", "a: expected b; got c", "Do d"),
        ("Expected all tensors to be on the same device, but found", "one device", r"x\.device"),
        ('Plates "a" and "b" collide at dim -1.', "plates with a dimension of their own", "dim=-2"),
        ("Input type (long int) and bias type (float) should be the same", "one dtype", "float"),
        ("to have 1 channels, but got 3 channels instead", "1 channels.*got 3", r"Conv2d\(3, …"),
        (
            "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [2]",
            r"what conv2d takes; got \[2\]",
            "LeadingShape",
        ),
        (
            "running_mean should contain 6 elements not 20",
            "20 features in dimension 1.*got 6",
            "LeadingShape",
        ),
        ("CUDA out of memory. Tried", "fits into memory", r"x\[:100\]"),
        ("Expected more than 1 value per channel when training", "several data", "two or more"),
        ("The size of tensor a (3) must match the size of tensor b (4)", "3 and 4", "shapes"),
        (
            "subsample_size does not match len(subsample), 3 vs 4.",
            "one subsample .* sizes 3 and 4",
            "subsample_size",
        ),
        ("who knows", "RuntimeError: who knows", "line above"),
        ("", "RuntimeError", "line above"),
        ("{0} {braces}", r"\{0\} \{braces\}", "line above"),
    ],
)
def test_what_exceptions_mean(message: str, what: str, fix: str) -> None:
    def posterior(self: Any, x: Tensor) -> Any:
        raise RuntimeError(message)

    finding = only(check_model(Model(), guide(posterior=posterior), X))
    assert finding.rule == "runs-at-all"
    assert re.search(what, finding.what)
    assert re.search(fix, finding.fix)


def test_a_lazy_module_is_told_and_stays_lazy() -> None:
    for base, told in ((Guide, "expected weights"), (Plain, "LazyLinear: expected weights")):
        lazy = adding(base, "encoder", nn.LazyLinear(2 * LATENT))
        finding = only(check_model(Model(), lazy, X))
        assert told in finding.what
        assert "guide.encoder(x)" in finding.fix
        assert isinstance(lazy.encoder, nn.LazyLinear)


@pytest.mark.parametrize(
    ("x", "nesting", "told"),
    [
        (torch.tensor(1.0), 1, r"expected a batch of data.*got shape \[\]"),
        (X[:0], 1, r"got shape \[0, 5\]"),
        (X, 0, "max_plate_nesting ≥ 1; got 0"),
    ],
)
def test_arguments_that_make_no_check(x: Tensor, nesting: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_model(Model(), Guide(), x, max_plate_nesting=nesting)


# --- what is printed ----------------------------------------------------------------------------


def test_findings_read_like_a_compilers() -> None:
    bare = guide(posterior=lambda self, x: dist.Normal(*self.parameters_of(x)))
    with pyro.validation_enabled(False):
        found = check_model(Model(), bare, X)
    assert repr(found) == "<Findings: 1 error, 1 warning>"
    assert [finding.severity for finding in found] == [Severity.ERROR, Severity.WARNING]
    first, second, summary = str(found).split("\n\n")
    assert first == str(found[0])
    assert first.startswith(
        "error[declared-events] guide, site 'z', plate 'data', dim -1\n  expected"
    )
    assert "\n  why: " in first
    assert first.endswith("\n  fix: dist.Normal(…).to_event(1)")
    assert second.startswith("warning[validation-off] pyro\n")
    assert summary.startswith(
        "1 error, 1 warning\n  checked: 11 rules\n  not checked, since an error"
    )
    assert max(map(len, str(found).splitlines())) <= 100


def test_findings_are_a_sequence() -> None:
    found = check_model(Model(), Guide(), 255 * X)
    assert len(found) == 1
    assert list(found) == [found[0]] == list(found[:1])
    assert found.errors == (found[0],)
    assert found.warnings == ()
    assert isinstance(found[0], Finding)


# --- nothing is changed -------------------------------------------------------------------------


class Rich(Guide):
    """A guide with everything that a run could change."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2 * LATENT)
        self.drop = nn.Dropout(0.5)
        self.width = PyroParam(torch.ones(LATENT), constraint=constraints.positive)
        self.calls = 0

    def parameters_of(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        self.extra = nn.Parameter(torch.zeros(LATENT)) if self.calls > 1 else None
        np.random.rand()  # noqa: NPY002 (the global state is what is meant)
        [random.random() for _ in range(1000)]
        location, _ = self.drop(self.norm(self.encoder(x))).chunk(2, -1)
        return location + pyro.param("shift", torch.zeros(LATENT)), self.width


def everything(*modules: nn.Module) -> dict[str, Any]:
    """What must be the same afterwards."""
    store = pyro.get_param_store()
    return {
        "weights": [copy.deepcopy(module.state_dict()) for module in modules],
        "identities": [{n: id(p) for n, p in module.named_parameters()} for module in modules],
        "gradients": [[p.grad for p in module.parameters()] for module in modules],
        "modes": [[part.training for part in module.modules()] for module in modules],
        "attributes": [[set(vars(part)) for part in module.modules()] for module in modules],
        "used": [m._pyro_context.used for m in modules if isinstance(m, PyroModule)],
        "stored": {name: id(value) for name, value in store.named_parameters()},
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1],  # noqa: NPY002
        "python": random.getstate()[1][:-1],  # without the place in it: beartype draws a few
        "settings": pyro.settings.get(),
        "gradient mode": torch.is_grad_enabled(),
    }


def assert_unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, value in before.items():
        np.testing.assert_equal(_plain(value), _plain(after[name]), err_msg=name)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().numpy()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("fault", [False, True], ids=["that runs", "that crashes"])
@pytest.mark.parametrize("gradients", [False, True], ids=["without gradients", "with gradients"])
def test_nothing_is_changed_by_a_pair(fault: bool, gradients: bool) -> None:
    held = pyro.param("shift", torch.ones(LATENT))
    pyro.param("other", torch.ones(3), constraint=constraints.positive)
    first, second = (deaf_to_its_size() if fault else Model()), Rich()
    second.norm.eval()
    second.drop.eval()
    second.train(False)
    second.norm.train()
    for parameter in [*first.parameters(), *second.parameters()]:
        parameter.grad = torch.ones_like(parameter)
    x = X.clone()
    random.seed(0)
    random.random()
    before = everything(first, second)
    with torch.set_grad_enabled(gradients):
        found = check_model(first, second, x)
    assert found.ok != fault
    assert_unchanged(before, everything(first, second))
    assert torch.equal(x, X)
    assert x.grad is None
    assert held.unconstrained() is pyro.get_param_store()._params["shift"]
    assert second.calls == 0


def deaf_to_its_size() -> Any:
    return adding(Model, "decoder", nn.Linear(7, DATA))


def test_what_a_plain_function_calls_is_not_changed_either() -> None:
    net = nn.Sequential(nn.Linear(DATA, LATENT), nn.BatchNorm1d(LATENT))
    before = copy.deepcopy(net.state_dict())

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    check_model(Model(), guide, X)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_a_guide_that_sets_itself_up_at_its_first_call_is_not_set_up() -> None:
    model = Model()
    automatic = AutoNormal(model)
    check_model(model, automatic, X)
    assert automatic.prototype_trace is None
    assert not hasattr(automatic, "locs")


def test_a_checked_program_may_still_become_a_part_of_another() -> None:
    part = Guide()
    check_model(Model(), part, X)
    whole = PyroModule("whole")
    whole.part = part
    assert part._pyro_name == "whole.part"


def test_the_seed_makes_the_findings() -> None:
    fault = model(likelihood=lambda self, z: dist.Normal(1e30 * self.decoder(z), 1e-30).to_event(1))
    program = Guide()
    first = check_model(fault, program, X, seed=3)
    torch.rand(7)
    assert first == check_model(fault, program, X, seed=3)


def only(found: Findings, severity: Severity | None = None) -> Finding:
    """The one finding there is, of all or of a severity."""
    [finding] = [one for one in found if severity in (None, one.severity)]
    return finding
