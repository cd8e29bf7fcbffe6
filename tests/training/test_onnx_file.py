"""A classifier as ONNX computes what the classifier computes, for batches of any size."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_sets import squares
from torch import nn

from understudy.core.errors import InputError
from understudy.training import onnx_file
from understudy.training.backbones import Backbone, build_backbone
from understudy.training.classifier import TrainedClassifier
from understudy.training.onnx_file import check_onnx_installed, write_onnx
from understudy.training.settings import CompareSettings

pytestmark = pytest.mark.slow  # whole jobs

NAMES = ("left", "mid,dle", "rechts–é")  # noqa: RUF001 - a name may have any character


def classifier_of(settings):
    return TrainedClassifier(build_backbone(settings, 3, rng_seed=0), NAMES)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bundled network and its file."""
    path = tmp_path_factory.mktemp("onnx") / "new" / "model.onnx"
    classifier = classifier_of(CompareSettings())
    write_onnx(classifier, path)
    return classifier, path


def check_same(classifier, path, counts):
    session = onnxruntime.InferenceSession(path)
    data = squares("test", num=max(counts))
    expected = classifier.probabilities(data)
    pixels = data.pixels(classifier.backbone.input_size)
    for count in counts:
        (given,) = session.run(["probabilities"], {"pixels": pixels[:count]})
        assert given.shape == (count, 3)
        np.testing.assert_allclose(given, expected[:count], atol=1e-4)


def test_probabilities_of_batches_of_any_size(written):
    check_same(*written, (1, 2, 7, 64))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        CompareSettings(backbone="test_vit", pretrained=False, resolution=48),
        CompareSettings(backbone="test_resnet.r160_in1k", pretrained=False, resolution=32),
        CompareSettings(backbone="test_convnext", pretrained=False),
        CompareSettings(backbone="photo", resolution=96),
    ],
    ids=lambda settings: settings.backbone,
)
def test_other_networks(settings, tmp_path):
    classifier = classifier_of(settings)
    write_onnx(classifier, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"], "one file"
    check_same(classifier, tmp_path / "model.onnx", (1, 5))


def test_the_file_says_what_it_needs(written):
    classifier, path = written
    session = onnxruntime.InferenceSession(path)
    (pixels,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert (pixels.name, pixels.type, pixels.shape[1:]) == ("pixels", "tensor(uint8)", [3, 32, 32])
    assert isinstance(pixels.shape[0], str), "any number of images"
    assert (probabilities.name, probabilities.shape[1]) == ("probabilities", 3)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == list(NAMES)
    assert about["input_size"] == "32"
    assert json.loads(about["mean"]) == list(classifier.backbone.mean)
    assert json.loads(about["std"]) == list(classifier.backbone.std)
    assert "resize its shorter side to 32 pixels (bilinear, antialiased)" in about["preprocessing"]
    assert [path.name for path in path.parent.iterdir()] == ["model.onnx"]


def test_missing_packages_are_named(monkeypatch):
    check_onnx_installed()
    monkeypatch.setattr(onnx_file, "_PACKAGES", ("onnx", "no_such_package", "nor_this"))
    with pytest.raises(
        InputError, match=r"--form onnx needs no_such_package and nor_this: pip install 'understudy\[onnx\]'"
    ):
        check_onnx_installed()


class Branching(nn.Module):
    """Computes something else for dark images, which a graph cannot."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x.mean(dim=(2, 3))) if x.sum().item() > 0 else x.amax(dim=(2, 3))


def test_a_network_that_onnx_cannot_hold(tmp_path):
    backbone = Backbone(Branching(), "branching", {}, 8, (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(
        InputError, match=r"the network branching cannot be written as ONNX \(.+\): export it"
    ):
        write_onnx(TrainedClassifier(backbone, NAMES), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_network_that_is_too_large(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_file, "_MOST_BYTES", 1_000_000)
    with pytest.raises(
        InputError, match=r"resnet10t cannot be written as ONNX \(its weights have more than 2 GB"
    ):
        write_onnx(classifier_of(CompareSettings()), tmp_path / "model.onnx")
    assert [*tmp_path.iterdir()] == []


def test_a_file_that_computes_something_else_is_not_written(monkeypatch, tmp_path):
    """As if the exporter had a fault: the file is compared with another network."""
    backbone = Backbone(nn.Flatten(), "flat", {}, 1, (0.5,) * 3, (0.5,) * 3)
    difference = onnx_file._difference

    def with_another(network, path, size):
        return difference(lambda pixels: torch.zeros(len(pixels), 3), path, size)

    monkeypatch.setattr(onnx_file, "_difference", with_another)
    with pytest.raises(InputError, match="its probabilities would differ by 0"):
        write_onnx(TrainedClassifier(backbone, NAMES), tmp_path / "model.onnx")
    assert [*tmp_path.iterdir()] == []
