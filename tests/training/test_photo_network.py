"""EfficientNet-Lite0 from the package: it recognises photographs, and is refused where it is missing."""

import dataclasses
import importlib.util

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.training.backbones import build_backbone, check_backbone, pretrained_classifier
from understudy.training.classifier import TrainedClassifier
from understudy.training.photo_network import photo_network, photo_weights
from understudy.training.settings import CompareSettings

PHOTO = CompareSettings(backbone="photo")
IMAGENET = {"palace": 698, "daisy": 985}


@pytest.mark.parametrize(("name", "class_name"), [("china.jpg", "palace"), ("flower.jpg", "daisy")])
def test_it_recognises_photographs(name, class_name):
    network = photo_network(None, setting="compare.backbone=photo").eval()
    prepare = timm.data.create_transform(
        **timm.data.resolve_data_config(pretrained_cfg=network.pretrained_cfg), is_training=False
    )
    with torch.no_grad():
        logits = network(prepare(Image.fromarray(load_sample_image(name)))[None])
    assert timm.data.ImageNetInfo().index_to_description(int(logits.argmax())) == class_name


@pytest.fixture(scope="module")
def two_photographs():
    images = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    return LabelledSet.from_images(images, [0, 1], class_names=("palace", "daisy"), split="test")


def recognised(data, **changed):
    """Probabilities of the right class, and whether both win; images are resized as for every classifier."""
    backbone = dataclasses.replace(pretrained_classifier(PHOTO), **changed)
    probabilities = TrainedClassifier(backbone, data.class_names).probabilities(data)
    labels = [IMAGENET[name] for name in data.class_names]
    return probabilities[[0, 1], labels], probabilities.argmax(axis=1).tolist() == labels


def test_the_weights_are_used_with_the_padding_and_the_statistics_of_their_training(
    two_photographs, monkeypatch
):
    """The other variant and other statistics give other figures, and mostly other classes."""
    found, is_right = recognised(two_photographs)
    np.testing.assert_allclose(found, [0.325, 0.201], atol=5e-4)
    assert is_right
    assert not recognised(two_photographs, mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)[1]
    monkeypatch.setattr("understudy.training.photo_network.ARCHITECTURE", "efficientnet_lite0")
    assert not recognised(two_photographs)[1]
    other, _ = recognised(two_photographs, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert not np.allclose(other, found, atol=0.005)


def test_the_size_of_images_can_be_chosen():
    backbone = build_backbone(PHOTO, 3, rng_seed=0)
    assert (backbone.mean, backbone.std, backbone.input_size) == ((0.5,) * 3, (0.5,) * 3, 224)
    small = build_backbone(CompareSettings(backbone="photo", resolution=96), 3, rng_seed=0)
    assert small.input_size == 96
    assert small.features(torch.zeros(2, 3, 96, 96)).shape == (2, 1280)


def test_only_the_head_is_new():
    source = pretrained_classifier(PHOTO).model.state_dict()
    state = build_backbone(PHOTO, 1000, rng_seed=0).model.state_dict()
    differing = {key for key in source if not torch.equal(source[key], state[key])}
    assert differing == {"classifier.weight", "classifier.bias"}
    blank = build_backbone(CompareSettings(backbone="photo", pretrained=False), 3, rng_seed=0).model
    assert not torch.equal(blank.state_dict()["conv_stem.weight"], source["conv_stem.weight"])


def test_missing_weights_are_refused_before_a_run(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"compare.backbone=photo needs .*understudy\[photo\]"):
        check_backbone(PHOTO)
    check_backbone(CompareSettings(backbone="photo", pretrained=False))


def test_another_version_of_the_package_is_refused(monkeypatch, tmp_path):
    assert photo_weights() is not None
    torch.save({"_conv_stem.weight": torch.zeros(1)}, tmp_path / "other.pth")
    monkeypatch.setattr("understudy.training.photo_network.photo_weights", lambda: tmp_path / "other.pth")
    with pytest.raises(InputError, match="296 tensors, got 1"):
        build_backbone(PHOTO, 3, rng_seed=0)


def test_features_do_not_depend_on_the_batch():
    rng = np.random.default_rng(0)
    backbone = build_backbone(CompareSettings(backbone="photo", resolution=96), 3, rng_seed=0)
    backbone.model.eval()
    x = backbone.normalise(torch.from_numpy(rng.integers(0, 256, (4, 3, 96, 96), dtype=np.uint8)))
    with torch.no_grad():
        assert torch.allclose(backbone.features(x)[1:2], backbone.features(x[1:2]), atol=1e-4)
