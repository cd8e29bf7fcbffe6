"""Weights are hashed once per process as long as their files and the networks stay as they are."""

import os
import shutil

import pytest
import safetensors.torch
import torch

from understudy.adaptation.methods import METHODS
from understudy.adaptation.settings import AdaptSettings
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings


@pytest.fixture
def folder(tiny_pipeline_folder, tmp_path):
    return shutil.copytree(tiny_pipeline_folder, tmp_path / "pipeline")


def load(folder, **changes):
    return load_generator(GeneratorSettings(name=str(folder), **changes), device="cpu")


def change_weights(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = {name: value + 1e-3 for name, value in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    return path


def test_files_of_the_same_size_and_time_are_not_hashed_again(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    first, before = load(folder).fingerprint, path.stat()
    change_weights(folder)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load(folder).fingerprint == first
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert load(folder).fingerprint != first


def test_another_format_of_numbers_is_another_fingerprint(folder):
    assert load(folder).fingerprint != load(folder, precision="bfloat16").fingerprint


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "image_encoder"])
def test_changed_networks_are_hashed(part, folder):
    generator = load(folder)
    first, network = generator.fingerprint, generator.pipeline.components[part]
    with torch.no_grad():
        next(network.parameters()).mul_(1.01)
    assert generator.fingerprint != first
    assert load(folder).fingerprint == first


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_adapter_changes_the_fingerprint(method, folder, tmp_path):
    adapted, generator = load(folder), load(folder)
    first = generator.fingerprint
    parameters = METHODS[method](adapted, AdaptSettings(method=method), seed=0, num_classes=2)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.1)
    adapted.save_adapter(tmp_path / "adapter", method=method)
    generator.load_adapter(tmp_path / "adapter", method=method)
    assert generator.fingerprint != first
    assert not generator.restore()
    assert load(folder).fingerprint == first


def test_the_folder_of_a_loaded_pipeline_may_be_moved(folder):
    generator = load(folder)
    first = generator.fingerprint
    folder.rename(folder.with_name("elsewhere"))
    assert generator.fingerprint == first
    assert not generator.restore(), "nobody knows whether the files are the same"
