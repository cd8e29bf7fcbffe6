"""What photographs and characters get by default, and that a run that was begun keeps what it had."""

import json

import huggingface_hub
import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_sample_image
from tiny import save_tiny_sd3
from tiny_job import SECTIONS, write_pets

from understudy import defaults_for
from understudy.commands import image_defaults
from understudy.commands.defaults import with_defaults
from understudy.generators import pipeline_size
from understudy.generators.pipeline_size import is_large
from understudy.pipeline.load import about_large_pipelines, about_photographs
from understudy.recipes import RECIPES
from understudy.settings import build, to_yaml, with_earlier_defaults


def _layers(source, **sections):
    return [{"data": {"source": str(source)}}, sections]


def test_photographs_get_another_classifier(photographs):
    wanted = {"augmentation": "flip-crop", "backbone": "photo", "resolution": 128}
    assert defaults_for(photographs) == {"adapt": {"augmentation": "flip-crop"}, "compare": wanted}
    settings = with_defaults(_layers(photographs))
    assert {name: getattr(settings.compare, name) for name in wanted} == wanted
    assert settings.adapt.augmentation == "flip-crop"
    large = with_defaults(_layers(photographs, generator={"name": "org/pipeline"}))
    assert (large.adapt.augmentation, large.compare.augmentation) == ("flip", "flip-crop")


def test_a_generator_from_scratch_draws_photographs_larger(photographs):
    scratch = {"name": "class_conditional"}
    drawn = with_defaults(_layers(photographs, generator=scratch)).generator
    assert (drawn.resolution, drawn.patch) == (64, 4)
    assert defaults_for(photographs, generator="class_conditional")["generator"] == {
        "resolution": 64,
        "patch": 4,
    }
    for changes in ({"resolution": 32}, {"patch": 2}, {"channels": (16, 32)}):
        given = with_defaults(_layers(photographs, generator={**scratch, **changes})).generator
        assert given == build(*_layers(photographs, generator={**scratch, **changes})).generator
    assert with_defaults(_layers("digits", generator=scratch)).generator.resolution is None


def test_characters_keep_the_general_defaults():
    assert defaults_for("digits") == {}
    assert with_defaults(_layers("digits")) == build(*_layers("digits"))


def test_what_the_user_gives_wins(photographs):
    given = {"backbone": "test_resnet", "augmentation": "affine"}
    settings = with_defaults(_layers(photographs, compare=given))
    assert (settings.compare.backbone, settings.compare.augmentation) == ("test_resnet", "affine")
    assert settings.compare.resolution is None, "another network has a size of its own"
    assert with_defaults(_layers(photographs, compare={"resolution": 64})).compare.resolution == 64


def test_random_weights_are_no_reason_for_a_large_network(photographs):
    compare = with_defaults(_layers(photographs, compare={"pretrained": False})).compare
    assert (compare.backbone, compare.resolution, compare.augmentation) == ("mini", None, "flip-crop")


def test_the_first_class_does_not_decide_alone(tmp_path):
    for name, count in (("a", 30), ("b", 12), ("c", 12)):
        (tmp_path / name).mkdir()
        for index in range(count):
            if name == "a":
                image = Image.new("RGB", (30, 30), "white")
                image.paste((0, 0, 0), (5 + index % 9, 5, 9 + index % 9, 25))
            else:
                whole = Image.fromarray(load_sample_image("flower.jpg" if name == "b" else "china.jpg"))
                image = whole.crop((20 * index, 100, 20 * index + 99, 199))
            image.save(tmp_path / name / f"{index}.png")
    assert defaults_for(tmp_path)["compare"]["augmentation"] == "flip-crop"


def test_without_the_package_photographs_are_mirrored(photographs, monkeypatch):
    monkeypatch.setattr(image_defaults, "photo_weights", lambda: None)
    mirrored = {"augmentation": "flip-crop"}
    assert defaults_for(photographs) == {"adapt": mirrored, "compare": mirrored}
    assert with_defaults(_layers(photographs)).compare.backbone == "mini"


@pytest.mark.parametrize(
    ("compare", "sentence"),
    [
        ({}, "compare.backbone=photo at 128 pixels and compare.augmentation=flip-crop"),
        (
            {"backbone": "mini", "augmentation": "none"},
            "compare.backbone=mini and compare.augmentation=none; the generator is adapted with adapt.augm",
        ),
        ({"backbone": "test_resnet", "pretrained": False}, "test_resnet and compare.augmentation=flip-crop"),
    ],
)
def test_one_line_says_how_classifiers_learn(compare, sentence, photographs):
    settings = with_defaults(_layers(photographs, compare=compare))
    told, warning = about_photographs("photographs", settings, ["glass", "cardboard"])
    assert sentence in told
    assert warning.startswith("warning: 'mini' has seen only printed characters")
    assert ("pip install 'understudy[photo]'" in told) == ("mini" in told)
    assert about_photographs("characters", settings, ["glass"]) == ()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ["glass", "cardboard", "shoe"],
            "'photo' knows ImageNet, which has classes named like glass, shoe: there",
        ),
        (["cardboard"], None),
    ],
)
def test_classes_that_the_backbone_knows_are_named(names, told, photographs):
    line, *_ = about_photographs("photographs", with_defaults(_layers(photographs)), names)
    assert ("ImageNet" in line) == (told is not None) and (told or "") in line
    scratch = with_defaults(_layers(photographs, compare={"backbone": "resnet10t", "pretrained": False}))
    assert "ImageNet" not in about_photographs("photographs", scratch, names)[0]


