"""The notebooks run from top to bottom in a kernel, are short, and hold no output."""

from pathlib import Path

import nbformat
import pytest
from tiny_job import BUNDLED, SECTIONS

NOTEBOOKS = Path(__file__).parent.parent / "examples" / "notebooks"


def read(name):
    return nbformat.read(NOTEBOOKS / name, as_version=4)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_short_and_without_output(path):
    notebook = read(path.name)
    nbformat.validate(notebook)
    assert len(notebook.cells) < 12
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []
    assert [cell.metadata.get("tags") for cell in code] == [["parameters"], *[None] * (len(code) - 1)]


def run(name, folder, changed):
    """Outputs of all cells as text; the first code cell holds what to change, and these lines follow it."""
    from nbclient import NotebookClient  # starts an event loop of its own

    notebook = read(name)
    place = next(i for i, cell in enumerate(notebook.cells) if cell.metadata.get("tags") == ["parameters"])
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(changed))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook, "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


@pytest.mark.slow
def test_notebooks_run_one_after_the_other(tmp_path):
    """With the bundled generator and classifier, but a handful of steps and images."""
    effort = {
        "adapt": SECTIONS["adapt"],
        "draw": {"per_class": 2, "steps": 2},
        "curate": SECTIONS["curate"],
        "compare": SECTIONS["compare"] | BUNDLED,
    }
    _, first = run("first_steps.ipynb", tmp_path, f"effort = {effort!r}")
    assert "train    50 images of 10 classes" in first
    assert "on 997 real test images" in first
    assert (tmp_path / "runs" / "first-steps" / "report.html").exists()
    notebook, second = run("reading_a_report.ipynb", tmp_path, "")
    assert "helps: " in second
    assert "real+val" in second
    assert second.count("points\n") == 5 + 10  # arms with the chosen one trained again, classes
    assert notebook.cells[-1].outputs[-1].data["image/png"]
