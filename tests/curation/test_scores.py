from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import two_classes

from understudy.core.errors import InputError
from understudy.curation.scores import SCORES, lowest_kept
from understudy.curation.settings import CurateSettings


class Says:
    """A judge with these opinions."""

    def __init__(self, probabilities):
        self.probabilities = np.asarray(probabilities, dtype=float)

    def predict(self, data):
        return self.probabilities[: len(data)]


def score_of(name, probabilities, *, labels=None):
    """Scores of images of the classes 0, 1, 0, 1 and so on, or of all those of one label."""
    num = len(probabilities)
    data = two_classes(2 * num, split="synthetic")
    of_label = data if labels is None else data.select(np.flatnonzero(data.labels == labels))
    return SCORES[name](of_label.select(range(num)), Says(probabilities))


@pytest.mark.parametrize("name", list(SCORES))
@given(certain=st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_every_score_is_in_the_unit_interval(name, certain):
    scores = score_of(name, [[p, 1 - p] for p in certain])
    assert scores.shape == (4,)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert SCORES.summary(name)
    assert SCORES[name].judge in ("real", "clip", "none")


OPINIONS = [[0.7, 0.3], [0.4, 0.6], [0.5, 0.5], [0.45, 0.55], [1.0, 0.0]]


def test_agreement_is_relative_to_the_first_choice():
    np.testing.assert_allclose(score_of("agreement", OPINIONS, labels=0), [1, 2 / 3, 1, 9 / 11, 1])


def test_confidence_is_0_where_another_class_is_named():
    np.testing.assert_array_equal(score_of("confidence", OPINIONS, labels=0), [0.7, 0, 0.5, 0, 1])
    np.testing.assert_array_equal(score_of("confidence", OPINIONS, labels=1), [0, 0.6, 0, 0.55, 0])


def test_clip_is_0_at_chance():
    np.testing.assert_array_equal(score_of("clip", OPINIONS, labels=0), [0.7, 0, 0, 0, 1])
    # With three classes above a third, though another class is named.
    np.testing.assert_array_equal(score_of("clip", [[0.35, 0.6, 0.05], [0.3, 0.3, 0.4]], labels=0), [0.35, 0])


def test_each_score_uses_only_its_judge():
    judge, clip = Says([[0.2, 0.8]]), Says([[0.9, 0.1]])
    # An attribute that is missing fails where it is asked for.
    assert SCORES["agreement"].find_judge(SimpleNamespace(judge=judge)) is judge
    assert SCORES["confidence"].find_judge(SimpleNamespace(judge=judge)) is judge
    assert SCORES["clip"].find_judge(SimpleNamespace(clip=clip)) is clip
    agreeing = SCORES["none"].find_judge(SimpleNamespace())
    np.testing.assert_array_equal(SCORES["none"](two_classes(4), agreeing), np.ones(4))


def confident(values):
    """Opinions about images of the class 0, 1, 0, 1, ..."""
    return [[v, 1 - v] if index % 2 == 0 else [1 - v, v] for index, v in enumerate(values)]


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=30), share=st.floats(0.01, 1))
def test_the_share_of_validation_images_passes(values, share):
    """At least that share, and no higher score would do; but what is named otherwise never passes."""
    judge, val = Says(confident(values)), two_classes(len(values), split="val")
    threshold = lowest_kept(val, judge, settings=CurateSettings(score="confidence", validation_pass=share))
    scores = SCORES["confidence"](val, judge)
    assert (scores >= threshold).mean() >= share - 1e-9
    assert threshold == scores.max() or (scores > threshold).mean() <= share + 1e-9


@given(
    values=st.lists(st.floats(0.5, 1), min_size=3, max_size=20),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
    share=st.floats(0.1, 1),
)
def test_a_higher_threshold_keeps_a_subset(values, low, high, share):
    scores = score_of("confidence", confident(values))
    low, high = min(low, high), max(low, high)
    assert ((scores >= high) <= (scores >= low)).all()
    judge, val = Says(confident(values)), two_classes(len(values), split="val")
    thresholds = [
        lowest_kept(val, judge, settings=CurateSettings(score="confidence", validation_pass=p))
        for p in (share, share / 2)
    ]
    assert thresholds[0] <= thresholds[1]


def test_thresholds():
    judge, val = Says(confident([0.9, 0.8, 0.7, 0.6])), two_classes(4, split="val")

    def threshold(**settings):
        return lowest_kept(val, judge, settings=CurateSettings(**settings))

    assert threshold() == 0.5
    assert threshold(score="clip") == threshold(score="none") == 0
    assert threshold(score="confidence", validation_pass=1.0) == pytest.approx(0.6)
    assert threshold(score="confidence", validation_pass=0.5) == pytest.approx(0.8)
    assert threshold(score="clip", threshold="validation", validation_pass=0.75) == pytest.approx(0.7)
    assert threshold(score="confidence", threshold=0.3) == 0.3


def test_a_threshold_comes_from_validation_images_alone():
    settings = CurateSettings(score="confidence")
    for split in ("train", "test", "synthetic"):
        with pytest.raises(
            InputError, match=f"deriving a threshold from real images needs a val set, got a {split} set"
        ):
            lowest_kept(two_classes(4, split=split), Says(confident([1] * 4)), settings=settings)
    with pytest.raises(
        InputError, match="needs real validation images, got none: set curate.threshold to a number"
    ):
        lowest_kept(two_classes(4, split="val").select([]), Says(confident([1] * 4)), settings=settings)
