# mypy: disable-error-code="import-not-found, import-untyped"
"""NumPyro's ``SVI.update``, written as in its example of a variational autoencoder: one update
under ``jax.jit``, and many in one ``lax.scan``."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.example_libraries import stax
from numpyro.infer import SVI, RenyiELBO, Trace_ELBO

from experiments.speed.cases import LEARNING_RATE, VARIANCE, Case, networks
from experiments.speed.contenders._contender import Batches, Contender, LeftOut
from experiments.speed.inputs import Inputs

__all__ = ["Scan", "Update"]


class Update(Contender):
    """One jitted update a call; the batch is gathered in it and the state donated to it."""

    note = (
        "`SVI.update` under `jax.jit`, the batch gathered inside and the state donated; validation "
        "off, as for Pyro; JAX's own random numbers (threefry)."
    )

    def __init__(self, case: Case, inputs: Inputs, device: str) -> None:
        if case.flows:
            raise LeftOut("the flows are Pyro's")
        if device != "cpu":
            raise LeftOut("timed on the processor only")
        numpyro.enable_validation(False)
        self._case = case
        self._data = jnp.asarray(inputs.data)
        self._svi = _svi(case)
        first = self._data[: case.batch]
        self._state = self._svi.init(jax.random.key(0), first, init_params=_parameters(inputs))
        self._losses = jax.jit(_losses_at(self._svi))
        self._draws = 0
        self._advance = jax.jit(self._advanced, donate_argnums=0)

    def _advanced(self, state: Any, data: Any, index: Any) -> Any:
        return self._svi.update(state, data[index])

    def first_call(self) -> None:
        state = jax.tree.map(jnp.copy, self._state)  # as what is given to `_advance` is used up
        index = np.arange(self._case.batch, dtype=np.int32)
        jax.block_until_ready(self._advance(state, self._data, index))

    def loss_samples(self, count: int) -> list[float]:
        self._draws += 1
        keys = jax.random.split(jax.random.key(self._draws), count)
        return self._losses(self._state, keys, self._data[: self._case.batch]).tolist()

    def steps(self, batches: Batches) -> None:
        for index in batches.astype(np.int32):
            self._state, _ = self._advance(self._state, self._data, index)
        jax.block_until_ready(self._state)


class Scan(Update):
    """Many updates a call."""

    chunk = 50
    note = "`lax.scan` over 50 updates a call, under `jax.jit`; else as NumPyro, jit."

    def _advanced(self, state: Any, data: Any, batches: Any) -> Any:
        return jax.lax.scan(lambda s, index: self._svi.update(s, data[index]), state, batches)

    def first_call(self) -> None:
        state = jax.tree.map(jnp.copy, self._state)
        index = np.tile(np.arange(self._case.batch, dtype=np.int32), (self.chunk, 1))
        jax.block_until_ready(self._advance(state, self._data, index))

    def steps(self, batches: Batches) -> None:
        chunks = batches.astype(np.int32).reshape(-1, self.chunk, self._case.batch)
        for chunk in chunks:
            self._state, _ = self._advance(self._state, self._data, chunk)
        jax.block_until_ready(self._state)


def _svi(case: Case) -> Any:
    encoder, decoder = (_network(case, name) for name in ("encoder", "decoder"))

    def model(x: Any) -> None:
        decode = numpyro.module("decoder", decoder, (x.shape[0], case.latent))
        with numpyro.plate("data", x.shape[0]):
            prior = dist.Normal(jnp.zeros(case.latent), jnp.ones(case.latent))
            z = numpyro.sample("z", prior.to_event(1))
            if case.pixels:
                likelihood = dist.Bernoulli(logits=decode(z))
            else:
                likelihood = dist.Normal(decode(z), math.sqrt(VARIANCE))
            numpyro.sample("x", likelihood.to_event(1), obs=x)

    def guide(x: Any) -> None:
        encode = numpyro.module("encoder", encoder, (x.shape[0], case.data_dim))
        with numpyro.plate("data", x.shape[0]):
            mean, scale = jnp.split(encode(x), 2, axis=-1)
            numpyro.sample("z", dist.Normal(mean, jax.nn.softplus(scale)).to_event(1))

    objective = Trace_ELBO() if case.particles == 1 else RenyiELBO(0, case.particles)
    return SVI(model, guide, numpyro.optim.Adam(LEARNING_RATE), objective)


def _network(case: Case, name: str) -> Any:
    layers: list[Any] = []
    for size in networks(case)[name][1:]:
        layers += [stax.Dense(size), stax.Relu]
    return stax.serial(*layers[:-1])


def _parameters(inputs: Inputs) -> dict[str, Any]:
    """The weights as ``numpyro.module`` names them and stax holds them."""
    found = {}
    for name in ("encoder", "decoder"):
        layers: list[Any] = []
        for weight, bias in inputs.layers(name):
            layers += [(jnp.asarray(weight.T), jnp.asarray(bias)), ()]
        found[f"{name}$params"] = layers[:-1]
    return found


def _losses_at(svi: Any) -> Any:
    """What ``svi.update`` says of the loss before it, for many keys; its updates are dropped."""

    def losses(state: Any, keys: Any, x: Any) -> Any:
        return jax.lax.map(lambda key: svi.update(state._replace(rng_key=key), x)[1], keys)

    return losses
