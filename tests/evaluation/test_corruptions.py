"""Every corruption: five severities, more and more harm, the same for an image wherever it stands, and alike
for small and large ones.
"""

import gc
import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch.nn import functional

from understudy.core.errors import InputError
from understudy.data import decoded_images
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation import corruptions as module
from understudy.evaluation import settings
from understudy.evaluation.corruptions import CORRUPTIONS, corrupted

SEVERITIES = (1, 2, 3, 4, 5)
every = pytest.mark.parametrize("name", list(CORRUPTIONS))


def scenes(num=6, side=32):
    """Smooth shapes of many levels, which stay what they are when they are enlarged."""
    levels = torch.rand((num, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    return (255 * functional.interpolate(levels, size=(side, side), mode="bilinear")).round().to(torch.uint8)


def rngs(num=6, seed=0):
    return [np.random.default_rng([seed, index]) for index in range(num)]


def harm(changed, original):
    return float((changed.float() - original.float()).square().mean().sqrt())


def as_set(pixels, *, split="test"):
    return LabelledSet.from_images(
        pixels.numpy(), np.arange(len(pixels)) % 2, class_names=("a", "b"), split=split
    )


def parts(data, name, *, severity=3, size=32, seed=0):
    return list(corrupted(data, name, severity=severity, size=size, seed=seed))


def test_settings_know_all():
    assert set(CORRUPTIONS) == set(settings.CORRUPTIONS)


@every
def test_higher_severities_change_more(name):
    for side in (32, 96):
        pixels = scenes(side=side)
        original = pixels.clone()
        changed = [CORRUPTIONS[name](pixels, severity, rngs()) for severity in SEVERITIES]
        assert all(each.dtype == torch.uint8 and each.shape == pixels.shape for each in changed)
        assert torch.equal(pixels, original)
        harms = [harm(each, pixels) for each in changed]
        assert harms[0] > 0
        assert all(later > earlier for earlier, later in itertools.pairwise(harms)), (side, harms)


# jpeg hardly changes smooth shapes.
@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "jpeg"])
def test_images_of_any_size_change_alike(name):
    small = scenes()
    for factor in (2, 5):
        large = small.repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)
        for severity in (1, 3, 5):
            changed = CORRUPTIONS[name](large, severity, rngs())
            reduced = functional.avg_pool2d(changed.float(), factor)
            # Turned, blurred or larger pixels are approximated by few, in small images.
            assert harm(reduced, small) == pytest.approx(
                harm(CORRUPTIONS[name](small, severity, rngs()), small), rel=0.4, abs=1.5
            )


@every
def test_shapes_and_sizes_of_all_kinds(name):
    for height, width in ((8, 8), (16, 48), (33, 20)):
        pixels = torch.randint(0, 256, (2, 3, height, width), generator=torch.Generator().manual_seed(1)).to(
            torch.uint8
        )
        for severity in (1, 5):
            assert CORRUPTIONS[name](pixels, severity, rngs(2)).shape == pixels.shape


@every
def test_an_image_does_not_depend_on_its_batch(name, monkeypatch):
    data = as_set(scenes(7))
    together = np.concatenate([part.pixels(32) for part in parts(data, name)])
    backwards = np.concatenate([part.pixels(32) for part in parts(data.select(range(6, -1, -1)), name)])
    np.testing.assert_array_equal(backwards[::-1], together)
    monkeypatch.setattr(module, "_BATCH_SIZE", 2)
    few = parts(data, name)
    assert [len(part) for part in few] == [2, 2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([part.pixels(32) for part in few]), together)


@every
def test_severities_differ_in_strength_only(name):
    """What is drawn for an image is the same at every severity, so severities are compared on equal terms."""
    weak, strong = (CORRUPTIONS[name](scenes(), severity, rngs()).float() - scenes() for severity in (1, 2))
    assert float((weak * strong).mean()) > 0


