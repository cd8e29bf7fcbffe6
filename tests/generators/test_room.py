"""Memory that the weights of a pipeline need, against the numbers in its loaded networks, and what to do."""

import json
import shutil
from contextlib import nullcontext
from types import SimpleNamespace

import psutil
import pytest
import safetensors.torch
import torch
from diffusers import DiffusionPipeline
from original_layout import save_single_file
from tiny import save_tiny_flux, save_tiny_pipeline, save_tiny_sana, save_tiny_sd3, save_tiny_sdxl
from torch import nn

from understudy.core.errors import InputError
from understudy.generators.load import load_generator
from understudy.generators.room import bytes_of_weights, check_device_room, check_room, less_memory
from understudy.generators.settings import GeneratorSettings

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def need(path, *, on_device=False, **settings):
    return bytes_of_weights(GeneratorSettings(name=str(path), **settings), on_device=on_device)


def loaded(path, **parts):
    """How many numbers each network of a pipeline has that diffusers loads."""
    pipeline = DiffusionPipeline.from_pretrained(path, **parts)
    return {
        # Weights that two layers share are stored once.
        name: sum({value.data_ptr(): value.numel() for value in network.state_dict().values()}.values())
        for name, network in pipeline.components.items()
        if isinstance(network, nn.Module)
    }


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "save", [save_tiny_pipeline, save_tiny_sdxl, save_tiny_sd3, save_tiny_flux, save_tiny_sana]
)
def test_weights_count_in_the_precision_in_which_they_are_loaded(save, stored, precision, tmp_path):
    """Whatever the files hold: FLUX.1 and Sana are published in bfloat16."""
    save(tmp_path / "pipeline")
    DiffusionPipeline.from_pretrained(tmp_path / "pipeline").to(stored).save_pretrained(tmp_path / "stored")
    numbers = loaded(tmp_path / "pipeline")
    assert need(tmp_path / "stored", precision=precision) == BYTES[precision] * sum(numbers.values())
    denoiser = numbers.get("unet") or numbers["transformer"]
    on_device = need(tmp_path / "stored", on_device=True, precision=precision, cpu_offload=True)
    assert on_device == BYTES[precision] * denoiser


@pytest.mark.parametrize("kind", ["in pieces", "variant", "variant in pieces", "PyTorch files"])
def test_every_way_to_store_weights_counts_the_same(kind, tmp_path):
    save_tiny_flux(tmp_path / "whole")
    options = {"max_shard_size": "4KB"} if "pieces" in kind else {}
    options |= {"variant": "fp16"} if "variant" in kind else {}
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "whole")
    pipeline.save_pretrained(tmp_path / "other", safe_serialization=kind != "PyTorch files", **options)
    assert not options or not list((tmp_path / "other").glob("*/diffusion_pytorch_model.safetensors"))
    assert need(tmp_path / "other") == need(tmp_path / "whole") > 0
    # Beside the weights as they were, they count no second time.
    pipeline.save_pretrained(tmp_path / "whole", safe_serialization=kind != "PyTorch files", **options)
    assert need(tmp_path / "whole") == need(tmp_path / "other")


def test_weights_that_cannot_be_mapped_count_by_the_size_of_their_files(tiny_pipeline_folder, tmp_path):
    """The form of PyTorch before 1.6, as if it held 32 bits."""
    folder = shutil.copytree(tiny_pipeline_folder, tmp_path / "pipeline")
    before = need(folder)
    (path,) = (folder / "unet").glob("*.safetensors")
    weights = safetensors.torch.load_file(path)
    path.unlink()
    torch.save(weights, path.with_suffix(".bin"), _use_new_zipfile_serialization=False)
    assert before < need(folder) < 1.5 * before


@pytest.mark.parametrize("t5", [True, False])
def test_t5_counts_where_it_is_loaded(t5, tmp_path):
    save_tiny_sd3(tmp_path, t5=t5)
    parts = {} if t5 else {"text_encoder_3": None, "tokenizer_3": None}
    assert need(tmp_path) == 4 * sum(loaded(tmp_path, **parts).values())


