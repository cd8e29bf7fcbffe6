import numpy as np
import pytest
from tiny import two_classes

from understudy.core.errors import InputError
from understudy.curation.curate import Curator
from understudy.curation.settings import CurateSettings
from understudy.data.copies import CopyFinder
from understudy.data.labelled_set import LabelledSet


class Judge:
    """Says cat where the left half is brighter: exact on the images of ``two_classes``."""

    def predict(self, data):
        pixels = data.pixels(16).astype(float)
        cat = pixels[..., :8].mean(axis=(1, 2, 3)) > pixels[..., 8:].mean(axis=(1, 2, 3))
        return np.where(cat[:, None], [[0.8, 0.2]], [[0.2, 0.8]])


def drawn_set(pixels, labels):
    return LabelledSet.from_images(pixels, labels, class_names=["cat", "dog"], split="synthetic")


def unasked(*arguments):
    raise AssertionError("nothing to ask here")


class Networks:
    """What curation may ask, made by these functions when it is asked."""

    def __init__(self, judge, clip, features):
        self._judge, self._clip, self.features = judge, clip, features

    @property
    def judge(self):
        return self._judge()

    @property
    def clip(self):
        return self._clip()


def judged(drawn, train, *, quota=(9, 9), judge=Judge, clip=unasked, features=unasked, **changes):
    val = two_classes(4, split="val", seed=1)
    networks = Networks(unasked if changes.get("score") in ("none", "clip") else judge, clip, features)
    curator = Curator(train=train, val=val, networks=networks, copies=CopyFinder(train, val))
    settings = CurateSettings(**changes)
    return curator.choose(curator.judge(drawn, settings), drawn, np.array(quota), settings)


def test_good_images_are_kept_up_to_the_quota(train):
    drawn = two_classes(6, split="synthetic", seed=9)
    decisions = judged(drawn, train, quota=(2, 9))
    assert decisions.kept.tolist() == [True, True, True, True, False, True]
    assert decisions.reasons[4] == "over quota"
    assert np.bincount(decisions.labels[decisions.kept]).tolist() == [2, 3]
    assert decisions.rejections == {}
    assert decisions.num_good.tolist() == [3, 3]
    assert decisions.threshold == 0.5
    assert decisions.curated(drawn).ids == [
        name for name, kept in zip(drawn.ids, decisions.kept, strict=True) if kept
    ]


def test_images_that_the_judge_assigns_to_another_class_are_rejected(train):
    drawn = drawn_set(two_classes(2, seed=9).pixels(16), [1, 1])
    decisions = judged(drawn, train)
    assert decisions.reasons == ["low score", ""]
    np.testing.assert_allclose(decisions.scores, [0.25, 1.0])
    assert judged(drawn, train, threshold=0.2).kept.all()
    assert judged(drawn, train, score="none").kept.all()


@pytest.mark.parametrize("level", [0, 77, 255])
def test_constant_images_are_rejected(level, train):
    pixels = np.concatenate([np.full((1, 3, 16, 16), level, np.uint8), two_classes(2, seed=9).pixels(16)])
    assert judged(drawn_set(pixels, [0, 0, 1]), train, score="none").reasons == ["constant", "", ""]


