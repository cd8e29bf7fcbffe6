"""Every family of pipelines against plain diffusers."""

import functools
import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from tiny import plan_row, save_tiny_flux, save_tiny_pipeline, save_tiny_sana, save_tiny_sd3, save_tiny_sdxl

from understudy.adaptation.methods import METHODS
from understudy.adaptation.settings import AdaptSettings
from understudy.core.errors import InputError
from understudy.generators.families import load_pipeline
from understudy.generators.load import load_generator
from understudy.generators.samplers import SAMPLERS, build_sampler
from understudy.generators.schedules import DiffusionSchedule, FlowSchedule
from understudy.generators.settings import GeneratorSettings

FAMILIES = {
    "sd": (save_tiny_pipeline, "ddim"),
    "xl": (save_tiny_sdxl, "unipc"),
    "sd3": (save_tiny_sd3, "flow-euler"),
    "flux-dev": (save_tiny_flux, "flow-euler"),
    "flux-schnell": (functools.partial(save_tiny_flux, dev=False), "flow-euler"),
    "sana": (save_tiny_sana, "flow-euler"),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """Folder and sampler."""
    save, sampler = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    save(folder)
    return str(folder), sampler


def load(family, **changes):
    return load_generator(GeneratorSettings(name=family[0], **changes), device="cpu")


def row(family, train, **changes):
    fields = {"prompt": "a photo of a cat", "negative_prompt": "", "seed": 3, "source_id": train.ids[0]}
    return plan_row(**fields | {"sampler": family[1], "steps": 4, "guidance_scale": 2.0} | changes)


def plain(family):
    pipeline = DiffusionPipeline.from_pretrained(family[0])
    config = dict(pipeline.scheduler.config)
    if config.get("use_flow_sigmas"):  # Sana, whose solver on the hub is another one for the same path
        config["shift"] = config["flow_shift"]
    pipeline.scheduler = build_sampler(family[1], config, kind=SAMPLERS[family[1]].kind)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pixels_of(output):
    return np.round(output.images[0] * 255).transpose(2, 0, 1)


def is_called(generator, name):
    return type(generator.pipeline).__name__.startswith(name)


def guidance_of(generator, negative_prompt):
    """What plain diffusers calls a guidance of 2."""
    if is_called(generator, "Stable"):
        return {"guidance_scale": 2.0, "negative_prompt": negative_prompt or None}
    if is_called(generator, "Sana"):
        return {"guidance_scale": 2.0, "negative_prompt": negative_prompt}
    if generator.pipeline.transformer.config.guidance_embeds:
        return {"guidance_scale": 2.0}
    return {"true_cfg_scale": 2.0, "negative_prompt": negative_prompt, "max_sequence_length": 256}


@pytest.mark.parametrize("negative_prompt", ["a dog", ""])
def test_draw_equals_the_plain_pipeline(family, train, negative_prompt):
    generator, size = load(family), load(family).image_size
    guidance = guidance_of(generator, negative_prompt)
    binning = {"use_resolution_binning": False} if is_called(generator, "Sana") else {}
    expected = plain(family)(
        "a photo of a cat",
        num_inference_steps=4,
        height=size,
        width=size,
        generator=torch.Generator().manual_seed(3),
        output_type="np",
        **guidance,
        **binning,
    )
    kept = negative_prompt if "negative_prompt" in guidance else ""
    drawn = generator.draw([row(family, train, negative_prompt=kept)])[0]
    assert np.array_equal(pixels_of(expected), drawn)


def test_drawing_from_an_image_equals_the_plain_pipeline(family, train):
    generator = load(family)
    if is_called(generator, "Sana"):
        pytest.skip("diffusers has no such pipeline; tests/generators/test_sana.py has a loop")
    pipeline = generator.from_image(**plain(family).components)
    pipeline.set_progress_bar_config(disable=True)
    guidance = guidance_of(generator, "a dog")
    expected = pipeline(
        "a photo of a cat",
        num_inference_steps=4,
        strength=0.5,
        image=torch.from_numpy(train.pixels(16)[:1]) / 255,
        generator=[torch.Generator().manual_seed(3)],
        output_type="np",
        **({"height": 16, "width": 16} if generator.rounds_steps_up else {}),
        **guidance,
    )
    kept = "a dog" if "negative_prompt" in guidance else ""
    drawn = generator.draw([row(family, train, strength=0.5, negative_prompt=kept)], train)[0]
    assert np.array_equal(pixels_of(expected), drawn)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_shift_by_image_size_is_that_of_the_plain_pipeline(strength, tmp_path, train):
    """Of Stable Diffusion 3; tests/generators/test_flux.py has that of FLUX.1."""
    save_tiny_sd3(tmp_path)
    FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True, base_image_seq_len=4, max_image_seq_len=80
    ).save_pretrained(tmp_path / "scheduler")
    generator, pipeline = load((str(tmp_path),)), plain((str(tmp_path), "flow-euler"))
    call = {"num_inference_steps": 4, "guidance_scale": 2.0, "height": 16, "width": 16, "output_type": "np"}
    call["generator"] = [torch.Generator().manual_seed(3)]
    if strength < 1:
        pipeline = generator.from_image(**pipeline.components)
        pipeline.set_progress_bar_config(disable=True)
        call |= {"strength": strength, "image": torch.from_numpy(train.pixels(16)[:1]) / 255}
    expected = pipeline("a photo of a cat", **call)
    drawn = generator.draw([row((None, "flow-euler"), train, strength=strength)], train)[0]
    assert np.array_equal(pixels_of(expected), drawn)
    solver = generator._solver("flow-euler")
    generator._schedule.set_timesteps(solver, 4)
    assert torch.equal(solver.sigmas, pipeline.scheduler.sigmas)
    mu = 0.5 + (64 - 4) / (80 - 4) * 0.65
    half = np.exp(mu) / (np.exp(mu) + 1)
    assert generator.snr[499] == pytest.approx(((1 - half) / half) ** 2)


