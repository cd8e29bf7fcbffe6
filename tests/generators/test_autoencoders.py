"""Another autoencoder in a pipeline, against plain diffusers with the same one."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DModel, UniPCMultistepScheduler
from tiny import plan_row, save_tiny_flux, save_tiny_pipeline, save_tiny_sana, save_tiny_sd3, save_tiny_sdxl

from understudy.core.errors import InputError
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings


def tiny_autoencoder(**changes):
    """One level fewer than TAESD has: latents of the tiny pipelines are half as wide as images."""
    few = {
        "encoder_block_out_channels": (8, 8),
        "decoder_block_out_channels": (8, 8),
        "num_encoder_blocks": (1, 1),
        "num_decoder_blocks": (1, 1),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return AutoencoderTiny(**few | changes)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    save_tiny_pipeline(folder / "pipeline")
    tiny_autoencoder().save_pretrained(folder / "tiny")
    return folder


def load(folders, autoencoder, pipeline="pipeline"):
    settings = GeneratorSettings(name=str(folders / pipeline), autoencoder=autoencoder)
    return load_generator(settings, device="cpu")


def test_images_are_those_of_diffusers_with_this_autoencoder(folders):
    generator = load(folders, str(folders / "tiny"))
    row = plan_row(guidance_scale=1.0)
    pipeline = StableDiffusionPipeline.from_pretrained(
        folders / "pipeline", vae=AutoencoderTiny.from_pretrained(folders / "tiny")
    )
    pipeline.scheduler = UniPCMultistepScheduler.from_config(generator._solver("unipc").config)
    drawn = pipeline(
        row.prompt,
        num_inference_steps=row.steps,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(row.seed),
        output_type="np",
        height=generator.image_size,
        width=generator.image_size,
    ).images
    expected = np.round(drawn * 255).astype(np.uint8).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(generator.draw([row]), expected)


@pytest.mark.parametrize("save", [save_tiny_pipeline, save_tiny_sdxl, save_tiny_sd3, save_tiny_flux])
def test_every_family_with_an_ordinary_autoencoder_takes_it(save, folders, tmp_path, train):
    """The size of images stays that of the pipeline, which FLUX.1 states in its autoencoder alone."""
    save(tmp_path / "pipeline")
    plain = load(tmp_path, None)
    generator = load(tmp_path, str(folders / "tiny"))
    assert type(generator.pipeline.vae) is AutoencoderTiny
    assert generator.image_size == plain.image_size == 16
    sampler = "flow-euler" if generator.prediction_type == "flow" else "unipc"
    for strength in (1.0, 0.5):
        row = plan_row(sampler=sampler, steps=4, strength=strength, source_id=train.ids[0])
        assert generator.draw([row], train).std() > 0
    latents = generator.encode_images(torch.from_numpy(train.pixels(16)[:2]))
    assert generator.decode_latents(latents).shape == (2, 3, 16, 16)


def test_its_latents_are_exact_and_decoded_again(folders):
    generator = load(folders, str(folders / "tiny"))
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    mean, deviation = generator.posterior(pixels)
    with torch.no_grad():
        network = AutoencoderTiny.from_pretrained(folders / "tiny")
        expected = network.encode(pixels / 127.5 - 1).latents
        torch.testing.assert_close(mean, expected)
        torch.testing.assert_close(generator.decode_latents(mean), network.decode(expected).sample)
    assert not deviation.any()


def test_it_is_part_of_what_identifies_a_generator(folders):
    assert load(folders, str(folders / "tiny")).fingerprint != load(folders, None).fingerprint


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda to: tiny_autoencoder(latent_channels=8).save_pretrained(to),
            "4 channels and 1/2 .* with 8 and",
        ),
        (
            lambda to: tiny_autoencoder(
                encoder_block_out_channels=(8, 8, 8),
                decoder_block_out_channels=(8, 8, 8),
                num_encoder_blocks=(1, 1, 1),
                num_decoder_blocks=(1, 1, 1),
            ).save_pretrained(to),
            "1/2 of the width, got .* with 4 and 1/4",
        ),
        (
            lambda to: UNet2DModel(
                block_out_channels=(8,),
                down_block_types=("DownBlock2D",),
                up_block_types=("UpBlock2D",),
                norm_num_groups=4,
            ).save_pretrained(to),
            "its config.json names UNet2DModel",
        ),
        (lambda to: to.mkdir(), "must be a folder or hub name of an autoencoder"),
        (lambda to: None, "must be a folder or hub name of an autoencoder.*nothing is at this path"),
    ],
    ids=["channels", "width", "another network", "empty", "missing"],
)
def test_what_does_not_fit_is_refused(write, message, folders, tmp_path):
    write(tmp_path / "other")
    with pytest.raises(InputError, match=message):
        load(folders, str(tmp_path / "other"))


def test_a_family_with_an_autoencoder_of_its_own_keeps_it(folders, tmp_path):
    save_tiny_sana(tmp_path / "sana")
    with pytest.raises(InputError, match="needs a pipeline with an AutoencoderKL, got SanaPipeline"):
        load(tmp_path, str(folders / "tiny"), pipeline="sana")


def test_an_autoencoder_of_another_family_is_told_by_its_scale(tmp_path):
    save_tiny_pipeline(tmp_path / "sd")
    save_tiny_sd3(tmp_path / "sd3", t5=False)
    with pytest.raises(InputError, match=r"scaling_factor 1\.5 and shift_factor 0\.06, got .* None: choose"):
        load(tmp_path, str(tmp_path / "sd" / "vae"), pipeline="sd3")
    with pytest.raises(InputError, match="whole pipeline, whose autoencoder lies in its folder"):
        load(tmp_path, str(tmp_path / "sd"), pipeline="sd3")
    assert load(tmp_path, str(tmp_path / "sd3" / "vae"), pipeline="sd3").fingerprint
