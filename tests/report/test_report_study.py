"""The page and the table of a study: they load nothing, show every number of study.json, and take names for
names.
"""

import html
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from study_sample import make_study, write

from understudy.commands.study import STUDIES
from understudy.report.study_page import commands, is_cut, point_curves, study_table, yardstick
from understudy.report.wording import lead_and_rest, points_interval

parsed, loads = (
    runpy.run_path(str(Path(__file__).with_name("test_report_html.py")))[name] for name in ("parsed", "loads")
)
HOSTILE = [
    "<script>{class}</script>",
    '"><img src=x onerror=alert(1)>',
    "a$\\frac{1}{2}$ {class}",
    "漢字 {class}",
    "{{ 7 * 7 }}",
    "#040404",
]


def shown(text: str) -> dict[tuple[str, str, str], Any]:
    return {
        (attributes["data-point"], attributes["data-arm"], attributes["data-field"]): json.loads(
            attributes["data-value"]
        )
        for _, attributes in parsed(text).tags
        if "data-value" in attributes
    }


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("kind", list(STUDIES))
def test_every_number_equals_study_json(kind: str, repeats: int, tmp_path: Path) -> None:
    study = make_study(kind, repeats=repeats)
    text = write(study, tmp_path / "study.html")
    values = shown(text)
    for point in study["points"]:
        for name, arm in point["arms"].items():
            for field in ("accuracy", "minus_real") if name != "real" else ("accuracy",):
                for end in ("mean", "low", "high"):
                    assert values[str(point["point"]), name, f"{field}.{end}"] == arm[field][end]
    for row in study["runs"]:
        for name, arm in row["arms"].items():
            assert values[row["folder"], name, "accuracy.mean"] == arm["accuracy"]["mean"]
    spreads = 3 * 2 if "verdict" in study and repeats > 1 else 0
    assert len(values) == len(study["points"]) * (4 * 3 + 3 * 3) + len(study["runs"]) * 4 + spreads
    assert all(html.escape(part) in text for part in lead_and_rest(study["sentence"]))
    assert text.index("<h1>") < text.index("<svg")
    over_runs = (
        "Student intervals over runs" if STUDIES[kind].varies else "intervals over runs and test images"
    )
    assert (f"95% {over_runs}" in text) == (repeats > 1)
    assert ("95% intervals over test images and trainings of one run" in text) == (repeats == 1)


def test_a_study_by_balanced_accuracy(tmp_path: Path) -> None:
    """Figures, differences and the sentence are about balanced accuracy; accuracy stands below."""
    study = make_study(measure="balanced_accuracy")
    text = write(study, tmp_path / "study.html")
    values = shown(text)
    for point in study["points"]:
        for name, arm in point["arms"].items():
            place = str(point["point"]), name
            assert values[*place, "accuracy.mean"] == arm["accuracy"]["mean"]
            for end in ("mean", "low", "high"):
                assert values[*place, f"balanced_accuracy.{end}"] == arm["balanced_accuracy"][end]
                difference = arm["balanced_accuracy"]["minus_real"][end]
                assert name == "real" or values[*place, f"balanced_accuracy.minus_real.{end}"] == difference
    assert study["sentence"].endswith("(3 runs each), in balanced accuracy.")
    assert "Balanced accuracy of every arm over the points" in text
    console = Console(record=True, width=140)
    console.print(study_table(study))
    first = study["points"][0]["arms"]["mixed"]["balanced_accuracy"]
    shown_in_terminal = console.export_text()
    assert "balanced accuracy, %" in shown_in_terminal
    assert f"{100 * first['minus_real']['mean']:+.1f} [" in shown_in_terminal


def test_a_study_of_an_older_version(tmp_path: Path) -> None:
    study = make_study()
    del study["measure"]
    for point in study["points"]:
        for arm in point["arms"].values():
            for name in ("balanced_accuracy", "macro_f1", "val_balanced_accuracy"):
                del arm[name]
    assert shown(write(study, tmp_path / "study.html"))["50", "mixed", "accuracy.mean"]
    assert study_table(study).row_count == len(study["points"]) * 4


def test_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    text = write(make_study(), tmp_path / "study.html")
    assert all(address.startswith(("data:", "#")) for address in loads(text))
    tags = parsed(text).tags
    assert "script" not in {tag for tag, _ in tags}
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert [path.name for path in tmp_path.iterdir()] == ["study.html"]
    links = [attributes["href"] for tag, attributes in tags if tag == "a"]
    assert {"runs/50-repeat0/report.html", "runs/1000-repeat2/report.html"} < set(links)
    assert not [link for link in links if re.match(r"[a-z]+:", link)]


