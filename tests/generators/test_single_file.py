"""Checkpoints in a single file, as authors and web UIs store them."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from original_layout import save_single_file
from tiny import plan_row, save_tiny_sdxl

from understudy.core.errors import InputError
from understudy.generators.load import check_generator, load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.generators.stable_diffusion import StableDiffusionGenerator


@pytest.fixture(scope="module")
def single_file(tiny_pipeline_folder, tmp_path_factory):
    return save_single_file(tiny_pipeline_folder, tmp_path_factory.mktemp("single") / "dream.safetensors")


def load(path, config=None, **changes):
    return load_generator(
        GeneratorSettings(name=str(path), config=config and str(config), **changes), device="cpu"
    )


def changed(path, to, change):
    weights = change(safetensors.torch.load_file(path))
    safetensors.torch.save_file(weights, to)
    return to


@pytest.mark.parametrize("ending", [".safetensors", ".ckpt"])
def test_it_draws_what_the_folder_draws(ending, single_file, tiny_generator, tiny_pipeline_folder, tmp_path):
    path = single_file
    if ending == ".ckpt":  # the older form, with the weights below a key
        path = tmp_path / "dream.ckpt"
        torch.save({"state_dict": safetensors.torch.load_file(single_file), "global_step": 7}, path)
    check_generator(GeneratorSettings(name=str(path)))
    generator = load(path, tiny_pipeline_folder)
    assert isinstance(generator, StableDiffusionGenerator)
    assert np.array_equal(generator.draw([plan_row()]), tiny_generator.draw([plan_row()]))


def test_half_precision_and_resolution(single_file, tiny_pipeline_folder):
    generator = load(single_file, tiny_pipeline_folder, precision="bfloat16", resolution=24)
    assert generator.denoiser.dtype == torch.bfloat16
    assert generator.draw([plan_row(precision="bfloat16")]).shape == (1, 3, 24, 24)


def test_without_the_hub_it_needs_a_configuration(single_file, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        InputError, match=r"tokenizers of stable-diffusion-v1-5/\S+, which .*: set generator\.con"
    ):
        load(single_file)


@pytest.mark.parametrize(("channels", "word"), [(9, "inpainting"), (8, "editing"), (5, "depth")])
def test_a_unet_with_other_inputs_is_refused(channels, word, single_file, tiny_pipeline_folder, tmp_path):
    name = "model.diffusion_model.input_blocks.0.0.weight"
    path = changed(
        single_file,
        tmp_path / "other.safetensors",
        lambda weights: weights | {name: weights[name].repeat(1, 3, 1, 1)[:, :channels].contiguous()},
    )
    with pytest.raises(InputError, match=rf"takes {channels} channels instead of 4, .*{word} \({channels}\)"):
        load(path, tiny_pipeline_folder)


@pytest.mark.parametrize("part", ["middle_block", "first_stage_model.decoder.mid", ".mlp."])
def test_missing_weights_are_never_filled_with_random_ones(part, single_file, tiny_pipeline_folder, tmp_path):
    path = changed(
        single_file,
        tmp_path / "part.safetensors",
        lambda weights: {name: value for name, value in weights.items() if part not in name},
    )
    with pytest.raises(
        InputError, match="must have every weight of .*, but it does not fit: .*; set generator"
    ):
        load(path, tiny_pipeline_folder)


def test_the_configuration_of_another_family_is_refused(single_file, tiny_pipeline_folder, tmp_path):
    save_tiny_sdxl(tmp_path / "xl")
    with pytest.raises(InputError, match="set generator.config to a pipeline of the same family"):
        load(single_file, tmp_path / "xl")
    other = shutil.copytree(tiny_pipeline_folder, tmp_path / "other")
    index = json.loads((other / "model_index.json").read_text())
    for name in ("FluxPipeline", "SanaPipeline"):  # which no single file holds
        (other / "model_index.json").write_text(json.dumps(index | {"_class_name": name}))
        with pytest.raises(InputError, match=f"must be one of .*, StableDiffusion3Pipeline, got {name}"):
            load(single_file, other)


def test_a_file_that_is_cut_short_is_damaged(single_file, tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(single_file.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"cut\.safetensors is damaged or cut short: download it again"):
        check_generator(GeneratorSettings(name=str(path)))


def test_a_folder_with_a_single_file_is_not_the_file(single_file):
    with pytest.raises(InputError, match="is a whole Stable Diffusion checkpoint: give the file itself with"):
        check_generator(GeneratorSettings(name=str(single_file.parent)))
