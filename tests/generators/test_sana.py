"""Sana against plain diffusers: instruction, attention mask, start from an image, and scheduler."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, FlowMatchEulerDiscreteScheduler, SanaPipeline
from tiny import plan_row, save_tiny_sana, tiny_gemma

from understudy.core.errors import InputError
from understudy.core.micro_batch import MicroBatch
from understudy.generators.generator import Conditioning
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.pipeline.trial import try_generator
from understudy.sampling.draw import draw_rows
from understudy.settings import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sana")
    save_tiny_sana(folder)
    return folder


@pytest.fixture(scope="module")
def generator(folder):
    """Tests only read it."""
    return load(folder)


def load(folder, **settings):
    return load_generator(GeneratorSettings(name=str(folder), **settings), device="cpu")


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_drawing_from_an_image_is_the_end_of_the_plain_loop(guidance_scale, generator, folder, train):
    pipeline = SanaPipeline.from_pretrained(folder)
    solver = FlowMatchEulerDiscreteScheduler(shift=3.0)
    solver.set_timesteps(8)
    seeds = (3, 4)
    noise = torch.cat(
        [torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )
    x0 = 0.4 * pipeline.vae.encode(torch.from_numpy(train.pixels(32)[:2]) / 127.5 - 1).latent
    latents = solver.scale_noise(x0, solver.timesteps[2:3], noise)
    instruction = SanaPipeline.__call__.__wrapped__.__defaults__[-1]
    states, mask, _, _ = pipeline.encode_prompt(
        ["a cat", "a dog"], do_classifier_free_guidance=False, complex_human_instruction=instruction
    )
    no_states, no_mask, _, _ = pipeline.encode_prompt(["blur", "blur"], do_classifier_free_guidance=False)
    with torch.no_grad():
        for time in solver.timesteps[2:]:
            towards, away = (
                pipeline.transformer(latents, states, 2 * time.expand(2), encoder_attention_mask=mask).sample
                for states, mask in ((states, mask), (no_states, no_mask))
            )
            prediction = away + guidance_scale * (towards - away) if guidance_scale > 1 else towards
            latents = solver.step(prediction, time, latents).prev_sample
        expected = pipeline.vae.decode(latents / 0.4).sample
    levels = np.round(np.clip(expected.numpy() / 2 + 0.5, 0, 1) * 255)
    rows = [
        plan_row(
            sampler="flow-euler",
            steps=8,
            strength=0.75,
            seed=seed,
            prompt=prompt,
            negative_prompt="blur",
            guidance_scale=guidance_scale,
            source_id=source,
        )
        for seed, prompt, source in zip(seeds, ("a cat", "a dog"), train.ids[:2], strict=True)
    ]
    assert np.abs(generator.draw(rows, train) - levels).max() <= 1


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_images_are_those_of_the_pipeline(guidance_scale, generator, folder):
    """Which decodes by itself there, and here does not."""
    pipeline = SanaPipeline.from_pretrained(folder)
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    expected = pipeline(
        ["a cat", "a dog"],
        negative_prompt=["", ""],
        num_inference_steps=3,
        guidance_scale=guidance_scale,
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 4)],
        height=32,
        width=32,
        use_resolution_binning=False,
        output_type="np",
    ).images
    rows = [
        plan_row(sampler="flow-euler", steps=3, seed=seed, prompt=prompt, guidance_scale=guidance_scale)
        for seed, prompt in ((3, "a cat"), (4, "a dog"))
    ]
    assert np.array_equal(generator.draw(rows), np.round(expected * 255).transpose(0, 3, 1, 2))


@pytest.fixture
def decodes(monkeypatch):
    """A device whose memory suffices to decode as many images at once as a test says."""

    def at_most(number):
        decode = AutoencoderDC.decode

        def small(self, latents, *args, **kwargs):
            if len(latents) > number:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return decode(self, latents, *args, **kwargs)

        monkeypatch.setattr(AutoencoderDC, "decode", small)

    return at_most


@pytest.mark.filterwarnings("default:drawing ran out of memory:UserWarning")
def test_fewer_images_are_drawn_at_once_if_they_cannot_be_decoded(generator, train, decodes):
    rows = [plan_row(sampler="flow-euler", seed=seed) for seed in range(4)]
    whole = generator.draw(rows)
    decodes(1)
    at_once = MicroBatch(4, work="drawing")
    with pytest.warns(UserWarning, match="goes on with 1"):
        parts = at_once.fit(lambda size: draw_rows(generator, rows, size, train=train))
    assert at_once.size == 1
    assert np.abs(parts.astype(int) - whole).max() <= 1


def test_an_image_that_cannot_be_decoded_is_an_error_of_memory(generator, folder, decodes):
    decodes(0)
    draw = {"sampler": "flow-euler"}
    settings = build({"data": {"source": "digits"}, "draw": draw, "generator": {"name": str(folder)}})
    with pytest.raises(InputError, match="needs more memory than the device has, even for one image"):
        try_generator(generator, settings, "a cat")


def test_equal_negative_prompts_are_encoded_once(generator):
    encoded = []
    hook = generator.pipeline.text_encoder.register_forward_hook(
        lambda module, given, answer: encoded.append(len(answer[0]))
    )
    rows = [
        plan_row(sampler="flow-euler", seed=seed, guidance_scale=2.0, negative_prompt=negative)
        for seed, negative in enumerate(["blurry", "blurry", "grey", "blurry"])
    ]
    together = generator.draw(rows)
    hook.remove()
    assert encoded == [1, 2], "the prompt of all rows, and two negative ones"
    alone = np.concatenate([generator.draw([row]) for row in rows])
    assert np.abs(together.astype(int) - alone).max() <= 1


def test_the_instruction_precedes_prompts_but_not_empty_ones(generator, folder):
    pipeline = SanaPipeline.from_pretrained(folder)
    plain, mask, _, _ = pipeline.encode_prompt([""], do_classifier_free_guidance=False)
    both = generator.encode_prompts(["a cat", ""])
    assert torch.equal(both.states[1:], plain)
    assert torch.equal(both.attended[1:], mask)
    assert both.attended[0].sum() > mask.sum() + len("a cat")
    written = generator._encode_negative(["a cat"])
    assert not torch.allclose(both.states[:1], written.states)
    assert generator.encode_prompts(["A CAT"]).states.equal(generator.encode_prompts(["a cat"]).states)


def test_batches_of_prompts_are_joined_with_their_masks(generator):
    """As adaptation does, which encodes few prompts at a time."""
    whole = generator.encode_prompts(["a cat", "a dog", ""])
    joined = Conditioning.joined(
        [generator.encode_prompts(["a cat", "a dog"]), generator.encode_prompts([""])]
    )
    assert torch.equal(joined.attended, whole.attended)
    torch.testing.assert_close(joined.states, whole.states)
    assert joined.pooled is None


def test_padding_is_not_attended_to(generator):
    """But a token that replaces the last state is."""
    conditioning = generator.encode_prompts(["a cat"])
    x_t, time = torch.randn(1, 4, 8, 8), torch.tensor([500.0])
    other = conditioning.states.clone()
    other[:, -1] += 100
    changed = Conditioning(other, attended=conditioning.attended)
    plain, padded, told = (
        generator._predict(x_t, time, each)
        for each in (conditioning, changed, conditioning.with_last(other[:, -1]))
    )
    assert torch.equal(plain, padded)
    assert not torch.allclose(plain, told)
    assert conditioning.attended[0, -1] == 0
    dropped = conditioning.with_last(other[:, -1]).where(
        torch.tensor([False]), generator.encode_prompts([""])
    )
    assert torch.equal(dropped.attended, generator.encode_prompts([""]).attended)


def test_the_autoencoder_is_deterministic(generator, train):
    mean, std = generator.posterior(torch.from_numpy(train.pixels(32)[:2]))
    assert mean.shape == std.shape == (2, 4, 8, 8)
    assert not std.any()


def test_both_schedulers_of_the_same_path_are_the_same(generator, folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(other / "scheduler")
    index = json.loads((other / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    (other / "model_index.json").write_text(json.dumps(index))
    assert torch.equal(load(other).snr, generator.snr)
    sigma = 3 * 0.5 / (1 + 2 * 0.5)
    assert generator.snr[499] == pytest.approx(((1 - sigma) / sigma) ** 2)


def test_a_scheduler_must_state_the_shift_and_not_depend_on_the_size(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    path = other / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in config.items() if name != "flow_shift"}))
    with pytest.raises(InputError, match="scheduler_config.json has no flow_shift"):
        load(other)
    path.write_text(json.dumps(config | {"use_flow_sigmas": False}))
    with pytest.raises(InputError, match="must be a FlowMatchEulerDiscreteScheduler with a fixed shift"):
        load(other)


def test_the_size_is_a_multiple_of_32(folder):
    with pytest.raises(InputError, match="resolution must be a multiple of 32, got 48"):
        load(folder, resolution=48)


def test_a_text_encoder_of_another_width_is_refused(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    path = other / "text_encoder" / "config.json"
    assert json.loads(path.read_text())["hidden_size"] == 24
    tiny_gemma(hidden_size=16).save_pretrained(other / "text_encoder")
    with pytest.raises(InputError, match="take the 16 numbers per token .* got 24 as caption_channels"):
        load(other)