@pytest.mark.parametrize("source", ["nowhere", ".", "org/name"])
def test_images_that_cannot_be_read_are_left_to_the_run(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert defaults_for(source) == {}


def test_a_large_pipeline_goes_on_with_its_earlier_defaults_from_python_too():
    """Where `build(defaults_for(...))` gives today's."""
    data, generator = {"source": "photos"}, {"name": "org/pipeline"}
    adapt, draw = {"method": "lora", "augmentation": "flip-crop"}, {"part_size": 256}
    stored = build({"data": data, "generator": generator, "adapt": adapt, "draw": draw})
    today = build(stored.model_dump(), {"adapt": {"augmentation": "flip"}, "draw": {"part_size": 32}})
    assert with_earlier_defaults(today, stored) == stored
    mine = build(stored.model_dump(), {"draw": {"part_size": 64}})
    assert with_earlier_defaults(mine, stored).draw.part_size == 64
    small = {"generator": {"name": "mini"}}
    ours, theirs = (build(each.model_dump(), small) for each in (today, stored))
    assert with_earlier_defaults(ours, theirs) == ours


@pytest.mark.parametrize("kind", ["run", "study", "stopped study"])
def test_what_was_begun_keeps_its_defaults(kind, photographs, tmp_path):
    earlier = build(*_layers(photographs))  # an earlier version had the general defaults for all images
    out = tmp_path / "out"
    place = {"run": out / "settings.yaml", "study": out / "study.yaml"}.get(
        kind, out / "runs" / "run-repeat0" / "settings.yaml"
    )
    place.parent.mkdir(parents=True)
    index = {"kind": "repeats", "points": ["run"], "settings": earlier.model_dump(mode="json")}
    place.write_text(yaml.safe_dump(index) if kind == "study" else to_yaml(earlier))
    kept = with_defaults(_layers(photographs), out)
    assert kept == earlier
    assert not kept.adapt.model_fields_set, "what is not given leaves room for defaults of a study's points"
    assert with_defaults(_layers(photographs), tmp_path / "new").compare.backbone == "photo"
    changed = with_defaults(_layers(photographs, compare={"backbone": "photo"}), out)
    assert changed.compare.backbone == "photo", "which the folder then refuses"


def test_the_same_command_goes_on_after_the_images_were_removed(tmp_path, understudy, tiny_pipeline_folder):
    pets = write_pets(tmp_path / "pets", size=24)
    sections = SECTIONS | {"compare": SECTIONS["compare"] | {"arms": "[real]"}}
    del sections["compare"]["augmentation"]
    options = [
        word
        for section, keys in sections.items()
        for key, value in keys.items()
        for word in ("--set", f"{section}.{key}={value}")
    ]
    words = ("adapt", pets, "--generator", tiny_pipeline_folder, "--out", "out", *options)
    code, out, _ = understudy(*words)
    assert code == 0
    assert "load: photographs: classifiers have compare.backbone=test_resnet at 16 pixels" in out
    assert (
        yaml.safe_load((tmp_path / "out/settings.yaml").read_text())["compare"]["augmentation"] == "flip-crop"
    )
    for path in pets.rglob("*.png"):
        path.unlink()
    code, out, err = understudy(*words)
    assert (code, err) == (0, "")


def _pipeline(folder, *, megabytes, part="unet"):
    (folder / part).mkdir(parents=True)
    with (folder / part / "diffusion_pytorch_model.safetensors").open("wb") as file:
        file.truncate(megabytes * 10**6)  # sparse: takes no space
    return folder


@pytest.mark.parametrize(
    ("name", "is_large"),
    [
        ("mini", False),
        ("class_conditional", False),
        ("folder", False),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", True),
        ("nowhere/at/all", False),
    ],
)
def test_a_pipeline_on_the_hub_is_large_and_what_is_bundled_is_not(name, is_large, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bool(defaults_for("digits", generator=name)) == is_large


@pytest.mark.parametrize(
    ("name", "guidance"),
    [
        ("stabilityai/sd-turbo", 1.0),
        ("org/SDXL_Lightning", 1.0),
        ("org/dreamshaper-lcm-v7", 1.0),
        ("org/turbulent-dreams", 2.0),
        ("turbo/dreams", 2.0),
        ("black-forest-labs/FLUX.1-schnell", 1.0),
        ("black-forest-labs/FLUX.1-dev", 2.0),
    ],
)
def test_distilled_weights_draw_without_guidance(name, guidance):
    settings = with_defaults([{"data": {"source": "digits"}, "generator": {"name": name}}])
    assert (settings.draw.guidance_scale, settings.adapt.method) == (guidance, "lora")
    assert (settings.draw.batch_size, settings.draw.part_size) == (8, 32)


@pytest.mark.parametrize(
    ("name", "sampler", "steps"),
    [
        ("black-forest-labs/FLUX.1-schnell", "flow-euler", 4),
        ("black-forest-labs/FLUX.1-dev", "flow-euler", 20),
        ("org/Sana_1600M_1024px_BF16_diffusers", "flow-euler", 20),
        ("stabilityai/stable-diffusion-3.5-large", "flow-euler", 20),
        ("org/sd3-medium", "flow-euler", 20),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "unipc", 20),
        ("org/fluxion", "unipc", 20),
        ("me/sdxl-flux-look", "unipc", 20),
        ("me/like-sana", "unipc", 20),
    ],
)
def test_pipelines_of_flow_matching_get_their_sampler(name, sampler, steps):
    draw = with_defaults([{"data": {"source": "digits"}, "generator": {"name": name}}]).draw
    assert (draw.sampler, draw.steps) == (sampler, steps)


@pytest.mark.parametrize(
    ("index", "sampler"),
    [
        ('{"_class_name": "FluxPipeline"}', "flow-euler"),
        ('{"_class_name": "StableDiffusionPipeline"}', "unipc"),
        ("{}", "unipc"),
        ("[]", "unipc"),
        ("<html>", "unipc"),
    ],
)
def test_the_class_of_a_folder_decides_about_its_sampler(index, sampler, tmp_path):
    folder = _pipeline(tmp_path / "flux", megabytes=201, part="transformer")
    (folder / "model_index.json").write_text(index)
    settings = with_defaults([{"data": {"source": "digits"}, "generator": {"name": str(folder)}}])
    assert settings.draw.sampler == sampler


def test_a_single_file_of_flow_matching_is_known_by_its_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline_size, "_LARGE", 1)
    for number, (layer, sampler) in enumerate([("joint_blocks.0", "flow-euler"), ("out.0", "unipc")]):
        path = tmp_path / f"{number}.safetensors"
        weights = {f"model.diffusion_model.{layer}.weight": torch.zeros(1)}
        safetensors.torch.save_file(weights, path)
        settings = with_defaults([{"data": {"source": "digits"}, "generator": {"name": str(path)}}])
        assert settings.draw.sampler == sampler


