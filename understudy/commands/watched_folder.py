"""A folder as ``understudy watch`` shows it: one run, or the runs of a study."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import final
from urllib.parse import quote

from understudy.commands.watched_files import WatchedFiles
from understudy.commands.watched_run import WatchedRun
from understudy.core.errors import first_line
from understudy.core.files import read_json
from understudy.core.lock_holder import holder_of
from understudy.report.watch_page import (
    RunRow,
    ShownRun,
    ShownRuns,
    Tone,
    run_page,
    runs_page,
    states_in_words,
)

REPORT, STUDY_PAGE = "report.html", "study.html"


@final
class WatchedFolder:
    """What is asked of a folder by address.

    Args:
        path: the folder; it may be missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = WatchedFiles()
        self._runs: dict[Path, WatchedRun] = {}

    def page(self) -> str:
        """The page of the folder; if it cannot be read, or goes while it is read, the page says so."""
        self._files.start()
        try:
            found = self._found()
            if not found and not (self._path / "study.yaml").exists():
                return run_page(self._run(self._path).show(report=f"/{REPORT}"))
            return runs_page(self._show_runs(found))
        except OSError as error:
            unreadable = "This folder cannot be read"
            shown = ShownRun(folder=str(self._path), headline=unreadable, tone="waiting", hint="")
            return run_page(replace(shown, problems=[first_line(error)]))

    def page_of(self, name: str) -> str | None:
        """The page of one of several runs; None if there is no such run."""
        path = self._found().get(name)
        if path is None:
            return None
        return run_page(self._run(path, name).show(report=_address(name, REPORT), up="/"))

    def file(self, name: str, run: str | None = None) -> Path | None:
        """The path of the report of the folder or of one of its runs; None if there is none.

        Args:
            name: ``report.html`` or ``study.html``.
            run: one of several runs.
        """
        folder = self._path if run is None else self._found().get(run)
        if folder is None or name not in (REPORT, STUDY_PAGE):
            return None
        return path if (path := folder / name).is_file() else None

    def _run(self, path: Path, name: str | None = None) -> WatchedRun:
        if path not in self._runs:
            self._runs[path] = WatchedRun(path, str(path) if name is None else f"{self._path} · {name}")
        return self._runs[path]

    def _found(self) -> dict[str, Path]:
        """The runs of a study, or those in a folder of runs, by name; empty for the folder of one run."""
        if (self._path / "settings.yaml").exists():
            return {}
        runs = [path.parent for path in self._path.glob("runs/*/settings.yaml")]
        runs = runs or [path.parent for path in self._path.glob("*/settings.yaml")]
        return {path.name: path for path in sorted(runs, key=lambda path: path.name)}

    def _show_runs(self, found: dict[str, Path]) -> ShownRuns:
        holder = holder_of(self._path)
        works = holder is not None and holder.is_alive is not False
        # While others are trained, nobody should decide by the test images of the runs that are finished.
        rows = [_row(name, self._run(path, name), is_open=works) for name, path in found.items()]
        counts = Counter[str](row.tone for row in rows)
        tone = _tone(counts, works=works, was_stopped=holder is not None)
        study = self._files.read(self._path / "study.json", read_json) or {}
        sentence = str(study.get("sentence") or "") if tone == "done" else ""
        return ShownRuns(
            folder=str(self._path),
            headline=sentence or f"{len(rows)} runs: {states_in_words(counts)}",
            tone=tone,
            runs=rows,
            problems=self._files.problems,
            report=f"/{STUDY_PAGE}" if not works and (self._path / STUDY_PAGE).is_file() else "",
        )


def _tone(counts: Counter[str], *, works: bool, was_stopped: bool) -> Tone:
    """The state of several runs; a process that was killed leaves its lock behind."""
    if works or counts["running"]:
        return "running"
    if counts["stopped"] or was_stopped:
        return "stopped"
    return "done" if counts and counts["done"] == counts.total() else "waiting"


def _row(name: str, run: WatchedRun, *, is_open: bool) -> RunRow:
    shown: ShownRun = run.summary(report=_address(name, REPORT))
    if is_open and shown.tone == "done":
        shown = replace(shown, headline="All stages are done", report="")
    progress = "".join(f", {bar.text} {bar.done:,} of {bar.total:,} {bar.unit}" for bar in shown.bars[-1:])
    return RunRow(
        name=name,
        address=_address(name),
        headline=f"{shown.headline}{progress}",
        tone=shown.tone,
        report=shown.report,
    )


def _address(name: str, file: str = "") -> str:
    return f"/runs/{quote(name, safe='', errors='replace')}/{file}"
