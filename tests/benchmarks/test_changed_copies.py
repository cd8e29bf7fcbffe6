"""The benchmark of changed copies counts what it says, and the documentation states its figures."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.changed_copies import searched, textures
from benchmarks.pictures import KINDS, shapes
from understudy.data import settings
from understudy.data.leaks import perceptual

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def thumbnails():
    return np.stack([perceptual(image)[2] for image in shapes(12)])


def test_copies_that_are_linked_are_counted(thumbnails):
    mirrored = thumbnails[:4, :, ::-1]
    found, wrong = searched(thumbnails, np.stack([mirrored, thumbnails[:4], thumbnails[4:8]]))
    assert found.tolist() == [[True] * 4, [True] * 4, [False] * 4]
    assert wrong > 0, "the last four are copies of other images"
    assert searched(thumbnails, mirrored[None]) == (pytest.approx(np.ones((1, 4))), 0)


def test_every_strength_changes_the_picture(thumbnails):
    (image,) = shapes(1)
    for kind in KINDS:
        changed = [change(image) for change in kind.strengths.values()]
        assert all(each.mode == "RGB" for each in changed), kind.name
        assert len({each.tobytes() for each in [image, *changed]}) == 1 + len(changed), kind.name


def test_textures_are_the_same_for_every_size():
    some = textures(40)
    assert some.shape == (40, 32, 32) and some.dtype == np.uint8
    np.testing.assert_array_equal(some[:30], textures(30))
    difference = some[9].astype(int) - some[8, :, ::-1]
    assert np.abs(difference).mean() < 10 < np.abs(some[9].astype(int) - some[8]).mean()


def test_the_time_in_the_settings_is_the_measured_one():
    rows = json.loads((ROOT / "benchmarks" / "results" / "changed_copies.json").read_text())["rows"]
    cost = {(row["set"], row["images"]): np.mean(row["seconds"]) for row in rows if row["part"] == "cost"}
    text = " ".join(Path(settings.__file__).read_text(encoding="utf-8").split())
    (stated,) = re.findall(r"([\d,]+) images take about (\d+) CPU seconds", text)
    assert int(stated[1]) == pytest.approx(cost["textures", int(stated[0].replace(",", ""))], rel=0.1)
    assert "photographs a third as long again" in text
    assert cost["CIFAR-10", 5000] / cost["textures", 5000] == pytest.approx(4 / 3, rel=0.1)
