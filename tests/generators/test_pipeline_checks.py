"""Pipeline folders as people have them: read rightly, or refused with what is wrong, before a run begins."""

import json
import shutil

import pytest
import safetensors.torch
import torch
from diffusers import UNet2DConditionModel
from tiny import save_tiny_sdxl

from understudy.core.errors import InputError
from understudy.generators.load import check_generator, load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.pipeline.trial import try_generator
from understudy.settings import build


@pytest.fixture
def folder(tiny_pipeline_folder, tmp_path):
    return shutil.copytree(tiny_pipeline_folder, tmp_path / "pipeline")


def load(folder, **settings):
    return load_generator(GeneratorSettings(name=str(folder), **settings), device="cpu")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def with_unet(folder, **changes):
    """Replace the denoiser by an untrained one with another configuration."""
    config = json.loads((folder / "unet" / "config.json").read_text()) | changes
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")


def test_weights_of_the_variant_fp16_are_read_if_there_are_no_others(folder, tiny_generator):
    for path in [*folder.rglob("*.safetensors")]:
        weights = safetensors.torch.load_file(path)
        variant = path.with_name(path.name.replace(".safetensors", ".fp16.safetensors"))
        safetensors.torch.save_file(weights, variant, metadata={"format": "pt"})
        path.unlink()
    assert load(folder).fingerprint == tiny_generator.fingerprint


@pytest.mark.parametrize("pair", [False, True])
def test_the_size_may_be_a_pair_or_that_of_the_autoencoder(pair, folder, tiny_generator):
    expected = tiny_generator.image_size
    latent = json.loads((folder / "unet" / "config.json").read_text())["sample_size"]
    edit(folder / "unet" / "config.json", sample_size=[latent, latent] if pair else None)
    edit(folder / "vae" / "config.json", sample_size=expected)
    assert load(folder).image_size == expected


def test_a_pipeline_without_one_size_needs_a_resolution(folder):
    edit(folder / "unet" / "config.json", sample_size=[4, 8])
    with pytest.raises(InputError, match="must name one image size, got sample_size .* generator.resolution"):
        load(folder)
    assert load(folder, resolution=16).image_size == 16


def test_a_tokenizer_without_files_is_refused(folder):
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(InputError, match="tokenizer"):
        load(folder)


def test_a_refiner_has_only_the_second_text_encoder_and_is_refused(tmp_path):
    folder = tmp_path / "refiner"
    save_tiny_sdxl(folder)
    edit(folder / "model_index.json", text_encoder=[None, None], tokenizer=[None, None])
    with pytest.raises(InputError, match="lacks tokenizer, text_encoder: choose another one"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_channels": 9}, r"must take the \d channels of its autoencoder, got 9 .*inpainting"),
        ({"time_cond_proj_dim": 8}, "takes the guidance scale as an input, as models distilled for few"),
    ],
)
def test_a_denoiser_with_other_inputs_is_refused(changes, message, folder):
    with_unet(folder, **changes)
    with pytest.raises(InputError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train_timesteps": 100}, "last of 100 training timesteps has a signal-to-noise ratio of 1"),
        ({"rescale_betas_zero_snr": True}, "no signal at its last timestep"),
    ],
)
def test_a_schedule_that_cannot_start_from_noise_is_refused(changes, message, folder):
    config = folder / "scheduler" / "scheduler_config.json"
    edit(config, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, num_train_timesteps=1000)
    load(folder)
    edit(config, **changes)
    with pytest.raises(InputError, match=message):
        load(folder)


def test_a_single_file_is_refused_with_the_way_to_convert_it(tmp_path):
    safetensors.torch.save_file({"encoder.weight": torch.zeros(2, 2)}, tmp_path / "dream.safetensors")
    with pytest.raises(InputError, match=r"dream.safetensors is a set of unknown weights: .*single_file"):
        check_generator(GeneratorSettings(name=str(tmp_path / "dream.safetensors")))


def test_the_trial_names_the_generator_and_the_reason(folder):
    settings = build({"data": {"source": "digits"}, "generator": {"name": str(folder)}})
    try_generator(load(folder), settings, "a cat")
    with_unet(folder, cross_attention_dim=24)  # the text encoder is narrower or wider
    with pytest.raises(InputError, match=r"the generator .*pipeline cannot draw an image or compute"):
        try_generator(load(folder), settings, "a cat")


def test_the_trial_finds_losses_that_are_not_finite(folder):
    (path,) = (folder / "unet").glob("*.safetensors")
    weights = safetensors.torch.load_file(path)
    weights["conv_out.bias"] += float("nan")
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    settings = build({"data": {"source": "digits"}, "generator": {"name": str(folder)}})
    with pytest.raises(InputError, match="must be finite, got nan"):
        try_generator(load(folder), settings, "a cat")
