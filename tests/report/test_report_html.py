import base64
import dataclasses
import functools
import hashlib
import html
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_sample import (
    SECTIONS,
    Sample,
    before_class_means,
    make_sample,
    make_scale,
    make_whole,
    unbalanced,
)

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.accuracy import measured_by
from understudy.report.accuracy import accuracy_bars, difference_intervals
from understudy.report.gallery import closest_pairs, tiles_uri
from understudy.report.html import environment
from understudy.report.mistakes import confused_pairs
from understudy.report.training import convergence
from understudy.report.wording import lead_and_rest

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a$\\frac{1}{2}$",
    "漢字",
    "#010101",
    "{{ 7 * 7 }}",
    "&amp;",
]
VOID = {"meta", "link", "img", "br", "use", "path", "input"}


class Page(HTMLParser):
    """Start tags with attributes; refuses tags that close in the wrong order and ids that occur twice."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open
        ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert len(ids) == len(set(ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@functools.lru_cache(maxsize=4)
def parsed(text: str) -> Page:
    """A page as tags; several questions are asked of one page."""
    return Page(text)


def loads(text: str) -> list[str]:
    """Every address from which the page would load something."""
    tags = parsed(text).tags
    found = [
        attributes[name] or ""
        for tag, attributes in tags
        for name in ("src", "href", "srcset", "data")
        if name in attributes
        if tag != "a"
    ]
    styles = re.findall(r"<style>.*?</style>", text, flags=re.DOTALL) + [
        attributes.get("style") or "" for _, attributes in tags
    ]
    return found + [
        address.strip("'\"") for style in styles for address in re.findall(r"url\((.*?)\)|@import", style)
    ]


def scripts(text: str) -> list[tuple[dict[str, str | None], str]]:
    """Attributes and content of every script element."""
    attributes = [own for tag, own in parsed(text).tags if tag == "script"]
    return list(
        zip(attributes, re.findall(r"<script[^>]*>(.*?)</script>", text, flags=re.DOTALL), strict=True)
    )


def runs_nothing_foreign(text: str) -> bool:
    """Whether the only code on the page is ours, and the page itself forbids any other."""
    *data, (attributes, code) = scripts(text)
    kinds = [own.get("type") for own, _ in data]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return (
        attributes == {}
        and code == environment().get_template("report.js").render(has_browser=True)
        and set(kinds) <= {"application/json", "text/plain"}
        and f"script-src 'sha256-{digest}'" in text
        and not [name for _, own in parsed(text).tags for name in own if name.startswith("on")]
    )


def shown(text: str) -> dict[tuple[str, str], Any]:
    return {
        (attributes["data-arm"], attributes["data-field"]): json.loads(attributes["data-value"] or "")
        for _, attributes in parsed(text).tags
        if "data-value" in attributes
    }


def test_every_number_equals_results(sample: Sample, tmp_path: Path) -> None:
    text = sample.write(tmp_path / "report.html")
    values = shown(text)
    for name, arm in sample.results["arms"].items():
        for field in ("mean", "low", "high"):
            assert values[name, f"accuracy.{field}"] == arm["accuracy"][field]
            assert name == "real" or values[name, f"minus_real.{field}"] == arm["minus_real"][field]
        assert values[name, "val_accuracy"] == arm["val_accuracy"]
        assert [values[name, f"per_class.{label}"] for label in range(10)] == arm["per_class"]
    assert f"{100 * sample.results['arms']['mixed']['accuracy']['mean']:.1f}</span>" in text
    assert "these real train images, this generator" in text


@pytest.mark.usefixtures("without_figures")
def test_an_unbalanced_test_set(sample: Sample, tmp_path: Path) -> None:
    """Every measure is in the table, the verdict's decides differences, and the largest class is a row."""
    results = unbalanced(sample.results)
    text = dataclasses.replace(sample, results=results).write(tmp_path / "report.html")
    values = shown(text)
    for name, arm in results["arms"].items():
        for measure, field in itertools.product(("balanced_accuracy", "macro_f1"), ("mean", "low", "high")):
            assert values[name, f"{measure}.{field}"] == arm[measure][field]
        difference = arm["balanced_accuracy"]["minus_real"]["mean"]
        assert name == "real" or values[name, "balanced_accuracy.minus_real.mean"] == difference
        assert values[name, "val_balanced_accuracy"] == arm["val_balanced_accuracy"]
        precision = [values[name, f"precision_per_class.{label}"] for label in range(10)]
        assert precision == arm["precision_per_class"]
    assert not {name for name, field in values if field == "minus_real.mean"}
    assert "always “0”" in text and "reaches 28.6% accuracy" in text and "10.0% balanced accuracy" in text
    assert "The test set is too small for 1 (4)" in text
    balanced = sample.write(tmp_path / "balanced.html")
    assert "always “" not in balanced and "Macro F1" not in balanced, "accuracy says the same"