FLUX = {"model_index.json": {"_class_name": "FluxPipeline"}}
SCHNELL = FLUX | {"transformer/config.json": {"guidance_embeds": False}}
DEV = FLUX | {"transformer/config.json": {"guidance_embeds": True}}
XL = {"model_index.json": {"_class_name": "StableDiffusionXLPipeline"}}


def _write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize("kind", ["folder", "hub"])
@pytest.mark.parametrize(
    ("name", "files", "told"),
    [
        ("my-model", SCHNELL, ("flow-euler", 4, 1.0)),
        ("not-schnell", DEV, ("flow-euler", 20, 2.0)),
        ("flux-schnell", FLUX, ("flow-euler", 4, 1.0)),
        ("sdxl-flux-look", XL, ("unipc", 20, 2.0)),
        ("flux-schnell-look", XL, ("unipc", 20, 2.0)),
        ("sdxl-lightning", XL, ("unipc", 20, 1.0)),
    ],
)
def test_files_of_a_pipeline_say_what_it_is(kind, name, files, told, tmp_path, monkeypatch):
    """Also those of the hub in its cache, which is not asked; names serve only without them."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    if kind == "folder":
        generator = str(_pipeline(tmp_path / name, megabytes=201, part="transformer"))
        _write(tmp_path / name, files)
    else:
        generator, kept = f"me/{name}", tmp_path / "cache" / f"models--me--{name}"
        _write(kept / "snapshots" / "abc", files)
        (kept / "refs").mkdir()
        (kept / "refs" / "main").write_text("abc")
    draw = with_defaults([{"data": {"source": "digits"}, "generator": {"name": generator}}]).draw
    assert (draw.sampler, draw.steps, draw.guidance_scale) == told


@pytest.mark.parametrize("part", ["unet", "transformer"])
def test_the_size_of_the_denoiser_decides(part, tmp_path):
    small = _pipeline(tmp_path / "small", megabytes=199, part=part)
    large = _pipeline(tmp_path / "large", megabytes=201, part=part)
    single = large / part / "diffusion_pytorch_model.safetensors"
    assert is_large(str(single))
    assert defaults_for("digits", generator=str(small)) == {}
    settings = with_defaults([{"data": {"source": "digits"}, "generator": {"name": str(large)}}])
    assert (settings.adapt.method, settings.adapt.learning_rate, settings.adapt.batch_size) == (
        "lora",
        1e-4,
        8,
    )
    assert settings.draw.guidance_scale == 2


@pytest.mark.parametrize("ending", [".zip", ".parquet", ".tar"])
def test_ready_made_images_are_no_large_pipeline(ending, tmp_path):
    """Points of a bake-off are asked for by the path of their images."""
    images = (tmp_path / "images").with_suffix(ending)
    with images.open("wb") as file:
        file.truncate(201 * 10**6)  # sparse: takes no space
    assert not is_large(str(images))


def test_recipes_and_the_user_win_over_defaults_of_a_pipeline():
    large = {"data": {"source": "digits"}, "generator": {"name": "org/pipeline"}}
    assert with_defaults([large, RECIPES["vanilla"]]).adapt.method == "none"
    inverted = with_defaults([large, RECIPES["style-inversion"]])
    assert (inverted.adapt.method, inverted.adapt.learning_rate) == ("style-inversion", 0.1)
    given = with_defaults([large, {"adapt": {"method": "full"}, "draw": {"guidance_scale": 1.5}}])
    assert (given.adapt.method, given.draw.guidance_scale) == ("full", 1.5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            "adapt.method=lora with adapt.learning_rate=0.0001 and adapt.batch_size=8, draw.guidance_scale=2",
        ),
        ({"method": "none"}, "large pipeline: adapt.method=none, draw.guidance_scale=2"),
        ({"method": "full"}, "warning: adapt.method=full trains every weight of a large pipeline"),
    ],
)
def test_one_line_says_how_a_large_pipeline_is_used(changes, sentence):
    source, generator = {"source": "digits"}, {"name": "org/pipeline"}
    (told,) = about_large_pipelines(
        with_defaults([{"data": source, "generator": generator, "adapt": changes}])
    )
    assert sentence in told
    assert about_large_pipelines(build({"data": source})) == ()


@pytest.mark.parametrize(
    ("name", "draw", "adapt", "advice"),
    [
        ("org/sd-turbo", {}, {}, "draw.sampler=ddim --set draw.steps=4 --set adapt.method=none"),
        ("org/lcm-dreams", {}, {"method": "none"}, "draw.sampler=lcm --set draw.steps=4"),
        ("org/sd3-turbo", {}, {"method": "none"}, "draw.steps=4"),
        ("org/FLUX.1-schnell", {}, {}, "adapt.method=none"),
        ("org/sd-turbo", {"sampler": "ddim", "steps": 1}, {"method": "none"}, None),
        ("org/pipeline", {}, {}, None),
    ],
)
def test_distilled_weights_are_warned_of_many_steps_and_of_adaptation(name, draw, adapt, advice):
    data, generator = {"source": "digits"}, {"name": name}
    settings = with_defaults([{"data": data, "generator": generator, "draw": draw, "adapt": adapt}])
    warnings = [told for told in about_large_pipelines(settings) if told.startswith("warning")]
    assert [told.partition(": --set ")[2] for told in warnings] == ([] if advice is None else [advice])


def test_what_needs_the_defaults_of_a_pipeline_is_accepted():
    """A negative prompt has no effect at guidance 1, the general default."""
    large = {"data": {"source": "digits"}, "generator": {"name": "org/pipeline"}}
    assert with_defaults([large, {"draw": {"negative_prompt": "blurry"}}]).draw.guidance_scale == 2


def test_an_adapter_keeps_the_method_that_the_user_gives(tmp_path):
    """An adapter made with the general default, `full`, needs no word about it."""
    large = {"data": {"source": "digits"}, "generator": {"name": "org/pipeline"}}
    settings = with_defaults([large, {"adapt": {"adapter": str(tmp_path)}}])
    assert (settings.adapt.method, settings.draw.guidance_scale) == ("full", 2)


def test_two_forms_of_the_same_weights_count_once(tmp_path):
    folder = _pipeline(tmp_path / "both", megabytes=150)
    with (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").open("wb") as file:
        file.truncate(75 * 10**6)
    assert not is_large(str(folder))


def test_a_small_pipeline_of_flow_matching_has_the_only_sampler_it_can_have(tmp_path):
    save_tiny_sd3(tmp_path / "sd3", t5=False)
    assert defaults_for("digits", generator=str(tmp_path / "sd3")) == {"draw": {"sampler": "flow-euler"}}
