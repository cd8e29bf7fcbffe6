"""Random-resized-crop of a whole batch against torchvision, image by image."""

import timm.data
import torch
from torchvision.transforms import v2

from understudy.training.augmentations import AUGMENTATIONS, _jittered_crop, resized_crops


def levels(pixels):
    return pixels.float()


def test_the_boxes_are_those_of_torchvision():
    """Pixels differ by rounding to whole levels, twice: torchvision interpolates whole numbers."""
    pixels = torch.randint(
        256, (40, 3, 24, 31), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    by_image, whole = (torch.Generator().manual_seed(5) for _ in range(2))
    for _ in range(3):
        expected = AUGMENTATIONS["random-resized-crop"](pixels, levels, by_image)
        found = resized_crops(pixels, levels, whole)
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() < 1.01
        assert (found - expected).abs().mean() < 0.5
    assert by_image.get_state().equal(whole.get_state())


def test_boxes_follow_from_the_generator_alone():
    pixels = torch.randint(256, (5, 3, 16, 16), dtype=torch.uint8)
    first = resized_crops(pixels, levels, torch.Generator().manual_seed(5))
    before = torch.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        again = resized_crops(pixels, levels, torch.Generator().manual_seed(5))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, resized_crops(pixels, levels, torch.Generator().manual_seed(6)))


def test_the_jittered_crop_has_the_parameters_of_timm():
    theirs = timm.data.create_transform(
        24, is_training=True, interpolation="random", color_jitter=0.4, auto_augment=None, re_prob=0.0
    ).transforms
    crop, colours = theirs[0], next(step for step in theirs if hasattr(step, "brightness"))
    choice, mirror, jitter = _jittered_crop(v2, 24, 31).transforms
    assert {each.interpolation for each in choice.transforms} == {
        v2.InterpolationMode.BILINEAR,
        v2.InterpolationMode.BICUBIC,
    }
    assert all((each.scale, each.ratio) == (crop.scale, crop.ratio) for each in choice.transforms)
    assert mirror.p == 0.5
    for name in ("brightness", "contrast", "saturation", "hue"):
        assert getattr(jitter, name) == getattr(colours, name)


def test_the_jittered_crop_changes_each_image_in_another_way():
    pixels = torch.full((6, 3, 16, 16), 100, dtype=torch.uint8)
    found = AUGMENTATIONS["random-resized-crop-jitter"](pixels, levels, torch.Generator().manual_seed(0))
    assert found.shape == (6, 3, 16, 16)
    assert (found - found[:, :1, :1, :1]).abs().max() == 0, "grey stays grey, and even"
    assert len(found[:, 0, 0, 0].unique()) == 6
    assert found.min() >= 36 and found.max() <= 196  # twice 0.6 and 1.4
