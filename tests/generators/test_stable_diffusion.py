import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from huggingface_hub.errors import EntryNotFoundError
from tiny import plan_rows, save_tiny_pipeline, tiny_vision_config
from transformers import CLIPConfig

from understudy.adaptation.methods import METHODS
from understudy.adaptation.settings import AdaptSettings
from understudy.core.errors import InputError
from understudy.generators.load import GENERATORS, check_generator, load_generator
from understudy.generators.samplers import SAMPLERS, build_sampler
from understudy.generators.settings import GeneratorSettings
from understudy.generators.stable_diffusion import StableDiffusionGenerator

DIFFUSION_SAMPLERS = [name for name in SAMPLERS if SAMPLERS[name].kind == "diffusion"]


def rows(count, train, **changes):
    drawn = {"prompt": "a photo of a cat", "steps": 4, "guidance_scale": 2.0}
    return plan_rows(count, train, **drawn | changes)


@pytest.mark.parametrize("sampler", DIFFUSION_SAMPLERS)
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_an_image_depends_on_its_row_alone(tiny_generator, train, sampler, strength):
    plan = rows(5, train, sampler=sampler, strength=strength)
    together = tiny_generator.draw(plan, train)
    assert together.shape == (5, 3, 16, 16)
    assert together.dtype == np.uint8
    order = [3, 0, 4, 1, 2]
    apart = np.concatenate(
        [
            tiny_generator.draw([plan[i] for i in order[:2]], train),
            tiny_generator.draw([plan[i] for i in order[2:]], train),
        ]
    )
    # Rounding in convolutions depends on the batch; one grey level is the most that it may cost.
    assert np.abs(apart.astype(int) - together[order]).max() <= 1


def test_drawing_leaves_the_global_generator_alone(tiny_generator, train):
    state = torch.random.get_rng_state()
    tiny_generator.draw(rows(2, train), train)
    assert torch.equal(state, torch.random.get_rng_state())


def test_seed_prompt_and_source_matter(tiny_generator, train):
    plain = tiny_generator.draw(rows(1, train), train)
    other_seed = tiny_generator.draw([dataclasses.replace(rows(1, train)[0], seed=9)], train)
    other_prompt = tiny_generator.draw(rows(1, train, prompt="dog dog dog", guidance_scale=9.0), train)
    from_source = tiny_generator.draw(rows(1, train, strength=0.25), train)
    for other in (other_seed, other_prompt, from_source):
        assert not np.array_equal(plain, other)


def test_low_strength_stays_near_the_source_reconstruction(tiny_generator, train):
    pixels = torch.from_numpy(train.select([0]).pixels(16))
    vae = tiny_generator.pipeline.vae
    with torch.no_grad():
        decoded = vae.decode(tiny_generator.encode_images(pixels) / vae.config.scaling_factor).sample
    reconstruction = ((decoded.clamp(-1, 1) + 1) * 127.5).numpy()
    near, far = (
        np.abs(
            tiny_generator.draw(rows(1, train, strength=s, steps=100), train).astype(float) - reconstruction
        ).mean()
        for s in (0.02, 0.9)
    )
    assert near < far


def test_draw_equals_the_plain_pipeline(tiny_generator, tiny_pipeline_folder, train):
    """Reference: diffusers' own call, one image at a time."""
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder)
    pipeline.scheduler = build_sampler("ddim", pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    for row, image in zip(
        rows(2, train, sampler="ddim"),
        tiny_generator.draw(rows(2, train, sampler="ddim"), train),
        strict=True,
    ):
        expected = pipeline(
            row.prompt,
            num_inference_steps=row.steps,
            guidance_scale=row.guidance_scale,
            height=16,
            width=16,
            generator=torch.Generator().manual_seed(row.seed),
            output_type="np",
        ).images[0]
        assert np.abs(np.round(expected * 255).transpose(2, 0, 1) - image).max() <= 1


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if SAMPLERS[name].kind != "edm"])
def test_every_sampler_starts_at_the_last_timestep(sampler):
    flow = SAMPLERS[sampler].kind == "flow matching"
    scheduler = (
        FlowMatchEulerDiscreteScheduler(shift=3.0) if flow else DDPMScheduler(timestep_spacing="leading")
    )
    solver = build_sampler(sampler, scheduler.config, kind=SAMPLERS[sampler].kind)
    solver.set_timesteps(10)
    assert solver.timesteps[0] == (1000 if flow else 999)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_a_sampler_for_the_other_kind_is_refused(sampler):
    instead = {"diffusion": "ddim, ddpm, dpm\\+\\+, lcm, unipc", "flow matching": "flow-euler", "edm": "edm"}
    kind = "diffusion" if SAMPLERS[sampler].kind != "diffusion" else "edm"
    with pytest.raises(
        InputError, match=f"must be one for {kind}, as the generator needs, got .*: choose {instead[kind]}"
    ):
        build_sampler(sampler, {}, kind=kind)


