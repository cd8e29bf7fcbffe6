"""The examples of the documentation run, and are as short as they say."""

import ast
import runpy
from pathlib import Path

import pytest
from tiny_job import BUNDLED, SECTIONS, write_pets

from understudy.commands.defaults import defaults_for
from understudy.pipeline.folder import RunFolder

EXAMPLES = Path(__file__).parent.parent / "examples"
QUICKSTART = EXAMPLES / "quickstart.py"
PHOTOGRAPHS = EXAMPLES / "photographs.py"
STAGES = EXAMPLES / "stages.py"


@pytest.fixture(scope="module")
def quickstart():
    return runpy.run_path(str(QUICKSTART))["main"]


@pytest.mark.slow
def test_the_quickstart_runs(quickstart, tmp_path, capsys):
    """As it stands, with the bundled generator and classifier, but for a handful of steps and images."""
    sections = {name: values for name, values in SECTIONS.items() if name != "draw"}
    sections["compare"] = sections["compare"] | BUNDLED
    results = quickstart(
        tmp_path / "run",
        data={"source": str(write_pets(tmp_path / "pets"))},
        draw={"per_class": 3, "steps": 2},
        **sections,
    )
    printed = capsys.readouterr().out
    assert list(results["arms"]) == ["real", "synthetic", "bridged"]
    assert results["data"]["shots"] == 5
    assert results["verdict"]["sentence"] in printed
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_photographs_run_from_a_folder_to_a_report(tiny_pipeline_folder, tmp_path, capsys):
    """As it stands, on a tiny pipeline of the real classes, but for a handful of steps and images."""
    results = runpy.run_path(str(PHOTOGRAPHS))["main"](
        str(write_pets(tmp_path / "pets")), str(tiny_pipeline_folder), tmp_path / "run", **SECTIONS
    )
    assert results["adaptation"]["method"] == "lora"
    assert results["verdict"]["sentence"] in capsys.readouterr().out
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "adapter" / "pytorch_lora_weights.safetensors").exists()
    stored = RunFolder.find(tmp_path / "run").settings
    assert stored.generator.precision == "bfloat16"
    assert stored.adapt.augmentation == "affine"  # of the test; without it that of photographs
    chosen = defaults_for(str(tmp_path / "pets"), generator=str(tiny_pipeline_folder))
    assert chosen["adapt"]["augmentation"] == "flip-crop"


@pytest.mark.slow
@pytest.mark.usefixtures("plain_report")
def test_stages_show_what_they_made(tmp_path, capsys):
    """As it stands, but for a handful of steps and images."""
    sections = SECTIONS | {"draw": {"per_class": 3, "steps": 2}, "compare": SECTIONS["compare"] | BUNDLED}
    this = runpy.run_path(str(STAGES))["main"](tmp_path / "run", **sections | {"data": {"shots": 1}})
    printed = capsys.readouterr().out
    assert "draw: 30 images" in printed
    assert "difference to real, points" in printed
    assert str(tmp_path / "run" / "report.html") in printed
    assert repr(this).endswith("compare, report")


def test_stages_are_short():
    assert len([line for line in STAGES.read_text().splitlines() if line.strip()]) <= 25


def test_photographs_are_short():
    assert len([line for line in PHOTOGRAPHS.read_text().splitlines() if line.strip()]) <= 40


def test_the_quickstart_is_short():
    tree = ast.parse(QUICKSTART.read_text())
    lines = [
        line for line in ast.unparse(ast.Module(tree.body[1:], [])).splitlines() if line.strip()
    ]  # without its docstring
    assert len([line for line in QUICKSTART.read_text().splitlines() if line.strip()]) <= 32
    assert len(lines) <= 25