def test_compression_of_photographs_of_any_size():
    """Blocks of 8 pixels are small in large images; quality is lowered with the size."""
    photographs = [
        image[top : top + 224, left : left + 224]
        for image in load_sample_images().images
        for top in (0, 200)
        for left in (0, 400)
    ]
    large = torch.from_numpy(np.stack(photographs).transpose(0, 3, 1, 2))
    small = functional.adaptive_avg_pool2d(large.float(), 32).round().to(torch.uint8)
    for severity in SEVERITIES:
        reduced = functional.adaptive_avg_pool2d(CORRUPTIONS["jpeg"](large, severity, []).float(), 32)
        ratio = harm(reduced, small) / harm(CORRUPTIONS["jpeg"](small, severity, []), small)
        assert 0.4 < ratio < 1.6


def test_other_seeds_change_the_random_numbers():
    data = as_set(scenes())
    for name in ("noise", "brightness", "rotation"):
        a, b = (np.concatenate([part.pixels(32) for part in parts(data, name, seed=seed)]) for seed in (0, 1))
        assert (a != b).any()


def test_noise_is_normal_noise_of_the_stated_strength():
    grey = torch.full((4, 3, 32, 32), 128, dtype=torch.uint8)
    changed = CORRUPTIONS["noise"](grey, 1, rngs(4)).float() - 128
    assert float(changed.std()) == pytest.approx(0.06 * 255, rel=0.03)
    assert float(changed.mean()) == pytest.approx(0, abs=0.6)


def test_blur_is_that_of_scipy():
    from scipy.ndimage import gaussian_filter

    pixels = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    sigma = 0.038 * 64
    theirs = gaussian_filter(
        pixels[0, 0].numpy().astype(float), sigma, mode="mirror", radius=int(np.ceil(3 * sigma))
    )
    blurred = CORRUPTIONS["blur"](pixels, 3, [])[0, 0].numpy()
    np.testing.assert_allclose(blurred, theirs, atol=0.6)  # blurred pixels are rounded to levels


def test_turned_images_keep_plain_backgrounds():
    plain = torch.full((2, 3, 20, 32), 77, dtype=torch.uint8)
    assert torch.equal(CORRUPTIONS["rotation"](plain, 5, rngs(2)), plain)


def test_ids_labels_and_split_are_kept():
    data = as_set(scenes(5, side=40))
    (part,) = parts(data, "noise", size=24)
    assert part.ids == data.ids and part.split == "test" and part.class_names == data.class_names
    np.testing.assert_array_equal(part.labels, data.labels)
    assert part.image(0).size == (24, 24)
    expected = CORRUPTIONS["noise"](
        torch.from_numpy(data.pixels(24)), 3, [module._rng(0, "noise", name) for name in data.ids]
    )
    np.testing.assert_array_equal(part.pixels(24), expected.numpy())
    assert parts(data.select([]), "noise") == []


def test_corruptions_use_different_random_numbers():
    """Or all images that turn left would be those that grow lighter."""
    tosses = [
        [bool(module._rng(0, corruption, str(image)).integers(2)) for image in range(400)]
        for corruption in ("brightness", "rotation")
    ]
    assert 0.4 < np.equal(*tosses).mean() < 0.6


def test_decoded_parts_do_not_stay_in_memory(monkeypatch):
    """Classifiers keep decoded pixels of the sets that live."""
    monkeypatch.setattr(module, "_BATCH_SIZE", 2)
    gc.collect()
    before = len(decoded_images._KEPT)
    for part in corrupted(as_set(scenes(8)), "blur", severity=1, size=32, seed=0):
        decoded_images.decoded(part, 32)
        assert (
            len(decoded_images._KEPT) <= before + 2
        )  # this part, and the one before it while it is replaced
    del part
    assert len(decoded_images._KEPT) == before


def test_arguments_are_checked():
    data = as_set(scenes(2))
    with pytest.raises(InputError, match="measuring under corruptions needs a test set, got a train set"):
        parts(as_set(scenes(2), split="train"), "noise")
    with pytest.raises(InputError, match="unknown corruption 'nois'.*did you mean 'noise'"):
        parts(data, "nois")
    with pytest.raises(ValueError, match="severity must be 1 to 5, got 6"):
        parts(data, "noise", severity=6)
