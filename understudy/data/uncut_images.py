"""Images of one size along the shorter side, read by number: kept in memory while there is room."""

from __future__ import annotations

from typing import final

import numpy as np

from understudy.core.host_memory import image_memory
from understudy.core.processes import Processes
from understudy.data.labelled_set import LabelledSet


@final
class UncutImages:
    """N images of different shapes; those for which memory has no room are decoded each time.

    Args:
        data: the images.
        size: length of the shorter side in pixels.
    """

    def __init__(self, data: LabelledSet, size: int) -> None:
        self._data, self._size = data, size
        self._room = image_memory().num_bytes // Processes().count  # all of them see every image
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, number: int) -> np.ndarray:
        """Image ``number``, uint8 (3, H, W), writable."""
        if number in self._kept:
            return self._kept[number]
        pixels = self._data.uncut(number, self._size).copy()
        if pixels.nbytes <= self._room:
            self._kept[number] = pixels
            self._room -= pixels.nbytes
        return pixels
