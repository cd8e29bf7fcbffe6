from __future__ import annotations

import pytest
from data_pictures import picture

from understudy.data.labelled_set import LabelledSet


@pytest.fixture
def small_set() -> LabelledSet:
    names = ("zebra", "ant", "cow")  # not in sorted order
    labels = [0, 1, 2] * 4
    return LabelledSet.from_images(
        [picture(index) for index in range(12)],
        labels,
        class_names=names,
        split="train",
        provenance={"source_path": [f"{index}.png" for index in range(12)]},
    )
