"""FLUX.1 against plain diffusers: packed latents, distilled guidance, and the shift by image size."""

import functools
import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from tiny import plan_row, save_tiny_flux

from understudy.core.errors import InputError
from understudy.generators.load import load_generator
from understudy.generators.samplers import build_sampler
from understudy.generators.settings import GeneratorSettings
from understudy.pipeline.trial import try_generator
from understudy.settings import build


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dev")
    save_tiny_flux(folder)
    return folder


@pytest.fixture(scope="module")
def schnell(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schnell")
    save_tiny_flux(folder, dev=False)
    return folder


def load(folder, **settings):
    return load_generator(GeneratorSettings(name=str(folder), **settings), device="cpu")


row = functools.partial(plan_row, sampler="flow-euler", steps=4)


def plain(folder):
    pipeline = FluxPipeline.from_pretrained(folder)
    pipeline.scheduler = build_sampler("flow-euler", pipeline.scheduler.config, kind="flow matching")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("name", ["dev", "schnell"])
def test_the_solver_has_the_sigmas_of_the_pipeline(name, size, request):
    folder = request.getfixturevalue(name)
    pipeline, generator = plain(folder), load(folder, resolution=size)
    pipeline("a cat", num_inference_steps=5, height=size, width=size, output_type="latent")
    solver = generator._solver("flow-euler")
    generator._schedule.set_timesteps(solver, 5)
    torch.testing.assert_close(solver.sigmas, pipeline.scheduler.sigmas, rtol=1e-6, atol=0)
    sigmas = pipeline.scheduler.sigmas[:-1]
    torch.testing.assert_close(
        generator._schedule.grid_snr(solver), ((1 - sigmas) / sigmas) ** 2, rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(("size", "mu"), [(16, 0.5 + 0.65 * 12 / 60), (32, 0.5 + 0.65)])
def test_training_and_drawing_have_one_shift_which_grows_with_the_size(size, mu, dev):
    """The tiny scheduler shifts by 0.5 for 4 patches and by 1.15 for 64; an image has (size / 4)^2."""
    generator = load(dev, resolution=size)
    half = np.exp(mu) / (np.exp(mu) + 1)  # what the shift makes of 1 / 2
    solver = generator._solver("flow-euler")
    generator._schedule.set_timesteps(solver, 2)
    assert solver.sigmas[1] == pytest.approx(half)
    assert generator.snr[499] == pytest.approx(((1 - half) / half) ** 2)
    assert generator._schedule.network_time(torch.tensor([499]))[0] == pytest.approx(1000 * half)


@pytest.mark.parametrize("name", ["dev", "schnell"])
def test_the_residual_is_that_of_the_plain_transformer(name, train, request):
    folder = request.getfixturevalue(name)
    generator, pipeline = load(folder), plain(folder)
    x0 = generator.encode_images(torch.from_numpy(train.pixels(16)[:3]))
    eps, t = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 499, 999])
    sigma = 1 / (1 + generator.snr[t].sqrt())
    noisy = torch.lerp(x0, eps, sigma.view(-1, 1, 1, 1))
    states, pooled, text_ids = pipeline.encode_prompt(
        ["a cat", "a dog", ""], None, max_sequence_length=512 if name == "dev" else 256
    )
    prediction = pipeline.transformer(
        hidden_states=pipeline._pack_latents(noisy, 3, 4, 8, 8),
        timestep=sigma,
        guidance=torch.ones(3) if name == "dev" else None,
        pooled_projections=pooled,
        encoder_hidden_states=states,
        txt_ids=text_ids,
        img_ids=pipeline._prepare_latent_image_ids(3, 4, 4, "cpu", torch.float32),
    ).sample
    expected = pipeline._unpack_latents(prediction, 16, 16, 2) - (eps - x0)
    residual = generator.denoising_residual(x0, eps, t, generator.encode_prompts(["a cat", "a dog", ""]))
    torch.testing.assert_close(residual, expected, rtol=1e-4, atol=1e-5)