@pytest.mark.usefixtures("without_figures")
def test_a_run_of_an_older_version(sample: Sample, tmp_path: Path) -> None:
    text = dataclasses.replace(sample, results=before_class_means(sample.results)).write(
        tmp_path / "report.html"
    )
    assert "Macro F1" not in text and "Precision" not in text
    assert (
        shown(text)["bridged", "minus_real.mean"] == sample.results["arms"]["bridged"]["minus_real"]["mean"]
    )


def test_page_loads_nothing_and_runs_only_its_own_script(sample: Sample, tmp_path: Path) -> None:
    text = sample.write(tmp_path / "report.html")
    assert all(address.startswith(("data:", "#")) for address in loads(text))
    assert runs_nothing_foreign(text)
    assert len(text) < 3_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.usefixtures("without_figures")
def test_sentence_comes_first_and_says_no(sample: Sample, tmp_path: Path) -> None:
    good = sample.write(tmp_path / "good.html")
    assert good.index(html.escape(sample.results["verdict"]["sentence"])) < good.index("<table")
    assert ">Synthetic data helps here<" in good
    assert "No gain" not in good


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    ("arms", "best", "high", "answer"),
    [
        (["real", "bridged"], "bridged", 0.018, "No clear gain from synthetic data"),
        (["real", "bridged"], "bridged", -0.001, "Synthetic data does not help here"),
        (["real", "bridged"], "real", 0.018, "Synthetic data does not help here"),
        (["real"], "real", 0.0, "Synthetic data was not compared"),
    ],
)
def test_page_says_no_as_plainly(
    unhelpful: Sample, tmp_path: Path, arms: list[str], best: str, high: float, answer: str
) -> None:
    sample = unhelpful
    kept = {name: sample.results["arms"][name] for name in arms}
    kept[best] = kept[best] | {"minus_real": kept[best]["minus_real"] | {"high": high}}
    results = sample.results | {"arms": kept, "verdict": sample.results["verdict"] | {"best": best}}
    text = dataclasses.replace(sample, results=results).write(tmp_path / "report.html")
    assert f">{answer}<" in text
    assert ("No gain over training on the real images alone" in text) == (len(arms) > 1)


