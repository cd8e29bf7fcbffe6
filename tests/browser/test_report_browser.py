"""The page in a real browser: it fits a phone, logs nothing and shows the numbers of results.json."""

import json
from pathlib import Path
from typing import Any

import pytest
from chromium import browse, needs_chromium, run_in
from ranking_sample import make_bakeoff
from ranking_sample import write as write_bakeoff
from report_sample import make_sample
from study_sample import make_study, write
from tiny_job import tiny_settings, write_pets

from understudy.pipeline.run import run

PROBE = """{
  widths: [...document.images].map(image => image.naturalWidth),
  values: [...document.querySelectorAll("[data-value]")].map(cell => [cell.dataset.arm, cell.dataset.field, cell.dataset.value]),
  page: document.documentElement.scrollWidth,
  window: document.documentElement.clientWidth,
  loaded: performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:")),
}"""
pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_chromium]


def probe(page: Path, *options: str) -> dict[str, Any]:
    """What a script in a copy of the page sees."""
    return dict(run_in(page, PROBE, *options))


def test_console_is_watched(tmp_path: Path) -> None:
    page = tmp_path / "loud.html"
    page.write_text("<!doctype html><title>x</title><script>console.error('watched')</script>")
    assert any("watched" in line for line in browse(page)[1])


def test_page_works(tmp_path: Path) -> None:
    sample = make_sample()
    sample.write(tmp_path / "report.html")
    assert_page_shows(tmp_path / "report.html", sample.results, num_images=20)


@pytest.mark.parametrize(
    ("width", "last"), [(1440, "#next-steps li:last-child"), (390, "#next-steps li code")]
)
def test_verdict_strip_and_next_steps_are_on_the_first_screen(width: int, last: str, tmp_path: Path) -> None:
    """All of them on a screen of 900 pixels; on a phone, at least the first step."""
    make_sample().write(tmp_path / "report.html")
    code = f'''["h1", ".strip", "{last}"].map(name => document.querySelector(name).getBoundingClientRect().bottom)'''
    bottoms = run_in(tmp_path / "report.html", code, f"--window-size={width},900")
    assert bottoms == sorted(bottoms)
    assert bottoms[-1] <= 900


def test_page_of_a_run_works(tmp_path: Path, tiny_pipeline_folder: Path) -> None:
    results = run(tiny_settings(write_pets(tmp_path / "pets"), tiny_pipeline_folder), tmp_path / "run")
    assert_page_shows(tmp_path / "run" / "report.html", results, num_images=4)


def assert_page_shows(page: Path, results: dict[str, Any], *, num_images: int) -> None:
    """No word on the console, nothing loaded, every image decoded, the numbers of ``results.json`` to the
    last digit.
    """
    assert browse(page)[1] == []
    seen = probe(page, "--window-size=1280,900")
    assert len(seen["widths"]) >= num_images
    assert all(width > 0 for width in seen["widths"])
    assert seen["loaded"] == []
    values = {(arm, field): json.loads(value) for arm, field, value in seen["values"]}
    for name, arm in results["arms"].items():
        assert [values[name, f"accuracy.{end}"] for end in ("mean", "low", "high")] == [
            arm["accuracy"][end] for end in ("mean", "low", "high")
        ]
        if name != "real":
            assert {end: values[name, f"minus_real.{end}"] for end in ("mean", "low", "high")} == arm[
                "minus_real"
            ]
        assert [values[name, f"per_class.{label}"] for label in range(len(arm["per_class"]))] == arm[
            "per_class"
        ]


def test_hostile_names_do_nothing_and_fit_a_phone(tmp_path: Path) -> None:
    names = ["<script>console.error(1)</script>", '"><img src=x onerror=console.error(2)>', "a" * 90, "漢字"]
    page = tmp_path / "report.html"
    make_sample(num_classes=4, class_names=names, helps=False).write(page)
    assert browse(page)[1] == []
    seen = probe(page, "--window-size=390,844")
    assert all(width > 0 for width in seen["widths"])
    assert seen["window"] <= 500
    assert seen["page"] <= seen["window"]


def test_page_of_a_study_works_and_fits_a_phone(tmp_path: Path) -> None:
    points = [
        "<script>console.error(1)</script>",
        '"><img src=x onerror=console.error(2)>',
        "a" * 90,
        "single",
    ]
    study = make_study("prompts", points=points, repeats=2)
    write(study, tmp_path / "study.html")
    assert browse(tmp_path / "study.html")[1] == []
    seen = probe(tmp_path / "study.html", "--window-size=390,844")
    assert (seen["widths"], seen["loaded"]) == ([], [])
    assert seen["page"] <= seen["window"] <= 500
    values = {(arm, field, value) for arm, field, value in seen["values"]}
    assert {
        (arm, "accuracy.mean", json.dumps(own["accuracy"]["mean"]))
        for arm, own in study["points"][0]["arms"].items()
    } <= values


def test_page_of_a_bake_off_works_and_fits_a_phone(tmp_path: Path) -> None:
    names = ("<script>console.error(1)</script>", "a" * 90, "mini:vanilla")
    study = make_bakeoff(names, failed=(("b" * 90, "nothing is at " + "c" * 200),))
    write_bakeoff(study, tmp_path)
    assert browse(tmp_path / "study.html")[1] == []
    seen = probe(tmp_path / "study.html", "--window-size=390,844")
    assert len(seen["widths"]) == 4 and all(seen["widths"])
    assert seen["loaded"] == []
    assert seen["page"] <= seen["window"] <= 500
    first = study["points"][0]
    assert [first["label"], "mixed.mean", json.dumps(first["arms"]["mixed"]["mean"])] in seen["values"]
