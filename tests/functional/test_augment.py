"""Augmentation against torchvision, and what must hold whatever is drawn."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from understudy.functional.augment import (
    affine,
    affine_by_shares,
    affine_shares,
    flip_crop,
    flip_crop_by_shares,
    flip_crop_shares,
    random_affine,
    random_square,
    resized_crop,
)


def _picture(height: int, width: int) -> torch.Tensor:
    """A patch in the middle: black edges, so that how the edge is continued does not matter."""
    image = torch.zeros(1, 3, height, width, dtype=torch.float64)
    image[:, :, height // 3 : -height // 3, width // 3 : -width // 3] = torch.rand(
        3,
        *image[0, 0, height // 3 : -height // 3, width // 3 : -width // 3].shape,
        generator=torch.Generator().manual_seed(1),
    )
    return image


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 48)])
@pytest.mark.parametrize(
    ("degrees", "shift", "scale", "shear"),
    [(0, (3, 0), 1, 0), (20, (0, 0), 1, 0), (0, (0, 0), 1.3, 15), (-25, (2, -3), 0.8, 10)],
)
def test_affine_agrees_with_torchvision(height, width, degrees, shift, scale, shear):
    image = _picture(height, width)
    ours = affine(
        image,
        degrees=torch.tensor([float(degrees)], dtype=torch.float64),
        shift=torch.tensor([[shift[0] / width, shift[1] / height]], dtype=torch.float64),
        scale=torch.tensor([float(scale)], dtype=torch.float64),
        shear=torch.tensor([float(shear)], dtype=torch.float64),
    )
    theirs = tv.affine(
        image,
        angle=degrees,
        translate=list(shift),
        scale=scale,
        shear=[shear, 0],
        interpolation=tv.InterpolationMode.BILINEAR,
    )
    # torchvision builds its grid in float32.
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@given(batch=st.integers(1, 4), size=st.integers(4, 12), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_zero_ranges_change_nothing(batch, size, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, 3, size, size, generator=rng)
    torch.testing.assert_close(
        random_affine(x, rng, shift=0, degrees=0, scale=0, shear=0), x, atol=1e-5, rtol=0
    )
    cropped = flip_crop(x, rng, padding=0)
    for before, after in zip(x, cropped, strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(-1))


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_affine_shares_are_shares_of_the_largest_changes(seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(4, 3, 9, 12, generator=rng)
    shares = affine_shares(x, rng)
    largest = {"shift": 0.2, "degrees": 30.0, "scale": 0.5, "shear": 20.0}
    expected = affine(
        x,
        degrees=30 * shares[:, 0],
        shift=0.2 * shares[:, 1:3],
        scale=1.5 ** shares[:, 3],
        shear=20 * shares[:, 4],
    )
    torch.testing.assert_close(affine_by_shares(x, shares, **largest), expected, atol=1e-5, rtol=0)
    assert (shares.abs() <= 1).all()
    torch.testing.assert_close(affine_by_shares(x, 0 * shares, **largest), x, atol=1e-5, rtol=0)


@given(height=st.integers(2, 9), width=st.integers(2, 9), padding=st.floats(0, 0.9), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_flip_crop_shares_say_where_the_crop_lies(height, width, padding, seed):
    """Pixels count rows and columns, so the crop can be read off a pixel whose place is not padding."""
    pad_y, pad_x = int(padding * height), int(padding * width)
    x = torch.stack([torch.arange(height)[:, None].expand(-1, width), torch.arange(width).expand(height, -1)])
    x = x[None].float().expand(5, -1, -1, -1)
    shares = flip_crop_shares(x, torch.Generator().manual_seed(seed), padding=padding)
    assert (shares.abs() <= 1).all()
    for image, (down, right, is_mirrored) in zip(
        flip_crop_by_shares(x, shares, padding=padding), shares, strict=True
    ):
        image = image.flip(-1) if is_mirrored else image
        top, left = round(float(down) * pad_y), round(float(right) * pad_x)
        y, x0 = max(0, -top), max(0, -left)
        assert image[:, y, x0].tolist() == [top + y, left + x0]
    assert torch.equal(flip_crop_by_shares(x, 0 * shares, padding=padding), x)


@pytest.mark.parametrize("change", [random_affine, flip_crop])
def test_each_image_has_its_draw_and_the_input_stays(change):
    x = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    kept, state = x.clone(), torch.get_rng_state()
    first, again = (change(x, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(x, kept)
    assert torch.equal(state, torch.get_rng_state())
    assert first.min() >= 0
    assert first.max() <= 1
    same = change(x[:1].expand(8, -1, -1, -1), torch.Generator().manual_seed(5))
    assert len({tuple(image.flatten().tolist()) for image in same}) > 4


def test_flip_crop_cuts_from_the_reflected_padding():
    x = torch.arange(8.0).view(1, 1, 1, 8).expand(200, 1, 8, 8)
    rows = {
        tuple(image[0, 0].tolist()) for image in flip_crop(x, torch.Generator().manual_seed(0), padding=0.125)
    }
    ahead = {(1, 0, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4, 5, 6, 7), (1, 2, 3, 4, 5, 6, 7, 6)}
    assert rows == ahead | {row[::-1] for row in ahead}


@st.composite
def _boxes(draw, height=24, width=31):
    box_height, box_width = draw(st.integers(1, height)), draw(st.integers(1, width))
    top, left = draw(st.integers(0, height - box_height)), draw(st.integers(0, width - box_width))
    return top, left, box_height, box_width


@given(boxes=st.lists(st.tuples(_boxes(), st.booleans()), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_resized_crop_agrees_with_torchvision(boxes, seed):
    x = torch.rand(len(boxes), 3, 24, 31, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ours = resized_crop(
        x,
        boxes=torch.tensor([box for box, _ in boxes]),
        mirrored=torch.tensor([is_mirrored for _, is_mirrored in boxes]),
    )
    for image, result, (box, is_mirrored) in zip(x, ours, boxes, strict=True):
        theirs = tv.resized_crop(image, *box, size=[24, 31], antialias=True)
        theirs = tv.horizontal_flip(theirs) if is_mirrored else theirs
        torch.testing.assert_close(result, theirs, atol=1e-5, rtol=0)  # places are computed in float32


@given(height=st.integers(1, 6), width=st.integers(1, 6))
@settings(deadline=None)
def test_every_square_of_an_image_is_drawn(height, width):
    image = torch.arange(height * width).view(1, height, width)
    side = min(height, width)
    places = {
        tuple(image[0, top : top + side, left : left + side].flatten().tolist())
        for top in range(height - side + 1)
        for left in range(width - side + 1)
    }
    rng = torch.Generator().manual_seed(0)
    drawn = {tuple(random_square(image, rng).flatten().tolist()) for _ in range(100)}
    assert drawn == places
