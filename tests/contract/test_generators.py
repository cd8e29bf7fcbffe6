"""What every registered generator must keep; a new one is tested by being registered."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from tiny import (
    missing,
    plan_rows,
    save_tiny_flux,
    save_tiny_image_encoder,
    save_tiny_pipeline,
    save_tiny_sana,
    save_tiny_sd3,
    save_tiny_sdxl,
)
from torch import nn

from understudy.adaptation.methods import METHODS
from understudy.adaptation.settings import AdaptSettings
from understudy.core.errors import InputError
from understudy.generators.generator import Adaptable, Generator, NoiseSchedule
from understudy.generators.load import GENERATORS, load_generator
from understudy.generators.settings import GeneratorSettings

SAVERS = {
    "epsilon": save_tiny_pipeline,
    "v-prediction": functools.partial(save_tiny_pipeline, prediction_type="v_prediction"),
    "xl": save_tiny_sdxl,
    "sd3": save_tiny_sd3,
    "sd3-without-t5": functools.partial(save_tiny_sd3, t5=False),
    "flux-dev": save_tiny_flux,
    "flux-schnell": functools.partial(save_tiny_flux, dev=False),
    "sana": save_tiny_sana,
}
DENOISER_METHODS = [name for name in METHODS if name != "none" and not AdaptSettings(method=name).has_token]
TOKEN_METHODS = [name for name in METHODS if AdaptSettings(method=name).has_token]
# Ready-made images and rendered glyphs have no network, and a class-conditional model no prompts:
# tests/generators has a file for each.
_OTHERS = ("stable-diffusion", "folder", "glyphs", "class_conditional")
NAMES = [name for name in GENERATORS if name not in _OTHERS]


@pytest.fixture(scope="module", params=[*NAMES, *SAVERS])
def fresh(request, tmp_path_factory):
    """Loads the generator anew; every family of pipeline stands for ``stable-diffusion``."""
    name = request.param
    if name in SAVERS:
        folder = tmp_path_factory.mktemp("pipeline")
        SAVERS[name](folder)
        name = str(folder)
    return lambda **changes: load_generator(GeneratorSettings(name=name, **changes), device="cpu")


@pytest.fixture(scope="module")
def generator(fresh):
    """Tests only read it."""
    return fresh()


@pytest.fixture
def rows(generator):
    """Makes plan rows with a sampler that fits."""
    return functools.partial(_rows, sampler="flow-euler" if generator.prediction_type == "flow" else "unipc")


def _rows(count, train, **changes):
    rows = plan_rows(count, train, steps=2, guidance_scale=2.0, **changes)
    return [
        dataclasses.replace(row, prompt=f"a photo of a {('cat', 'dog')[i % 2]}") for i, row in enumerate(rows)
    ]


def grey_levels(a, b):
    """The largest difference of two sets of images."""
    return int(np.abs(a.astype(int) - b).max())


def test_it_fulfils_the_contract(generator):
    assert missing(generator, Generator, NoiseSchedule, Adaptable) == []
    assert generator.image_size % 8 == 0
    assert isinstance(generator.denoiser, nn.Module)
    assert generator.device == torch.device("cpu")
    assert generator.prediction_type in ("epsilon", "v_prediction", "flow")
    assert generator.snr.ndim == 1
    assert generator.snr.dtype == torch.float32
    assert (generator.snr >= 0).all()
    assert (generator.snr.diff() < 0).all()


def test_the_fingerprint_is_that_of_the_weights(fresh, generator):
    other = fresh()
    assert other.fingerprint == generator.fingerprint
    with torch.no_grad():
        next(other.denoiser.parameters()).add_(1e-3)
    assert other.fingerprint != generator.fingerprint


def test_all_weights_are_frozen_until_adaptation(generator):
    assert not any(parameter.requires_grad for parameter in generator.denoiser.parameters())
    assert not generator.denoiser.training


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_an_image_depends_on_its_row_alone(strength, generator, train, rows):
    plan = rows(4, train, strength=strength)
    state = torch.random.get_rng_state()
    together = generator.draw(plan, train)
    size = generator.image_size
    assert together.shape == (4, 3, size, size)
    assert together.dtype == np.uint8
    assert all(grey_levels(together[i], together[j]) > 1 for i in range(4) for j in range(i))
    apart = np.concatenate(
        [generator.draw([plan[i]], train) for i in (2, 0)] + [generator.draw([plan[3], plan[1]], train)]
    )
    assert grey_levels(apart, together[[2, 0, 3, 1]]) <= 1
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_resolution_can_be_set(fresh, generator, train, rows):
    size = max(24, 2 * generator.layout.size_unit)
    assert fresh(resolution=size).draw(rows(1, train), train).shape == (1, 3, size, size)


def test_images_and_prompts_are_encoded_one_by_one(generator, train):
    pixels = torch.from_numpy(train.pixels(generator.image_size))
    latents, conditioning = (
        generator.encode_images(pixels),
        generator.encode_prompts(["a photo of a cat", ""]),
    )
    assert latents.ndim == 4
    assert conditioning.states.ndim == 3
    assert conditioning.states.shape[2] == generator.token_width
    torch.testing.assert_close(generator.encode_images(pixels[3:4]), latents[3:4], rtol=1e-3, atol=1e-4)
    alone = generator.encode_prompts([""])
    torch.testing.assert_close(alone.states, conditioning.states[1:], rtol=1e-3, atol=1e-4)
    if conditioning.pooled is not None:
        torch.testing.assert_close(alone.pooled, conditioning.pooled[1:], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(conditioning.states[0], conditioning.states[1])


def test_latents_are_decoded_with_gradients(generator, train):
    pixels = torch.from_numpy(train.pixels(generator.image_size)[:2])
    latents = generator.encode_images(pixels).requires_grad_()
    decoded = generator.decode_latents(latents)
    assert decoded.shape == pixels.shape
    assert decoded.dtype == torch.float32
    decoded.square().sum().backward()
    assert latents.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in generator.pipeline.vae.parameters())


def test_features_have_gradients_and_stand_for_one_image_each(fresh, train, tmp_path):
    save_tiny_image_encoder(tmp_path, width=24)
    generator = fresh(image_encoder=str(tmp_path))
    pixels = (torch.from_numpy(train.pixels(generator.image_size)[:3]) / 127.5 - 1).requires_grad_()
    features = generator.encode_features(pixels)
    assert features.shape == (3, generator.feature_width) == (3, 24)
    assert features.dtype == torch.float32
    torch.testing.assert_close(generator.encode_features(pixels[1:2]), features[1:2], rtol=1e-3, atol=1e-5)
    features[1].sum().backward()
    moved = pixels.grad.flatten(1).abs().amax(1)
    assert moved[1] > 0
    assert moved[0] == moved[2] == 0


def test_a_token_decides_its_image_alone(generator, train, rows):
    plan, rng = rows(3, train), torch.Generator().manual_seed(0)
    tokens = 100 * torch.randn(3, generator.token_width, generator=rng)
    together = generator.draw(plan, train, tokens)
    apart = np.concatenate([generator.draw(plan[i : i + 1], train, tokens[i : i + 1]) for i in range(3)])
    assert grey_levels(together, apart) <= 1
    assert np.array_equal(generator.draw(plan, train, None), generator.draw(plan, train))
    other = generator.draw(plan, train, torch.cat([tokens[:2], -tokens[2:]]))
    assert grey_levels(other[:2], together[:2]) <= 1
    assert not np.array_equal(other[2], together[2])
    with pytest.raises(ValueError, match=r"tokens must be of shape \(3, \d+\), one per row, got \(3, 5\)"):
        generator.draw(plan, train, torch.zeros(3, 5))


def test_pretrained_denoisers_take_no_parameters_of_augmentations(generator):
    with pytest.raises(InputError, match="adapt.augmentation_probability needs the generator 'class_cond"):
        generator.learn_augmentation(5)


def test_prompts_that_would_be_cut_are_refused(generator):
    generator.check_prompts(["a photo of a cat", ""], keep_last=True)
    tokenizer, limit = min(generator._token_limits(), key=lambda pair: pair[1])
    longest = "x" * (limit + 1 - len(tokenizer("x").input_ids))
    generator.check_prompts([longest], keep_last=False)
    with pytest.raises(
        InputError, match=f"at most {limit - 1} tokens.*, got {limit} for 'xx.*needed for the image feature"
    ):
        generator.check_prompts(["a cat", longest], keep_last=True)
    with pytest.raises(
        InputError,
        match=f"at most {limit} tokens.*, got {limit + 1} for 'xx.*: shorten the prompt or the caption",
    ):
        generator.check_prompts([longest + "x"], keep_last=False)


def test_no_prompt_within_the_limit_is_cut(generator):
    tokenizer, limit = min(generator._token_limits(), key=lambda pair: pair[1])
    longest = "x" * (limit - len(tokenizer("x").input_ids))
    ends = generator.encode_prompts([longest + "c", longest + "d"])
    assert not torch.allclose(ends.states[0], ends.states[1])


@pytest.mark.parametrize("executed", [1, 5, 15, 22, 29, 30])
def test_a_strength_is_found_from_a_ratio(executed, generator, rows, train):
    sampler = rows(1, train)[0].sampler
    solver = generator._solver(sampler)
    generator._schedule.set_timesteps(solver, 30)
    snr = generator._schedule.grid_snr(solver)[30 - executed].item()
    strength = generator.strength_at(max(snr, 1e-9), sampler=sampler, steps=30)
    assert int(30 * strength) == executed
    assert strength == pytest.approx(executed / 30)


def test_the_residual_can_be_trained_on(fresh, train):
    generator = fresh()
    METHODS["full"](generator, AdaptSettings(), seed=0, num_classes=2)
    x0 = generator.encode_images(torch.from_numpy(train.pixels(generator.image_size)[:4]))
    rng = torch.Generator().manual_seed(0)
    t = torch.tensor([0, 1, len(generator.snr) // 2, len(generator.snr) - 1])
    residual = generator.denoising_residual(
        x0, torch.randn(x0.shape, generator=rng), t, generator.encode_prompts(["a cat"] * 4)
    )
    assert residual.shape == x0.shape
    assert residual.dtype == torch.float32
    assert residual.isfinite().all()
    residual.square().mean().backward()
    gradients = [parameter.grad for parameter in generator.denoiser.parameters()]
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("method", DENOISER_METHODS)
def test_an_adapter_survives_saving_and_loading(method, fresh, train, rows, tmp_path):
    adapted, again = fresh(), fresh()
    rng = torch.Generator().manual_seed(0)
    for parameter in METHODS[method](adapted, AdaptSettings(method=method, rank=2), seed=0, num_classes=2):
        with torch.no_grad():
            parameter += 0.02 * torch.randn(parameter.shape, generator=rng)
    adapted.save_adapter(tmp_path / "adapter", method=method)
    untouched = again.draw(rows(2, train), train)
    again.load_adapter(tmp_path / "adapter", method=method)
    loaded = again.draw(rows(2, train), train)
    # Low-rank updates are merged on loading, which rounds otherwise than adding them at every step.
    assert grey_levels(loaded, adapted.draw(rows(2, train), train)) <= 2
    assert grey_levels(loaded, untouched) > 2


@pytest.mark.parametrize("method", DENOISER_METHODS)
def test_an_adapter_is_applied_in_part(method, fresh, generator, tmp_path):
    """Weights at scale 0.25 lie a quarter of the way from the base to the adapted ones."""
    adapted, part, whole = (fresh() for _ in range(3))
    rng = torch.Generator().manual_seed(0)
    settings = AdaptSettings(method=method, rank=2, alpha=4, targets=("attention",))
    for parameter in METHODS[method](adapted, settings, seed=0, num_classes=2):
        with torch.no_grad():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    adapted.save_adapter(tmp_path, method=method)
    part.load_adapter(tmp_path, method=method, scale=0.25)
    whole.load_adapter(tmp_path, method=method)
    start, quarter, end = (attention_weights(generator) for generator in (generator, part, whole))
    assert any(not torch.equal(one, other) for one, other in zip(start, end, strict=True))
    for a, b, c in zip(start, quarter, end, strict=True):
        torch.testing.assert_close(b, a + 0.25 * (c - a), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", TOKEN_METHODS)
def test_tokens_are_learned_and_kept_or_refused(method, fresh, generator, train, rows, tmp_path):
    adapted, again = fresh(), fresh()
    settings = AdaptSettings(method=method, token="s*", num_vectors=2)  # noqa: S106 - a word of a prompt
    if isinstance(adapted.pipeline, StableDiffusionPipeline):
        for parameter in METHODS[method](adapted, settings, seed=0, num_classes=2):
            with torch.no_grad():
                parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
        adapted.save_adapter(tmp_path / "adapter", method=method)
        again.load_adapter(tmp_path / "adapter", method=method)
        assert again.fingerprint == adapted.fingerprint != generator.fingerprint
        plan = [
            dataclasses.replace(row, prompt=f"a {token}")
            for row, token in zip(rows(2, train), settings.tokens(2), strict=True)
        ]
        drawn = again.draw(plan, train)
        assert np.array_equal(drawn, adapted.draw(plan, train))
        assert grey_levels(drawn, generator.draw(plan, train)) > 1
        return
    with pytest.raises(
        InputError,
        match=r"a learned token needs a pipeline whose only text encoder is CLIP, .* got \w+Pipeline: choose",
    ):
        METHODS[method](adapted, settings, seed=0, num_classes=2)
    (tmp_path / "learned_embeds.safetensors").touch()
    with pytest.raises(InputError, match="a learned token needs"):
        again.load_adapter(tmp_path, method=method)


def attention_weights(generator):
    """Of the query projections, low-rank updates merged."""
    linear = [
        (name, module) for name, module in generator.denoiser.named_modules() if isinstance(module, nn.Linear)
    ]
    return [module.weight for name, module in linear if name.removesuffix(".base_layer").endswith("to_q")]
