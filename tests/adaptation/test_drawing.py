"""Terms on drawn images: the drawing against diffusers, the value by hand, gradients against differences."""

import dataclasses

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from test_objective import BANDWIDTHS, any_kind, generator, in_one_row, inputs_of, prepare  # noqa: F401
from tiny_adapt import adapting, first_of

from understudy.adaptation import terms
from understudy.adaptation.adapter import adapter_fingerprint
from understudy.adaptation.drawing import Drawing
from understudy.adaptation.settings import DRAWN_FORMS, FEATURE_FORMS, AdaptSettings
from understudy.adaptation.terms import TERMS
from understudy.core.errors import InputError
from understudy.core.files import read_json
from understudy.functional.denoising import x0_error
from understudy.functional.mmd import median_bandwidth, mmd2_per_class
from understudy.generators.stable_diffusion import StableDiffusionGenerator


def drawn_at_once(generator, objective, batch):  # noqa: F811
    """The drawn latents, with a graph through the last two steps, in plain torch."""
    snr, eps = generator.snr, batch.noise
    x0, count = torch.zeros_like(eps), len(eps)
    times = [round(len(snr) * share) - 1 for share in (1, 2 / 3, 1 / 3)]
    for number, time in enumerate(times):
        with torch.set_grad_enabled(number >= len(times) - 2):
            t = torch.full((count,), time)
            residual = generator.denoising_residual(x0, eps, t, batch.real.conditioning)
            error = x0_error(residual, snr[t], generator.prediction_type)
            x0, eps = x0 + error, eps - snr[t].sqrt().view(-1, 1, 1, 1) * error
    return x0


def by_hand(name, latents, batch, generator):  # noqa: F811
    real = batch.real
    if name == "drawn":
        features = [
            generator.encode_features(pixels)
            for pixels in (real.pixels / 127.5 - 1, generator.decode_latents(latents))
        ]
        return mmd2_per_class(*features, real.labels, BANDWIDTHS)
    found, snr = [], generator.snr[real.t]
    for x0 in (real.x0, latents):
        residual = generator.denoising_residual(x0, real.eps, real.t, real.conditioning)
        found.append((x0 + x0_error(residual, snr, generator.prediction_type)).flatten(1))
    h = median_bandwidth(found[0]) * torch.tensor(terms.BANDWIDTHS)
    return mmd2_per_class(*found, real.labels, h)


@pytest.mark.parametrize("name", DRAWN_FORMS)
def test_the_loss_is_denoising_loss_plus_the_mmd_of_drawn_images(name, any_kind, monkeypatch):  # noqa: F811
    """Gradients flow through the last two steps, and not through the weights that compare.

    What an untrained network draws is far from real images, so the kernel is wide.
    """
    monkeypatch.setattr(terms, "BANDWIDTHS", (20.0, 50.0, 200.0))
    plain, objective, _ = prepare(any_kind)
    without = objective.backward(plain)
    expected = in_one_row(any_kind)
    batch, objective, drawn = prepare(any_kind, distribution=name, distribution_weight=2.5)
    loss = objective.backward(batch, drawn)
    found = in_one_row(any_kind) - expected

    latents = drawn_at_once(any_kind, objective, drawn)
    leaf = latents.detach().requires_grad_()
    value = by_hand(name, leaf, drawn, any_kind)
    (by_latent,) = torch.autograd.grad(value, leaf)
    any_kind.denoiser.zero_grad(set_to_none=True)
    (2.5 * by_latent * latents).sum().backward()
    assert loss - without == pytest.approx(2.5 * float(value.detach()), rel=1e-3, abs=1e-5)
    assert abs(float(value.detach())) > 1e-6
    by_weight = in_one_row(any_kind)
    assert float((found - by_weight).norm() / by_weight.norm()) < 1e-3


def test_the_gradient_is_that_of_finite_differences(generator):  # noqa: F811
    """Along a random direction of the drawn latents, and along one of the weights of the last two steps."""
    _, objective, drawn = prepare(generator, distribution="drawn")
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        latents = drawn_at_once(generator, objective, drawn)
    value, gradient = objective._term_gradient(latents, drawn.real, 4)
    direction = torch.randn(latents.shape, generator=rng)
    ends = [
        TERMS["drawn"].weight * by_hand("drawn", latents + step * direction, drawn, generator)
        for step in (-1e-2, 1e-2)
    ]
    slope = float((ends[1] - ends[0]).detach()) / 2e-2
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=0.02)
    assert float(value) == pytest.approx(
        3 * float(by_hand("drawn", latents, drawn, generator).detach()), rel=1e-4
    )


@pytest.mark.parametrize("name", DRAWN_FORMS)
def test_images_drawn_like_the_real_ones_have_no_distance_and_no_pull(name, generator):  # noqa: F811
    """If the drawn latents are the real ones, class by class in another order, the estimate is about 0; if
    they are the real ones themselves, value and gradient are exactly 0.
    """
    _, objective, drawn = prepare(generator, distribution=name, drawn_images=8)
    real = drawn.real
    if name == "drawn":  # compare what the autoencoder makes of the real images on both sides
        with torch.no_grad():
            pixels = (generator.decode_latents(real.x0) + 1) * 127.5
        real = dataclasses.replace(real, pixels=pixels)
    value, gradient = objective._term_gradient(real.x0, real, 8)
    far, pull = objective._term_gradient(real.x0 + 0.3, real, 8)
    assert abs(float(value)) < 1e-3 * abs(float(far))
    assert float(gradient.norm()) < 1e-2 * float(pull.norm())


