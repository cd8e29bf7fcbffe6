"""Images chosen in rounds: which ones, how many, and what the classifiers see."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from understudy.curation.deliberate import most_unsure
from understudy.data.labelled_set import LabelledSet
from understudy.functional.uncertainty import predictive_entropy


class ClassMeans:
    """Softmax of the squared distances to the mean grey level of each class."""

    def __init__(self, data):
        grey = np.array([GREY[name] for name in data.ids])
        self._means = np.array([grey[data.labels == label].mean() for label in (0, 1)])

    def predict(self, data):
        grey = np.array([GREY[name] for name in data.ids])
        return softmax(-10 * (grey[:, None] - self._means) ** 2, axis=1)


def shades(labels, seed=0):
    """Grey images, those of class 0 darker; some of either class look like the other one."""
    rng = np.random.default_rng(seed)
    levels = np.clip(rng.normal(90 + 70 * np.array(labels), 40), 0, 255).astype(np.uint8)
    pixels = np.broadcast_to(levels[:, None, None, None], (len(labels), 3, 4, 4))
    return LabelledSet.from_images(pixels.copy(), labels, class_names=["dark", "light"], split="synthetic")


DRAWN = shades([0, 1] * 30)
GREY = dict(zip(DRAWN.ids, DRAWN.pixels(4).mean(axis=(1, 2, 3)) / 255, strict=True))


def choose(good, quota, *, drawn=DRAWN, rounds=3):
    """What is chosen, and the images that each classifier was trained on."""
    seen = []

    def trained_on(images):
        seen.append(images.ids)
        return ClassMeans(images)

    return most_unsure(good, drawn, np.array(quota), rounds=rounds, trained_on=trained_on), seen


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.booleans(), min_size=60, max_size=60),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(2, 5),
)
def test_quotas_are_filled_with_good_images_in_rounds(good, quota, rounds):
    good = np.array(good) | (np.arange(60) < 2)  # both classes have one, or there is nothing to tell apart
    chosen, seen = choose(good, quota, rounds=rounds)
    assert (chosen <= good).all()
    np.testing.assert_array_equal(
        np.bincount(DRAWN.labels[chosen], minlength=2),
        np.minimum(quota, np.bincount(DRAWN.labels[good], minlength=2)),
    )
    assert len(seen) < rounds
    ids = {name for name, kept in zip(DRAWN.ids, chosen, strict=True) if kept}
    sets = [set(names) for names in seen] + [ids]
    assert all(one < other for one, other in pairwise(sets)), "classifiers see what stays"
    np.testing.assert_array_equal(choose(good, quota, rounds=rounds)[0], chosen)


def test_a_round_takes_the_images_of_which_its_classifier_is_most_unsure():
    """Two rounds: the second one chooses 5 of each class among the 25 that the first one did not look at."""
    chosen, seen = choose(np.ones(60, dtype=bool), (10, 10), rounds=2)
    first = np.arange(60) < 10
    assert seen == [DRAWN.ids[:10]] and chosen[first].all()
    entropy = predictive_entropy(ClassMeans(DRAWN.select(range(10))).predict(DRAWN))
    for label in (0, 1):
        rest = ~first & (DRAWN.labels == label)
        assert entropy[rest & chosen].min() >= entropy[rest & ~chosen].max()
        assert (rest & chosen).sum() == 5


def test_no_round_looks_at_an_image_that_an_earlier_one_left():
    """Three rounds of 3 among 30 images of a class: the second one looks at 13, the third at the rest."""
    chosen, seen = choose(np.ones(60, dtype=bool), (9, 9), rounds=3)
    places = {name: number // 2 for number, name in enumerate(DRAWN.ids)}
    second = [places[name] for name in set(seen[1]) - set(seen[0])]
    third = [places[name] for name in {*np.array(DRAWN.ids)[chosen]} - set(seen[1])]
    assert max(second) < 3 + 13 <= min(third)


@pytest.mark.parametrize("quota", [(30, 30), (50, 60)])
def test_nothing_is_trained_without_a_choice(quota):
    chosen, seen = choose(np.ones(60, dtype=bool), quota)
    assert chosen.all() and not seen
