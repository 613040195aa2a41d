"""The VAE as a module: names, sizes, copies, shapes."""

from __future__ import annotations

import copy
import io
import pickle
import re
from collections.abc import Callable

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

from pyro_vae import (
    ELBO,
    IWAE,
    VAE,
    BernoulliLikelihood,
    ConstantNormalGuide,
    FloatingPrior,
    NormalGuide,
    NormalLikelihood,
    Prior,
    ShapeError,
    StandardNormalPrior,
    update_statistics,
)
from pyro_vae.nn import MLP, ConvDecoder, ConvEncoder

DATA, LATENT = 6, 2


def make_vae(prior: Prior | None = None) -> VAE:
    return VAE(
        prior=StandardNormalPrior(LATENT) if prior is None else prior,
        likelihood=BernoulliLikelihood(MLP(LATENT, [5], DATA)),
        guide=NormalGuide(MLP(DATA, [5], 2 * LATENT)),
    )


def data(count: int = 8) -> Tensor:
    return torch.rand(count, DATA).round()


def train_with_svi(vae: VAE) -> None:
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    svi.step(data())


def train_with_torch(vae: VAE) -> None:
    loss = ELBO()(vae.model, vae.guide)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.01)
    loss(data()).backward()
    optimiser.step()


def moved(vae: VAE, before: list[Tensor]) -> list[bool]:
    after = list(vae.parameters())
    return [not torch.equal(b, a) for b, a in zip(before, after, strict=True)]


def snapshot(vae: VAE) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in vae.parameters()]


TRAIN = pytest.mark.parametrize("train", [train_with_svi, train_with_torch])


# --- several in one process ----------------------------------------------------------------------


@TRAIN
def test_two_vaes_in_one_process_both_train_and_apart(train: Callable[[VAE], None]) -> None:
    first, second = make_vae(), make_vae()
    start, later = snapshot(first), snapshot(second)
    train(first)
    assert all(moved(first, start))
    assert not any(moved(second, later))
    start = snapshot(first)
    train(second)
    assert all(moved(second, later))
    assert not any(moved(first, start))


@TRAIN
@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda vae: pickle.loads(pickle.dumps(vae))])
def test_a_copy_of_a_trained_vae_trains_apart(
    train: Callable[[VAE], None], twin_of: Callable[[VAE], VAE]
) -> None:
    vae = make_vae()
    train(vae)
    twin = twin_of(vae)
    start, mine = snapshot(twin), snapshot(vae)
    train(twin)
    assert all(moved(twin, start))
    assert not any(moved(vae, mine))
    assert {id(p) for p in twin.parameters()}.isdisjoint({id(p) for p in vae.parameters()})


def test_model_and_guide_share_no_parameter_and_together_have_all() -> None:
    vae = make_vae(FloatingPrior(LATENT))
    model, guide, both = (
        {id(p) for p in part.parameters()} for part in (vae.model, vae.guide, vae)
    )
    assert not model & guide
    assert model | guide == both


# --- state ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", [StandardNormalPrior, FloatingPrior])
def test_the_state_dict_names_every_tensor_once_and_no_process(prior: type[Prior]) -> None:
    vae, other = make_vae(prior(LATENT)), make_vae(prior(LATENT))
    state = vae.state_dict()
    assert list(state) == list(other.state_dict())
    assert not [name for name in state if re.search(r"vae\d|_guide", name)]
    assert all(name.startswith(("model.", "guide.")) for name in state)
    pointers = [tensor.data_ptr() for tensor in state.values()]
    assert len(set(pointers)) == len(pointers)
    assert len(state) == len(list(vae.parameters())) + (prior is FloatingPrior)


