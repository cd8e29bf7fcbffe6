"""Options that save memory change neither results nor the names of weights."""

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import SlicedAttnProcessor
from tiny import plan_rows, save_tiny_sd3, save_tiny_sdxl

from understudy.core.errors import InputError
from understudy.generators import memory
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.generators.stable_diffusion import StableDiffusionGenerator


def rows(train, strength=1.0):
    return plan_rows(1, train, seed=0, sampler="ddim", guidance_scale=2.0, strength=strength)


def test_compilation_needs_a_compiler(tiny_pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=r"generator.compile needs a C\+\+ compiler .* found none"):
        StableDiffusionGenerator.load(str(tiny_pipeline_folder), compile=True)


@pytest.mark.parametrize(
    "option", ["attention_slicing", "vae_slicing", "vae_tiling", "gradient_checkpointing"]
)
def test_images_stay_the_same(option, tiny_generator, tiny_pipeline_folder, train):
    saving = StableDiffusionGenerator.load(str(tiny_pipeline_folder), **{option: True})
    assert {
        "attention_slicing": any(
            isinstance(p, SlicedAttnProcessor) for p in saving.denoiser.attn_processors.values()
        ),
        "vae_slicing": saving.pipeline.vae.use_slicing,
        "vae_tiling": saving.pipeline.vae.use_tiling,
        "gradient_checkpointing": saving.denoiser.is_gradient_checkpointing,
    }[option]
    assert np.abs(saving.draw(rows(train)).astype(int) - tiny_generator.draw(rows(train))).max() <= 1
    assert saving.fingerprint == tiny_generator.fingerprint


@pytest.mark.parametrize(
    ("setting", "large", "free", "recomputed"),
    [
        (None, True, 23e9, True),
        (None, True, 25e9, False),
        (None, False, 1e9, False),
        (False, True, 1e9, False),
        (True, False, 80e9, True),
    ],
)
def test_activations_are_recomputed_where_a_large_pipeline_has_little_memory(
    setting, large, free, recomputed, tiny_pipeline_folder, monkeypatch
):
    monkeypatch.setattr(memory, "is_large", lambda name: large)
    monkeypatch.setattr(memory, "free_host_bytes", lambda: free)
    generator = StableDiffusionGenerator.load(str(tiny_pipeline_folder), gradient_checkpointing=setting)
    assert generator.denoiser.is_gradient_checkpointing == recomputed


def test_many_pixels_are_decoded_image_by_image(tiny_pipeline_folder, tiny_generator, train, monkeypatch):
    generator = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
    generator.draw(rows(train))
    assert not generator.pipeline.vae.use_slicing
    monkeypatch.setattr("understudy.generators.diffusers_generator._DECODED_AT_ONCE", 1)
    drawn = generator.draw(rows(train))
    assert generator.pipeline.vae.use_slicing
    assert np.abs(drawn.astype(int) - tiny_generator.draw(rows(train))).max() <= 1


def test_a_copied_autoencoder_saves_memory_too(tmp_path):
    save_tiny_sdxl(tmp_path)
    settings = GeneratorSettings(name=str(tmp_path), precision="float16", vae_slicing=True, vae_tiling=True)
    copied = load_generator(settings, device="cpu")._vae
    assert (copied.dtype, copied.use_slicing, copied.use_tiling) == (torch.float32, True, True)


def test_checkpointing_gives_the_same_gradients(tiny_generator, tiny_pipeline_folder, train):
    gradients = []
    for generator in (
        tiny_generator,
        StableDiffusionGenerator.load(str(tiny_pipeline_folder), gradient_checkpointing=True),
    ):
        generator.denoiser.requires_grad_(requires_grad=True).train()
        x0 = generator.encode_images(torch.from_numpy(train.pixels(16)[:2]))
        residual = generator.denoising_residual(
            x0, torch.ones_like(x0), torch.tensor([3, 700]), generator.encode_prompts(["cat", "dog"])
        )
        residual.square().mean().backward()
        gradients.append([parameter.grad for parameter in generator.denoiser.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_compilation_is_asked_for_in_place(tiny_pipeline_folder, tiny_generator, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    generator = StableDiffusionGenerator.load(str(tiny_pipeline_folder), compile=True)
    assert compiled == [generator.denoiser]
    assert generator.denoiser.state_dict().keys() == tiny_generator.denoiser.state_dict().keys()


def test_offloading_needs_an_accelerator(tiny_pipeline_folder):
    with pytest.raises(InputError, match="cpu_offload must be false on the device 'cpu'"):
        StableDiffusionGenerator.load(str(tiny_pipeline_folder), cpu_offload=True)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_offloaded_parts_still_do_everything(
    strength, tiny_generator, tiny_pipeline_folder, train, monkeypatch
):
    """The same hooks, with the CPU as the device."""
    monkeypatch.setattr("understudy.generators.pipeline_parts.check_memory_settings", lambda *_: None)
    offloaded = StableDiffusionGenerator.load(str(tiny_pipeline_folder), cpu_offload=True)
    pixels = torch.from_numpy(train.pixels(16)[:2])
    latents = offloaded.encode_images(pixels)
    torch.testing.assert_close(latents, tiny_generator.encode_images(pixels))
    latents.requires_grad_()
    offloaded.encode_features(offloaded.decode_latents(latents)).sum().backward()
    assert latents.grad.abs().max() > 0
    assert np.array_equal(
        offloaded.draw(rows(train, strength), train), tiny_generator.draw(rows(train, strength), train)
    )


def test_transformers_cannot_slice_attention(tmp_path):
    save_tiny_sd3(tmp_path)
    with pytest.raises(
        InputError, match="attention_slicing must be false for StableDiffusion3Pipeline.*cannot slice"
    ):
        load_generator(GeneratorSettings(name=str(tmp_path), attention_slicing=True), device="cpu")
