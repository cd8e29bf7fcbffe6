"""Encoders by name: the right network, the right preparation, and refusals that name the setting."""

import json
import warnings

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from tiny import save_tiny_image_encoder, two_classes
from torch import nn
from torchvision import transforms
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.encoders import ENCODERS, auto_encoder, check_encoder, load_encoder
from understudy.generators.load import load_generator, mini_folder
from understudy.generators.settings import GeneratorSettings
from understudy.training.backbones import build_backbone
from understudy.training.classifier import TrainedClassifier
from understudy.training.settings import CompareSettings

WITHOUT_WEIGHTS = next(
    model for model in timm.list_models() if not timm.get_pretrained_cfg(model).has_weights
)


@pytest.fixture
def start():
    return TrainedClassifier(build_backbone(CompareSettings(), 2, rng_seed=0), ("cat", "dog"))


@pytest.fixture
def timm_folder(tmp_path, start):
    start.save(tmp_path / "timm")
    return tmp_path / "timm"


@pytest.fixture
def clip_folder(tmp_path):
    save_tiny_image_encoder(tmp_path / "clip")
    return tmp_path / "clip"


@pytest.fixture
def script(tmp_path):
    """A network in the format of SSCD: from images of any size to features of length 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 6, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Unit())
    return save_script(network, tmp_path / "sscd.torchscript.pt")


class Unit(nn.Module):
    def forward(self, x):
        return nn.functional.normalize(x)


def save_script(network, path):
    with warnings.catch_warnings():  # the format is deprecated
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.trace(network.eval(), torch.rand(2, 3, 320, 320)).save(path)
    return path


def _edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _examples(generator, start, timm_folder, clip_folder, script):
    return {
        "auto": ("auto", {"generator": lambda: generator}),
        "generator": ("generator", {"generator": lambda: generator}),
        "backbone": ("backbone", {"start": lambda: start}),
        "mini": ("mini", {}),
        "photo": ("photo", {}),
        "timm folder": (str(timm_folder), {}),
        "CLIP folder": (str(clip_folder), {}),
        "TorchScript": (str(script), {}),
    }


@pytest.mark.slow
def test_every_encoder_keeps_the_contract(tiny_generator, start, timm_folder, clip_folder, script):
    images = two_classes(70)  # more than a batch
    for name, (asked, has) in _examples(tiny_generator, start, timm_folder, clip_folder, script).items():
        encoder, again = load_encoder(asked, **has), load_encoder(asked, **has)
        features = encoder.features(images)
        assert (
            features.shape == (70, encoder.width)
            and features.dtype == np.float32
            and np.isfinite(features).all()
        ), name
        np.testing.assert_allclose(
            encoder.features(images.select([69, 3])), features[[69, 3]], rtol=1e-3, atol=1e-5, err_msg=name
        )
        assert encoder.fingerprint == again.fingerprint and len(encoder.fingerprint) == 16, name
        assert encoder.features(images.select([])).shape == (0, encoder.width), name
        _check_gradient(encoder, images.select(range(4)), name)


def _check_gradient(encoder, images, name):
    """Features of pixels are about those of the images, and gradients flow back through them."""
    pixels = (torch.from_numpy(images.pixels(32)).float() / 127.5 - 1).requires_grad_()
    features, expected = encoder.differentiable(pixels), torch.from_numpy(encoder.features(images))
    assert features.shape == expected.shape and features.dtype == torch.float32, name
    assert nn.functional.cosine_similarity(features, expected).min() > 0.8, name
    (gradient,) = torch.autograd.grad(features.square().sum(), pixels)
    assert gradient.isfinite().all() and gradient.abs().max() > 0, name


def test_mini_is_the_pipelines_encoder_with_clips_preparation():
    images = two_classes(4)
    folder = mini_folder()
    processor = CLIPImageProcessor.from_pretrained(folder / "feature_extractor")
    inputs = processor([images.image(index) for index in range(4)], return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")(
            pixel_values=inputs
        ).image_embeds
    np.testing.assert_allclose(
        load_encoder("mini").features(images), expected, rtol=0.02, atol=0.01 * expected.abs().max()
    )


def test_auto_chooses_a_network_of_the_run(tiny_generator, start):
    without = load_generator(GeneratorSettings(name="class_conditional"), device="cpu")
    images = two_classes(3)
    chosen = [
        ({"generator": lambda: tiny_generator, "start": lambda: start}, "generator"),
        ({"generator": lambda: without, "start": lambda: start}, "backbone"),
        ({"generator": lambda: without}, "mini"),
        ({}, "mini"),
    ]
    for has, name in chosen:
        encoder, named = load_encoder("auto", **has), load_encoder(name, **has)
        assert (encoder.name, encoder.fingerprint) == (name, named.fingerprint)
        np.testing.assert_array_equal(encoder.features(images), named.features(images))


def test_a_timm_folder_is_prepared_as_timm_says(timm_folder):
    """Size, cut, interpolation and normalisation of the configuration, against the same by hand."""
    images = two_classes(3, size=48)
    network = timm.create_model(f"local-dir:{timm_folder}", pretrained=True, num_classes=0).eval()
    resized = [
        np.array(images.image(index).resize((32, 32), Image.Resampling.BILINEAR)) for index in range(3)
    ]
    x = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = network((x - 0.5) / 0.5)
    found = load_encoder(str(timm_folder))
    assert found.width == 256
    np.testing.assert_allclose(found.features(images), expected, rtol=1e-4, atol=1e-5)


def test_a_torchscript_file_is_prepared_as_the_authors_of_sscd_say(script):
    """``skew_320`` of their repository: all of the image, squashed, and normalised as for ImageNet."""
    skew_320 = transforms.Compose(
        [
            transforms.Resize([320, 320]),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    wide = [
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 90, 3), dtype=np.uint8))
        for seed in (0, 1)
    ]
    images = LabelledSet.from_images(wide, [0, 1], class_names=["cat", "dog"], split="train")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network = torch.jit.load(script)
    with torch.no_grad():
        expected = network(torch.stack([skew_320(image) for image in wide]))
    found = load_encoder(str(script))
    assert found.width == 6
    np.testing.assert_allclose(found.features(images), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.features(images), axis=1), 1, rtol=1e-5)


def test_files_that_are_no_torchscript_are_named(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"nothing")
    (tmp_path / "page.pt").write_bytes(b"<html>")
    for file, what in (("weights.pt", "another file, or cut short"), ("page.pt", "a web page in place of")):
        with pytest.raises(InputError, match=rf"encoder must be a TorchScript file, but .*{file} is {what}"):
            check_encoder(str(tmp_path / file))
    save_script(nn.Identity(), tmp_path / "images.pt")
    check_encoder(str(tmp_path / "images.pt"))
    with pytest.raises(
        InputError, match=r"images.pt must be a TorchScript file that maps images \(B, 3, H, W\) to"
    ):
        load_encoder(str(tmp_path / "images.pt"))


def test_backbone_is_the_network_that_arms_start_from(start):
    images = two_classes(3)
    np.testing.assert_allclose(
        load_encoder("backbone", start=lambda: start).features(images),
        start.features(images),
        rtol=1e-6,
    )


def test_the_fingerprint_follows_weights_and_preparation(timm_folder):
    first = load_encoder(str(timm_folder)).fingerprint
    _edit(timm_folder / "config.json", lambda config: config["pretrained_cfg"].update(mean=[0.4, 0.5, 0.5]))
    other_mean = load_encoder(str(timm_folder)).fingerprint
    moved = build_backbone(CompareSettings(), 2, rng_seed=0)
    next(moved.model.parameters()).data += 1
    TrainedClassifier(moved, ("cat", "dog")).save(timm_folder)
    assert len({first, other_mean, load_encoder(str(timm_folder)).fingerprint}) == 3


@pytest.mark.parametrize("key", ["mean", "std", "input_size"])
def test_a_folder_that_does_not_state_its_preparation(key, timm_folder):
    _edit(timm_folder / "config.json", lambda config: config["pretrained_cfg"].pop(key))
    with pytest.raises(InputError, match=rf"but has no {key}: add them to pretrained_cfg in config\.json"):
        load_encoder(str(timm_folder))


def test_a_clip_folder_that_does_not_state_its_preparation(clip_folder):
    (clip_folder / "preprocessor_config.json").unlink()
    with pytest.raises(
        InputError, match=r"no mean and no std: .*image_mean and image_std to preprocessor_config\.json"
    ):
        load_encoder(str(clip_folder))


def test_damaged_folders_are_named(timm_folder, clip_folder):
    (timm_folder / "model.safetensors").write_bytes(b"nothing")
    (clip_folder / "model.safetensors").write_bytes(b"nothing")
    for folder in (timm_folder, clip_folder):
        with pytest.raises(
            InputError, match=r"fidelity\.encoder must be .*, but model\.safetensors in .* cut"
        ):
            check_encoder(str(folder))


def test_weights_that_are_missing_or_no_numbers_are_refused(timm_folder, clip_folder):
    for folder, drop in ((timm_folder, "layer4"), (clip_folder, "visual_projection")):
        path = folder / "model.safetensors"
        weights = safetensors.torch.load_file(path)
        name = next(name for name in weights if drop in name and name.endswith(".weight"))
        others = {key: value for key, value in weights.items() if key != name}
        safetensors.torch.save_file(others, path, metadata={"format": "pt"})
        with pytest.raises(InputError, match=rf"fidelity\.encoder.* must be .*{name}"):
            load_encoder(str(folder))
        broken = weights | {name: weights[name] * float("nan")}
        safetensors.torch.save_file(broken, path, metadata={"format": "pt"})
        with pytest.raises(InputError, match=rf"fidelity\.encoder=.* must be finite, but .*{name}"):
            load_encoder(str(folder))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dinov3", r"unknown encoder 'dinov3'; known: auto, .*did you mean 'dinov2'"),
        (
            "timm:resnet1888",
            r"fidelity\.encoder=timm:resnet1888 must name a timm model, .*: did you mean resnet18",
        ),
        ("timm:?", r"timm\.list_models\(\) gives the names"),
        (f"timm:{WITHOUT_WEIGHTS}", r"timm has no pretrained weights for"),
        ("timm", "must name one encoder, got 'timm', a kind of encoder: give timm:NAME"),
        ("folder", "must name one encoder, got 'folder', a kind of encoder: give the path of the folder"),
        ("torchscript", "got 'torchscript', a kind of encoder: give the path of the file"),
        ("empty", r"fidelity\.encoder must be a folder with config\.json and weights, but empty has no"),
    ],
)
def test_refused_before_anything_is_loaded(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        check_encoder(name)


def test_networks_that_the_run_lacks():
    without = load_generator(GeneratorSettings(name="class_conditional"), device="cpu")
    for has in ({}, {"generator": lambda: without}):
        with pytest.raises(
            InputError, match=r"needs a generator with an image encoder: set generator\.image_encoder"
        ):
            load_encoder("generator", **has)
    with pytest.raises(InputError, match=r"got compare\.pretrained=false: choose another encoder"):
        load_encoder("backbone")


@pytest.mark.parametrize("name", ["dinov2", "clip", "inception", "timm:test_resnet"])
def test_without_the_hub(name, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    check_encoder(name)
    with pytest.raises(
        InputError, match=rf"fidelity\.encoder={name} needs the weights of .* the hub cannot be reached"
    ):
        load_encoder(name)


def test_hub_names_are_models_of_timm_with_stated_preparation():
    for model in (
        "vit_base_patch14_dinov2.lvd142m",
        "vit_base_patch16_clip_224.openai",
        "inception_v3.tf_in1k",
    ):
        config = timm.get_pretrained_cfg(model)
        assert config.has_weights and config.mean and config.std and config.input_size
    assert {"dinov2", "clip", "inception"} <= set(ENCODERS)


def test_auto_never_judges_photographs_by_a_network_for_characters(tiny_generator, start, monkeypatch):
    without = load_generator(GeneratorSettings(name="class_conditional"), device="cpu")
    networks = {"generator": None, "start": None}
    assert auto_encoder("characters", **networks) == "mini"
    assert auto_encoder("photographs", **networks) == "photo"
    assert auto_encoder("photographs", **networks | {"start": lambda: start}) == "backbone"
    assert auto_encoder("photographs", **networks | {"generator": lambda: without}) == "photo"
    both = {"generator": lambda: tiny_generator, "start": lambda: start}
    assert auto_encoder("photographs", **both) == "generator"
    monkeypatch.setattr("understudy.training.photo_network.photo_weights", lambda: None)
    assert auto_encoder("photographs", **networks) is None
    with pytest.raises(InputError, match=r"fidelity.encoder=photo needs .*understudy\[photo\]"):
        check_encoder("photo")
