import json

import numpy as np
import pytest
import torch

from understudy.adaptation import METHODS, adapt, adapter_fingerprint
from understudy.errors import InputError
from understudy.generators.stable_diffusion import StableDiffusionGenerator
from understudy.settings import AdaptSettings

NAMES = ("a cat", "a dog")


def settings(**changes):
    return AdaptSettings(
        **{
            "steps": 6,
            "batch_size": 4,
            "validate_every": 2,
            "checkpoint_every": 2,
            "rank": 2,
            "validation_pairs": 16,
            "learning_rate": 1e-2,
        }
        | changes
    )


def run(folder, train, val, out, *, steps=None, seed=0, **changes):
    """Adapt a fresh generator; stops after ``steps`` records as a kill would."""
    generator = StableDiffusionGenerator.load(str(folder))
    records = []
    for record in adapt(generator, train, val, settings=settings(**changes), prompt_names=NAMES, seed=seed, folder=out):
        records.append(record)
        if len(records) == steps:
            break
    return records


@pytest.mark.parametrize("method", [name for name in METHODS if name != "none"])
def test_the_loss_on_held_out_images_falls(method, tiny_pipeline_folder, train, val, tmp_path):
    records = run(tiny_pipeline_folder, train, val, tmp_path, method=method, steps=None)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [record.step for record in records] == list(range(1, 7))
    assert report["val_loss_after"] < report["val_loss_before"]
    assert [step for step, _ in report["curve"]] == [0, 2, 4, 6]
    assert report["val_loss_after"] == min(loss for _, loss in report["curve"])
    assert report["fingerprint"] == adapter_fingerprint(tmp_path)


def test_full_trains_more_than_lora(tiny_generator):
    counts = {}
    for method in ("lora", "full"):
        parameters = METHODS[method](tiny_generator.denoiser, settings(method=method), 0)
        counts[method] = sum(parameter.numel() for parameter in parameters)
    assert 0 < counts["lora"] < counts["full"]


def test_attention_alone_is_less_than_attention_and_convolutions(tiny_pipeline_folder):
    counts = [
        sum(
            p.numel()
            for p in METHODS["lora"](StableDiffusionGenerator.load(str(tiny_pipeline_folder)).denoiser, settings(targets=targets), 0)
        )
        for targets in (("attention",), ("attention", "convolutions"))
    ]
    assert 0 < counts[0] < counts[1]


def test_a_stopped_run_ends_with_the_same_weights(tiny_pipeline_folder, train, val, tmp_path):
    run(tiny_pipeline_folder, train, val, tmp_path / "whole", method="full")
    run(tiny_pipeline_folder, train, val, tmp_path / "stopped", method="full", steps=5)
    assert not (tmp_path / "stopped" / "report.json").exists()
    resumed = run(tiny_pipeline_folder, train, val, tmp_path / "stopped", method="full")
    assert resumed[0].step == 5, "goes on after the last checkpoint"
    assert adapter_fingerprint(tmp_path / "whole") == adapter_fingerprint(tmp_path / "stopped")


def test_the_seed_decides_and_the_global_generator_does_not(tiny_pipeline_folder, train, val, tmp_path):
    losses = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        state = torch.random.get_rng_state()
        losses[name] = [record.loss for record in run(tiny_pipeline_folder, train, val, tmp_path / name, seed=seed, method="lora")]
        assert torch.equal(state, torch.random.get_rng_state())
        torch.rand(3)
    assert losses["a"] == losses["b"] != losses["c"]


def test_captions_and_labels_matter(tiny_pipeline_folder, train, val, tmp_path):
    plain = run(tiny_pipeline_folder, train, val, tmp_path / "a", method="full", caption_dropout=0.0)
    other = run(tiny_pipeline_folder, train, val, tmp_path / "b", method="full", caption_dropout=0.0, prompt="{class} {class} {class}")
    assert plain[0].loss != other[0].loss


def test_a_batch_larger_than_the_set(tiny_pipeline_folder, train, val, tmp_path):
    assert len(run(tiny_pipeline_folder, train.select([0, 1, 2]), val, tmp_path, method="lora", batch_size=8)) == 6


def test_only_train_and_val_are_seen(tiny_generator, train, val, tmp_path):
    call = {"settings": settings(), "prompt_names": NAMES, "seed": 0, "folder": tmp_path}
    with pytest.raises(InputError, match="adapting a generator needs a train set, got a test set"):
        next(adapt(tiny_generator, train.with_split("test"), val, **call))
    with pytest.raises(InputError, match="choosing the checkpoint .* needs a val set, got a test set"):
        next(adapt(tiny_generator, train, val.with_split("test"), **call))
    assert not list(tmp_path.iterdir())


def test_none_and_unknown_methods(tiny_generator, train, val, tmp_path):
    call = {"prompt_names": NAMES, "seed": 0, "folder": tmp_path}
    with pytest.raises(InputError, match="adapt.method 'none' trains nothing"):
        next(adapt(tiny_generator, train, val, settings=settings(method="none"), **call))
    with pytest.raises(InputError, match="unknown adaptation method 'dreambooth'; known: full, lora, none"):
        next(adapt(tiny_generator, train, val, settings=settings(method="dreambooth"), **call))


def test_full_needs_full_precision(tiny_generator):
    with pytest.raises(InputError, match="'full' needs generator.precision float32, got bfloat16"):
        METHODS["full"](tiny_generator.denoiser.to(torch.bfloat16), settings(method="full"), 0)


def test_a_loss_that_is_not_finite_stops(tiny_generator, train, val, tmp_path):
    with torch.no_grad():
        next(iter(tiny_generator.denoiser.parameters())).fill_(np.nan)
    with pytest.raises(InputError, match="lower adapt.learning_rate"):
        list(adapt(tiny_generator, train, val, settings=settings(method="full"), prompt_names=NAMES, seed=0, folder=tmp_path))