def test_only_what_the_index_names_and_the_settings_use_counts(tmp_path):
    save_tiny_sd3(tmp_path)
    numbers = loaded(tmp_path)
    (tmp_path / "safety_checker").mkdir()
    shutil.copy(tmp_path / "vae" / "diffusion_pytorch_model.safetensors", tmp_path / "safety_checker")
    index = json.loads((tmp_path / "model_index.json").read_text())
    index |= {
        "text_encoder_3": [None, None],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    without_t5 = sum(numbers.values()) - numbers["text_encoder_3"]
    assert need(tmp_path) == 4 * without_t5
    assert need(tmp_path, autoencoder="another") == 4 * (without_t5 - numbers["vae"])
    (tmp_path / "model_index.json").write_text("<html>")
    assert need(tmp_path) == 0, "loading says what is wrong"
    assert need("org/model") == 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_single_file_counts_by_its_weights(precision, tiny_pipeline_folder, tmp_path):
    """Without a second copy for the moving average, and with the text encoders of Stable Diffusion 3."""
    path = save_single_file(tiny_pipeline_folder, tmp_path / "model.safetensors")
    weights = safetensors.torch.load_file(path)
    numbers = sum(value.numel() for value in weights.values())
    unet = sum(value.numel() for name, value in weights.items() if name.startswith("model."))
    copies = {f"model_ema.{name.replace('.', '')}": value.clone() for name, value in weights.items()}
    t5 = {"text_encoders.t5xxl.transformer.shared.weight": torch.zeros(4, 5, dtype=torch.float16)}
    safetensors.torch.save_file(weights | copies | t5, path)
    assert need(path, precision=precision) == BYTES[precision] * (numbers + 20)
    on_device = need(path, on_device=True, precision=precision, cpu_offload=True)
    assert on_device == BYTES[precision] * unet


@pytest.mark.parametrize("kind", ["folder", "single file"])
def test_weights_that_do_not_fit_are_refused_before_they_are_loaded(
    kind, tiny_pipeline_folder, tmp_path, monkeypatch
):
    path = tiny_pipeline_folder
    if kind == "single file":
        path = save_single_file(path, tmp_path / "model.safetensors")
    settings = GeneratorSettings(name=str(path), config=str(tiny_pipeline_folder))
    for free, fits in ((need(path), True), (need(path) - 1, False)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: SimpleNamespace(available=free))
        message = "needs at least 0.0 GB of memory for its weights, but 0.0 GB are free"
        with nullcontext() if fits else pytest.raises(InputError, match=message):
            check_room(settings)
        with nullcontext() if fits else pytest.raises(InputError, match=message):
            load_generator(settings, device="cpu")


@pytest.mark.parametrize("save", [save_tiny_pipeline, save_tiny_flux, save_tiny_sana])
def test_what_is_advised_is_neither_refused_nor_set_already(save, tmp_path, monkeypatch):
    save(tmp_path)
    name, changes = str(tmp_path), {}
    monkeypatch.setattr("understudy.generators.pipeline_parts.check_memory_settings", lambda *_: None)
    half = "float16" if save is save_tiny_pipeline else "bfloat16"
    for key, value in (("precision", half), ("cpu_offload", True), ("vae_tiling", True)):
        told = less_memory(GeneratorSettings(name=name, **changes), "cuda", drawing=True)
        setting = f"set generator.{key}={str(value).lower() if value is True else value}"
        assert setting in told
        changes[key] = value
        settings = GeneratorSettings(name=name, **changes)
        assert f"generator.{key}" not in less_memory(settings, "cuda", drawing=True)
        load_generator(settings, device="cpu")
    assert less_memory(settings, "cuda") == "end other programs on the device; or choose a smaller pipeline"
    assert "vae_tiling" not in less_memory(GeneratorSettings(name=name), "cuda"), (
        "weights do not become fewer"
    )
    assert "cpu_offload" not in less_memory(GeneratorSettings(name=name), "cpu"), "which is refused there"


def test_a_generator_without_a_pipeline_gets_other_advice():
    told = less_memory(GeneratorSettings(name="class_conditional"), "cuda", drawing=True)
    assert told.startswith(
        "set a lower generator.resolution or fewer generator.channels, or end other programs"
    )


def test_nothing_is_checked_for_a_device_that_shares_the_memory_of_the_host(tiny_pipeline_folder):
    check_device_room(GeneratorSettings(name=str(tiny_pipeline_folder)), "cpu")
