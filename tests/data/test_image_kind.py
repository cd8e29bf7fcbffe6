"""Characters are told from photographs, in any colours of ink and paper and at any size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps
from sklearn.datasets import load_sample_image

from understudy.data.image_kind import image_kind
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings

DIGITS = load_splits(DataSettings(source="digits"), seed=0).test
PHOTOGRAPHS = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]


@settings(max_examples=20)
@given(st.integers(0, 900), st.integers(100, 255), st.integers(0, 60), st.booleans(), st.integers(8, 300))
def test_digits_are_characters(first, paper, ink, is_inverted, size):
    def written(image):
        values = np.asarray(image.convert("L"), dtype=float) / 255  # white on black
        grey = Image.fromarray((paper + (ink - paper) * values).astype(np.uint8))
        return (ImageOps.invert(grey) if is_inverted else grey).resize((size, size)).convert("RGB")

    assert image_kind(written(DIGITS.image(index)) for index in range(first, first + 20)) == "characters"


@settings(max_examples=20)
@given(st.sampled_from(PHOTOGRAPHS), st.integers(0, 200), st.integers(0, 200), st.integers(64, 220))
def test_parts_of_photographs_are_photographs(photograph, left, top, side):
    parts = [
        photograph.crop((left + shift, top, left + shift + side, top + side)) for shift in range(0, 200, 40)
    ]
    assert image_kind(parts) == "photographs"


def test_grey_and_blurred_photographs_are_photographs():
    parts = [
        photograph.crop((x, y, x + 200, y + 200)).convert("L").filter(ImageFilter.GaussianBlur(2))
        for photograph in PHOTOGRAPHS
        for x in (0, 200, 400)
        for y in (0, 200)
    ]
    assert image_kind(parts) == "photographs"


def test_scans_on_black_and_products_on_white_are_photographs():
    """They have two levels and plain ground, but no strokes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:100, :100]

    def body(ground):
        inside = ((y - 50) / rng.uniform(28, 42)) ** 2 + ((x - 50) / rng.uniform(28, 42)) ** 2 < 1
        grey = np.where(inside, rng.normal(140, 25, (100, 100)), ground)
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")

    for ground in (2, 250):
        assert image_kind([body(ground) for _ in range(20)]) == "photographs"


def test_the_majority_decides():
    digits = [DIGITS.image(index) for index in range(10)]
    assert image_kind([*digits, *PHOTOGRAPHS]) == "characters"
    assert image_kind([digits[0], *PHOTOGRAPHS]) == "photographs"


def test_blank_images_are_no_characters():
    assert image_kind([Image.new("RGB", (8, 8), "white")] * 3) == "photographs"


def test_no_images():
    with pytest.raises(ValueError, match="at least one"):
        image_kind([])