def test_a_name_of_ones_own_is_the_root_in_pyros_store() -> None:
    vae = VAE(
        prior=StandardNormalPrior(LATENT),
        likelihood=BernoulliLikelihood(nn.Linear(LATENT, DATA)),
        guide=NormalGuide(nn.Linear(DATA, 2 * LATENT)),
        name="mine",
    )
    train_with_svi(vae)
    names = list(pyro.get_param_store().keys())
    assert names
    assert all(name.startswith(("mine.model", "mine.guide")) for name in names)


def test_a_state_dict_goes_through_a_file_with_the_floating_prior_in_it() -> None:
    vae, other = make_vae(FloatingPrior(LATENT)), make_vae(FloatingPrior(LATENT))
    update_statistics(vae.model, vae.guide, data())
    file = io.BytesIO()
    torch.save(vae.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.prior().variance, vae.prior().variance)
    x = data()
    assert torch.equal(vae.reconstruct(x), other.reconstruct(x))


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda vae: pickle.loads(pickle.dumps(vae))])
@pytest.mark.parametrize("prior", [StandardNormalPrior, FloatingPrior])
def test_a_copy_computes_the_same(twin_of: Callable[[VAE], VAE], prior: type[Prior]) -> None:
    vae, x = make_vae(prior(LATENT)), data()
    twin = twin_of(vae)
    losses = []
    for candidate in (vae, twin):
        pyro.set_rng_seed(3)
        losses.append(Trace_ELBO().loss(candidate.model, candidate.guide, x))
    assert losses[0] == losses[1]
    assert twin.model._guide is twin.guide  # the floating prior reads the copy's own guide


def test_double_precision_goes_through() -> None:
    vae = make_vae(FloatingPrior(LATENT)).to(torch.float64)
    x = data().double()
    assert ELBO(3).differentiable_loss(vae.model, vae.guide, x).dtype == torch.float64
    update_statistics(vae.model, vae.guide, x)
    vae.eval()
    assert vae.generate(2).dtype == torch.float64


# --- sizes that do not fit ------------------------------------------------------------------------


def build(prior: int, decoder: nn.Module, encoder: nn.Module) -> VAE:
    return VAE(
        prior=StandardNormalPrior(prior),
        likelihood=BernoulliLikelihood(decoder),
        guide=NormalGuide(encoder),
    )


def sequential(*sizes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(sizes[0], 5), nn.ReLU(), nn.Linear(5, sizes[1]))


