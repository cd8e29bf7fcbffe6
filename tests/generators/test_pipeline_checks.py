"""Pipeline folders as people have them: read rightly, or refused with what is wrong, before a run begins."""

import json
import shutil

import pytest
import safetensors.torch
import torch
from diffusers import UNet2DConditionModel
from tiny import save_tiny_flux, save_tiny_pipeline, save_tiny_sana, save_tiny_sd3, save_tiny_sdxl

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


def test_a_variant_beside_other_files_is_read_if_it_is_named(folder, tiny_generator):
    (path,) = (folder / "unet").glob("*.safetensors")
    other = {name: value + 1 for name, value in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(
        other, path.with_name("diffusion_pytorch_model.ema.safetensors"), metadata={"format": "pt"}
    )
    expected, name = tiny_generator.denoiser.state_dict(), "conv_in.bias"
    assert torch.equal(load(folder).denoiser.state_dict()[name], expected[name])
    assert torch.equal(load(folder, variant="ema").denoiser.state_dict()[name], expected[name] + 1)
    with pytest.raises(InputError, match="has no files of the variant 'bf16': correct generator.variant"):
        load(folder, variant="bf16")


def test_weights_in_several_files_are_read(folder, tiny_generator):
    unet = tiny_generator.denoiser
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size="20KB")
    assert len([*(folder / "unet").glob("*-of-*.safetensors")]) > 1
    assert load(folder).fingerprint == tiny_generator.fingerprint
    next((folder / "unet").glob("*-00002-of-*")).unlink()
    with pytest.raises(InputError, match=r"00002-of-\d+\.safetensors which is required .*copy its whole"):
        load(folder)


def test_a_revision_needs_the_hub(folder):
    with pytest.raises(InputError, match=r"generator\.revision needs a pipeline on the hub, but .* is on th"):
        load(folder, revision="main")


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


def test_a_file_of_unknown_weights_is_refused_with_the_families_that_are_known(tmp_path):
    safetensors.torch.save_file({"encoder.weight": torch.zeros(2, 2)}, tmp_path / "dream.safetensors")
    with pytest.raises(
        InputError, match=r"Diffusion 1\.x, 2\.x, XL or 3.*dream\.safetensors is a set of unknown"
    ):
        check_generator(GeneratorSettings(name=str(tmp_path / "dream.safetensors")))


def test_the_trial_names_the_generator_and_the_reason(folder):
    settings = build({"data": {"source": "digits"}, "generator": {"name": str(folder)}})
    try_generator(load(folder), settings, "a cat")
    with_unet(folder, cross_attention_dim=24, encoder_hid_dim=24)  # the text encoder is narrower or wider
    with pytest.raises(InputError, match=r"the generator .*pipeline cannot draw an image or compute"):
        try_generator(load(folder), settings, "a cat")


def change_weights(folder, change):
    (path,) = folder.glob("*.safetensors")
    weights = change(safetensors.torch.load_file(path))
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("part", "name"), [("unet", "mid_block"), ("vae", "decoder.mid_block"), ("text_encoder", ".mlp.")]
)
def test_missing_weights_are_never_filled_with_random_ones(part, name, folder):
    change_weights(
        folder / part, lambda weights: {key: value for key, value in weights.items() if name not in key}
    )
    with pytest.raises(InputError, match=rf"files in its folder {part} lack \d+ weights .*{name}.*: copy"):
        load(folder)


def test_weights_under_names_with_a_prefix_are_missing(folder):
    prefix = "_orig_mod."  # of a compiled network
    change_weights(
        folder / "text_encoder", lambda weights: {prefix + key: value for key, value in weights.items()}
    )
    with pytest.raises(InputError, match=r"folder text_encoder lack \d+ weights"):
        load(folder)


@pytest.mark.parametrize("names", [("beta_start",), ("beta_end", "beta_schedule")])
def test_a_scheduler_without_its_noise_is_refused(names, folder):
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in config.items() if key not in names}))
    with pytest.raises(InputError, match=rf"scheduler_config\.json has no {', '.join(names)}: copy"):
        load(folder)
    path.write_text(json.dumps({key: value for key, value in config.items() if key != "prediction_type"}))
    load(folder)  # Stable Diffusion 1 does not state it


@pytest.mark.parametrize("changes", [{"beta_end": 20.0}, {"num_train_timesteps": 0}])
def test_noise_that_is_none_is_refused(changes, folder):
    edit(folder / "scheduler" / "scheduler_config.json", **changes)
    with pytest.raises(InputError, match=r"must keep a share of the signal from 0 to 1 .*, got beta_start"):
        load(folder)


@pytest.mark.parametrize("value", [0, None, -1.0])
def test_a_scale_of_latents_that_is_none_is_refused(value, folder):
    edit(folder / "vae" / "config.json", scaling_factor=value)
    with pytest.raises(InputError, match=rf"must state a scaling_factor above 0 .*, got {value}: copy"):
        load(folder)