def test_steps_that_a_sampler_cannot_take_are_refused(tiny_generator):
    assert tiny_generator.strength_at(0.1, sampler="lcm", steps=50) < 1
    with pytest.raises(InputError, match=r"draw\.steps must be fewer for draw\.sampler='lcm', got 51, more"):
        tiny_generator.strength_at(0.1, sampler="lcm", steps=51)


@pytest.mark.parametrize("sampler", DIFFUSION_SAMPLERS)
def test_no_signal_at_the_last_timestep(sampler, tmp_path, train):
    """v-prediction with zero terminal SNR (Lin et al. 2023), where 1 / alpha would be infinite."""
    save_tiny_pipeline(tmp_path, prediction_type="v_prediction")
    path = tmp_path / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rescale_betas_zero_snr": True}))
    generator = StableDiffusionGenerator.load(str(tmp_path))
    assert generator.snr[-1] == 0
    for strength in (1.0, 0.5):
        drawn = generator._draw(rows(1, train, sampler=sampler, strength=strength), train, None)
        assert np.isfinite(drawn).all()
    x0 = generator.encode_images(torch.from_numpy(train.pixels(16)[:1]))
    last = torch.full((1,), len(generator.snr) - 1)
    eps, conditioning = torch.ones_like(x0), generator.encode_prompts(["a cat"])
    predicted = generator._predict(eps, last, conditioning)  # nothing of the image is left
    torch.testing.assert_close(generator.denoising_residual(x0, eps, last, conditioning), predicted + x0)


def test_unknown_sampler():
    with pytest.raises(InputError, match="unknown sampler 'euler'; known: ddim, ddpm, dpm"):
        build_sampler("euler", {})


def test_rows_of_a_batch_must_share_settings(tiny_generator, train):
    with pytest.raises(ValueError, match="must share sampler, steps, guidance scale, strength and precision"):
        tiny_generator.draw([*rows(1, train), *rows(1, train, steps=5)], train)


def test_sources_are_train_images_that_exist(tiny_generator, train, val):
    plan = rows(1, train, strength=0.5)
    with pytest.raises(InputError, match="needs the train set"):
        tiny_generator.draw(plan, None)
    with pytest.raises(InputError, match="needs a train set, got a val set"):
        tiny_generator.draw(plan, val)
    with pytest.raises(InputError, match="lacks the source images elsewhere"):
        tiny_generator.draw([dataclasses.replace(plan[0], source_id="elsewhere")], train)