def test_every_family_rounds_the_executed_steps_down(family, train):
    generator, calls = load(family), []
    generator.denoiser.register_forward_hook(lambda *_: calls.append(1))
    for strength in (0.25, 0.5, 0.73, 0.9):
        generator.draw([row(family, train, strength=strength, steps=30, guidance_scale=1.0)], train)
        assert len(calls) == int(30 * strength)
        calls.clear()


@pytest.mark.parametrize("targets", [("attention",), ("attention", "convolutions")])
def test_plain_diffusers_loads_low_rank_updates(family, train, tmp_path, targets):
    """All of them, with the scale alpha / rank."""
    generator = load(family)
    rng = torch.Generator().manual_seed(0)
    for parameter in METHODS["lora"](
        generator, AdaptSettings(method="lora", rank=2, alpha=6, targets=targets), seed=0, num_classes=2
    ):
        with torch.no_grad():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    generator.save_adapter(tmp_path, method="lora")
    pipeline = plain(family)
    pipeline.load_lora_weights(tmp_path)
    generator.pipeline.scheduler = pipeline.scheduler
    call = {"num_inference_steps": 2, "guidance_scale": 1.0, "output_type": "np"}
    call |= {"height": generator.image_size, "width": generator.image_size}
    if is_called(generator, "Sana"):
        call["use_resolution_binning"] = False
    ours, theirs, base = (
        pixels_of(one("a cat", **call, generator=torch.Generator().manual_seed(0)))
        for one in (generator.pipeline, pipeline, plain(family))
    )
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - base).max() > 1


def test_a_low_rank_file_can_be_merged_into_the_pipeline(family, train, tmp_path):
    adapted = load(family)
    settings = AdaptSettings(method="lora", rank=2, targets=("attention",))
    for parameter in METHODS["lora"](adapted, settings, seed=0, num_classes=2):
        with torch.no_grad():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    adapted.save_adapter(tmp_path, method="lora")
    merged, again = load(family, adapters=(tmp_path / "pytorch_lora_weights.safetensors",)), load(family)
    again.load_adapter(tmp_path, method="lora")
    drawn, expected, base = (
        each.draw([row(family, train)])[0].astype(int) for each in (merged, again, load(family))
    )
    assert np.abs(drawn - expected).max() <= 1
    assert np.abs(drawn - base).max() > 1


def test_the_residual_agrees_with_diffusers_noise_and_target(family, train):
    generator = load(family)
    x0 = generator.encode_images(torch.from_numpy(train.pixels(generator.image_size)))
    rng = torch.Generator().manual_seed(0)
    eps, t = torch.randn(x0.shape, generator=rng), torch.randint(1000, (len(x0),), generator=rng)
    conditioning = generator.encode_prompts(["a cat"] * len(x0))
    scheduler = generator.pipeline.scheduler
    if scheduler.config.get("use_dynamic_shifting"):  # tests/generators/test_flux.py has the pipeline's shift
        scheduler.set_timesteps(1000, mu=generator._schedule._options["mu"])
    if generator.prediction_type == "flow":
        times = scheduler.timesteps[999 - t]
        x_t, target = scheduler.scale_noise(x0, times, eps), eps - x0
    else:
        times, x_t, target = t, DDPMScheduler.from_config(scheduler.config).add_noise(x0, eps, t), eps
    expected = generator._predict(x_t, times, conditioning) - target
    torch.testing.assert_close(
        generator.denoising_residual(x0, eps, t, conditioning), expected, rtol=1e-4, atol=1e-4
    )


def test_reduced_precision(family, train):
    generator = load(family, precision="bfloat16")
    assert generator.denoiser.dtype == torch.bfloat16
    for strength in (1.0, 0.5):
        assert generator.draw([row(family, train, strength=strength)], train).std() > 0
    x0 = generator.encode_images(torch.from_numpy(train.pixels(16)[:2]))
    residual = generator.denoising_residual(
        x0, torch.randn_like(x0), torch.tensor([5, 900]), generator.encode_prompts(["cat", "dog"])
    )
    assert residual.dtype == generator.decode_latents(x0).dtype == torch.float32
    assert residual.isfinite().all()


