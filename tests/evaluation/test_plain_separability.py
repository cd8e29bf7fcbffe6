"""Plain statistics separate blobs from photographs, and no two halves of one set."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image
from tiny import two_classes

from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.plain_separability import plain_separability


def _set(images):
    return LabelledSet.from_images(images, [0] * len(images), class_names=["a"], split="train")


def _crops(name, count, seed, *, grey=False):
    rng = np.random.default_rng(seed)
    whole = Image.fromarray(load_sample_image(name))
    whole = whole.convert("L").convert("RGB") if grey else whole
    corners = zip(rng.integers(0, 540, count).tolist(), rng.integers(0, 320, count).tolist(), strict=True)
    return [whole.crop((x, y, x + 100, y + 100)) for x, y in corners]


def _blobs(count, seed):
    rng = np.random.default_rng(seed)
    small = rng.integers(100, 160, (count, 3, 3, 3), dtype=np.uint8)
    return [Image.fromarray(each).resize((32, 32), Image.Resampling.BICUBIC) for each in small]


def test_blobs_are_told_from_photographs_and_photographs_from_none():
    real, other = _set(_crops("china.jpg", 60, 0)), _set(_crops("china.jpg", 40, 1))
    found = plain_separability(real, other, _set(_blobs(50, 2)), seed=0)
    assert found["value"]["low"] > 0.9
    assert found["floor"]["low"] < 0.6
    assert (found["size"], found["grey"]) == (32, False), "the size of the smallest set"
    assert found == plain_separability(real, other, _set(_blobs(50, 2)), seed=0)


def test_colour_does_not_tell_grey_images():
    """Grey real images and generated ones with slight colour noise."""
    real, other = (_set(_crops("flower.jpg", 60, seed, grey=True)) for seed in (0, 1))
    rng = np.random.default_rng(2)
    noisy = [
        Image.fromarray(
            (np.asarray(image) + rng.integers(-1, 2, (100, 100, 3))).clip(0, 255).astype(np.uint8)
        )
        for image in _crops("flower.jpg", 60, 3, grey=True)
    ]
    found = plain_separability(real, other, _set(noisy), seed=0)
    assert found["grey"]
    assert found["value"]["low"] < 0.7


@pytest.mark.parametrize("side", [2, 8])
def test_one_tiny_image_changes_no_size(side):
    real, other, blobs = _crops("china.jpg", 30, 0), _crops("china.jpg", 30, 1), _blobs(30, 2)
    real[0] = real[0].resize((side, 50))
    found = plain_separability(_set(real), _set(other), _set(blobs), seed=0)
    assert found["size"] == 32
    assert found["value"]["low"] > 0.8
    several = [image.resize((side, 50)) for image in real[:6]] + real[6:]
    found = plain_separability(_set(several), _set(other), _set(blobs), seed=0)
    assert found is None if side == 2 else found["size"] == side


@pytest.mark.parametrize("sizes", [(9, 20, 20), (20, 9, 20), (20, 20, 9)])
def test_too_few_images(sizes):
    assert plain_separability(*(two_classes(size) for size in sizes), seed=0) is None
