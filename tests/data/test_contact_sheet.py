"""The picture of real images above synthetic ones."""

import numpy as np
import pytest
from tiny import two_classes

from understudy.data.contact_sheet import contact_sheet


def test_it_shows_the_first_images_of_each_class():
    real, synthetic = two_classes(12, size=16), two_classes(4, size=16, split="synthetic", seed=1)
    sheet = np.asarray(contact_sheet(synthetic, real=real, size=64))
    assert sheet.shape == (4 * 64 + 16 + 4 * 64, 2 * 64, 3)
    for label in (0, 1):
        columns = sheet[:, 64 * label : 64 * label + 64]
        for data, top in ((real, 0), (synthetic, 4 * 64 + 16)):
            shown = data.select(np.flatnonzero(data.labels == label)[:4]).pixels(64).transpose(0, 2, 3, 1)
            for index, image in enumerate(shown):
                np.testing.assert_array_equal(columns[top + 64 * index : top + 64 * index + 64], image)
    assert (sheet[4 * 64 : 4 * 64 + 16] == 255).all()


def test_synthetic_images_are_shown_alone_too():
    real, synthetic = two_classes(12, size=16), two_classes(4, size=16, split="synthetic", seed=1)
    alone = np.asarray(contact_sheet(synthetic, size=64))
    np.testing.assert_array_equal(alone, np.asarray(contact_sheet(synthetic, real=real, size=64))[-4 * 64 :])


def test_small_images_are_enlarged_and_missing_ones_are_white():
    real, one = two_classes(12, size=16), two_classes(12, size=16, split="synthetic").select([0])
    sheet = np.asarray(contact_sheet(one, real=real, size=16))
    assert sheet.shape == (64 * 8 + 16, 64, 3), "one class has synthetic images"
    assert (sheet[64 * 5 + 16 :] == 255).all()
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet(one.select([]), size=16)