def test_autoencoders_that_overflow_in_float16_are_copied_in_float32(family, train):
    full = load(family)
    if is_called(full, "Sana"):
        with pytest.raises(InputError, match="precision must be float32 or bfloat16 for Sana, got float16"):
            load(family, precision="float16")
        return
    half = load(family, precision="float16")
    pixels = torch.from_numpy(train.pixels(16)[:2])
    assert half.pipeline.vae.dtype == torch.float16
    is_xl = "XL" in type(half).__name__  # those of others stay in half precision, with half the memory
    assert half._vae.dtype == (torch.float32 if is_xl else torch.float16)
    assert half.encode_images(pixels).dtype == torch.float16
    decoded = half.decode_latents(full.encode_images(pixels))
    torch.testing.assert_close(decoded, full.decode_latents(full.encode_images(pixels)), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_adaptation_lowers_the_loss(method, family, train):
    generator = load(family)
    x0 = generator.encode_images(torch.from_numpy(train.pixels(generator.image_size)[:4]))
    eps, t = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)), torch.full((4,), 500)
    conditioning = generator.encode_prompts(["a cat", "a dog"] * 2)
    settings = AdaptSettings(method=method, targets=("attention", "convolutions"))
    parameters = METHODS[method](generator, settings, seed=0, num_classes=2)
    optimizer, losses = torch.optim.Adam(parameters, lr=1e-2), []
    for _ in range(6):
        losses.append(generator.denoising_residual(x0, eps, t, conditioning).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.98 * losses[0]


def test_checkpointing_gives_the_same_gradients(family, train):
    gradients = []
    for generator in (load(family), load(family, gradient_checkpointing=True)):
        METHODS["full"](generator, AdaptSettings(), seed=0, num_classes=2)
        generator.denoiser.train()
        x0 = generator.encode_images(torch.from_numpy(train.pixels(generator.image_size)[:2]))
        conditioning = generator.encode_prompts(["a cat", ""])
        residual = generator.denoising_residual(x0, torch.ones_like(x0), torch.tensor([3, 700]), conditioning)
        residual.square().mean().backward()
        gradients.append([parameter.grad for parameter in generator.denoiser.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)


def test_offloaded_parts_still_draw_and_encode(family, train, monkeypatch):
    """The same hooks, with the CPU as the device."""
    monkeypatch.setattr("understudy.generators.pipeline_parts.check_memory_settings", lambda *_: None)
    plain_generator, offloaded = load(family), load(family, cpu_offload=True)
    pixels = torch.from_numpy(train.pixels(plain_generator.image_size)[:2])
    torch.testing.assert_close(offloaded.encode_images(pixels), plain_generator.encode_images(pixels))
    for strength in (1.0, 0.5):
        drawn = [
            each.draw([row(family, train, strength=strength)], train) for each in (offloaded, plain_generator)
        ]
        assert np.array_equal(*drawn)


def test_an_empty_prompt_of_xl_is_zeros(tmp_path):
    save_tiny_sdxl(tmp_path)
    conditioning = load((str(tmp_path), "")).encode_prompts(["", "a cat"])
    assert not conditioning.states[0].any()
    assert not conditioning.pooled[0].any()
    assert conditioning.states[1].any()


def test_an_unknown_pipeline_is_named(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "PixArtSigmaPipeline"}))
    message = (
        "must be one of StableDiffusionPipeline, StableDiffusionXLPipeline, StableDiffusion3Pipeline, "
        "FluxPipeline, SanaPipeline, got PixArtSigmaPipeline"
    )
    with pytest.raises(InputError, match=message):
        load_pipeline(GeneratorSettings(name=str(tmp_path)), device="cpu")


def test_other_schedulers_are_refused(family, tmp_path):
    folder = shutil.copytree(family[0], tmp_path / "other")
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    path.write_text(
        json.dumps(config | ({"invert_sigmas": True} if "shift" in config else {"prediction_type": "sample"}))
    )
    with pytest.raises(InputError, match="the generator's scheduler must"):
        load((str(folder), ""))
    with pytest.raises(InputError, match="beta_schedule.*, got another with None"):
        DiffusionSchedule({})
    with pytest.raises(InputError, match="with a fixed shift, got another with use_dynamic_shifting Tr"):
        FlowSchedule({"shift": 3.0, "use_dynamic_shifting": True})


def test_only_a_single_file_is_read_with_another_configuration(tmp_path):
    """The family of a folder is that which the folder names."""
    folders = [tmp_path / name for name in ("sd", "xl")]
    save_tiny_pipeline(folders[0])
    save_tiny_sdxl(folders[1])
    generator = load_pipeline(GeneratorSettings(name=str(folders[0]), config=str(folders[1])), device="cpu")
    assert generator.from_text.__name__ == "StableDiffusionPipeline"
