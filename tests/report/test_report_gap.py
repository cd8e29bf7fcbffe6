import dataclasses
import html
import re
from pathlib import Path
from typing import Any

import pytest
from report_sample import Sample, make_gap, make_sample
from test_report_html import HOSTILE, loads, runs_nothing_foreign, shown

from understudy.report.gap import SETS, TERMS, advice_rows, gap_bar, gap_section, sweep_curve
from understudy.report.html import environment

FEW = {"real": 0.9, "plain": 0.7, "fresh": 0.8}


def write(sample: Sample, folder: Path, gap: dict[str, Any]) -> str:
    """The page, without the matrices, which take longest."""
    return dataclasses.replace(sample, results=sample.results | {"gap": gap}, confusions={}).write(
        folder / "report.html"
    )


def section(gap: dict[str, Any]) -> str:
    """The words of the section alone."""
    results = {"arms": {}, "gap": gap}
    text = environment().get_template("gap.html").render(results=results, gap=gap_section(results))
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def figure_words(svg: str) -> str:
    return " ".join(
        html.unescape(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", svg, flags=re.DOTALL)
    )


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Two classes: the rest of the page is not the subject."""
    return make_sample(num_classes=2)


@pytest.fixture(scope="module")
def gap() -> dict[str, Any]:
    return make_gap()


def test_every_number_equals_results(sample: Sample, tmp_path: Path, gap: dict[str, Any]) -> None:
    text = write(sample, tmp_path, gap)
    values = {field: value for (arm, field), value in shown(text).items() if arm == "gap"}

    def at(place: str) -> Any:
        found: Any = gap
        for part in place.replace("redrawn 0.05", "redrawn 0,05").split("."):
            found = found[part.replace(",", ".")]
        return found

    looked_up = {place: value for place, value in values.items() if not place.startswith("advice.")}
    assert {place: at(place) for place in looked_up} == looked_up
    assert len(looked_up) > 100
    gains = next(row["gains"] for row in gap["advice"] if row["name"] == "refresh")["synthetic"]
    assert [values[f"advice.refresh.gains.synthetic.{end}"] for end in ("mean", "low", "high")] == list(
        gains.values()
    )
    assert '<a href="#gap">Gap</a>' in text
    assert all(address.startswith(("data:", "#")) for address in loads(text))


def test_words_of_the_section(gap: dict[str, Any]) -> None:
    words = section(gap)
    assert gap["hypothesis"]["sentence"] in words and gap["hypothesis"]["rule"] in words
    assert (
        "Content (largest)" in words
        and "Strategies that address the largest term, content , come first" in words
    )
    assert (
        "1.0 points, the noise floor: the amount by which two independent samples of real images differ"
        in words
    )
    assert (
        words.index("diverse start from noise")
        < words.index("refresh after every pass")
        < words.index("agreement-filter draw")
    )
    assert "Gain over synthetic" in words and "an arm such as mixed@diverse" in words
    assert words.count("not tried here") == 6
    assert "real, redrawn 0.05 94.4 none none none none none 81.0" in words
    pairs = re.findall(r"(\w+) \S+ \[[^]]*\], then (\w+) ", words)
    assert pairs == [
        ("quality", "quantity"),
        ("content", "appearance"),
        ("quantity", "quality"),
        ("content", "appearance"),
    ]
    assert all(SETS[role] in words for role in gap["arms"])


def test_figures_explain_themselves(gap: dict[str, Any]) -> None:
    bar = gap_bar(gap)
    words = figure_words(bar)
    for text in (
        "synthetic 77.8%",
        "real 96.1%",
        "Better sampling: filtered and fresh",
        "Content: what synthetic images lack",
    ):
        assert text in words
    assert [
        f"+{100 * gap['terms'][name]['mean']:.1f} points" in words
        for name in ("recovered", "content", "appearance")
    ] == [True] * 3
    assert "outline leads back" not in words
    assert "redrawn, recognised" in figure_words(sweep_curve(gap))
    alone = gap | {
        "sweep": [
            {name: value for name, value in point.items() if name != "gan_test"} for point in gap["sweep"]
        ]
    }
    assert "redrawn, recognised" not in figure_words(sweep_curve(alone))


def test_segments_are_as_long_as_their_terms(gap: dict[str, Any]) -> None:
    """Each filled segment stands twice, in the whole bar and in its row; widths are those of the terms."""
    widths: dict[str, list[float]] = {"accent": [], "wrong": [], "real": []}
    for path, colour in re.findall(
        r'<path d="M ([^"]*?)z\s*" [^>]*?fill: var\(--(\w+)\)', gap_bar(gap), flags=re.DOTALL
    ):
        across = [float(point.split()[0]) for point in re.split(r"[ML]", path)]
        widths[colour].append(max(across) - min(across))
    lengths = [gap["terms"][name]["mean"] for name in ("recovered", "content", "appearance")]
    for term, (whole, own) in zip(lengths, widths.values(), strict=True):
        assert whole == pytest.approx(own) == pytest.approx(widths["accent"][0] * term / lengths[0], rel=1e-4)


def test_redrawn_images_may_be_better() -> None:
    gap = make_gap(rates=FEW, redrawn={0.05: 0.915})
    words = section(gap)
    assert "A segment drawn as an outline leads back" in words
    assert "fill: none; stroke: var(--real)" in gap_bar(gap)
    assert "\N{MINUS SIGN}1.5 points" in figure_words(gap_bar(gap))


def test_synthetic_images_may_be_better() -> None:
    gap = make_gap(rates={"real": 0.7, "plain": 0.9}, redrawn={0.05: 0.68})
    words = section(gap)
    assert "No drop to explain: plain synthetic images are better than real ones" in words
    left, right = (figure_words(gap_bar(gap)).index(text) for text in ("real 69.8%", "synthetic 90.1%"))
    assert left < right


def test_without_redrawn_images() -> None:
    gap = make_gap(rates=FEW, redrawn={})
    words = section(gap)
    assert "Undecided: plain synthetic images lose" in words
    assert "is redrawn by the generator" not in words and "redrawn, %" not in words
    assert "Content and appearance, not separated" in words


def test_least_that_can_be_measured() -> None:
    whole = make_gap(rates={"real": 0.9, "plain": 0.9}, redrawn={})
    gap = {name: value for name, value in whole.items() if name not in ("side_measures", "advice")}
    words = section(gap)
    assert (
        "What to try" not in words and "Other measures" not in words and "depends on the order" not in words
    )
    advised = section(whole | {"advice": [row | {"gains": {}} for row in whole["advice"]]})
    assert "No term is distinct from noise" in advised
    assert advised.count("not tried here") == len(whole["advice"])


def test_hostile_class_names_are_text(tmp_path: Path) -> None:
    sample = make_sample(num_classes=len(HOSTILE), class_names=HOSTILE)
    text = write(sample, tmp_path, make_gap(HOSTILE))
    assert runs_nothing_foreign(text)
    assert all(name in html.unescape(text) for name in HOSTILE)


def test_class_without_test_images_and_many_classes() -> None:
    names = [f"class {label}" for label in range(1000)]
    words = section(make_gap(names, rates=FEW, redrawn={}))
    assert "All 1000 classes" in words
    assert "class 999 n/a n/a n/a n/a" in words


def test_page_of_an_older_run_has_terms_per_class_without_intervals(
    sample: Sample, tmp_path: Path, gap: dict[str, Any]
) -> None:
    older = gap | {
        "per_class": {
            name: {key: row[key] for key in row if key != "intervals"}
            for name, row in gap["per_class"].items()
        }
    }
    values = shown(write(sample, tmp_path, older))
    assert values["gap", "per_class.3.content"] == gap["per_class"]["3"]["content"]
    assert ("gap", "per_class.3.intervals.content.mean") not in values
    assert "Brackets" not in section(
        older
    ) and "Brackets: 95% intervals over the class's own test images" in section(gap)


@pytest.mark.parametrize("absent", [None, {}])
def test_page_without_a_gap_is_as_before(
    sample: Sample, tmp_path: Path, absent: dict[str, Any] | None
) -> None:
    results = sample.results if absent is None else sample.results | {"gap": absent}
    assert 'id="gap"' not in dataclasses.replace(sample, results=results, confusions={}).write(
        tmp_path / "report.html"
    )


def test_order_of_advice() -> None:
    def row(name: str, terms: list[str], gains: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "summary": "", "addresses": terms, "gains": gains}

    rows = [
        row("a", ["quality"], {}),
        row("b", ["content"], {}),
        row("c", ["quality"], {"x": {}}),
        row("d", ["quantity", "content"], {"x": {}}),
    ]
    assert [found["name"] for found in advice_rows(rows, "content")] == ["d", "b", "c", "a"]
    assert [found["name"] for found in advice_rows(rows, None)] == ["c", "d", "a", "b"]
    assert advice_rows(rows, "content")[0]["addresses"] == "quantity, content"
    assert not any(found["first"] for found in advice_rows(rows, None))


def test_every_term_and_set_has_words(gap: dict[str, Any]) -> None:
    assert set(TERMS) == set(gap["terms"]) and set(SETS) == set(gap["arms"])
