"""Pipelines that are as they were loaded are used again, others are read from their files again."""

import shutil
import weakref

import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from tiny import plan_row

from understudy.adaptation.methods import METHODS
from understudy.adaptation.settings import AdaptSettings
from understudy.generators import pipeline_parts
from understudy.generators.load import forget_kept, give_back, load_generator
from understudy.generators.settings import GeneratorSettings


@pytest.fixture
def settings(tiny_pipeline_folder, tmp_path):
    yield GeneratorSettings(name=str(shutil.copytree(tiny_pipeline_folder, tmp_path / "pipeline")))
    forget_kept()


def load(settings):
    return load_generator(settings, device="cpu")


def prepared(generator, method):
    """As adaptation prepares it, with trained weights of low-rank updates."""
    fields = {"targets": ("attention", "convolutions")} if method == "lora" else {}
    parameters = METHODS[method](generator, AdaptSettings(method=method, **fields), seed=0, num_classes=2)
    if method == "lora":
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(0.1)
    generator.denoiser.train()
    return generator


@pytest.mark.parametrize("method", ["none", "lora", "full"])
def test_a_restored_pipeline_is_lent_once(method, settings):
    fresh = load(settings)
    expected, fingerprint = fresh.draw([plan_row()]), fresh.fingerprint
    used = prepared(load(settings), method)
    give_back(used, settings, device="cpu")
    again = load(settings)
    assert again is used
    assert load(settings) is not used
    assert np.array_equal(again.draw([plan_row()]), expected)
    assert again.fingerprint == fingerprint
    assert not again.denoiser.training
    assert not any(parameter.requires_grad for parameter in again.denoiser.parameters())
    assert again.denoiser.state_dict().keys() == fresh.denoiser.state_dict().keys()


def change_weights(generator, folder):
    with torch.no_grad():
        next(generator.denoiser.parameters()).add_(1e-3)


def learn_token(generator, folder):
    generator.learn_tokens(["<mine>"], num_vectors=1, initial_word="cat")


def merge_adapter(generator, folder):
    prepared(load(GeneratorSettings(name=generator_name(folder))), "lora").save_adapter(
        folder / "a", method="lora"
    )
    generator.load_adapter(folder / "a", method="lora")


def generator_name(folder):
    return str(folder / "pipeline")


def touch_a_file(generator, folder):
    (folder / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors").touch()


@pytest.mark.parametrize("change", [change_weights, learn_token, merge_adapter, touch_a_file])
def test_a_changed_pipeline_is_read_again(change, settings, tmp_path):
    used = load(settings)
    change(used, tmp_path)
    give_back(used, settings, device="cpu")
    assert load(settings) is not used


def test_another_setting_needs_another_pipeline(settings):
    used = load(settings)
    give_back(used, settings, device="cpu")
    assert load(settings.model_copy(update={"resolution": 24})) is not used
    assert load(settings) is not used, "nothing is kept beside another one"


def test_a_pipeline_that_does_not_fit_is_freed_before_another_is_read(settings, monkeypatch):
    used = load(settings)
    add_hook_to_module(used.denoiser, ModelHook())
    give_back(used, settings, device="cpu")
    denoiser, alive, read = weakref.ref(used.denoiser), [], pipeline_parts.load_complete
    del used

    def noting(*values):
        alive.append(denoiser() is not None)
        return read(*values)

    monkeypatch.setattr(pipeline_parts, "load_complete", noting)
    load(settings.model_copy(update={"resolution": 24}))
    assert alive == [False]


def test_what_is_forgotten_is_freed(settings):
    used = load(settings)
    add_hook_to_module(used.denoiser, ModelHook())  # then it refers to itself, as offloaded networks do
    give_back(used, settings, device="cpu")
    denoiser = weakref.ref(used.denoiser)
    del used
    forget_kept()
    assert denoiser() is None
