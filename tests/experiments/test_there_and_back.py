"""The experiment on Fyffe's equations and variances: what is trained, and a small run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.command_line import main
from experiments.there_and_back.config import default_config
from experiments.there_and_back.data import load, scaled
from experiments.there_and_back.evaluate import measure
from experiments.there_and_back.figures import _titles, label
from experiments.there_and_back.jobs import folder_of
from experiments.there_and_back.report.likelihoods import _beside, _largest_drop
from experiments.there_and_back.variants import LIKELIHOODS, STUDIES, Variant, build, variants
from pyro_vae import update_statistics
from pyro_vae.data import digits

SMALL = default_config("digits", quick=True)
QUICK_TOY = default_config("toy", quick=True)


def test_every_variant_has_a_folder_of_its_own_and_is_trained_once() -> None:
    found = variants(default_config())
    assert len({variant.name for variant in found}) == len(found)
    several = [v for study in STUDIES.values() for v in study(default_config())]
    assert len(several) > len(found)  # studies share runs
    toy = variants(default_config("toy"))
    assert {v.likelihood for v in found + toy} == LIKELIHOODS.keys()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("deviation", [None, 0.5])
def test_a_variant_has_a_gradient(likelihood: str, deviation: float | None) -> None:
    variant = Variant(likelihood, 2, 1, deviation=deviation, scale=4.0, factor=10.0)
    vae, objective = build(variant, SMALL, 64)
    x = torch.rand(8, 64) if likelihood == "Bernoulli" else 4 * torch.rand(8, 64)
    objective.differentiable_loss(vae.model, vae.guide, x).backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_the_factor_is_taken_back_by_the_decoder() -> None:
    """The same networks: means times 10, and what they decode to the same."""
    x = torch.rand(8, 64)
    plain, scaled_up = (
        build(Variant("Bernoulli", 2, 1, deviation=d, factor=f), SMALL, 64)[0]
        for d, f in ((1.0, 1.0), (10.0, 10.0))
    )
    means = [vae.guide.posterior(x).mean for vae in (plain, scaled_up)]
    torch.testing.assert_close(means[1], 10 * means[0])
    torch.testing.assert_close(plain.decode(means[0]), scaled_up.decode(means[1]))
    learned = [
        build(Variant("Bernoulli", 2, 1, deviation=None, factor=f), SMALL, 64)[0].guide.posterior(x)
        for f in (1.0, 10.0)
    ]
    torch.testing.assert_close(learned[1].mean, 10 * learned[0].mean)
    torch.testing.assert_close(learned[1].stddev, learned[0].stddev)


def test_what_is_measured_is_in_the_datas_own_unit() -> None:
    """BAGGINS of the same weights on data times λ: every number but for rounding the same."""
    data = digits()
    found = []
    for scale in (1.0, 4.0):
        variant = Variant("BAGGINS", 2, 1, scale=scale)
        own = scaled(data, scale)
        vae, _ = build(variant, SMALL, 64)
        update_statistics(vae.model, vae.guide, own.train.values)
        vae.eval()
        found.append(measure(vae, variant, own, SMALL))
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-4), name


def test_networks_that_see_the_scaled_data_are_others() -> None:
    """Its own unit takes λ back before the first weight; seen as they are, data reach it."""
    x = torch.rand(8, 64)
    own, seen = (
        build(Variant("BAGGINS", 2, 1, scale=3.0, own_unit=unit), SMALL, 64)[0].guide.posterior(x)
        for unit in (True, False)
    )
    plain = build(Variant("BAGGINS", 2, 1), SMALL, 64)[0].guide
    torch.testing.assert_close(own.mean, plain.posterior(x / 3).mean)
    torch.testing.assert_close(seen.mean, plain.posterior(x).mean)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_baggins_balances_on_what_it_was_estimated_on(scale: float) -> None:
    """Eq. 28 and 30 there, but for the latents drawn: within 2 %, and 0.5 nats of 64 pixels."""
    data = scaled(digits(), scale)
    variant = Variant("BAGGINS", 2, 1, scale=scale)
    vae, _ = build(variant, SMALL, 64)
    update_statistics(vae.model, vae.guide, data.train.values)
    vae.eval()
    on_training = replace(data, test=data.train)
    found = measure(vae, variant, on_training, replace(SMALL, elbo_samples=50))
    assert found["observed"] == pytest.approx(found["information"], rel=0.02)
    assert found["bound_by_moments"] == pytest.approx(found["bound"], abs=0.5)


def test_the_largest_drop_is_from_the_best_so_far() -> None:
    bounds = [-10.0, None, -5.0, -7.0, -4.0, -6.5, -6.0]
    history = [{"validation": bound} for bound in bounds]
    assert _largest_drop({"history": history}) == 2.5


def test_scales_are_held_against_where_a_further_seed_would_be() -> None:
    """Of three seeds 1, 2, 3: 2 ± t s √(1 + 1/3), t = 4.30 and s = 1, so 2 ± 4.97."""

    def results(*values: float) -> list[dict[str, float]]:
        return [dict.fromkeys(("bits_per_dim", "to_data", "from_data"), v) for v in values]

    told = _beside(results(6.9, 7.0, -2.9), results(1.0, 2.0, 3.0))
    assert told.startswith(
        "bits a dimension range over 9.9, those of the seeds over 2; at 2 of 3 λ they are where a "
        "further seed is with 95 %, ± 5; samples to data"
    )


def test_labels_tell_what_differs() -> None:
    assert label(Variant("BAGGINS", 2, 1, tau=1 / 5, scale=16.0)) == "BAGGINS, τ = 1/5, λ = 16"
    assert label(Variant("T = I", 2, 1, scale=1 / 16)) == "T = I, λ = 1/16"


def test_titles_leave_out_what_all_panels_say() -> None:
    several = [Variant("BAGGINS", 2, 1, tau=1 / 5, scale=scale) for scale in (1 / 3, 1.0, 3.0)]
    assert _titles(several) == ["λ = 1/3", "λ = 1", "λ = 3"]
    mixed = [Variant("learned T", 2, 1), Variant("T = I", 2, 1, scale=16.0)]
    assert _titles(mixed) == ["learned T, λ = 1", "T = I, λ = 16"]
    assert _titles(several[:1]) == ["BAGGINS, τ = 1/5, λ = 1/3"]


def test_a_small_run_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "run", tmp_path / "docs" / "back.md"
    arguments = ["there_and_back", "--data", "digits", "--quick", "--studies", "taus,equations"]
    arguments += ["--out", str(out), "--publish", str(page)]
    assert main(arguments) == 0
    config = replace(SMALL, studies=("taus", "equations"))
    results = [folder_of(out, variant).result() for variant in variants(config)]
    checked = [result["checks"] for result in results if "checks" in result]
    assert len(checked) == len(set(STUDIES["equations"](config)))
    for check in (c for checks in checked for some in checks.values() for c in some):
        assert math.isfinite(check["predicted"]), check
        assert math.isfinite(check["measured"]), check
    text = page.read_text()
    assert text.startswith("# There and back again: digits — the information factor, the equations")
    assert "### T = I, λ = 4, 2 latents" in text
    assert "| 16, 26 | log p(x), nats |" in text
    assert "](back/samples_tau.png)" in text
    command = json.loads((out / "results.json").read_text())["command"]
    assert command == (
        "python -m experiments there_and_back --data digits --studies taus,equations --quick"
    )
    assert main(arguments) == 0
    assert "are done already" in capsys.readouterr().out


def test_the_toy_has_as_many_dimensions_as_latents_for_equation_27(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["there_and_back", "--data", "toy", "--quick", "--out", str(out)]) == 0
    assert "| 27 | log p(x), nats, as if T = 0 |" in (out / "report.md").read_text()
    two, one = (
        folder_of(out, v).result()["checks"]["held-out"] for v in STUDIES["equations"](QUICK_TOY)
    )
    assert [c["equation"] for c in two if c["equation"] == "27"] == ["27"]
    assert "27" not in {check["equation"] for check in one}


def test_the_toy_is_a_bent_plane() -> None:
    x = load("toy", None).train.values
    straight = torch.stack([x[:, 0], x[:, 1] - x[:, 0].square() / 2], dim=1)
    # z₁ + 0.1 ε, and z₂ + 0.1 (ε₂ − z₁ ε₁) less a twentieth of the noise's square.
    torch.testing.assert_close(straight.mean(0), torch.tensor([0.0, -0.005]), atol=0.05, rtol=0)
    expected = torch.diag(torch.tensor([1.01, 1.02]))
    torch.testing.assert_close(straight.T.cov(), expected, atol=0.08, rtol=0)


def test_studies_of_images_are_refused_for_the_toy() -> None:
    with pytest.raises(SystemExit, match="expected --studies equations"):
        main(["there_and_back", "--data", "toy", "--studies", "taus"])


def test_a_training_that_runs_off_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("experiments.there_and_back.train.adam", lambda rate: _exploding)
    arguments = ["there_and_back", "--data", "digits", "--quick", "--studies", "taus"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    assert "failed" in (tmp_path / "run" / "report.md").read_text()


def _exploding(parameters: object) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1e30)  # type: ignore[arg-type]
