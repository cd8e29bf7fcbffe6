"""The arms for few images of the benchmark of bridged transfer: claims and tables from rows."""

import pytest

from benchmarks import few_images
from understudy.training.arms import find_arm
from understudy.training.settings import CompareSettings

SPREAD = (-0.01, 0.0, 0.01)


def rows(**gains):
    """Three repetitions with an accuracy of 0.8 for every arm, and more for some."""
    arms = ("bridged", "real-long", "mixed", *few_images.ARMS)
    return [
        {"arms": {arm: {"accuracy": 0.8 + gains.get(arm, 0.0) * (1 + noise)} for arm in arms}}
        for noise in SPREAD
    ]


REPEATS = {
    1: rows(**{"bridged+lp-ft": 0.1, "real+lp-ft": 0.04, "bridged@soft-labels": -0.1}),
    2: rows(**{"bridged+lp-ft": 0.05}),
    4: rows(),
}


def test_arms_and_their_controls():
    settings = few_images.with_own_arms(CompareSettings())
    for arm, control in few_images.CONTROLS.items():
        assert find_arm(arm, settings).uses_synthetic
        assert find_arm(control, settings).uses_synthetic == (control == "mixed")
    longer, control = (
        find_arm(name, settings).phase_steps(
            settings.model_copy(update={"equal_steps": False}), num_real=10, num_synthetic=100
        )
        for name in (few_images.LONGER.name, few_images.LONGER_REAL.name)
    )
    assert sum(longer) == sum(control)


def test_claims_say_with_how_many_images_an_arm_pays():
    claims = {claim.claim: claim for claim in few_images.claims(REPEATS)}
    assert claims["1 per class: bridged+lp-ft minus bridged, accuracy"].value == pytest.approx(0.1)
    against_control = (
        "1 per class: bridged+lp-ft minus real+lp-ft, accuracy: what remains against its control"
    )
    assert claims[against_control].value == pytest.approx(0.06)
    assert claims["bridged+lp-ft pays over bridged with 1, 2 of 1, 2, 4 images per class"].value == 2
    for arm in ("bridged+class-means", "bridged@soft-labels"):
        assert claims[f"{arm} pays over bridged with none of 1, 2, 4 images per class"].value == 0
    assert all(claim.met is None for claim in claims.values())


def test_tables():
    accuracies, differences = few_images.tables(REPEATS)
    assert [row[0] for row in accuracies["rows"]] == [f"`{arm}`" for arm in ("bridged", *few_images.ARMS)]
    for table in (accuracies, differences):
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}
    by_arm = {tuple(row[:2]): row[2:] for row in differences["rows"]}
    first, _, third, pays = by_arm["`bridged+lp-ft`", "`bridged`"]
    assert first.startswith("10.0 [9.")
    assert (third, pays) == ("0.0 [0.0, 0.0]", "1, 2")
    assert by_arm["`bridged@soft-labels`", "`bridged`"][-1] == "none"
