"""A stored classifier is a plain timm folder and predicts the same."""

import json
from functools import cache

import numpy as np
import pytest
import timm
import torch
from tiny_sets import RECIPE, squares

from understudy.core.errors import InputError
from understudy.training.backbones import build_backbone
from understudy.training.classifier import TrainedClassifier
from understudy.training.fit import fit_arm
from understudy.training.settings import CompareSettings


@cache
def _classifier():
    return fit_arm("real", train=squares("train"), synthetic=None, settings=RECIPE, seed=0, device="cpu")


@pytest.mark.parametrize(
    "settings",
    [CompareSettings(), CompareSettings(backbone="test_vit", pretrained=False, resolution=48), RECIPE],
    ids=["mini", "fixed-size", "timm"],
)
def test_save_then_load(tmp_path, settings):
    saved = TrainedClassifier(build_backbone(settings, 3, rng_seed=0), ("left", "middle", "right"))
    saved.save(tmp_path / "classifier")
    loaded = TrainedClassifier.load(tmp_path / "classifier")
    data = squares("test")
    np.testing.assert_array_equal(loaded.predict(data), saved.predict(data))
    assert (loaded.class_names, loaded.backbone.input_size) == (saved.class_names, saved.backbone.input_size)


def test_plain_timm_loads_it(tmp_path):
    classifier, data = _classifier(), squares("test")
    classifier.save(tmp_path)
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    config = timm.data.resolve_data_config(model=model)
    pixels = torch.from_numpy(data.pixels(config["input_size"][-1])).float() / 255
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        theirs = model((pixels - mean) / std).softmax(dim=1)
    np.testing.assert_allclose(classifier.predict(data), theirs.numpy(), atol=1e-5)
    assert json.loads((tmp_path / "config.json").read_text())["label_names"] == ["left", "middle", "right"]


def test_loading_leaves_the_global_generator_alone(tmp_path):
    _classifier().save(tmp_path)
    state = torch.get_rng_state()
    TrainedClassifier.load(tmp_path)
    assert torch.equal(state, torch.get_rng_state())


def test_predictions_do_not_depend_on_the_company():
    data = squares("test", num=300)
    whole, classifier = _classifier().predict(data), _classifier()
    # Other batch sizes take other kernels; float32 rounding.
    np.testing.assert_allclose(classifier.predict(data.select([299, 5])), whole[[299, 5]], atol=1e-5)
    assert classifier.predict(data.select([])).shape == (0, 3)


def test_refuses_other_classes():
    with pytest.raises(InputError, match="must have the classes"):
        _classifier().predict(squares("test", class_names=("a", "b", "c")))


def test_refuses_folders_without_a_classifier(tmp_path):
    with pytest.raises(InputError, match=r"must hold config.json and model.safetensors"):
        TrainedClassifier.load(tmp_path)
    _classifier().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["label_names"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="must name the classes"):
        TrainedClassifier.load(tmp_path)