def test_semantics(tmp_path: Path) -> None:
    tags = parsed(write(make_study("prompts"), tmp_path / "study.html")).tags
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in tags if tag == "th")
    assert [bool(attributes.get("aria-label")) for tag, attributes in tags if tag == "svg"] == [True, True]
    assert [tag for tag, _ in tags].count("h1") == 1
    targets = {attributes["id"] for _, attributes in tags if "id" in attributes}
    assert {
        attributes["href"][1:]
        for tag, attributes in tags
        if tag == "a" and attributes["href"].startswith("#")
    } <= targets


def test_hostile_names_are_text(tmp_path: Path) -> None:
    study = make_study(
        "prompts",
        points=HOSTILE,
        arms=("real", "synthetic", "<b>mixed</b>"),
        source='<img src=x onerror="alert(1)">',
    )
    text = write(study, tmp_path / "study.html")
    tags = parsed(text).tags
    assert not {"script", "img"} & {tag for tag, _ in tags}
    assert [tag for tag, _ in tags].count("b") == 1, "the name of the program"
    assert all("onerror" not in attributes for _, attributes in tags)
    body = html.unescape(text)
    assert all(name in body for name in [*HOSTILE, "<b>mixed</b>", study["source"]])
    assert all(
        ":" not in attributes["href"] and "<" not in attributes["href"]
        for tag, attributes in tags
        if tag == "a"
    )


def test_real_images_alone_have_no_difference(tmp_path: Path) -> None:
    text = write(make_study(arms=("real",)), tmp_path / "study.html")
    assert "No arm used synthetic images" in text
    assert "minus_real" not in text
    assert "Difference to real" not in text


def test_an_arm_that_some_points_lack(tmp_path: Path) -> None:
    study = make_study()
    del study["points"][1]["arms"]["mixed"]
    for row in study["runs"]:
        if row["point"] == 100:
            del row["arms"]["mixed"]
    text = write(study, tmp_path / "study.html")
    assert text.count('<span class="absent">n/a</span>') == 2 + 3
    assert ("100", "mixed", "accuracy.mean") not in shown(text)


@pytest.mark.parametrize("kind", list(STUDIES))
def test_one_point_is_a_study(kind: str, tmp_path: Path) -> None:
    study = make_study(kind, points=[STUDIES[kind].points[0]], repeats=1)
    assert (">point: " in write(study, tmp_path / "study.html")) == STUDIES[kind].varies


def test_repeats_show_how_much_runs_differ(tmp_path: Path) -> None:
    """The spread of every difference, on the page and in the terminal; and no command that adds points."""
    study = make_study("repeats", repeats=3, arms=("real", "synthetic", "mixed"))
    (point,) = study["points"]
    further = ("minus_real_val", "minus_class_balanced")
    for mixed in [point["arms"]["mixed"], *(row["arms"]["mixed"] for row in study["runs"])]:
        mixed |= dict.fromkeys(further, mixed["minus_real"])
    values = shown(write(study, tmp_path / "study.html"))
    for field in ("minus_real", *further):
        spread = point["arms"]["mixed"][field]["spread"]
        for part in ("between", "within"):
            assert values["run", "mixed", f"{field}.spread.{part}"] == spread[part]
    assert study["sentence"] in html.unescape((tmp_path / "study.html").read_text(encoding="utf-8"))
    console = Console(width=80)
    with console.capture() as printed:
        console.print(study_table(study))
    assert "…" not in printed.get()
    row, against = (line for line in printed.get().splitlines() if " mixed" in line)
    assert f"{100 * spread['between']:.1f} ({100 * spread['within']:.1f})" in row
    assert "to real+val" in printed.get() and "to real+class-balanced" in printed.get()
    difference = point["arms"]["mixed"]["minus_real"]
    assert against.count(points_interval(difference)) == 2
    study["environment"] = study["environment"] | {"command": "understudy run digits --shots 5 --repeats 3"}
    assert commands(study) == ["understudy run digits --shots 5 --repeats 5"]


def test_repeats_by_balanced_accuracy(tmp_path: Path) -> None:
    study = make_study("repeats", repeats=3, measure="balanced_accuracy")
    values = shown(write(study, tmp_path / "study.html"))
    spread = study["points"][0]["arms"]["mixed"]["balanced_accuracy"]["minus_real"]["spread"]
    assert values["run", "mixed", "balanced_accuracy.minus_real.spread.between"] == spread["between"]
    assert "balanced accuracy" in study["sentence"]


