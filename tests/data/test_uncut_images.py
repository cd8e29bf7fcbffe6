"""Images that are not cut: the same pixels, with room for them or not."""

import numpy as np
import pytest
from tiny import two_classes

from understudy.core.host_memory import ImageMemory
from understudy.data.labelled_set import LabelledSet
from understudy.data.uncut_images import UncutImages


@pytest.mark.parametrize(("kilobytes", "kept"), [(0, 0), (1, 1), (100, 4)])
def test_only_what_has_room_is_kept(kilobytes, kept, monkeypatch):
    """An image of 16 pixels takes 768 bytes."""
    monkeypatch.setattr(
        "understudy.data.uncut_images.image_memory", lambda: ImageMemory(gigabytes=kilobytes / 1e6)
    )
    decoded, data = [], two_classes(4, size=16)
    uncut = LabelledSet.uncut
    monkeypatch.setattr(
        LabelledSet, "uncut", lambda self, index, size: decoded.append(index) or uncut(self, index, size)
    )
    images = UncutImages(data, 16)
    assert len(images) == 4
    for _ in range(2):
        for number in range(4):
            np.testing.assert_array_equal(images[number], uncut(data, number, 16))
    assert len(decoded) == 8 - kept
