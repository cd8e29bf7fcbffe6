"""The example of the documentation runs, and is as short as it says."""

import ast
import runpy
from pathlib import Path

import pytest
from tiny_job import BUNDLED, SECTIONS, write_pets

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart.py"


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


def test_the_quickstart_is_short():
    tree = ast.parse(QUICKSTART.read_text())
    lines = [
        line for line in ast.unparse(ast.Module(tree.body[1:], [])).splitlines() if line.strip()
    ]  # without its docstring
    assert len([line for line in QUICKSTART.read_text().splitlines() if line.strip()]) <= 32
    assert len(lines) <= 25
