"""Make the reports of ``docs/gallery.md`` again: ``python docs/gallery.py [NAME ...]``, from its commands.

Each command of the page is run in ``runs/gallery``, where a finished run is kept, and the short form of its
report is written to ``docs/gallery/NAME.html``. Images that no command of the page makes must lie there.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from understudy.core.progress import Silent
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder, finished_results
from understudy.pipeline.report import report_data
from understudy.report.html import write_report

DOCS = Path(__file__).resolve().parent
RUNS = DOCS.parent / "runs" / "gallery"


def commands() -> dict[str, list[str]]:
    """The commands of the page, by the folder of the run that the last of them makes."""
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return {block.rstrip().rpartition("--out ")[2]: block.splitlines() for block in blocks}


def make(name: str, lines: list[str]) -> None:
    """Finish a run, and write its short report."""
    programs = {"understudy": ["-m", "understudy.cli"], "python": []}
    for line in lines:
        program, *words = shlex.split(line)
        words = [str(DOCS.parent / word) if word.startswith("docs/") else word for word in words]
        subprocess.run(
            [sys.executable, *programs[program], *words],
            cwd=RUNS,
            env=os.environ | {"PYTHONPATH": str(DOCS.parent)},
            check=True,
        )
    run = Run(RunFolder.find(RUNS / name), "cpu", Silent())
    data = report_data(run, finished_results(run.folder))
    write_report(DOCS / "gallery" / f"{name}.html", data, form="short")


if __name__ == "__main__":
    RUNS.mkdir(parents=True, exist_ok=True)
    known = commands()
    for name in sys.argv[1:] or known:
        make(name, known[name])