def test_wide_intervals_are_cut_and_said_to_be(tmp_path: Path) -> None:
    wide, narrow = make_study(repeats=2, spread=0.05), make_study(repeats=1)
    assert is_cut(wide, "accuracy")
    assert not is_cut(narrow, "accuracy")
    assert not is_cut(narrow, "difference")
    assert "the table has their ends" in write(wide, tmp_path / "wide.html")
    assert "the table has their ends" not in write(narrow, tmp_path / "narrow.html")


def test_figures_name_every_point_and_arm() -> None:
    markup = point_curves(make_study("shots"), "accuracy")
    assert [
        word for word in (">real<", ">bridged<", ">16<", ">real images per class<") if word not in markup
    ] == []
    assert "#0" not in markup, "colours are variables of the style sheet"
    assert ">real<" not in point_curves(make_study("shots"), "difference")


def test_commands_to_make_it_larger() -> None:
    study = make_study(repeats=3)
    assert commands(study) == [
        "understudy study volume digits --preset quick --points MORE --repeats 3",
        "understudy study volume digits --preset quick --points 50,100,200,500,1000 --repeats 5",
    ]
    study["environment"] = study["environment"] | {"command": "python job.py"}
    assert commands(study)[0] == "run_study('volume', settings, out, points=[...], repeats=3)"
    prompts = make_study("prompts", points=["single", "my file.txt"], repeats=1)
    assert commands(prompts)[1].endswith("--points 'single,my file.txt' --repeats 3")


def test_table_for_the_terminal() -> None:
    study = make_study("guidance", repeats=1)
    console = Console(width=120)
    with console.capture() as printed:
        console.print(study_table(study))
    text = printed.get()
    bridged = study["points"][1]["arms"]["bridged"]
    assert text.count("reference") == 5
    assert f"{100 * bridged['accuracy']['mean']:.1f} [" in text
    assert f"{100 * bridged['minus_real']['mean']:+.1f} [" in text
    assert "95% intervals over test images" in text


def test_differences_are_those_of_the_sentence(tmp_path: Path) -> None:
    """An arm that was trained for longer is compared with ``real-long``: in the sentence, the table, the
    figure and the terminal.
    """
    study = make_study("volume", arms=("real", "real-long", "mixed", "bridged"))
    first, last = (study["points"][place]["arms"] for place in (0, -1))
    ends = [f"{100 * arms['bridged']['minus_real_long']['mean']:+.1f} [" for arms in (first, last)]
    assert "bridged and the real images alone for as many steps (real-long)" in study["sentence"] and all(
        end in study["sentence"] for end in ends
    )
    text = write(study, tmp_path / "study.html")
    values = shown(text)
    point = str(study["points"][0]["point"])
    assert values[point, "bridged", "minus_real_long.mean"] == first["bridged"]["minus_real_long"]["mean"]
    assert (point, "bridged", "minus_real.mean") not in values
    assert values[point, "mixed", "minus_real.mean"] == first["mixed"]["minus_real"]["mean"]
    assert text.count("to real-long</span>") == len(study["points"])
    assert ">bridged, to real-long<" in text and ">mixed<" in text
    console = Console(width=140)
    with console.capture() as printed:
        console.print(study_table(study))
    row = next(line for line in printed.get().splitlines() if " bridged " in line)
    assert ends[0] in row and row.split()[-2:] == ["real-long", "3"]
    assert "difference to real, points" not in printed.get()


def test_figure_shows_the_difference_of_the_sentence() -> None:
    """What was added to ``minus_real_long`` moves the curve of ``difference``."""
    study = make_study("volume", arms=("real", "real-long", "bridged"))
    before = point_curves(study, "difference")
    for point in study["points"]:
        point["arms"]["bridged"]["minus_real"] = {"mean": 0.5, "low": 0.4, "high": 0.6}
    assert point_curves(study, "difference") == before


def test_the_legend_names_both_references():
    arms = [{"mixed": {"minus_real": {}}}, {"mixed": {"minus_real": {}, "minus_real_long": {}}}]
    assert yardstick({"points": [{"arms": of_point} for of_point in arms]}, "mixed") == (
        ", to real or real-long, see the table"
    )
    assert yardstick({"points": [{"arms": arms[1]}]}, "mixed") == ", to real-long"
