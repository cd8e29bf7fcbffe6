import dataclasses
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_sample import SECTIONS, Sample, make_sample, make_scale

from understudy.data import LabelledSet
from understudy.errors import InputError
from understudy.report.gallery import closest_pairs, tiles_uri
from understudy.report.html import confused_pairs

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a$\\frac{1}{2}$", "漢字", "#010101", "{{ 7 * 7 }}", "&amp;"]
VOID = {"meta", "link", "img", "br", "use", "path"}


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


def loads(text: str) -> list[str]:
    """Every address from which the page would load something."""
    tags = Page(text).tags
    found = [
        attributes[name] or "" for tag, attributes in tags for name in ("src", "href", "srcset", "data") if name in attributes if tag != "a"
    ]
    styles = re.findall(r"<style>.*?</style>", text, flags=re.DOTALL) + [attributes.get("style") or "" for _, attributes in tags]
    return found + [address.strip("'\"") for style in styles for address in re.findall(r"url\((.*?)\)|@import", style)]


def shown(text: str) -> dict[tuple[str, str], Any]:
    return {
        (attributes["data-arm"], attributes["data-field"]): json.loads(attributes["data-value"] or "")
        for _, attributes in Page(text).tags
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


def test_page_loads_nothing_and_runs_nothing(sample: Sample, tmp_path: Path) -> None:
    text = sample.write(tmp_path / "report.html")
    assert all(address.startswith(("data:", "#")) for address in loads(text))
    assert "script" not in {tag for tag, _ in Page(text).tags}
    assert not [name for _, attributes in Page(text).tags for name in attributes if name.startswith("on")]
    assert len(text) < 3_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_sentence_comes_first_and_says_no(sample: Sample, tmp_path: Path) -> None:
    good = sample.write(tmp_path / "good.html")
    assert good.index(html.escape(sample.results["verdict"]["sentence"])) < good.index("<table")
    assert ">Synthetic data helps here<" in good
    assert "No gain" not in good


@pytest.mark.parametrize(
    ("arms", "best", "high", "answer"),
    [
        (["real", "bridged"], "bridged", 0.018, "No clear gain from synthetic data"),
        (["real", "bridged"], "bridged", -0.001, "Synthetic data does not help here"),
        (["real", "bridged"], "real", 0.018, "Synthetic data does not help here"),
        (["real"], "real", 0.0, "Synthetic data was not compared"),
    ],
)
def test_page_says_no_as_plainly(tmp_path: Path, arms: list[str], best: str, high: float, answer: str) -> None:
    sample = make_sample(helps=False)
    kept = {name: sample.results["arms"][name] for name in arms}
    kept[best] = kept[best] | {"minus_real": kept[best]["minus_real"] | {"high": high}}
    results = sample.results | {"arms": kept, "verdict": sample.results["verdict"] | {"best": best}}
    text = dataclasses.replace(sample, results=results).write(tmp_path / "report.html")
    assert f">{answer}<" in text
    assert ("No gain over training on the real images alone" in text) == (len(arms) > 1)


def test_semantics(sample: Sample, tmp_path: Path) -> None:
    tags = Page(sample.write(tmp_path / "report.html")).tags
    assert all(attributes.get("alt") for tag, attributes in tags if tag == "img")
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in tags if tag == "th")
    assert all(attributes.get("aria-label") for tag, attributes in tags if tag == "svg")
    assert [tag for tag, _ in tags].count("h1") == 1


def test_hostile_class_names_are_text(tmp_path: Path) -> None:
    text = make_sample(num_classes=len(HOSTILE), class_names=HOSTILE).write(tmp_path / "report.html")
    tags = Page(text).tags
    assert "script" not in {tag for tag, _ in tags}
    assert all("onerror" not in attributes for _, attributes in tags)
    assert all((attributes["src"] or "").startswith("data:") for tag, attributes in tags if tag == "img")
    body = html.unescape(text)
    assert all(name in body for name in HOSTILE)


@pytest.mark.parametrize("absent", [SECTIONS[:3], SECTIONS[3:], SECTIONS])
def test_absent_sections_are_left_out(sample: Sample, tmp_path: Path, absent: tuple[str, ...]) -> None:
    results = {name: section for name, section in sample.results.items() if name not in absent}
    text = dataclasses.replace(sample, results=results).write(tmp_path / "report.html")
    tables = {attributes.get("id") for _, attributes in Page(text).tags}
    drawn = {"curation": "rejected", "memorisation": "memorisation", "cost": "cost", "environment": "environment"}
    assert {section for section, table in drawn.items() if table not in tables} == set(absent) & set(drawn)


def test_empty_sections_are_left_out(sample: Sample, tmp_path: Path) -> None:
    memorisation = {"exact_copies": 0, "near_copies": 0, "unit": "rmse"}
    results = sample.results | {"fidelity": {}, "memorisation": memorisation}
    text = dataclasses.replace(sample, results=results).write(tmp_path / "report.html")
    assert "intended" not in text
    assert "0 exact and 0 near copies" in text


def test_generator_used_as_it_is(sample: Sample, tmp_path: Path) -> None:
    text = dataclasses.replace(sample, results=sample.results | {"adaptation": {"method": "none"}}).write(tmp_path / "report.html")
    assert "used as it is" in text


