"""The feature cache: every picture is encoded once, and only by the encoder that asks."""

import dataclasses

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image
from tiny import two_classes
from torch import nn

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation import feature_cache
from understudy.evaluation.encoders import Encoder
from understudy.evaluation.feature_cache import FeatureCache


class Counting:
    """Mean colours as features, and how often images were asked for."""

    def __init__(self, name="mean colour", fingerprint="1"):
        self.seen = 0
        self.encoder = Encoder(
            name=name,
            fingerprint=fingerprint,
            width=3,
            network=nn.Identity(),
            encode=self._encode,
            differentiable=lambda pixels: pixels.mean(dim=(2, 3)),
        )

    def _encode(self, data):
        self.seen += len(data)
        return torch.from_numpy(data.pixels(4).mean(axis=(2, 3))).float()


@pytest.fixture
def images():
    return two_classes(10)


def test_an_image_in_two_sets_is_encoded_once(tmp_path, images):
    counting = Counting()
    expected = counting.encoder.features(images)
    counting.seen = 0
    np.testing.assert_array_equal(FeatureCache(tmp_path).features(counting.encoder, images), expected)
    again = images.select([7, 2, 2]).with_split("val")
    stored = LabelledSet.from_images(
        [again.image(0)], [0], class_names=["other"], split="synthetic", ids=["other"]
    )
    np.testing.assert_array_equal(
        FeatureCache(tmp_path).features(counting.encoder, again), expected[[7, 2, 2]]
    )
    np.testing.assert_array_equal(FeatureCache(tmp_path).features(counting.encoder, stored), expected[[7]])
    assert counting.seen == 10
    new = LabelledSet.from_images(
        [Image.new("RGB", (9, 9), "red")], [0], class_names=["other"], split="synthetic"
    )
    np.testing.assert_array_equal(FeatureCache(tmp_path).features(counting.encoder, new), [[255, 0, 0]])
    assert counting.seen == 11


def test_copies_within_a_set_and_empty_sets(tmp_path, images):
    counting = Counting()
    twice = LabelledSet.from_images([images.image(0)] * 3, [0, 0, 0], class_names=["a"], split="train")
    found = FeatureCache(tmp_path).features(counting.encoder, twice)
    assert counting.seen == 1 and found.dtype == np.float32
    np.testing.assert_array_equal(found, np.repeat(found[:1], 3, axis=0))
    assert FeatureCache(tmp_path).features(counting.encoder, images.select([])).shape == (0, 3)


def test_features_survive_a_kill(tmp_path, images, monkeypatch):
    monkeypatch.setattr(feature_cache, "_CHUNK", 4)
    counting = Counting()

    def stops(data):
        if counting.seen >= 8:
            raise KeyboardInterrupt
        return counting.encoder.encode(data)

    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path).features(dataclasses.replace(counting.encoder, encode=stops), images)
    FeatureCache(tmp_path).features(counting.encoder, images)
    assert counting.seen == 10
    assert len([*FeatureCache(tmp_path).path(counting.encoder).iterdir()]) == 3


def test_files_are_written_once_and_hold_no_image_twice(tmp_path, images, monkeypatch):
    monkeypatch.setattr(feature_cache, "_CHUNK", 4)
    counting, cache = Counting(), FeatureCache(tmp_path)
    cache.features(counting.encoder, images.select(range(5)))
    before = {path: path.stat().st_mtime_ns for path in cache.path(counting.encoder).iterdir()}
    np.testing.assert_array_equal(
        cache.features(counting.encoder, images), Counting().encoder.features(images)
    )
    after = {path: path.stat().st_mtime_ns for path in cache.path(counting.encoder).iterdir()}
    assert before.items() <= after.items() and len(before) == 2 and len(after) == 4
    hashes = np.concatenate([safetensors.numpy.load_file(path)["hashes"] for path in after])
    assert len(np.unique(hashes, axis=0)) == len(hashes) == 10


def test_a_missing_file_is_written_again(tmp_path, images, monkeypatch):
    monkeypatch.setattr(feature_cache, "_CHUNK", 4)
    counting, cache = Counting(), FeatureCache(tmp_path)
    expected = cache.features(counting.encoder, images)
    min(cache.path(counting.encoder).iterdir()).unlink()
    np.testing.assert_array_equal(cache.features(counting.encoder, images), expected)
    assert 10 < counting.seen <= 14
    assert len([*cache.path(counting.encoder).iterdir()]) == 3


def test_each_encoder_has_its_files(tmp_path, images):
    cache = FeatureCache(tmp_path)
    names = ("mini", "timm:resnet18.a1_in1k", "some/folder", "x" * 300)
    for name in names:
        cache.features(Counting(name).encoder, images)
    stored = sorted(path.name for path in (tmp_path / "features").iterdir())
    assert stored == ["mini", "some-folder", "timm-resnet18.a1_in1k", "x" * 100]
    (file,) = cache.path(Counting("mini").encoder).iterdir()
    content = safetensors.numpy.load_file(file)
    assert content["features"].shape == (10, 3) and content["hashes"].shape == (10, 32)


def test_features_of_another_version_are_refused(tmp_path, images):
    cache = FeatureCache(tmp_path)
    cache.features(Counting().encoder, images)
    with pytest.raises(
        InputError,
        match=r"mean-colour/\w+\.safetensors must hold .*fingerprint 2, got .* with 1: remove its folder",
    ):
        cache.features(Counting(fingerprint="2").encoder, images)
    np.testing.assert_array_equal(
        cache.features(Counting().encoder, images), Counting().encoder.features(images)
    )


def test_a_damaged_file_is_named(tmp_path, images):
    cache = FeatureCache(tmp_path)
    cache.path(Counting().encoder).mkdir(parents=True)
    (cache.path(Counting().encoder) / "ab.safetensors").write_bytes(b"nothing")
    with pytest.raises(
        InputError, match=r"mean-colour/ab\.safetensors must hold features of images.*remove it"
    ):
        cache.features(Counting().encoder, images)