GAIN, NONE, LOSS = ({"mean": mean, "low": mean - 0.02, "high": mean + 0.02} for mean in (0.03, 0.0, -0.03))


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ({"minus_real": GAIN, "minus_real_val": NONE}, "is worth as much as the synthetic images"),
        ({"minus_real": GAIN, "minus_real_val": LOSS}, "is worth more than the synthetic images"),
        ({"minus_real": GAIN, "minus_real_long": NONE, "minus_real_val": GAIN}, "images alone was found"),
        ({"minus_real": GAIN, "minus_real_long": NONE, "minus_real_val": NONE}, "images alone was found"),
        ({"minus_real": NONE, "minus_real_val": NONE}, "images alone was found"),
        ({"minus_real": GAIN}, "images alone was found"),
    ],
)
def test_page_says_what_validation_images_are_worth_beside_synthetic_ones(
    unhelpful: Sample, differences: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """The interval to ``real+val`` decides the words, and only where the real train images are beaten."""
    sample = unhelpful
    arms = {name: sample.results["arms"][name] for name in ("real", "bridged")}
    arms["bridged"] = arms["bridged"] | differences
    arms["real+val"] = {key: value for key, value in arms["bridged"].items() if key != "val_accuracy"}
    results = sample.results | {"arms": arms, "verdict": sample.results["verdict"] | {"best": "bridged"}}
    text = " ".join(dataclasses.replace(sample, results=results).write(tmp_path / "report.html").split())
    assert said in text
    assert ("No gain over all the real images was found" in text) == said.startswith("is worth")


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    ("to_balanced", "to_val", "said"),
    [
        (NONE, None, "No gain over every use of the real images was found"),
        (LOSS, None, "(<code>real+class-balanced</code>) is worth more than the synthetic images"),
        (NONE, NONE, "No gain over all the real images was found"),
        (NONE, NONE, "(<code>real+class-balanced</code>) is worth as much as the synthetic images"),
    ],
)
def test_page_says_what_equal_classes_are_worth_beside_synthetic_images(
    unhelpful: Sample,
    to_balanced: dict[str, float],
    to_val: dict[str, float] | None,
    said: str,
    tmp_path: Path,
) -> None:
    """A gain over ``real`` alone does not stand in large letters by itself."""
    differences = {"minus_real": GAIN, "minus_class_balanced": to_balanced}
    differences |= {} if to_val is None else {"minus_real_val": to_val}
    arms = {name: unhelpful.results["arms"][name] for name in ("real", "bridged")}
    arms["bridged"] = arms["bridged"] | differences
    arms["real+class-balanced"] = arms["real"]
    sentence = "bridged gains 3.0 points. Against its rival, it shows no difference."
    verdict = unhelpful.results["verdict"] | {"best": "bridged", "sentence": sentence}
    results = unhelpful.results | {"arms": arms, "verdict": verdict}
    text = " ".join(dataclasses.replace(unhelpful, results=results).write(tmp_path / "report.html").split())
    assert said in text
    assert f"<h1>{sentence}</h1>" in text
    helps = results | {"verdict": verdict | {"helps": True}}
    text = " ".join(dataclasses.replace(unhelpful, results=helps).write(tmp_path / "report.html").split())
    lead, rest = lead_and_rest(sentence)
    assert f'<h1>{lead}</h1> <p class="rest">{rest}</p>' in text


@pytest.mark.usefixtures("without_figures")
def test_the_same_arm_with_validation_images_decides_what_they_are_worth(
    unhelpful: Sample, tmp_path: Path
) -> None:
    sample = unhelpful
    arms = {name: sample.results["arms"][name] for name in ("real", "bridged")}
    arms["bridged"] = arms["bridged"] | {"minus_real": GAIN, "minus_real_val": LOSS}
    arms["bridged+val"] = {**arms["bridged"], "minus_real_val": NONE}
    arms["real+val"] = {key: value for key, value in arms["real"].items() if key != "val_accuracy"}
    verdict = sample.results["verdict"] | {"best": "bridged", "against_val": "bridged+val"}
    results = sample.results | {"arms": arms, "verdict": verdict}
    text = " ".join(dataclasses.replace(sample, results=results).write(tmp_path / "report.html").split())
    assert "is worth as much as the synthetic images" in text