def test_class_without_test_image(sample: Sample, tmp_path: Path) -> None:
    arms = {name: arm | {"per_class": [None, *arm["per_class"][1:]]} for name, arm in sample.results["arms"].items()}
    confusions = {name: matrix * (np.arange(10) > 0)[:, None] for name, matrix in sample.confusions.items()}
    text = dataclasses.replace(sample, results=sample.results | {"arms": arms}, confusions=confusions).write(tmp_path / "report.html")
    assert shown(text)["real", "per_class.0"] is None
    assert ">n/a<" in text


def test_one_class_and_real_as_the_best(tmp_path: Path) -> None:
    one = make_sample(num_classes=1, helps=False)
    verdict = one.results["verdict"] | {"best": "real"}
    text = dataclasses.replace(one, results=one.results | {"verdict": verdict}).write(tmp_path / "report.html")
    assert 'aria-label="Confusion matrix of the arm bridged"' in text


def test_size_of_the_synthetic_set(sample: Sample, tmp_path: Path) -> None:
    scale = make_scale()
    text = dataclasses.replace(sample, results=sample.results | {"scale": scale}).write(tmp_path / "report.html")
    assert ">How much synthetic data?<" in text
    assert 'aria-label="Accuracy over the number of synthetic images with 95% intervals"' in text
    values = shown(text)
    for name, arm in scale["arms"].items():
        for part in ("curve", "minus_real", "worth_real_images"):
            for number, point in enumerate(arm[part]):
                ends = ("mean", "low", "high") if point["low"] != point["high"] else ("mean",)
                assert [values[name, f"scale.{part}.{number}.{end}"] for end in ends] == [point[end] for end in ends]
    body = re.sub(r"<[^>]*>", "", text)
    for words in ("at most 75[at most 75, 80]", "590[410, more than 600]", "more than 600[470, more than 600]", "270[160, 480]"):
        assert words in body
    assert "each doubling of the synthetic set changes accuracy by +1.3 [+0.6, +3.2] points; it first beats" in " ".join(body.split())
    assert all(address.startswith(("data:", "#")) for address in loads(text))


def test_one_size_of_the_synthetic_set(sample: Sample, tmp_path: Path) -> None:
    scale = make_scale()
    arm = {name: part[:1] if isinstance(part, list) else part for name, part in scale["arms"]["synthetic"].items()} | {"log_fit": None}
    scale |= {"times": [1.0], "images": [600], "arms": {"synthetic": arm}, "real": {"curve": scale["real"]["curve"][-1:]}}
    text = dataclasses.replace(sample, results=sample.results | {"scale": scale}).write(tmp_path / "report.html")
    assert "on all 600 real images" in text
    assert "each doubling" not in text
    assert "no size beats all real images clearly" in text


@pytest.mark.parametrize("scale", [{}, {"times": [], "images": [], "real": {"curve": []}, "arms": {}}])
def test_page_without_sizes_is_as_before(sample: Sample, tmp_path: Path, scale: dict[str, Any]) -> None:
    plain = sample.write(tmp_path / "plain.html")
    assert dataclasses.replace(sample, results=sample.results | {"scale": scale}).write(tmp_path / "empty.html") == plain
    assert "How much" not in plain


def test_two_hundred_classes_stay_readable(tmp_path: Path) -> None:
    text = make_sample(num_classes=200, per_class=2).write(tmp_path / "report.html")
    assert "first 30 of 200 classes" in text
    assert "Confusion matrix" not in text
    assert 'id="confused"' in text
    assert len(text) < 3_000_000


def test_nothing_kept(sample: Sample, tmp_path: Path) -> None:
    text = dataclasses.replace(sample, synthetic=sample.synthetic.select([])).write(tmp_path / "report.html")
    assert text.count('<span class="absent">none</span>') == 10


def test_test_images_are_refused(sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gallery of real images needs a train set"):
        dataclasses.replace(sample, train=sample.train.with_split("test")).write(tmp_path / "report.html")
    with pytest.raises(InputError, match="gallery of synthetic images needs a synthetic set"):
        dataclasses.replace(sample, synthetic=sample.synthetic.with_split("test")).write(tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_closest_pairs_are_sorted_and_need_their_columns(sample: Sample) -> None:
    distances = [pair["distance"] for pair in closest_pairs(sample.train, sample.synthetic, count=7)]
    assert distances == sorted(sample.synthetic.provenance("nearest_distance"))[:7]
    assert closest_pairs(sample.train, sample.synthetic, count=1)[0]["flag"] == "near copy"
    bare = LabelledSet(sample.synthetic.table.drop_columns(["nearest_id"]), sample.synthetic.class_names, "synthetic")
    assert closest_pairs(sample.train, bare, count=7) == []


def test_photographs_are_compressed() -> None:
    photo = np.random.default_rng([0]).integers(0, 256, (1, 3, 128, 160), dtype=np.uint8)
    data = LabelledSet.from_images(list(photo), [0], class_names=["a"], split="train")
    assert tiles_uri(data, [0], 96).startswith("data:image/webp;base64,")
    assert tiles_uri(data, [0], 32).startswith("data:image/png;base64,")


def test_confused_pairs_by_hand() -> None:
    confusions = {"real": np.array([[8, 2], [0, 10]]), "bridged": np.array([[9, 1], [5, 5]])}
    assert confused_pairs(confusions, ("cat", "dog"), ["real", "bridged"], count=9) == [
        {"true": "dog", "named": "cat", "shares": {"real": 0.0, "bridged": 0.5}},
        {"true": "cat", "named": "dog", "shares": {"real": 0.2, "bridged": 0.1}},
    ]
    assert confused_pairs({}, ("cat", "dog"), ["real"], count=9) == []
