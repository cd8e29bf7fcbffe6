"""The page and the table of a bake-off: every number of study.json, and every failure."""

import html
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from ranking_sample import make_bakeoff, write
from rich.console import Console

from understudy.report.ranking_page import (
    in_order,
    memory_field,
    more_runs_command,
    ranking_table,
    whole_run_command,
)

parsed, loads = (
    runpy.run_path(str(Path(__file__).with_name("test_report_html.py")))[name] for name in ("parsed", "loads")
)
REASON = "generator.images must be folders, but nothing is at <b>gone</b>"


def shown(text: str) -> dict[tuple[str, str], Any]:
    return {
        (attributes["data-arm"], attributes["data-field"]): json.loads(attributes["data-value"])
        for _, attributes in parsed(text).tags
        if "data-value" in attributes
    }


def printed(study: dict[str, Any]) -> str:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(ranking_table(study))
    return captured.get()


@pytest.mark.parametrize("num_runs", [1, 5])
def test_every_number_equals_study_json(num_runs: int, tmp_path: Path) -> None:
    study = make_bakeoff(num_runs=num_runs, failed=(("gone", REASON),))
    text = write(study, tmp_path)
    values = shown(text)
    for point in study["points"]:
        for arm in ("mixed", "synthetic"):
            for end in ("mean", "low", "high"):
                assert values[point["label"], f"{arm}.{end}"] == point["arms"][arm][end]
        for end in ("mean", "low", "high"):
            assert values[point["label"], f"minus_real.{end}"] == point["minus_real"][end]
        for field in ("mmd", "agreement", "kept", "seconds_per_image", "memory_gb", "whole_run_seconds"):
            assert values.get((point["label"], field)) == point[field]
    assert values["real", "floor.mean"] == study["ranking"]["floor"]["mean"]
    assert html.escape(study["sentence"]) in text
    assert html.escape(REASON) in text
    assert REASON not in text
    pairs = [one for one in study["ranking"]["differences"] if "real" not in (one["a"], one["b"])]
    assert text.count("<strong>yes</strong>") == sum(one["low"] > 0 for one in pairs) > 0
    assert (f"{num_runs} runs, which differ in the seed" in text) == (num_runs > 1)
    assert ("do not cover another adaptation" in text) == (num_runs == 1)
    assert ("This assumes that differences vary between runs about like" in text) == (num_runs > 1)


def test_page_loads_nothing_and_says_what_has_no_part(tmp_path: Path) -> None:
    text = write(make_bakeoff(), tmp_path)
    assert all(address.startswith(("data:", "#")) for address in loads(text))
    tags = parsed(text).tags
    assert "script" not in {tag for tag, _ in tags}
    assert [tag for tag, _ in tags].count("img") == 4, (
        "the first images of each class: real, and of three generators"
    )
    assert "Test images have no part in it" in text
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in tags if tag == "th")
    links = {attributes["href"] for tag, attributes in tags if tag == "a"}
    assert "runs/point0-repeat0/report.html" in links
    assert {link[1:] for link in links if link.startswith("#")} <= {
        attributes["id"] for _, attributes in tags if "id" in attributes
    }


def test_hostile_names_are_text(tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}")
    tags = parsed(text := write(make_bakeoff(names), tmp_path)).tags
    assert "script" not in {tag for tag, _ in tags}
    assert all("onerror" not in attributes for _, attributes in tags)
    assert all(name in html.unescape(text) for name in names)


def test_the_real_images_stand_where_their_mean_is() -> None:
    rows = in_order(make_bakeoff())
    assert [row["label"] for row in rows] == ["mini:adapted", "mini:vanilla", "real", "gan/images"]
    text = printed(make_bakeoff())
    assert text.index("mini:vanilla") < text.index("real alone") < text.index("gan/images")


def test_table_for_the_terminal() -> None:
    study = make_bakeoff(failed=(("gone", "nothing is there"),))
    text = printed(study)
    point = study["points"][0]
    assert f"{100 * point['arms']['mixed']['mean']:.1f} [" in text
    assert f"{100 * point['minus_real']['mean']:+.1f} [" in text
    for words in ("7 min 12 s", "n/a", "gone failed: nothing is there"):
        assert words in text
    assert re.search(r"failed +gone", text)
    assert "…" not in text  # eighty columns are enough


def test_every_generator_failed(tmp_path: Path) -> None:
    study = make_bakeoff(failed=(("mini:adapted", "memory ran out"),)) | {"points": [], "ranking": None}
    text = write(study | {"sentence": "Every generator failed; the table says why."}, tmp_path)
    assert "memory ran out" in text
    assert "<svg" not in text
    assert "mini:adapted failed: memory ran out" in printed(study)


def test_what_next() -> None:
    study = make_bakeoff()
    assert whole_run_command(study) == "understudy run digits --preset quick --generator mini"
    assert more_runs_command(study) == (
        "understudy bakeoff digits --preset quick --generators mini,gan --per-class=9 --out a --repeats 5"
    )
    assert more_runs_command(make_bakeoff(num_runs=4)).endswith(" --out a --repeats 6")
    study["points"] = study["points"][1:]
    assert whole_run_command(study).endswith(" --generator mini --set adapt.method=none")
    study["points"] = study["points"][1:]
    assert whole_run_command(study).endswith(" --generator folder --set 'generator.images=[gan/images]'")
    study["environment"]["command"] = "python job.py"
    assert whole_run_command(study) is more_runs_command(study) is None


def test_memory_of_a_device_is_shown_if_it_has_its_own(tmp_path: Path) -> None:
    study = make_bakeoff()
    for point in study["points"]:
        point["device_memory_gb"] = 7.5
    assert memory_field(study) == "device_memory_gb"
    text = write(study, tmp_path)
    assert shown(text)["mini:adapted", "device_memory_gb"] == 7.5
    assert "tensors on the device" in text