class Opaque(nn.Module):
    """A network that does not tell its sizes."""

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.inner = sequential(size_in, size_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


@pytest.mark.parametrize("net", [lambda *s: MLP(s[0], [5], s[1]), nn.Linear, sequential])
@pytest.mark.parametrize("sizes", [(3, 2, 4), (2, 3, 4), (2, 2, 6)])
def test_a_latent_size_that_differs_is_refused_at_construction(
    net: Callable[[int, int], nn.Module], sizes: tuple[int, int, int]
) -> None:
    prior, decoder, encoder = sizes
    with pytest.raises(
        ShapeError, match=rf"prior {prior}.*guide {encoder // 2}.*decoder {decoder}"
    ):
        build(prior, net(decoder, DATA), net(DATA, encoder))


@pytest.mark.parametrize("latent", [1, 3])
@pytest.mark.parametrize(
    "objective", [ELBO(), IWAE(3), Trace_ELBO()], ids=lambda o: type(o).__name__
)
def test_an_opaque_encoder_of_another_latent_size_is_refused_on_the_first_batch(
    objective: ELBO, latent: int
) -> None:
    vae = build(LATENT, Opaque(LATENT, DATA), Opaque(DATA, 2 * latent))
    with pytest.raises(ShapeError, match=rf"latent.*{LATENT}.*got.*{latent}"):
        objective.loss(vae.model, vae.guide, data())


def test_an_odd_number_of_encoder_outputs_is_refused() -> None:
    for encoder in (nn.Linear(DATA, 3), sequential(DATA, 3)):
        with pytest.raises(ShapeError, match=r"2·latent outputs.*got 3"):
            NormalGuide(encoder)
    with pytest.raises(ShapeError, match=r"2·latent outputs.*got 3"):
        NormalGuide(Opaque(DATA, 3)).posterior(data())


@pytest.mark.parametrize("size", [0, -1])
def test_a_latent_dimension_below_one_is_refused(size: int) -> None:
    with pytest.raises(ShapeError, match="whole number"):
        StandardNormalPrior(size)


@pytest.mark.parametrize("net", [lambda *s: MLP(s[0], [5], s[1]), nn.Linear, sequential])
@pytest.mark.parametrize("shape", [(8, DATA + 1), (8, 1, DATA + 2)])
def test_data_that_do_not_fit_the_encoder_are_refused(
    net: Callable[[int, int], nn.Module], shape: tuple[int, ...]
) -> None:
    vae = build(LATENT, net(LATENT, DATA), net(DATA, 2 * LATENT))
    with pytest.raises(ShapeError, match=f"expected.*{DATA}.*got.*{shape[-1]}"):
        ELBO().loss(vae.model, vae.guide, torch.zeros(shape))


def test_data_that_do_not_fit_the_decoder_are_refused() -> None:
    vae = build(LATENT, nn.Linear(LATENT, DATA + 1), nn.Linear(DATA, 2 * LATENT))
    with pytest.raises(ShapeError, match=rf"\[batch, {DATA + 1}\].*got \[8, {DATA}\]"):
        ELBO().loss(vae.model, vae.guide, data())


def test_images_that_do_not_fit_the_convolutions_are_refused() -> None:
    encoder = ConvEncoder((1, 8, 8), 4, channels=2)
    for shape in [(5, 64), (5, 1, 12, 12), (5, 3, 8, 8)]:
        with pytest.raises(ShapeError, match="1×8×8"):
            encoder(torch.zeros(shape))


# --- what a trained VAE is for --------------------------------------------------------------------


def test_shapes_of_generate_decode_and_reconstruct() -> None:
    vae = make_vae()
    assert vae.generate(4).shape == (4, DATA)
    assert vae.decode(torch.randn(7, 4, LATENT)).shape == (7, 4, DATA)
    assert vae.reconstruct(data()).shape == (8, DATA)
    assert not vae.reconstruct(data()).requires_grad


def test_reconstruct_is_the_decoders_mean_at_the_posteriors() -> None:
    vae, x = make_vae(), data()
    expected = vae.likelihood.decoder(vae.guide.posterior(x).mean).sigmoid()
    torch.testing.assert_close(vae.reconstruct(x), expected.detach())


def test_generate_draws_from_the_prior_the_vae_has() -> None:
    vae = VAE(
        prior=FloatingPrior(1),
        likelihood=NormalLikelihood(nn.Identity()),
        guide=ConstantNormalGuide(nn.Identity(), 0.1),
    )
    x = torch.randn(50, 1) * 3
    update_statistics(vae.model, vae.guide, x)
    expected = x.square().mean() + 0.01
    # A variance of 20 000 draws has relative error 1 %: 6 of them, by chance < 10⁻⁸.
    torch.testing.assert_close(vae.generate(20_000).var(), expected, rtol=0.06, atol=0)


@pytest.mark.parametrize("objective", [ELBO(), ELBO(3, analytic_kl=True), IWAE(4)], ids=repr)
def test_a_convolutional_pair_takes_particles(objective: ELBO | IWAE) -> None:
    vae = VAE(
        prior=StandardNormalPrior(LATENT),
        likelihood=BernoulliLikelihood(ConvDecoder(LATENT, (1, 8, 8), channels=2)),
        guide=NormalGuide(ConvEncoder((1, 8, 8), 2 * LATENT, channels=2)),
    )
    x = torch.rand(5, 1, 8, 8)
    bound = objective.bound(objective.particles(vae.model, vae.guide, x))
    assert bound.shape == (5,)
    bound.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())
    assert vae.generate(3).shape == (3, 1, 8, 8)