def test_residual_is_prediction_minus_noise(tiny_generator, train):
    x0 = tiny_generator.encode_images(torch.from_numpy(train.pixels(16)))
    rng = torch.Generator().manual_seed(0)
    eps, t = torch.randn(x0.shape, generator=rng), torch.randint(1000, (len(x0),), generator=rng)
    conditioning = tiny_generator.encode_prompts(["cat"] * len(x0))
    x_t = tiny_generator.pipeline.scheduler.add_noise(x0, eps, t)
    predicted = tiny_generator.pipeline.unet(x_t, t, encoder_hidden_states=conditioning.states).sample
    torch.testing.assert_close(tiny_generator.denoising_residual(x0, eps, t, conditioning), predicted - eps)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_adapter_loads_in_plain_diffusers(method, tiny_generator, tiny_pipeline_folder, train, tmp_path):
    for parameter in METHODS[method](
        tiny_generator, AdaptSettings(method=method, rank=2, alpha=4), seed=0, num_classes=2
    ):
        with torch.no_grad():
            parameter += 0.05
    expected = tiny_generator.draw(rows(2, train, sampler="ddim"), train)
    tiny_generator.save_adapter(tmp_path, method=method)

    again = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
    untouched = again.draw(rows(2, train, sampler="ddim"), train)
    again.load_adapter(tmp_path, method=method)
    adapted = again.draw(rows(2, train, sampler="ddim"), train)
    assert np.abs(adapted.astype(int) - expected).max() <= 1
    assert np.abs(untouched.astype(int) - expected).max() > 1

    plain = StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder)
    if method == "lora":
        plain.load_lora_weights(tmp_path)
    else:
        plain.unet = UNet2DConditionModel.from_pretrained(tmp_path / "unet")
    x, t, states = torch.ones(1, 4, 8, 8), torch.tensor([500]), again.encode_prompts(["cat"]).states
    with torch.no_grad():
        torch.testing.assert_close(
            plain.unet(x, t, encoder_hidden_states=states).sample,
            again.pipeline.unet(x, t, encoder_hidden_states=states).sample,
            rtol=1e-3,
            atol=1e-4,
        )


def test_a_missing_adapter_is_named(tiny_generator, tmp_path):
    message = "must be complete, but pytorch_lora_weights.safetensors in it is missing: copy the whole folder"
    with pytest.raises(InputError, match=message):
        tiny_generator.load_adapter(tmp_path, method="lora")


def test_the_fingerprint_follows_the_weights(tiny_generator):
    before = tiny_generator.fingerprint
    with torch.no_grad():
        next(tiny_generator.denoiser.parameters()).add_(1e-3)
    assert tiny_generator.fingerprint != before


