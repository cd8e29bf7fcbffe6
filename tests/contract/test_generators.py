"""What every registered generator must keep; a new one is tested by being registered."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from understudy.adaptation import METHODS
from understudy.generators import GENERATORS, load_generator
from understudy.nouns import Generator, PlanRow
from understudy.settings import AdaptSettings, GeneratorSettings


@pytest.fixture(scope="module", params=list(GENERATORS))
def fresh(request, tiny_pipeline_folder):
    """Loads the generator anew."""
    name = str(tiny_pipeline_folder) if request.param == "stable-diffusion" else request.param
    return lambda **changes: load_generator(GeneratorSettings(name=name, **changes), device="cpu")


@pytest.fixture(scope="module")
def generator(fresh):
    """Tests only read it."""
    return fresh()


def rows(count, train, **changes):
    base = PlanRow(
        id="", label=0, class_name="cat", prompt="a photo of a cat", negative_prompt="", seed=0, sampler="unipc", steps=4,
        guidance_scale=2.0, strength=1.0, source_id="", adapter="",
    )  # fmt: skip
    prompts = ("a photo of a cat", "a photo of a dog")
    return [
        dataclasses.replace(base, id=f"i{i}", seed=100 + i, prompt=prompts[i % 2], source_id=train.ids[i % len(train)], **changes)
        for i in range(count)
    ]


def grey_levels(a, b):
    """The largest difference of two sets of images."""
    return int(np.abs(a.astype(int) - b).max())


def test_it_has_everything_that_stages_ask_for(generator):
    assert [name for name in vars(Generator) if not name.startswith("_") and not hasattr(generator, name)] == []
    assert generator.image_size % 8 == 0
    assert isinstance(generator.denoiser, nn.Module)
    assert generator.device == torch.device("cpu")
    assert generator.prediction_type in ("epsilon", "v_prediction")
    alpha_bar = generator.alpha_bar
    assert alpha_bar.ndim == 1
    assert ((alpha_bar > 0) & (alpha_bar < 1)).all()
    assert (alpha_bar.diff() < 0).all()


def test_the_fingerprint_is_that_of_the_weights(fresh, generator):
    other = fresh()
    assert other.fingerprint == generator.fingerprint
    with torch.no_grad():
        next(other.denoiser.parameters()).add_(1e-3)
    assert other.fingerprint != generator.fingerprint


def test_nothing_is_trained_unless_adaptation_says_so(generator):
    assert not any(parameter.requires_grad for parameter in generator.denoiser.parameters())
    assert not generator.denoiser.training


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_an_image_depends_on_its_row_alone(strength, generator, train):
    plan = rows(4, train, strength=strength)
    state = torch.random.get_rng_state()
    together = generator.draw(plan, train)
    size = generator.image_size
    assert together.shape == (4, 3, size, size)
    assert together.dtype == np.uint8
    assert all(grey_levels(together[i], together[j]) > 1 for i in range(4) for j in range(i))
    apart = np.concatenate([generator.draw([plan[i]], train) for i in (2, 0)] + [generator.draw([plan[3], plan[1]], train)])
    assert grey_levels(apart, together[[2, 0, 3, 1]]) <= 1
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_resolution_can_be_set(fresh, train):
    assert fresh(resolution=24).draw(rows(1, train), train).shape == (1, 3, 24, 24)


def test_images_and_prompts_are_encoded_one_by_one(generator, train):
    pixels = torch.from_numpy(train.pixels(generator.image_size))
    latents, states = generator.encode_images(pixels), generator.encode_prompts(["a photo of a cat", ""])
    assert latents.ndim == 4
    assert states.ndim == 3
    torch.testing.assert_close(generator.encode_images(pixels[3:4]), latents[3:4], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(generator.encode_prompts([""]), states[1:], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(states[0], states[1])


def test_the_residual_can_be_trained_on(fresh, train):
    generator = fresh()
    METHODS["full"](generator.denoiser, AdaptSettings(), 0)
    x0 = generator.encode_images(torch.from_numpy(train.pixels(generator.image_size)[:4]))
    rng = torch.Generator().manual_seed(0)
    t = torch.tensor([0, 1, len(generator.alpha_bar) // 2, len(generator.alpha_bar) - 1])
    residual = generator.denoising_residual(x0, torch.randn(x0.shape, generator=rng), t, generator.encode_prompts(["a cat"] * 4))
    assert residual.shape == x0.shape
    assert residual.dtype == torch.float32
    assert residual.isfinite().all()
    residual.square().mean().backward()
    gradients = [parameter.grad for parameter in generator.denoiser.parameters()]
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "none"])
def test_an_adapter_survives_saving_and_loading(method, fresh, train, tmp_path):
    adapted, again = fresh(), fresh()
    rng = torch.Generator().manual_seed(0)
    for parameter in METHODS[method](adapted.denoiser, AdaptSettings(method=method, rank=2), 0):
        with torch.no_grad():
            parameter += 0.02 * torch.randn(parameter.shape, generator=rng)
    adapted.save_adapter(tmp_path / "adapter", method=method)
    untouched = again.draw(rows(2, train), train)
    again.load_adapter(tmp_path / "adapter", method=method)
    loaded = again.draw(rows(2, train), train)
    # Low-rank updates are merged on loading, which rounds otherwise than adding them at every step.
    assert grey_levels(loaded, adapted.draw(rows(2, train), train)) <= 2
    assert grey_levels(loaded, untouched) > 2