@pytest.mark.usefixtures("without_figures")
def test_figures_of_an_arm_judged_by_other_trainings_stand_at_the_top(
    unhelpful: Sample, tmp_path: Path
) -> None:
    sample = unhelpful
    judged = {
        "arms": ["mixed", "bridged", "bridged"],
        "mean": 0.777,
        "minus_real": LOSS,
        "seeds": [0.777] * 3,
    }
    results = sample.results | {"verdict": sample.results["verdict"] | {"best": "bridged", "judged": judged}}
    text = dataclasses.replace(sample, results=results).write(tmp_path / "report.html")
    assert ", the chosen arm</dt><dd>77.7%</dd>" in text
    assert ">Synthetic data does not help here<" in text


@pytest.fixture(scope="module")
def whole() -> Sample:
    return make_whole()


@pytest.fixture(scope="module")
def page(whole: Sample, tmp_path_factory: pytest.TempPathFactory) -> str:
    return whole.write(tmp_path_factory.mktemp("whole") / "report.html")


def test_semantics(page: str) -> None:
    tags = parsed(page).tags
    assert all(attributes.get("alt") for tag, attributes in tags if tag == "img")
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in tags if tag == "th")
    assert all(attributes.get("aria-label") for tag, attributes in tags if tag == "svg")
    names = [tag for tag, _ in tags]
    assert names.count("caption") == names.count("table")
    assert [names.count(landmark) for landmark in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]
    levels = [int(tag[1]) for tag in names if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_id_that_is_named_exists(page: str) -> None:
    tags = parsed(page).tags
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    links = {(attributes["href"] or "").removeprefix("#") for tag, attributes in tags if tag == "a"}
    labels = {attributes["aria-labelledby"] for _, attributes in tags if "aria-labelledby" in attributes} - {
        "detail-title"
    }
    assert links | labels <= ids
    assert {attributes["id"] for tag, attributes in tags if tag == "section"} <= links
    assert set(re.findall(r'element\("([\w-]+)"\)', scripts(page)[-1][1])) <= ids


def test_order_of_sections(page: str) -> None:
    assert [attributes["id"] for tag, attributes in parsed(page).tags if tag == "section"] == [
        "checks",
        "accuracy",
        "scale",
        "gap",
        "classes",
        "mistakes",
        "fidelity",
        "shift",
        "copies",
        "membership",
        "images",
        "making",
        "again",
    ]


def test_hostile_class_names_are_text(tmp_path: Path) -> None:
    text = make_sample(num_classes=len(HOSTILE), class_names=HOSTILE).write(tmp_path / "report.html")
    tags = parsed(text).tags
    assert runs_nothing_foreign(text)
    assert json.loads(scripts(text)[0][1])["classes"] == HOSTILE
    assert all((attributes["src"] or "").startswith("data:") for tag, attributes in tags if tag == "img")
    body = html.unescape(text)
    assert all(name in body for name in HOSTILE)


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("absent", [SECTIONS[:4], SECTIONS[4:], SECTIONS])
def test_absent_sections_are_left_out(whole: Sample, tmp_path: Path, absent: tuple[str, ...]) -> None:
    results = {name: section for name, section in whole.results.items() if name not in absent}
    text = dataclasses.replace(whole, results=results).write(tmp_path / "report.html")
    tables = {attributes.get("id") for _, attributes in parsed(text).tags}
    drawn = {
        "curation": "rejected",
        "fidelity": "measures",
        "memorisation": "memorisation",
        "shift": "mean-corruption",
        "membership": "membership-rates",
        "cost": "cost",
        "environment": "environment",
    }
    assert {section for section, table in drawn.items() if table not in tables} == set(absent) & set(drawn)


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("compared", [None, "all", "those of an index"])
def test_a_search_for_copies_through_an_index_is_said(
    compared: str | None, sample: Sample, tmp_path: Path
) -> None:
    found = dict(sample.results["memorisation"])
    wall = {key: value for key, value in found["firewall"].items() if key != "compared"}
    found["firewall"] = wall if compared is None else wall | {"compared": compared}
    results = sample.results | {"memorisation": found}
    text = dataclasses.replace(sample, results=results).write(tmp_path / "report.html")
    assert ("that an index found" in text) == (compared == "those of an index")


@pytest.mark.usefixtures("without_figures")
def test_empty_sections_are_left_out(sample: Sample, tmp_path: Path) -> None:
    off = {
        "setting": "off",
        "threshold": None,
        "basis": None,
        "false_alarms": None,
        "flagged": 0,
        "exact": 0,
        "removed": 0,
    }
    results = sample.results | {
        "fidelity": {},
        "memorisation": {"firewall": off, "spaces": {}, "closest": []},
    }
    text = dataclasses.replace(sample, results=results).write(tmp_path / "report.html")
    assert "intended" not in text
    assert "copies were not searched for" in text


@pytest.mark.usefixtures("without_figures")
def test_generator_used_as_it_is(sample: Sample, tmp_path: Path) -> None:
    text = dataclasses.replace(sample, results=sample.results | {"adaptation": {"method": "none"}}).write(
        tmp_path / "report.html"
    )
    assert "The generator was not adapted" in text


def test_class_without_test_image(sample: Sample, tmp_path: Path) -> None:
    arms = {
        name: arm | {"per_class": [None, *arm["per_class"][1:]]}
        for name, arm in sample.results["arms"].items()
    }
    confusions = {name: matrix * (np.arange(10) > 0)[:, None] for name, matrix in sample.confusions.items()}
    text = dataclasses.replace(sample, results=sample.results | {"arms": arms}, confusions=confusions).write(
        tmp_path / "report.html"
    )
    assert shown(text)["real", "per_class.0"] is None
    assert ">n/a<" in text


def test_one_class_and_real_as_the_best(tmp_path: Path) -> None:
    one = make_sample(num_classes=1, helps=False)
    verdict = one.results["verdict"] | {"best": "real"}
    text = dataclasses.replace(one, results=one.results | {"verdict": verdict}).write(
        tmp_path / "report.html"
    )
    assert 'aria-label="Confusion matrix of the arm bridged"' in text
    assert "this generator" not in text


def test_size_of_the_synthetic_set(sample: Sample, tmp_path: Path) -> None:
    scale = make_scale()
    text = dataclasses.replace(sample, results=sample.results | {"scale": scale}).write(
        tmp_path / "report.html"
    )
    assert ">How much synthetic data?<" in text
    assert 'aria-label="Accuracy over the number of synthetic images with 95% intervals"' in text
    values = shown(text)
    for name, arm in scale["arms"].items():
        for part in ("curve", "minus_real", "worth_real_images"):
            for number, point in enumerate(arm[part]):
                ends = ("mean", "low", "high") if point["low"] != point["high"] else ("mean",)
                assert [values[name, f"scale.{part}.{number}.{end}"] for end in ends] == [
                    point[end] for end in ends
                ]
    body = re.sub(r"<[^>]*>", "", text)
    for words in (
        "at most 75[at most 75, 80]",
        "590[410, more than 600]",
        "more than 600[470, more than 600]",
        "270[160, 480]",
    ):
        assert words in body
    for name, arm in scale["arms"].items():
        for number, step in enumerate(arm["marginal"]):
            assert values[name, f"scale.marginal.{number}.per_doubling.low"] == step["per_doubling"]["low"]
    assert (
        "each doubling of the synthetic set changes accuracy by +1.3 [+0.6, +3.2] points; it first beats"
        in " ".join(body.split())
    )
    assert all(address.startswith(("data:", "#")) for address in loads(text))


@pytest.mark.usefixtures("without_figures")
def test_stop_rule_is_said(sample: Sample, tmp_path: Path) -> None:
    stopped = {
        "arm": "mixed",
        "at": 4.0,
        "rule": "the rule",
        "sentence": "stopped at 4 times the real images",
    }
    results = sample.results | {"scale": make_scale() | {"stopped": stopped}}
    text = dataclasses.replace(sample, results=results, confusions={}).write(tmp_path / "report.html")
    assert "No larger set was tried:</strong> stopped at 4 times the real images." in text


def test_one_size_of_the_synthetic_set(sample: Sample, tmp_path: Path) -> None:
    scale = make_scale()
    arm = {
        name: part[:1] if isinstance(part, list) else part
        for name, part in scale["arms"]["synthetic"].items()
    }
    arm |= {"log_fit": None, "marginal": []}
    scale |= {
        "times": [1.0],
        "images": [600],
        "arms": {"synthetic": arm},
        "real": {"curve": scale["real"]["curve"][-1:]},
    }
    text = dataclasses.replace(sample, results=sample.results | {"scale": scale}).write(
        tmp_path / "report.html"
    )
    assert "on all 600 real images" in text
    assert "each doubling" not in text
    assert "no size beats all real images clearly" in text
    assert "Twice the largest set" not in text


@pytest.mark.usefixtures("without_figures")
def test_next_doubling_is_said_of_arms_that_have_one(sample: Sample, tmp_path: Path) -> None:
    text = dataclasses.replace(sample, results=sample.results | {"scale": make_scale()}).write(
        tmp_path / "report.html"
    )
    assert (
        text.count("Twice the largest set, 12,000 images, would change accuracy by \N{MINUS SIGN}0.4 [") == 1
    )


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("scale", [{}, {"times": [], "images": [], "real": {"curve": []}, "arms": {}}])
def test_page_without_sizes_is_as_before(sample: Sample, tmp_path: Path, scale: dict[str, Any]) -> None:
    plain = sample.write(tmp_path / "plain.html")
    assert (
        dataclasses.replace(sample, results=sample.results | {"scale": scale}).write(tmp_path / "empty.html")
        == plain
    )
    assert "How much" not in plain


def test_two_hundred_classes_stay_readable(tmp_path: Path) -> None:
    text = make_sample(num_classes=200, per_class=2).write(tmp_path / "report.html")
    assert "first 30 of 200 classes" in text
    assert "Confusion matrix" not in text
    assert 'id="confused"' in text
    assert len(text) < 3_000_000


@pytest.mark.usefixtures("without_figures")
def test_nothing_kept(sample: Sample, tmp_path: Path) -> None:
    text = dataclasses.replace(sample, synthetic=sample.synthetic.select([])).write(tmp_path / "report.html")
    assert text.count('<span class="absent">none</span>') == 10 + 4  # in the gallery and in the strip


def test_test_images_are_refused(sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gallery of real images needs a train set"):
        dataclasses.replace(sample, train=sample.train.with_split("test")).write(tmp_path / "report.html")
    with pytest.raises(InputError, match="gallery of synthetic images needs a synthetic set"):
        dataclasses.replace(sample, synthetic=sample.synthetic.with_split("test")).write(
            tmp_path / "report.html"
        )
    with pytest.raises(InputError, match="gallery of mistakes needs a test set"):
        dataclasses.replace(sample, test=sample.train).write(tmp_path / "report.html")
    with pytest.raises(ValueError, match="predictions must be"):
        dataclasses.replace(sample, predictions={"real": np.zeros((2, 3))}).write(tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_closest_pairs_have_both_images(sample: Sample) -> None:
    closest = sample.results["memorisation"]["closest"]
    pairs = closest_pairs(sample.train, sample.synthetic, closest)
    assert [pair["distance"] for pair in pairs] == [row["distance"] for row in closest]
    place = sample.synthetic.ids.index(closest[0]["id"])
    assert pairs[0]["synthetic"] == tiles_uri(sample.synthetic, [place], 32) != pairs[0]["real"]
    assert (
        closest_pairs(sample.train, sample.synthetic, [closest[0] | {"id": "left out"}, closest[1]])
        == pairs[1:2]
    )


def test_the_short_form_is_a_fraction_and_leads_nowhere_else(
    whole: Sample, page: str, tmp_path: Path
) -> None:
    short = whole.write(tmp_path / "short.html", form="short")
    tags = parsed(short).tags
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    sections = {attributes["id"] for tag, attributes in tags if tag == "section"}
    assert sections == {"checks", "accuracy", "classes", "images", "again"}
    assert {(attributes.get("href") or "")[1:] for tag, attributes in tags if tag == "a"} <= ids
    assert not any("data-browse" in attributes for _, attributes in tags)
    assert "This is the short form of a report" in short and "fidelity, " in short
    assert len(short) < len(page) / 2
    verdict = re.search("<h1>.*?</h1>", page, flags=re.DOTALL)
    assert verdict is not None and verdict[0] in short


def test_figures_keep_their_words_and_lose_what_the_page_says_anyway(sample: Sample) -> None:
    figures = accuracy_bars({"real": {"mean": 0.87654, "low": 0.8, "high": 0.9}}, "accuracy")
    assert ">real<" in figures and ">87.7<" in figures
    assert "font-family" not in figures and not re.search(r"\d\.\d{3}", figures)


def test_long_names_of_arms_are_not_cut(sample: Sample) -> None:
    names = ["real", "mixed@refresh@soft-labels", "bridged@several-generators"]
    arms = dict.fromkeys(names, sample.results["arms"]["real"])
    measured = {name: measured_by(arm, "accuracy") for name, arm in arms.items()}
    for svg in (accuracy_bars(measured, "accuracy"), difference_intervals(measured, "accuracy")):
        assert all(f">{name}<" in svg for name in names[1:])
    curve = [{"step": step, "loss": dict.fromkeys(("mean", "low", "high"), 1 / step)} for step in (1, 2)]
    assert all(f">{name}<" in convergence(dict.fromkeys(names, curve), "loss") for name in names)


def test_colours_can_be_read_in_both_themes() -> None:
    """WCAG 2.2 AA: text 4.5 to 1, lines and edges of controls 3 to 1."""
    css = environment().get_template("report.css").render()
    for block in re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL):
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        pairs = [
            ("ink", "paper"),
            ("muted", "paper"),
            ("accent", "paper"),
            ("ink", "panel"),
            ("muted", "panel"),
            ("yes-ink", "paper"),
        ]
        pairs += [("no-ink", "paper"), ("yes-ink", "yes"), ("no-ink", "no"), ("ink", "yes"), ("muted", "yes")]
        assert {
            pair: contrast(*(colours[name] for name in pair))
            for pair in pairs
            if contrast(*(colours[n] for n in pair)) < 4.5
        } == {}
        assert [
            name
            for name in ("accent", "real", "wrong", "control")
            if contrast(colours[name], colours["paper"]) < 3
        ] == []


def contrast(a: str, b: str) -> float:
    """Contrast ratio, WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_photographs_are_compressed() -> None:
    photo = np.random.default_rng([0]).integers(0, 256, (1, 3, 128, 160), dtype=np.uint8)
    data = LabelledSet.from_images(list(photo), [0], class_names=["a"], split="train")
    assert tiles_uri(data, [0], 96).startswith("data:image/webp;base64,")
    assert tiles_uri(data, [0], 32).startswith("data:image/png;base64,")


def test_confused_pairs_by_hand() -> None:
    confusions = {"real": np.array([[8, 2], [0, 10]]), "bridged": np.array([[9, 1], [5, 5]])}
    assert confused_pairs(confusions, ("cat", "dog"), ["real", "bridged"], count=9) == [
        {"true": "dog", "named": "cat", "labels": (1, 0), "shares": {"real": 0.0, "bridged": 0.5}},
        {"true": "cat", "named": "dog", "labels": (0, 1), "shares": {"real": 0.2, "bridged": 0.1}},
    ]
    assert confused_pairs({}, ("cat", "dog"), ["real"], count=9) == []