def test_packing_is_that_of_diffusers_and_can_be_undone(dev):
    generator = load(dev)
    latents = torch.randn(2, 4, 8, 8)
    packed = generator._pack(latents)
    assert torch.equal(packed, FluxPipeline._pack_latents(latents, 2, 4, 8, 8))
    assert torch.equal(generator._unpack(packed), latents)


@pytest.mark.parametrize("name", ["dev", "schnell"])
def test_scaled_noise_is_packed(name, request):
    folder = request.getfixturevalue(name)
    noise = 1.2 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    expected = plain(folder)(
        "a cat",
        num_inference_steps=4,
        guidance_scale=1.0,
        height=16,
        width=16,
        latents=FluxPipeline._pack_latents(noise, 1, 4, 8, 8),
        max_sequence_length=512 if name == "dev" else 256,
        output_type="np",
    ).images[0]
    drawn = load(folder).draw([row(seed=7, noise_scale=1.2)])[0]
    assert np.array_equal(np.round(expected * 255).transpose(2, 0, 1), drawn)


def test_distilled_guidance_is_an_input_and_has_no_negative_prompt(dev):
    generator, calls = load(dev), []
    generator.denoiser.register_forward_pre_hook(
        lambda _, __, given: calls.append(given["guidance"].tolist()), with_kwargs=True
    )
    generator.draw([row(guidance_scale=3.5)])
    assert len(calls) == 4, "one prediction per step"
    assert calls[0] == [3.5]
    generator.draw([row(negative_prompt="a dog")])
    assert calls[-1] == [1.0]
    with pytest.raises(InputError, match=r"negative_prompt must be empty .* got 'a dog': .* set draw"):
        generator.draw([row(guidance_scale=3.5, negative_prompt="a dog")])


def test_negative_prompts_that_have_no_place_are_refused_before_a_run(dev, schnell):
    draw = {"sampler": "flow-euler", "guidance_scale": 2.0, "negative_prompt": "blurry"}
    settings = build({"data": {"source": "digits"}, "draw": draw, "generator": {"name": str(dev)}})
    with pytest.raises(InputError, match="^draw.negative_prompt must be empty .* got 'blurry'"):
        try_generator(load(dev), settings, "a cat")
    try_generator(load(schnell), settings, "a cat")
    filled = build(
        {**settings.model_dump(), "draw": {**draw, "negative_prompt": "an old {class}, {caption}"}}
    )
    with pytest.raises(InputError, match="got 'an old cat'"):
        try_generator(load(dev), filled, "cat")


def test_prompts_may_be_longer_than_clip_reads(dev, schnell):
    """Only the pooled state of CLIP is used; T5 reads more of dev than of schnell."""
    long = "a photo of a cat " * 5
    for folder, limit in ((dev, 512), (schnell, 256)):
        generator = load(folder)
        assert (
            len(generator.pipeline.tokenizer(long).input_ids) > generator.pipeline.tokenizer.model_max_length
        )
        generator.check_prompts([long], keep_last=True)
        assert generator.encode_prompts([long]).states.shape == (1, limit, 32)
        with pytest.raises(InputError, match=f"at most {limit} tokens"):
            generator.check_prompts([long * 20], keep_last=False)


def test_images_have_whole_patches(dev):
    with pytest.raises(InputError, match="resolution must be a multiple of 8, got 18"):
        load(dev, resolution=18)


def test_a_denoiser_for_other_channels_is_refused(dev, tmp_path):
    """Those for filling and control have their own channels beside the packed ones."""
    folder = shutil.copytree(dev, tmp_path / "pipeline")
    config = json.loads((folder / "transformer" / "config.json").read_text()) | {"in_channels": 24}
    shutil.rmtree(folder / "transformer")
    FluxTransformer2DModel.from_config(config).save_pretrained(folder / "transformer")
    with pytest.raises(
        InputError, match="take the 16 channels of its autoencoder, 2 x 2 packed into one, got 24"
    ):
        load(folder)