def test_resolution_must_fit_the_autoencoder(tiny_pipeline_folder, train):
    settings = GeneratorSettings(name=str(tiny_pipeline_folder), resolution=24)
    assert load_generator(settings, device="cpu").draw(rows(1, train), train).shape == (1, 3, 24, 24)
    with pytest.raises(InputError, match="must be a multiple of 8, got 20"):
        load_generator(settings.model_copy(update={"resolution": 20}), device="cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "minni",
            (
                r"unknown generator 'minni'; known: class_conditional, folder, glyphs, mini, "
                r"stable-diffusion \(did you mean 'mini'\?\)"
            ),
        ),
        ("stable-diffusion", "give its folder or hub name"),
        (
            "~/models/sd",
            r"or give the path of a pipeline folder \(nothing is at ~/models/sd\), or a hub name",
        ),
        (".", r"single file, but \. is a folder without model_index.json: give a"),
    ],
)
def test_names_that_are_no_generator(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        check_generator(GeneratorSettings(name=name))


def test_a_hub_that_cannot_be_reached_is_an_input_error(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = (
        "cannot load the generator 'nobody/nothing': nothing is at this path, and the hub cannot be reached; "
        "give a word of 'understudy list generators', such as mini, the path of a pipeline folder, or a hub"
    )
    with pytest.raises(InputError, match=message):
        load_generator(GeneratorSettings(name="nobody/nothing"), device="cpu")


class _NoIndexError(EntryNotFoundError, OSError):
    """What the hub answers for a repository without this file."""


def test_a_repository_without_an_index_is_no_pipeline(monkeypatch):
    def download(name, file, **_):
        raise _NoIndexError(f"404: {name}/{file}")

    monkeypatch.setattr("understudy.generators.pipeline_index.hub_file", download)
    with pytest.raises(
        InputError, match=r"somebody/style on the hub has no model_index.json: .* download it and give"
    ):
        load_generator(GeneratorSettings(name="somebody/style"), device="cpu")


def test_the_registry_describes_every_generator():
    assert {"mini", "stable-diffusion"} <= set(GENERATORS)
    assert all(GENERATORS.summary(name) for name in GENERATORS)


def test_stable_diffusions_noise_levels(tiny_generator):
    """Figures of the published schedule and UniPC with 30 steps."""
    assert tiny_generator.strength_at(0.069, sampler="unipc", steps=30) * 30 == pytest.approx(22)
    snr = tiny_generator.snr
    solver = build_sampler("unipc", tiny_generator.pipeline.scheduler.config)
    solver.set_timesteps(30)
    for strength, executed, first, signal in (
        (0.25, 7, 233, 0.838),
        (0.5, 15, 499, 0.527),
        (0.6, 18, 599, 0.402),
        (0.75, 22, 733, 0.254),
        (0.9, 27, 899, 0.120),
        (1.0, 30, 999, 0.068),
    ):
        assert int(30 * strength) == executed
        assert solver.timesteps[30 - executed] == first
        assert (snr[first] / (1 + snr[first])).sqrt().item() == pytest.approx(signal, abs=6e-4)
    assert snr[733].item() == pytest.approx(0.0687, abs=1e-4)


def test_every_distinct_prompt_is_encoded_once(tiny_generator, train, monkeypatch):
    encoded = []
    encode = tiny_generator.pipeline.encode_prompt
    monkeypatch.setattr(
        tiny_generator.pipeline,
        "encode_prompt",
        lambda prompts, *rest, **more: encoded.append(prompts) or encode(prompts, *rest, **more),
    )
    plan = [
        dataclasses.replace(row, prompt=prompt)
        for row, prompt in zip(rows(3, train), ("a cat", "a dog", "a cat"), strict=True)
    ]
    tiny_generator.draw(plan, train)
    assert encoded == [["a cat", "a dog"], [""]]


def test_tokens_leave_the_negative_branch_alone(tiny_generator, train):
    """The UNet gets negative states as without tokens, and the others changed at the last position."""
    calls = []
    hook = tiny_generator.denoiser.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs["encoder_hidden_states"].clone()), with_kwargs=True
    )
    tokens = torch.arange(32.0).view(2, 16)
    tiny_generator.draw(rows(2, train, steps=1), train)
    tiny_generator.draw(rows(2, train, steps=1), train, tokens)
    hook.remove()
    without, with_tokens = calls
    assert torch.equal(without[:2], with_tokens[:2])
    assert torch.equal(without[2:, :-1], with_tokens[2:, :-1])
    assert torch.equal(with_tokens[2:, -1], tokens)


def test_what_the_safety_checker_flags_is_black(tiny_pipeline_folder, train, tmp_path):
    folder = shutil.copytree(tiny_pipeline_folder, tmp_path / "checked")
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=tiny_vision_config(), projection_dim=8))
    checker.concept_embeds_weights.fill_(-2.0)  # below any cosine similarity: everything is flagged
    pipeline.register_modules(safety_checker=checker)
    pipeline.save_pretrained(folder)
    checked = StableDiffusionGenerator.load(str(folder), safety_checker=True)
    assert not checked.draw(rows(2, train), train).any()
    assert StableDiffusionGenerator.load(str(folder)).draw(rows(2, train), train).any()
    with pytest.raises(
        InputError, match="safety_checker must be false, got true: the pipeline .* has no safety checker"
    ):
        StableDiffusionGenerator.load(str(tiny_pipeline_folder), safety_checker=True)


def test_low_rank_updates_of_stable_diffusion_attention():
    """The published UNet: 797,184 parameters at rank 4."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
    published = SimpleNamespace(denoiser=unet)
    trained = METHODS["lora"](
        published, AdaptSettings(method="lora", rank=4, targets=("attention",)), seed=0, num_classes=1
    )
    assert sum(parameter.numel() for parameter in trained) == 797_184


def test_low_rank_updates_begin_as_nothing(tiny_generator, train):
    before = tiny_generator.draw(rows(2, train), train)
    METHODS["lora"](
        tiny_generator, AdaptSettings(method="lora", rank=4, targets=("attention",)), seed=0, num_classes=1
    )
    assert np.array_equal(tiny_generator.draw(rows(2, train), train), before)
