"""Planted copies on real digits are found, other real images are not, and the threshold says what it rests
on.
"""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps
from tiny import two_classes

from understudy.core.errors import InputError
from understudy.data.copies import SAME_IMAGE, CopyFinder, grey_thumbnails, paired_distances
from understudy.data.labelled_set import LabelledSet, pixel_hash
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings


def jpeg(image):
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=50)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def moved(image):
    return Image.fromarray(np.roll(np.asarray(image), (-3, 4), axis=(0, 1)))


WAYS = {
    "exact": lambda image: image,
    "flipped": ImageOps.mirror,
    "moved": moved,
    "re-encoded": jpeg,
    "darker": lambda image: image.point(lambda level: level * 0.7),
    "brighter": lambda image: image.point(lambda level: level * 1.5),
    "much darker": lambda image: image.point(lambda level: level - 60),
    "all of it": lambda image: jpeg(moved(ImageOps.mirror(image))).point(lambda level: 20 + level * 0.8),
}


@pytest.fixture(scope="module")
def splits():
    return load_splits(DataSettings(source="digits"), seed=0)


@pytest.fixture(scope="module")
def finder(splits):
    return CopyFinder(splits.train, splits.val)


def as_set(images, like, split="synthetic"):
    return LabelledSet.from_images(
        images, np.zeros(len(images), dtype=int), class_names=like.class_names, split=split
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.slow
def test_planted_copies_are_found(way, finder, splits):
    rows = range(0, 600, 30)
    planted = as_set([WAYS[way](splits.train.image(index)) for index in rows], splits.train)
    neighbours = finder.nearest(planted)
    assert neighbours.ids == [splits.train.ids[index] for index in rows]
    assert finder.flags(neighbours) == ["exact copy" if way == "exact" else "copy"] * len(planted)
    if way == "exact":
        np.testing.assert_array_equal(neighbours.distances, 0)
    np.testing.assert_allclose(paired_distances(planted, splits.train.select(rows)), neighbours.distances)


@pytest.mark.slow
def test_other_real_images_are_not(finder, splits):
    """Test images, from which no threshold was taken."""
    flags = finder.flags(finder.nearest(splits.test))
    assert sum(map(bool, flags)) <= 0.01 * len(splits.test)
    assert finder.threshold.held_out <= 0.01
    assert (finder.threshold.basis, finder.threshold.images) == ("held-out real images", 200)
    assert finder.threshold.false_alarms == 0.01
    assert finder.threshold.duplicates == 0


@pytest.mark.slow
def test_few_held_out_images_are_joined_by_train_images(splits):
    threshold = CopyFinder(splits.train, splits.val.select(range(50))).threshold
    assert (threshold.basis, threshold.images) == ("held-out real and train images", 650)
    assert SAME_IMAGE < threshold.distance < 0.2
    assert threshold.false_alarms is None, "train images promise nothing"


def test_very_few_images_give_half_the_smallest_distance(splits):
    few = CopyFinder(splits.train.select(range(20)), splits.val.select(range(10)))
    assert few.threshold.basis == "half the smallest distance of held-out real and train images"
    assert few.threshold.images == 30
    assert few.threshold.false_alarms is None
    assert 0 < few.threshold.distance <= few.held_out_distances.min() / 2


def test_a_single_pair_and_nothing_at_all(splits):
    one = splits.train.select([0])
    alone = CopyFinder(one, splits.val.select([0])).threshold
    assert (alone.basis, alone.false_alarms) == ("half the smallest distance of held-out real images", 1 / 2)
    nothing = CopyFinder(one, splits.val.select([]))
    assert nothing.threshold.distance == 0
    assert nothing.threshold.false_alarms == 1
    assert nothing.flags(nothing.nearest(one)) == ["exact copy"]


def test_duplicate_real_images_do_not_lower_the_threshold(finder, splits):
    """A tenth of the held-out images are train images, mirrored or re-encoded; mirrored ones no leak check
    refuses.
    """
    doubles = [WAYS[way](splits.train.image(index)) for index, way in enumerate(["flipped", "moved"] * 10)]
    held_out = as_set([splits.val.image(index) for index in range(200)] + doubles, splits.train, split="val")
    threshold = CopyFinder(splits.train, held_out).threshold
    assert threshold.duplicates == 20
    assert threshold.images == 200
    assert threshold.distance == finder.threshold.distance


def test_a_copy_with_another_label_is_a_copy(finder, splits):
    index = int(np.flatnonzero(splits.train.labels == 7)[0])
    assert finder.flags(finder.nearest(as_set([splits.train.image(index)], splits.train))) == ["exact copy"]


def test_each_image_is_searched_once(splits, monkeypatch):
    finder = CopyFinder(splits.train.select(range(30)), splits.val.select(range(5)))
    first = finder.nearest(splits.test.select(range(4)))
    monkeypatch.setattr("understudy.data.copies.nearest_copies", None)
    again = finder.nearest(splits.test.select([2, 0]))
    assert again.ids == [first.ids[2], first.ids[0]]
    np.testing.assert_array_equal(again.distances, first.distances[[2, 0]])


def test_what_is_found_does_not_depend_on_the_others(splits):
    finders = [CopyFinder(splits.train.select(range(50)), splits.val.select(range(5))) for _ in range(2)]
    whole = finders[0].nearest(splits.test.select(range(40))).distances
    parts = [
        finders[1].nearest(splits.test.select(range(start, start + 8))).distances for start in range(0, 40, 8)
    ]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


def test_thumbnails_of_any_shape():
    wide = np.zeros((3, 20, 60), dtype=np.uint8)
    wide[:, :, 20:40] = 255
    data = LabelledSet.from_images([wide], [0], class_names=["cat"], split="train")
    large, small = grey_thumbnails(data, 32, 16)
    np.testing.assert_array_equal(large, np.ones((1, 32, 32)))
    np.testing.assert_array_equal(small, np.ones((1, 16, 16)))
    np.testing.assert_array_equal(grey_thumbnails(data), [large])


def test_splits_of_the_sets_are_checked(train, val):
    with pytest.raises(InputError, match="looking for copies needs a train set, got a test set"):
        CopyFinder(train.with_split("test"), val)
    with pytest.raises(InputError, match="setting the threshold for copies needs a val set, got a test set"):
        CopyFinder(train, val.with_split("test"))


def test_pixels_decide_what_is_exact(train, val):
    finder = CopyFinder(train, val)
    again = two_classes(2)
    assert pixel_hash(again.image(0)) == pixel_hash(train.image(0))
    assert finder.nearest(again).exact.all()
    assert not finder.nearest(two_classes(2, seed=9)).exact.any()