@pytest.mark.parametrize("name", DRAWN_FORMS)
def test_no_more_images_are_computed_with_gradients_than_the_micro_batch_holds(name, generator, monkeypatch):  # noqa: F811
    batch, objective, drawn = prepare(generator, distribution=name, micro_batch=2)
    counts, residual = [], generator.denoising_residual

    def counting(x0, *arguments):
        counts.append(len(x0))
        return residual(x0, *arguments)

    monkeypatch.setattr(generator, "denoising_residual", counting)
    objective.backward(batch, drawn)
    assert max(counts) == 2


def test_the_drawing_is_that_of_diffusers(generator):  # noqa: F811
    """DDIM with the same timesteps and start, through the denoiser as diffusers calls it."""
    _, objective, drawn = prepare(generator, distribution="drawn")
    drawing = Drawing(generator, objective.residual, 5)
    found = drawing.draw(drawn, torch.arange(6).split(4))
    solver = DDIMScheduler.from_config(
        generator.pipeline.scheduler.config,
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    solver.set_timesteps(5)
    x = drawn.noise * (1 - solver.alphas_cumprod[-1]).sqrt()
    with torch.no_grad():
        for time in solver.timesteps:
            prediction = generator.denoiser(x, time, drawn.real.conditioning.states).sample
            x = solver.step(prediction, time, x).prev_sample
    assert solver.timesteps.tolist() == [999, 799, 599, 399, 199]
    torch.testing.assert_close(found.latents, x, rtol=1e-3, atol=1e-3)
    again = drawing.last_steps(drawn, torch.tensor([4, 5]), found.x0[4:], found.eps[4:])
    torch.testing.assert_close(again, found.latents[4:], rtol=1e-4, atol=1e-4)
    assert again.requires_grad


def test_drawn_batches_hold_plain_images_of_few_classes_at_one_timestep(generator):  # noqa: F811
    inputs, _ = inputs_of(generator, distribution="drawn", drawn_images=6, classes_per_batch=1)
    pixels = {image.tobytes() for image in inputs._pixels[:]}
    times = set()
    for seed in range(8):
        batch = inputs.drawn_batch(torch.Generator().manual_seed(seed))
        assert len(batch.real.labels.unique()) == 1
        assert len(set(batch.real.t.tolist())) == 1
        assert {image.tobytes() for image in batch.real.pixels.numpy()} <= pixels
        assert not batch.real.dropped.any()
        assert 0.1 <= float(generator.snr[batch.real.t[0]]) <= 10
        times |= set(batch.real.t.tolist())
    assert len(times) > 3


@pytest.mark.parametrize("name", DRAWN_FORMS)
@pytest.mark.slow
def test_drawn_images_are_compared_in_the_last_steps_and_the_last_weights_are_kept(
    name, tiny_generator, tiny_pipeline_folder, train, val, tmp_path, monkeypatch
):
    """An adaptation that is interrupted within them ends with the same weights."""
    settings = {"distribution": name, "distribution_steps": 3, "drawn_images": 4, "drawn_steps": 2}
    drawn, draw = [], Drawing.draw

    def counting(self, batch, parts):
        drawn.append(len(batch.noise))
        return draw(self, batch, parts)

    monkeypatch.setattr(Drawing, "draw", counting)
    counts = [len(drawn) for _ in adapting(tiny_generator, train, val, tmp_path / "whole", **settings)]
    assert counts == [0, 0, 0, 1, 2, 3]
    report = read_json(tmp_path / "whole" / "report.json")
    assert report["best_step"] == 6 and report["distribution"] == name
    stopped = tmp_path / "stopped"
    for count, numbers in ((5, [1, 2, 3, 4, 5]), (None, [5, 6])):  # the last checkpoint is that of step 4
        fresh = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
        steps = first_of(adapting(fresh, train, val, stopped, **settings), count)
        assert [step.step for step in steps] == numbers
    assert adapter_fingerprint(stopped) == report["fingerprint"]


def test_settings_of_drawn_images():
    assert {*DRAWN_FORMS, *FEATURE_FORMS} <= set(TERMS)
    settings = AdaptSettings(distribution="drawn", steps=10, distribution_steps=4)
    assert [settings.draws_at(step) for step in (5, 6, 9)] == [False, True, True]
    assert settings.keeps_last and not AdaptSettings(distribution="kernel").keeps_last
    assert not AdaptSettings(distribution="kernel").draws_at(599)


def test_a_class_needs_two_drawn_images(tiny_generator, train, val, tmp_path):
    message = "adapt.drawn_images must be at least 4, two images for each of 2 classes, got 3"
    with pytest.raises(InputError, match=message):
        next(adapting(tiny_generator, train, val, tmp_path, distribution="drawn", drawn_images=3))


def test_a_covariance_needs_two_images_of_a_class(tiny_generator, train, val, tmp_path):
    alone = train.select(np.array([0, 1]))
    assert alone.counts.tolist() == [1, 1]
    with pytest.raises(InputError, match="'covariance' needs a class with at least two train images"):
        first_of(adapting(tiny_generator, alone, val, tmp_path, distribution="covariance"), 1)
