"""The strip of classes that gained and lost most."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from report_sample import Sample, before_class_means, make_sample

from understudy.data.labelled_set import LabelledSet
from understudy.report.extremes import extreme_classes
from understudy.report.next_steps import MOST_STEPS


def images(split: str, num_classes: int) -> LabelledSet:
    """Two images of every class but the last, which has none."""
    pictures = [
        Image.new("RGB", (12, 12), (label, 0, 0)) for label in range(num_classes - 1) for _ in range(2)
    ]
    labels = [label for label in range(num_classes - 1) for _ in range(2)]
    names = tuple(f"class {label}" for label in range(num_classes))
    return LabelledSet.from_images(pictures, labels, class_names=names, split=split)


def results_of(changes: list[float | None]) -> dict[str, Any]:
    shares = [None if change is None else 0.5 + change for change in changes]
    return {"data": {}, "arms": {"real": {"per_class": [0.5] * len(shares)}, "mixed": {"per_class": shares}}}


def strip_of(changes: list[float | None]) -> dict[str, Any]:
    return extreme_classes(results_of(changes), **pictured(len(changes)), arm="mixed")


def pictured(num_classes: int) -> dict[str, Any]:
    real, synthetic = images("train", num_classes), images("synthetic", num_classes)
    return {"pictured": {"real": real, "synthetic": synthetic}, "class_names": real.class_names}


@given(st.lists(st.none() | st.floats(-0.5, 0.5), min_size=2, max_size=9))
def test_no_class_beside_the_strip_changed_more(changes: list[float | None]) -> None:
    found = strip_of(changes)
    known = sorted((change for change in changes if change is not None), reverse=True)
    if not known:
        assert found == {}
        return
    shown = [one["change"] for one in found["classes"]]
    wanted = known if len(known) <= 4 else [*known[:2], *known[-2:]]
    assert shown == pytest.approx(wanted, abs=1e-9)
    assert found["others"] == len(known) - len(shown)
    labels = [int(one["name"].removeprefix("class ")) for one in found["classes"]]
    assert len(set(labels)) == len(labels)
    for label, one in zip(labels, found["classes"], strict=True):
        has_images = label < len(changes) - 1
        assert set(one["strips"]) == {"real", "synthetic"}
        for strip in one["strips"].values():
            assert (strip["count"], bool(strip["uri"])) == ((2, True) if has_images else (0, False))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([0.1, 0.2, 0.0, 0.3, 0.4], "gained most and least"),
        ([-0.1, -0.2, 0.0, -0.3, -0.4], "lost least and most"),
        ([-0.1, 0.2, 0.0, -0.3, -0.4], "gained and lost most"),
        ([-0.1, 0.2], "in each class"),
    ],
)
def test_the_title_says_what_is_shown(changes: list[float | None], words: str) -> None:
    assert words in strip_of(changes)["title"]


def test_there_is_no_strip_without_another_arm() -> None:
    assert extreme_classes(results_of([0.1, 0.2]), **pictured(2), arm="real") == {}


def test_images_are_the_first_of_their_class(sample: Sample) -> None:
    first = extremes_of(sample)["classes"][0]["strips"]["real"]
    data = base64.b64decode(first["uri"].partition(",")[2])
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.height, first["count"]) == ("WEBP", 32, 4)


def extremes_of(sample: Sample) -> dict[str, Any]:
    sets = {"real": sample.train, "synthetic": sample.synthetic}
    return extreme_classes(sample.results, sets, class_names=sample.train.class_names, arm="bridged")


@pytest.mark.usefixtures("without_figures")
def test_the_page_opens_with_verdict_strip_and_steps(sample: Sample, tmp_path: Path) -> None:
    text = sample.write(tmp_path / "report.html")
    found = extremes_of(sample)
    opening = text[text.index("<h1>") : text.index('class="facts"')]
    assert opening.index("</h1>") < opening.index(found["title"]) < opening.index("What to do next")
    assert opening.count("<img") == 8
    assert opening.count("<code>") == MOST_STEPS
    assert all(one["name"] in opening for one in found["classes"])
    assert len(opening) < 40_000


@pytest.mark.usefixtures("without_figures")
def test_pages_of_earlier_versions_do_not_say_how_many_test_images(sample: Sample, tmp_path: Path) -> None:
    old = Sample(**vars(sample) | {"results": before_class_means(sample.results)})
    note = "test images each"
    assert note in sample.write(tmp_path / "new.html")
    assert note not in old.write(tmp_path / "old.html")


@pytest.mark.usefixtures("without_figures")
def test_many_classes_do_not_make_the_strip_longer(tmp_path: Path) -> None:
    text = make_sample(num_classes=200, per_class=2).write(tmp_path / "report.html")
    assert text[: text.index('class="facts"')].count("<img") == 8
    assert "The most extreme of 200 classes" in text