def test_only_stable_diffusion_1_and_2_have_a_scale_of_latents_by_default(folder, tmp_path):
    save_tiny_sdxl(tmp_path / "xl")
    for place in (folder, tmp_path / "xl"):
        path = place / "vae" / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in config.items() if key != "scaling_factor"}))
    load(folder)
    with pytest.raises(InputError, match="must state a scaling_factor above 0"):
        load(tmp_path / "xl")


def test_parts_of_different_models_are_refused(folder):
    change_weights(
        folder / "text_encoder",
        lambda weights: {
            key: value[:-9].contiguous() if "token_embedding" in key else value
            for key, value in weights.items()
        },
    )
    config = folder / "text_encoder" / "config.json"
    edit(config, vocab_size=json.loads(config.read_text())["vocab_size"] - 9)
    with pytest.raises(InputError, match=r"must know all tokens, but tokenizer has \d+ and text_encoder \d+"):
        load(folder)


def test_a_denoiser_for_other_text_states_is_refused(folder):
    with_unet(folder, cross_attention_dim=24)
    with pytest.raises(
        InputError, match="must take the 16 numbers per token of its text .*, got 24 as cross"
    ):
        load(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            ".safetensors",
            ".bin",
            r"the content of unet/\S+\.bin in it is that of safetensors: rename it to \S+\.safetensors",
        ),
        ("_model.", "_model-final.", r"name that diffusers does not read, \S+final\.safetensors: rename"),
        ("model.", "model.non_ema.", "unet has only weights of the variant non_ema: set generator.variant="),
    ],
)
def test_weights_under_another_name_are_named(old, new, message, folder):
    (path,) = (folder / "unet").glob("*.safetensors")
    path.rename(path.with_name(path.name.replace(old, new)))
    with pytest.raises(InputError, match=message):
        load(folder)


def test_a_variant_that_was_named_is_no_fault(folder):
    (path,) = (folder / "unet").glob("*.safetensors")
    path.rename(path.with_name(path.name.replace("model.", "model.ema.")))
    assert load(folder, variant="ema").token_width == 16
    shutil.rmtree(folder / "scheduler")
    with pytest.raises(InputError) as raised:
        load(folder, variant="ema")
    assert "generator.variant" not in str(raised.value)


def test_a_file_of_pytorch_called_safetensors_is_named(folder):
    (path,) = (folder / "unet").glob("*.safetensors")
    torch.save(safetensors.torch.load_file(path), path)
    with pytest.raises(InputError, match=r"is that of a PyTorch file: rename it to \S+\.bin"):
        load(folder)


@pytest.mark.parametrize(("part", "library"), [("unet", "diffusers"), ("text_encoder", "transformers")])
def test_a_class_that_does_not_exist_is_named_with_the_version(part, library, folder):
    edit(folder / "model_index.json", **{part: [library, "NoSuchModel"]})
    with pytest.raises(
        InputError, match=rf"names {library}.NoSuchModel as {part}, which {library} \d.*: correct"
    ):
        load(folder)


def test_the_trial_finds_black_images(folder):
    change_weights(
        folder / "vae",
        lambda weights: {
            key: value * float("nan") if key.startswith("decoder.conv_out") else value
            for key, value in weights.items()
        },
    )
    settings = build({"data": {"source": "digits"}, "generator": {"name": str(folder)}})
    with pytest.raises(
        InputError, match=r"must draw pictures, but they are black.*: set generator\.precision"
    ):
        try_generator(load(folder), settings, "a cat")


def test_the_trial_finds_losses_that_are_not_finite(folder):
    (path,) = (folder / "unet").glob("*.safetensors")
    weights = safetensors.torch.load_file(path)
    weights["conv_out.bias"] += float("nan")
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    settings = build({"data": {"source": "digits"}, "generator": {"name": str(folder)}})
    with pytest.raises(InputError, match="must be finite, got nan"):
        try_generator(load(folder), settings, "a cat")


@pytest.mark.parametrize(
    ("save", "part"),
    [
        (save_tiny_pipeline, "tokenizer"),
        (save_tiny_sdxl, "tokenizer_2"),
        (save_tiny_sd3, "tokenizer_3"),
        (save_tiny_flux, "tokenizer_2"),
        (save_tiny_sana, "tokenizer"),
    ],
)
def test_a_tokenizer_without_its_files_is_refused(save, part, tmp_path):
    save(tmp_path / "pipeline")
    for file in (tmp_path / "pipeline" / part).iterdir():
        if file.name != "tokenizer_config.json":
            file.unlink()
    with pytest.raises(InputError, match=rf"{part} .*(knows no words|cannot be read)|cannot load"):
        load_generator(GeneratorSettings(name=str(tmp_path / "pipeline")), device="cpu")
