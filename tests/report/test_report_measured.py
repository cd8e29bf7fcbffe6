"""Sections on fidelity, shift, memorisation and membership, and the checks before them."""

import dataclasses
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from measured_sample import interval, make_memorisation, make_shift
from report_sample import Sample, make_sample
from test_report_html import shown

from understudy.data.decoding import decode
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation import fidelity
from understudy.report.checks import checks
from understudy.report.fidelity import MEASURES, fidelity_section, reading
from understudy.report.membership import membership_section, roc_figure, told
from understudy.report.shift import shift_section
from understudy.settings import Settings, build

SETTINGS = build({"data": {"source": "digits"}})


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample(num_classes=3, measured=True)


@pytest.fixture(scope="module")
def page(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> str:
    return dataclasses.replace(sample, confusions={}).write(
        tmp_path_factory.mktemp("measured") / "report.html"
    )


def words(text: str) -> str:
    return " ".join(
        html.unescape(
            re.sub(r"<[^>]*>", " ", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
        ).split()
    )


def at(section: Any, place: str) -> Any:
    """The number at a place such as ``tests.other-pens.arms.real.ece.mean``."""
    for part in place.split("."):
        section = section[int(part)] if isinstance(section, list) else section[part]
    return section


@pytest.mark.parametrize(
    ("section", "count"), [("fidelity", 70), ("shift", 600), ("memorisation", 17), ("membership", 60)]
)
def test_every_number_equals_results(sample: Sample, page: str, section: str, count: int) -> None:
    values = {place: value for (arm, place), value in shown(page).items() if arm == section}
    assert {place: at(sample.results[section], place) for place in values} == values
    assert len(values) >= count


def test_words_of_the_sections(page: str) -> None:
    text = words(page)
    assert "2.1 times as far as new real images" in text and "70% of what new real images reach" in text
    assert all(name in text for name, _ in MEASURES.values())
    assert "fewer than the 128 features" in text
    assert "120 images; none of 2, which arms cannot choose here" in text
    assert (
        "at 50% they are equally near" in text
        and "can be copies" in text
        and "too near to a train image: 1; exact copies: 0; removed: 0" in text
    )
    assert "training images are found" in text and "not shown" in text
    assert "Not audited: The arm 'always-fresh' sees synthetic images alone" in text
    assert "A low rate is no proof" in text


@pytest.mark.parametrize(
    ("name", "value", "floor", "words"),
    [
        ("mmd", interval(1.0, 0.2), interval(1.1, 0.1), "no different from new real images"),
        ("kid", interval(0.01, 0.001), interval(-0.001, 0.001), "farther than new real images"),
        ("kid", interval(0.01, 0.001), interval(0.0001, 0.0001), "farther than new real images"),
        ("kid", interval(0.01, 0.001), interval(0.001, 0.0005), "10.0 times as far as new real images"),
        ("cmmd", interval(0.5, 0.1), interval(1.0, 0.1), "nearer than new real images: look for copies"),
        ("recall", interval(0.8, 0.1), interval(0.85, 0.1), "no different from new real images"),
        ("density", interval(1.8, 0.1), interval(1.0, 0.1), "deeper than new real images: too typical"),
        ("vendi_score", interval(9.0, 0.1), interval(8.0, 0.1), "above new real images"),
        ("recall", interval(0.01, 0.01), interval(0.05, 0.05), "no different from new real images"),
        ("density", interval(0.4, 0.1), interval(0.8, 0.1), "50% of what new real images reach"),
    ],
)
def test_readings(name: str, value: dict[str, float], floor: dict[str, float], words: str) -> None:
    assert reading(name, value, floor, better=fidelity.MEASURES[name]) == words


def test_fidelity_that_could_not_be_measured(sample: Sample) -> None:
    assert fidelity_section(sample.results | {"fidelity": {}}) == {}
    alone = {
        "fidelity": {"encoder": {"name": "mini"}, "warnings": ["Fidelity was not measured: too few images."]}
    }
    assert fidelity_section(sample.results | alone) == {
        "rows": [],
        "at_once": [],
        "classes": [],
        "warnings": ["Fidelity was not measured: too few images."],
        "encoder_is_blind": False,
    }


def test_kernel_distances_are_shown_within_classes(sample: Sample) -> None:
    section = fidelity_section(sample.results)
    rows = {row["key"]: row for row in section["rows"]}
    of_kid = sample.results["fidelity"]["measures"]["kid"]
    assert rows["kid"]["name"] == "KID within classes"
    assert rows["kid"]["value"] == of_kid["within_classes"]["value"]
    assert section["at_once"][0]["value"] == of_kid["value"]
    assert [one["key"] for one in section["at_once"]] == ["kid", "mmd", "cmmd"]


def test_a_floor_with_other_class_shares_is_not_compared(sample: Sample) -> None:
    """Results of earlier versions have neither field, and are read as before."""
    earlier = json.loads(json.dumps(sample.results["fidelity"]))
    for measure in earlier["measures"].values():
        measure.pop("within_classes", None)
    results = sample.results | {"fidelity": earlier}
    rows = {row["key"]: row for row in fidelity_section(results)["rows"]}
    assert (rows["kid"]["name"], rows["kid"]["reading"]) == ("KID", "farther than new real images")
    other = fidelity_section(results | {"fidelity": earlier | {"same_shares": False}})
    assert {row["reading"] for row in other["rows"]} == {
        "class shares differ from those of the new real images"
    }
    assert other["at_once"] == []


def test_page_with_warnings_alone(sample: Sample, tmp_path: Path) -> None:
    alone = {
        "fidelity": {"encoder": {"name": "mini"}, "warnings": ["Fidelity was not measured: too few images."]}
    }
    text = dataclasses.replace(sample, results=sample.results | alone, confusions={}).write(
        tmp_path / "report.html"
    )
    assert "not measured: too few images" in text and 'id="measures"' not in text


def test_shift_without_corruptions_or_further_sets(sample: Sample, tmp_path: Path) -> None:
    shift = sample.results["shift"]
    bare = shift | {"corruptions": {}, "mean_corruption": {}, "tests": {}}
    text = dataclasses.replace(sample, results=sample.results | {"shift": bare}, confusions={}).write(
        tmp_path / "report.html"
    )
    assert 'id="calibration"' in text and 'id="corruptions"' not in text and 'id="tests"' not in text
    assert shift_section(sample.results | {"shift": {}}, ["real"]) == {}


def test_panels_have_their_own_colours_and_at_most_five_arms(sample: Sample) -> None:
    section = shift_section(sample.results, ["real", "bridged"])
    assert [entry["arm"] for entry in section["legend"]] == ["real", "synthetic", "mixed", "bridged"]
    assert len({(entry["symbol"], entry["colour"]) for entry in section["legend"]}) == 4
    many = {f"arm {number}": own for number, own in enumerate([sample.results["shift"]["clean"]["real"]] * 6)}
    shift = {"clean": {"real": many["arm 0"]} | many, "corruptions": {}}
    assert [entry["arm"] for entry in shift_section({"shift": shift}, ["real", "arm 5"])["legend"]][
        -1
    ] == "arm 5"


def test_finding_members_takes_more_than_one_of_many_figures() -> None:
    chance = {
        "auc": {"mean": 0.5, "low": 0.45, "high": 0.55},
        "tpr": [{"fpr": 0.1, "tpr": {"mean": 0.1, "low": 0.05, "high": 0.2}}],
    }
    lucky = chance | {"tpr": [{"fpr": 0.1, "tpr": {"mean": 0.15, "low": 0.105, "high": 0.2}}]}
    by_area = chance | {"auc": {"mean": 0.7, "low": 0.6, "high": 0.8}}
    assert [told([chance, one]) for one in (chance, lucky, by_area)] == [False, False, True]


def test_membership_is_told_from_guessing_by_its_lower_end(sample: Sample) -> None:
    arms = {row["name"]: row["told"] for row in membership_section(sample.results)["arms"]}
    assert (arms["real"], arms["bridged"]) == (True, False)
    assert membership_section({}) == {}


def test_attack_that_finds_nobody_still_has_a_figure() -> None:
    assert "guessing" in roc_figure("LiRA", {"real": {"roc": {"fpr": [0.0, 1.0], "tpr": [0.0, 0.0]}}})


def found(
    sample: Sample, settings: Settings = SETTINGS, sets: list[LabelledSet] | None = None, **changes: Any
) -> dict[str, tuple[str, str]]:
    shown_sets = sets or [sample.train, sample.synthetic]
    return {
        check.subject: (check.status, check.words)
        for check in checks(sample.results | changes, settings=settings, sets=shown_sets)
    }


def test_clean_run_has_clean_checks(sample: Sample, tmp_path: Path) -> None:
    results = sample.results | {"curation": sample.results["curation"] | {"missing": {}}}
    assert {status for status, _ in found(sample, curation=results["curation"]).values()} == {"ok"}
    text = dataclasses.replace(sample, results=results, confusions={}).write(tmp_path / "report.html")
    assert "all 10 checks passed" in text and "need attention" not in text


def test_banner_stands_before_quality(page: str) -> None:
    text = words(page)
    assert "1 of 10 checks needs attention: missing after curation" in text
    assert text.index("Read this before you trust") < text.index("What the synthetic images are worth")
    assert "Some checks need attention" in text


def test_checks_that_find_something(sample: Sample, tmp_path: Path) -> None:
    data = sample.results["data"] | {"skipped": [["a.png", "truncated"]] * 12}
    status, text = found(sample, data=data)["Unreadable files"]
    assert (
        status == "attention" and text.startswith("12 left out: a.png (truncated), ") and "and 2 more" in text
    )
    data = sample.results["data"] | {
        "left_out": [["hidden", 14, ["a", "b", "c"]]],
        "notes": ["splits: train: a/"],
    }
    status, text = found(sample, data=data)["Files not used"]
    assert (status, text) == ("attention", "Not images of the set, and not used: hidden: 14.")
    before = {key: value for key, value in data.items() if key not in ("left_out", "notes")}
    assert found(sample, data=before)["Files not used"][0] == "not checked"
    read = dataclasses.replace(sample, results=sample.results | {"data": data}).write(
        tmp_path / "report.html"
    )
    assert "not used: hidden: 14 (a, b, c, ...)" in read and "splits: train: a/" in read
    status, text = found(sample, data=before)["Leaks between splits"]
    assert status == "ok" and "Looked for: the same pixels, flips. Not looked for: corners." in text
    old = {key: value for key, value in data.items() if key != "copies"}
    assert found(sample, data=old)["Leaks between splits"][0] == "not checked"
    shared = [{"split": "test", "in": "train", "images": 70, "of": 71, "examples": [["test/a", "train/b"]]}]
    status, text = found(sample, data=data | {"copies": data["copies"] | {"shared": shared}})[
        "Leaks between splits"
    ]
    assert status == "attention" and text.startswith(
        "70 of 71 test images have a changed copy among the train images, such as test/a of train/b."
    )
    for words in ("corners", "changed copies (data.changed_copies is false)"):  # the flag decides, not words
        for all_kinds, expected in ((True, "ok"), (False, "attention")):
            copies = data["copies"] | {"not_looked_for": words, "all_kinds": all_kinds}
            assert found(sample, data=data | {"copies": copies})["Leaks between splits"][0] == expected
    again = LabelledSet.from_images(
        [sample.train.encoded(0)] * 3, [0, 0, 1], class_names=sample.train.class_names, split="train"
    )
    assert "2 among the train images" in found(sample, sets=[again, sample.synthetic])["Repeated images"][1]
    stored_otherwise = sample.train.image(0), decode(sample.train.encoded(0)).convert("RGB")
    buffers = [io.BytesIO() for _ in stored_otherwise]
    for image, buffer, level in zip(stored_otherwise, buffers, (0, 9), strict=True):
        image.save(buffer, "PNG", compress_level=level)
    val = LabelledSet.from_images(
        [buffer.getvalue() for buffer in buffers], [0, 1], class_names=sample.train.class_names, split="val"
    )
    assert len({val.encoded(0), val.encoded(1)}) == 2
    assert (
        "1 among the val images"
        in found(sample, sets=[sample.train, val, sample.synthetic])["Repeated images"][1]
    )
    assert found(sample, sets=[again, sample.synthetic])["Images"] == (
        "attention",
        (
            "15 train, 50 validation, 997 test and 30 synthetic images of 3 classes. There is no train "
            "image of 2."
        ),
    )
    once = {"real": sample.results["arms"]["real"] | {"accuracy": interval(0.8, 0.1) | {"seeds": [0.8]}}}
    assert found(sample, arms=once)["Trainings"][0] == "attention"
    untested = {"real": sample.results["arms"]["real"] | {"per_class": [0.9, None, 0.8]}}
    assert "no test image of 1" in found(sample, arms=untested)["Images"][1]


def test_changed_copies_in_further_test_sets(sample: Sample, tmp_path: Path) -> None:
    shift = make_shift(sample.train.class_names)
    assert found(sample, shift=shift)["Leaks between splits"][0] == "ok"  # an older run did not look for them
    shared = [
        {"split": "test", "in": "train", "images": 3, "of": 600, "examples": [["other-pens/a", "train/b"]]}
    ]
    shift["tests"]["other-pens"] |= {"copies": {"shared": shared}, "left_out": {"images": 4, "classes": 2}}
    status, text = found(sample, shift=shift)["Leaks between splits"]
    sentence = (
        "3 of 600 images of the test set 'other-pens' have a changed copy among the train images, such as "
        "other-pens/a of train/b. Accuracy on these images is not that on new ones."
    )
    assert status == "attention" and text.startswith(f"{sentence} Looked for: ")
    old = {key: value for key, value in sample.results["data"].items() if key != "copies"}
    status, text = found(sample, data=old, shift=shift)["Leaks between splits"]
    assert status == "attention" and text.startswith(f"{sentence} No two of the train, ")
    results = sample.results | {"shift": shift}
    page = dataclasses.replace(sample, results=results).write(tmp_path / "report.html")
    assert words(page).count(sentence) == 2
    assert "4 images of the test set 'other-pens' are left out: the run does not have their 2" in words(page)


@pytest.mark.parametrize(
    ("setting", "flagged", "status", "text"),
    [
        ("flag", 1, "ok", "marked as copies and kept"),
        ("flag", 2, "ok", "2 of 30 synthetic images are marked"),
        ("flag", 3, "attention", "about 0 would be marked, and hardly more than 2"),
        ("redraw", 9, "ok", "9 drawn images were too near to a train image and were replaced"),
        ("drop", 9, "ok", "were left out"),
        ("off", 0, "not checked", "Not checked"),
    ],
)
def test_copies_that_count(sample: Sample, setting: str, flagged: int, status: str, text: str) -> None:
    memorisation = make_memorisation(sample.train, sample.synthetic, setting=setting, flagged=flagged)
    check = found(sample, memorisation=memorisation)["Copies of train images"]
    assert check[0] == status and text in check[1]
    assert found(sample, memorisation={}, curation={})["Copies of train images"][0] == "not checked"


@pytest.mark.parametrize(("copies", "status"), [(30, "attention"), (2, "ok"), (None, "ok")], ids=str)
def test_copies_among_the_images_of_an_arm_count_as_well(
    sample: Sample, copies: int | None, status: str
) -> None:
    memorisation = make_memorisation(sample.train, sample.synthetic, setting="flag", flagged=0)
    images = {"mixed@real-guidance": {"kept": 30, "copies": copies}, "mixed@coverage": {"kept": 30}}
    check = found(sample, memorisation=memorisation, images=images)["Copies of train images"]
    assert check[0] == status
    assert ("30 of the 30 images of mixed@real-guidance: these arms owe" in check[1]) == (
        status == "attention"
    )
    assert "coverage" not in check[1]


def test_numbers_of_the_page_are_finite(page: str) -> None:
    assert "nan" not in words(page).split()
    assert json.dumps(list(shown(page).values()), allow_nan=False)


@pytest.mark.parametrize(
    ("area", "differs", "is_blind"), [(0.95, False, True), (0.6, False, False), (0.95, True, False)]
)
def test_an_encoder_that_sees_no_difference_where_plain_statistics_do_is_named(
    area: float, differs: bool, is_blind: bool, sample: Sample
) -> None:
    fidelity = json.loads(json.dumps(sample.results["fidelity"]))
    for name, measure in fidelity["measures"].items():
        measure.pop("within_classes", None)
        if not (differs and name == "kid"):
            measure["value"] = measure["floor"]
    ends = {"low": area - 0.02, "high": area + 0.02, "mean": area}
    floor = {"low": 0.4, "high": 0.5, "mean": 0.45}
    fidelity["plain_statistics"] = {"value": ends, "floor": floor, "size": 32, "grey": False}
    section = fidelity_section(sample.results | {"fidelity": fidelity | {"same_shares": True}})
    assert section["encoder_is_blind"] is is_blind


@pytest.mark.parametrize(
    ("domain", "status", "words_of_it"),
    [
        (None, "not checked", "Not recorded: curate.score is not"),
        (
            {"knows": None, "images": 20},
            "not checked",
            "of 20 drawn images, on average over classes; chance is 20%. They are too few",
        ),
        ({"knows": True}, "ok", "recognises 90% [82%, 95%] of 90 drawn images"),
        ({"knows": False}, "attention", "does not know such images; this says nothing about the images"),
    ],
)
def test_whether_the_generator_knows_the_images(
    domain: dict[str, Any] | None, status: str, words_of_it: str, sample: Sample
) -> None:
    of_sample = sample.results["fidelity"]["domain"]
    fidelity = sample.results["fidelity"] | {"domain": None if domain is None else of_sample | domain}
    assert found(sample, fidelity=fidelity)["Generator"][0] == status
    assert words_of_it in found(sample, fidelity=fidelity)["Generator"][1]
