import numpy as np

from understudy.curation.curate import Decisions
from understudy.curation.exhausted import explain_rejection
from understudy.curation.settings import CurateSettings


def decided(*images, threshold=0.5):
    """Images as (label, reason, score)."""
    num = len(images)
    labels, reasons, scores = (list(column) for column in zip(*images, strict=True))
    return Decisions(
        ids=[str(index) for index in range(num)],
        labels=np.array(labels),
        kept=np.array([not reason for reason in reasons]),
        reasons=reasons,
        scores=np.array(scores, dtype=float),
        threshold=threshold,
        num_good=np.bincount(labels, minlength=3),
        flags=[""] * num,
        nearest_ids=[""] * num,
        nearest_distances=np.zeros(num),
    )


def explained(decisions, *, quota=(1, 1, 0), rounds=3, **settings):
    return explain_rejection(
        decisions,
        np.array(quota),
        class_names=["cat", "dog", "owl"],
        settings=CurateSettings(**settings),
        rounds=rounds,
    )


def test_no_advice_if_every_class_has_an_image():
    assert explained(decided((0, "", 1), (1, "", 1), (1, "low score", 0.1))) is None


def test_an_empty_class_is_explained():
    decisions = decided((0, "", 0.9), (1, "low score", 0.3129), (1, "low score", 0.2), (1, "constant", 1.0))
    assert explained(decisions) == (
        "after 2 refills, 1 of 2 classes have no image, and 1 of the 2 wanted images were kept:\n"
        "  'dog': 3 drawn (2 low score, 1 constant); best score 0.313, threshold 0.5\n"
        "the generator may not have learned these classes: adapt it for longer, or take another one; to keep "
        "such images all the same, set curate.threshold to at most 0.312, or choose another curate.score "
        "(clip, confidence, none), in a new run, which takes over what was adapted with "
        "adapt.adapter=RUN/adapter\n"
        "look at what the generator draws with 'understudy preview': images of one colour are never kept"
    )


def test_advice_if_nothing_is_kept():
    decisions = decided((0, "low score", 0.4), (1, "copy", 1.0))
    text = explained(
        decisions, quota=(2, 2, 1), rounds=2, firewall="drop", score="confidence", validation_pass=0.8
    )
    assert text == (
        "after 1 refill, 3 of 3 classes have no image, and 0 of the 5 wanted images were kept:\n"
        "  'cat': 1 drawn (1 low score); best score 0.4, threshold 0.5\n"
        "  'dog': 1 drawn (1 copy)\n"
        "  'owl': none drawn\n"
        "the generator may not have learned these classes: adapt it for longer, or take another one; to keep "
        "such images all the same, set curate.threshold to at most 0.4, or raise curate.validation_pass "
        "above 0.8, or choose another curate.score (agreement, clip, none), in a new run, which takes over "
        "what was adapted with adapt.adapter=RUN/adapter\n"
        "keep copies with curate.firewall=flag, or draw others in their place with curate.firewall=redraw"
    )


def test_no_threshold_lets_a_score_of_0_pass():
    text = explained(
        decided((0, "low score", 0), (0, "low score", np.nan), (1, "", 1.0), threshold=0.0), score="clip"
    )
    assert "best score 0, threshold 0\nthe generator may not have learned these classes" in text
    assert "all the same, choose another curate.score (agreement, confidence, none), in a new run" in text