def with_copies(train):
    """A cat, the same mirrored and darker under another name, and two that are neither."""
    cat, others = train.pixels(16)[0], two_classes(4, seed=9).pixels(16)
    return drawn_set([cat, cat[:, :, ::-1] // 2, others[0], others[2]], [0, 1, 0, 0])


@pytest.mark.parametrize(
    ("firewall", "flags", "reasons", "kept", "num_good"),
    [
        ("off", ["", "", "", ""], ["", "", "", "over quota"], 3, [3, 1]),
        ("flag", ["exact copy", "copy", "", ""], ["", "", "", "over quota"], 3, [3, 1]),
        ("redraw", ["exact copy", "copy", "", ""], ["copy", "copy", "", ""], 2, [2, 0]),
        ("drop", ["exact copy", "copy", "", ""], ["copy", "copy", "", "over quota"], 1, [3, 1]),
    ],
)
def test_the_firewall(firewall, flags, reasons, kept, num_good, train):
    decisions = judged(with_copies(train), train, quota=(2, 2), score="none", firewall=firewall)
    assert decisions.flags == flags
    assert decisions.reasons == reasons
    assert decisions.kept.sum() == kept
    assert decisions.kept.tolist() == [not reason for reason in reasons]
    assert decisions.num_good.tolist() == num_good
    assert decisions.rejections == ({} if firewall in ("off", "flag") else {"copy": 2})
    if firewall != "off":
        assert decisions.nearest_ids[:2] == [train.ids[0]] * 2
        assert decisions.nearest_distances[0] == 0


def test_with_the_firewall_off_no_copies_are_searched(train, monkeypatch):
    monkeypatch.setattr(CopyFinder, "nearest", unasked)
    decisions = judged(with_copies(train), train, score="none", firewall="off")
    assert decisions.nearest_ids == [""] * 4
    assert decisions.table()["nearest_distance"].to_pylist() == [None] * 4


def test_the_table_has_a_row_per_image(train):
    decisions = judged(two_classes(4, split="synthetic", seed=9), train)
    assert decisions.table().num_rows == 4
    assert {"id", "kept", "reason", "score", "flag", "nearest_id", "nearest_distance"} <= set(
        decisions.table().column_names
    )


def test_curating_checks_the_splits(train):
    with pytest.raises(InputError, match="curating needs a synthetic set, got a train set"):
        judged(train, train)
    with pytest.raises(InputError, match="looking for copies needs a train set, got a test set"):
        judged(two_classes(2, split="synthetic"), train.with_split("test"))


def test_a_score_of_0_is_rejected_at_any_threshold(train):
    """Acceptance of GaFi's filter: at 0 it is the argmax filter."""
    drawn = drawn_set(two_classes(4, seed=9).pixels(16), [0, 1, 1, 0])
    decisions = judged(drawn, train, score="confidence", threshold=0.0)
    assert decisions.reasons == ["", "", "low score", "low score"]
    assert judged(drawn, train, score="agreement", threshold=0.0).kept.all()


def test_a_threshold_from_validation_images_is_recorded(train):
    """The judge is sure to 0.8 of every one of them, and of those drawn that it does not reject."""
    drawn = two_classes(4, split="synthetic", seed=9)
    for changes in ({"score": "confidence"}, {"score": "confidence", "threshold": "validation"}):
        decisions = judged(drawn, train, **changes)
        assert decisions.threshold == 0.8
        assert decisions.kept.all()
    assert judged(drawn, train, score="confidence", threshold=0.9).rejections == {"low score": 4}


def test_nan_is_rejected(train):
    class Failing:
        def predict(self, data):
            return np.full((len(data), 2), np.nan)

    drawn = two_classes(2, split="synthetic", seed=9)
    for score in ("agreement", "confidence", "clip"):
        assert judged(drawn, train, score=score, threshold=0.0, judge=Failing, clip=Failing).reasons == [
            "low score",
            "low score",
        ]


def test_the_selection_chooses_among_the_good(train):
    """Of three darkened copies of a cat, the brightest is nearest to the real images; the fourth is real."""
    cat = two_classes(2, seed=9).pixels(16)[0]
    drawn = drawn_set([cat // 3, cat // 2, cat - cat // 20, train.pixels(16)[0]], [0, 0, 0, 0])

    def options(quota, features=lambda data: data.pixels(4).reshape(len(data), -1) / 255):
        return {"quota": (quota, 1), "firewall": "redraw", "features": features}

    assert judged(drawn, train, **options(1, unasked)).kept.tolist() == [True, False, False, False]
    for select in ("coverage", "matched"):
        decisions = judged(drawn, train, select=select, **options(1))
        assert decisions.reasons == ["over quota", "over quota", "", "copy"]
        assert decisions.num_good.tolist() == [3, 0]
        assert judged(drawn, train, select=select, **options(3, unasked)).reasons == ["", "", "", "copy"]


class Graded:
    """Gives each image of ``two_classes`` a probability of its own; every one but the last two is a cat."""

    def predict(self, data):
        cat = np.array([0.6, 0.9, 0.7, 0.7, 0.99, 0.4, 0.2])[: len(data)]
        return np.stack([cat, 1 - cat], axis=1)


@pytest.mark.parametrize(
    ("direction", "kept"), [(None, [0, 1, 2]), ("most", [1, 2, 4]), ("least", [0, 2, 3])]
)
def test_the_most_or_the_least_confident_of_those_that_agree_are_kept(direction, kept, train):
    """Of equal ones, the first drawn; images that the judge assigns to another class are never kept."""
    drawn = drawn_set(two_classes(14, seed=9).pixels(16)[::2], [0] * 7)
    how = {
        "score": "confidence",
        "threshold": 0.0,
        "direction": direction,
        "judge": Graded,
        "firewall": "off",
    }
    decisions = judged(drawn, train, quota=(3, 0), **how)
    assert np.flatnonzero(decisions.kept).tolist() == kept
    assert decisions.reasons[5:] == ["low score", "low score"]
    assert decisions.num_good.tolist() == [5, 0]
    assert judged(drawn, train, quota=(9, 0), **how).kept.sum() == 5


def test_a_selection_of_features_takes_the_place_of_a_direction(train):
    """As in an arm with the strategy ``coverage``."""
    drawn = two_classes(6, split="synthetic", seed=9)
    options = {
        "quota": (2, 2),
        "select": "coverage",
        "features": lambda data: data.pixels(2).reshape(len(data), -1),
    }
    found = [judged(drawn, train, direction=direction, **options).kept for direction in (None, "least")]
    np.testing.assert_array_equal(*found)


def test_unknown_score_and_selection(train):
    drawn = two_classes(2, split="synthetic")
    with pytest.raises(InputError, match="unknown score 'beauty'; known: agreement, clip, confidence, none"):
        judged(drawn, train, score="beauty")
    known = "known: covariance, coverage, deliberate, first, herding, matched"
    with pytest.raises(InputError, match=f"unknown selection 'last'; {known}"):
        judged(drawn, train, select="last")
