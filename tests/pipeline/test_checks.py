"""What is refused before anything is written."""

import re
import shutil
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import safetensors.torch
from hypothesis import given
from PIL import Image
from tiny_job import tiny_settings, tree, write_pets

from understudy.adaptation.settings import TOKEN_METHODS
from understudy.commands.preview import preview
from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits
from understudy.generators.load import load_generator
from understudy.generators.mini.tokenizer import MAX_LENGTH
from understudy.generators.settings import GeneratorSettings
from understudy.pipeline.checks import check_generator_fits, check_names, loads_networks
from understudy.pipeline.run import run
from understudy.recipes import PRESETS, RECIPES
from understudy.settings import build

pytestmark = pytest.mark.usefixtures("plain_report")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"captions": {"source": "class-name"}},
            "captions.source 'class-name' has no effect, because no prompt contains {caption}",
        ),
        ({"scale": {"times": [1.0], "arms": ["real"]}}, "scale.arms must use synthetic images, got 'real'"),
        ({"scale": {"times": [1.0], "arms": ["mixed+val"]}}, "scale.arms must learn from train images alone"),
        ({"compare": {"arms": ["mixed+val"]}}, "compare 'mixed' as well, for which they choose"),
        ({"draw": {"prompt": "a photo"}}, "{class}"),
        ({"adapt": {"distribution": "wasserstein"}}, "unknown distribution term 'wasserstein'"),
        (
            {"adapt": {"distribution": "drawn", "distribution_encoders": ["generator", "dino"]}},
            "unknown encoder 'dino'",
        ),
        (
            {"adapt": {"distribution": "drawn", "distribution_encoders": ["timm"]}},
            "adapt.distribution_encoders must name one encoder, got 'timm', a kind of encoder",
        ),
        (
            {
                "adapt": {"distribution": "kernel", "distribution_encoders": ["backbone"]},
                "compare": {"pretrained": False, "backbone": "resnet18"},
            },
            "adapt.distribution_encoders=backbone needs a pretrained network that arms start from",
        ),
        ({"visual": {"kind": "pixel"}}, "unknown kind of visual guidance 'pixel'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(
    sections, message, tiny_pipeline_folder, tmp_path
):
    with pytest.raises(InputError, match=re.escape(message)):
        run(tiny_settings(tmp_path / "nowhere", tiny_pipeline_folder, **sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("source", "setting"), [("model", "model"), ("language-model", "language_model")])
def test_a_model_for_captions_must_be_there_before_anything_is_read(source, setting, pets):
    captions = {"source": source, setting: "nowhere/model"}
    settings = tiny_settings(pets, "mini", captions=captions, draw={"prompt": "{class}, {caption}"})
    with pytest.raises(InputError, match=rf"captions.{setting} must be .* got 'nowhere/model'"):
        check_names(settings)
    check_names(settings, finished=["load"])


def test_what_does_not_fit_the_generator_is_refused_before_captioning(pets, tiny_pipeline_folder, tmp_path):
    """A captioning model without weights is never loaded."""
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        captions={"source": "model", "model": str(tmp_path)},
        draw={"sampler": "flow-euler"},
        adapt={"prompt": "{class}, {caption}"},
    )
    with pytest.raises(InputError, match="flow-euler"):
        run(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"draw": {"prompt": "a very long photo " * 20 + "{class}"}}, "a prompt must have at most"),
        ({"draw": {"start_snr": 1e-9}}, "which is pure noise for this generator"),
        ({"adapt": {"method": "lora", "targets": ["attention", "convolution"]}}, "got 'convolution'"),
        ({"draw": {"sampler": "flow-euler"}}, "flow-euler"),
    ],
)
def test_what_does_not_fit_the_generator_leaves_no_folder(
    sections, message, pets, tiny_pipeline_folder, tmp_path
):
    with pytest.raises(InputError, match=message):
        run(tiny_settings(pets, tiny_pipeline_folder, **sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()


DIGITS = tuple(f"digit {digit}" for digit in range(10))


def loads(*layers, words=DIGITS):
    """Whether the generator is loaded to check settings for sets of 8 images."""
    real = LabelledSet.from_images(
        [np.zeros((3, 8, 8), np.uint8)], [0], class_names=words, split="train", ids=["a"]
    )
    splits = Splits(real, real, real, tuple(words), (), frozenset())
    return loads_networks(build({"data": {"source": "digits"}}, *layers), splits)


@pytest.mark.parametrize(
    "layer",
    [
        *(PRESETS[name] for name in PRESETS),
        *(RECIPES[name] for name in ("adapted", "vanilla", "latent-prior", "bridged-transfer")),
        *({"draw": {"sampler": name}} for name in ("unipc", "dpm++", "ddim", "ddpm", "lcm")),
        {"adapt": {"method": "lora"}},
    ],
    ids=str,
)
def test_the_bundled_generator_fits_settings_that_it_is_not_loaded_for(layer, mini):
    assert not loads(layer)
    settings = build({"data": {"source": "digits"}}, layer)
    check_generator_fits(mini, settings, prompt_names=DIGITS)


@pytest.mark.parametrize(
    "section",
    [
        *({"adapt": {"method": method, "prompt": "{class} {token}"}} for method in TOKEN_METHODS),
        {"adapt": {"method": "lora", "targets": ["to_q"]}},
        {"adapt": {"adapter": "somewhere"}},
        {"draw": {"start_snr": 0.4}},
        {"draw": {"sampler": "edm"}},
        {"draw": {"prompt": "a photograph of a {class}"}},
        {"generator": {"compile": True}},
        {"generator": {"name": "owner/model"}},
        {"visual": {"kind": "per-image"}},
        {"curate": {"score": "clip"}},
    ],
    ids=str,
)
def test_what_may_not_fit_is_checked_with_the_loaded_generator(section):
    assert loads(section)
    assert loads(words=("chrysanthemums", "roses"))
    assert loads(words=("ö", "ü"))


@pytest.fixture(scope="module")
def mini():
    return load_generator(GeneratorSettings(), device="cpu")


@given(text=st.text(st.characters(codec="ascii")))
def test_a_prompt_has_at_most_one_token_per_byte(text, mini):
    [(tokenizer, limit)] = mini._token_limits()
    assert len(tokenizer(text).input_ids) <= len(text) + 2
    assert limit == MAX_LENGTH


AUDIT = {"measure": True, "shadows": 6, "false_positive_rates": [0.5]}


@pytest.mark.parametrize(
    "sections",
    [
        {"compare": {"arms": ["real", "mixed@real-guidance"]}},
        {"membership": {**AUDIT, "arms": ["real", "mixed@real-guidance"]}},
    ],
    ids=["compared", "audited"],
)
def test_a_strategy_that_changes_nothing_for_so_many_images_leaves_no_folder(
    sections, pets, tiny_pipeline_folder, tmp_path
):
    """With 4 images per class real guidance starts at 0.35, with one at 0.5."""

    def load(strength):
        draw = {"steps": 20, "strength": strength}
        settings = tiny_settings(
            pets, tiny_pipeline_folder, data={"source": str(pets), "shots": 4}, draw=draw, **sections
        )
        run(settings, tmp_path / "run", until="load")

    with pytest.raises(InputError, match="'real-guidance' of the arm 'mixed@real-guidance' has no effect"):
        load(0.35)
    assert not (tmp_path / "run").exists()
    load(0.5)


def test_a_missing_clip_model_of_an_audited_arm_leaves_no_folder(pets, tiny_pipeline_folder, tmp_path):
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        curate={"clip": str(tmp_path / "clip")},
        membership={**AUDIT, "arms": ["mixed@clip-filter"]},
    )
    with pytest.raises(InputError, match="clip"):
        run(settings, tmp_path / "run", until="load")
    assert not (tmp_path / "run").exists()


def test_an_adapter_is_used_as_it_was_made(finished, pets, tiny_pipeline_folder, tmp_path):
    out, _ = finished
    guided = tiny_settings(
        pets, tiny_pipeline_folder, visual={"kind": "per-image"}, adapt={"adapter": str(out / "adapter")}
    )
    with pytest.raises(InputError, match="the adapter in .* was made with visual.kind 'none'"):
        run(guided, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def damage_lost_file(adapter):
    (adapter / "unet" / "diffusion_pytorch_model.safetensors").unlink()


def damage_changed_file(adapter):
    path = adapter / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file({name: value + 1 for name, value in tensors.items()}, path)


def damage_cut_file(adapter):
    path = adapter / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def damage_report(adapter):
    (adapter / "report.json").write_text("{")


def damage_configuration(adapter):
    (adapter / "unet" / "config.json").write_text("[]")


def damage_images(adapter):
    (adapter / "images.json").write_text("")


def damage_nothing(adapter):
    pass


AGAIN = ": copy the whole folder again, remove adapt.adapter to adapt again, or give another one"
CHANGED = "adapter in adapter are not those that were written: some are missing or were changed since" + AGAIN


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (damage_lost_file, "", CHANGED),
        (damage_changed_file, "", CHANGED),
        (damage_cut_file, "", "diffusion_pytorch_model.safetensors is damaged" + AGAIN),
        (damage_report, "", "adapter/report.json is damaged" + AGAIN),
        (damage_configuration, "", "adapter/unet/config.json is damaged" + AGAIN),
        (damage_images, "", "adapter/images.json is damaged" + AGAIN),
        (
            damage_nothing,
            "--set adapt.method=lora",
            "made with adapt.method=full, but this run has adapt.method",
        ),
        (
            damage_nothing,
            "--recipe style-inversion",
            "made with adapt.method=full, but this run has adapt.method",
        ),
        (damage_nothing, "--generator mini", "was made for a generator with fingerprint"),
        (damage_nothing, "--seed 1", "was fitted to [0-9]+ test images of this run: use the seed"),
        (damage_nothing, "--set visual.kind=per-image", "was made with visual.kind 'none'"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_before_a_run(
    damage, options, message, finished, pets, tiny_pipeline_folder, understudy, tmp_path
):
    damage(Path(shutil.copytree(finished[0] / "adapter", "adapter")))
    words = [pets, "--set", "adapt.adapter=adapter", *options.split()]
    words += [] if "--generator" in options else ["--generator", tiny_pipeline_folder]
    before = tree(tmp_path)
    for command in ("validate", "preview", "run"):
        code, _, err = understudy(command, *words)
        assert (code, re.search(message, err) is not None) == (2, True), err
    assert tree(tmp_path) == before


def test_the_control_with_retrieved_images_asks_for_images_of_the_classes(pets, understudy, tmp_path):
    """Not for another generator: the user never chose the one that renders characters."""
    words = ["validate", pets, "--arms", "real,bridged,bridged@retrieved"]
    code, _, err = understudy(*words)
    assert code == 2
    assert err.startswith("error: the strategy 'retrieved' needs images of your classes: give them as --set ")
    assert "but these are none: cat, dog" in err
    assert "glyphs" not in err
    for content, message in ((None, "nothing is at"), ("lion", "classes of the generated images in")):
        path = tmp_path / str(content)
        if content:
            write_plain(path, content)
        code, _, err = understudy(*words, "--set", f"generator.retrieved=[{path}]")
        assert (code, "generator.images" in err, message in err) == (2, False, True), err
    write_pets(tmp_path / "more", seed=1)
    code, _, err = understudy(*words, "--set", f"generator.retrieved=[{tmp_path / 'more'}]")
    assert (code, err) == (0, "")


def write_plain(folder, name):
    for other in (name, "dog"):
        (folder / other).mkdir(parents=True)
        Image.new("RGB", (8, 8), (len(other), 0, 0)).save(folder / other / "1.png")


def test_a_preview_draws_with_a_ready_adapter(finished, pets, tiny_pipeline_folder, tmp_path):
    adapter = {"adapt": {"adapter": str(finished[0] / "adapter")}}
    for name, sections in (("plain", {}), ("adapted", adapter)):
        preview(tiny_settings(pets, tiny_pipeline_folder, **sections), tmp_path / f"{name}.png")
    assert len({Image.open(tmp_path / f"{name}.png").tobytes() for name in ("plain", "adapted")}) == 2
