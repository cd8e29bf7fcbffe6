"""Random-resized-crop of a whole batch against torchvision, image by image."""

import torch

from understudy.training.augmentations import AUGMENTATIONS, resized_crops


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
