"""A run folder as ``understudy watch`` shows it: read while another process may work in it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np
from markupsafe import escape

from understudy.commands.watched_files import WatchedFiles
from understudy.commands.watched_images import WatchedImages
from understudy.core.durations import rough_duration
from understudy.core.errors import InputError
from understudy.core.files import read_json, readable
from understudy.core.lock_holder import Holder, holder_of
from understudy.core.progress_file import read_progress
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import STAGE_NAMES, STAGES
from understudy.pipeline.stage import Stage
from understudy.report.run_command import command_on
from understudy.report.watch_page import ShownArm, ShownBar, ShownRun, ShownStage
from understudy.report.wording import duration
from understudy.settings import Settings
from understudy.training.arms import find_arm

_FRESH = 120.0  # seconds; where nothing can be locked, an older progress file is of a dead process
_MOST_MESSAGES = 12
_TESTED = STAGE_NAMES[STAGE_NAMES.index("compare") + 1 :]


@final
class WatchedRun:
    """A folder that holds a run, or will hold one.

    Args:
        path: the folder; it may be missing.
        name: how the page calls it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._files = WatchedFiles()
        self._images = WatchedImages(path, self._files)

    def show(self, *, report: str, up: str = "") -> ShownRun:
        """What the page of the run shows now.

        Args:
            report: address of its report, once it has one.
            up: address of the list of runs.
        """
        self._files.start()
        summary = self.summary(report=report)
        if not summary.stages:
            return replace(summary, up=up, problems=self._files.problems)
        progress, settings = read_progress(self._path), self._settings
        arms = [] if settings is None else self._arms(settings)
        now = _part_at_work(progress, sum(part.count for part in self._images.parts()))
        drawn = self._images.drawn_so_far(now)
        return replace(
            summary,
            up=up,
            facts=list(_facts(self._record("load"), drawn, arms)),
            images=self._images.newest(),
            losses=self._losses(progress),
            drawn=drawn,
            arms=arms,
            messages=self._messages(progress),
            problems=list(dict.fromkeys(self._files.problems)),
        )

    def summary(self, *, report: str) -> ShownRun:
        """The state of the run: headline, stages, and bars of what runs."""
        settings = self._settings
        if settings is None:
            return self._waiting()
        progress, holder = read_progress(self._path), holder_of(self._path)
        works = _works(holder, progress)
        stages = self._stages(settings, works=works)
        has_report = (self._path / "report.html").is_file()
        left = [stage for stage in stages if stage.state != "done"]
        at = next((stage.name for stage in left if stage.state in ("running", "stopped")), None)
        shown = ShownRun(
            folder=self._name,
            headline=f"{len(stages) - len(left)} of {len(stages)} stages are done",
            tone="waiting",
            stages=stages,
            report=report if has_report else "",
        )
        go_on = "Go on with the command that began the study."
        if not RunFolder(self._path, settings).is_in_study:
            go_on = f"Go on with <code>{escape(command_on('run', self._path))}</code>."
        if not left:
            return replace(shown, headline=self._verdict() or "All stages are done", tone="done")
        if works and at is not None:
            hint = "" if holder is None or holder.is_alive is not None else _elsewhere(holder)
            bars = _bars(progress)
            return replace(shown, headline=f"Now: {at}", tone="running", bars=bars, hint=hint)
        if progress or (holder is not None and holder.is_alive is False):
            words = f"No process works here: the run stopped in {at or left[0].name}"
            return replace(
                shown, headline=words, tone="stopped", bars=_bars(progress, moves=False), hint=go_on
            )
        return replace(shown, headline=f"{shown.headline}; no process works here", hint=go_on)

    def _waiting(self) -> ShownRun:
        """A folder without a run: missing, empty, or with settings that cannot be read."""
        hint = ""
        if (self._path / "settings.yaml").exists():
            headline = "The settings of this run cannot be read"
        elif self._path.exists() and any(self._path.iterdir()):
            headline = "This folder holds no run yet"
            hint = "Studies, and runs with --repeats, are watched one by one: give the folder of one of them."
        else:
            headline = "Waiting for a run to begin in this folder"
            hint = "A run makes its folder once it has read and checked its images."
        return ShownRun(folder=self._name, headline=headline, tone="waiting", hint=hint)

    @property
    def _settings(self) -> Settings | None:
        """The settings of the run; None if there is no run, or they cannot be read."""
        return self._files.read(self._path / "settings.yaml", _read_settings)

    def _record(self, stage: str) -> dict[str, Any]:
        """The record of a stage; empty if it is not finished or cannot be read."""
        return self._files.read(self._path / "stages" / f"{stage}.json", read_json) or {}

    def _stages(self, settings: Settings, *, works: bool) -> list[ShownStage]:
        """Every stage of the run with its state."""
        run = Run(RunFolder(self._path, settings), "cpu")
        shown: list[ShownStage] = []
        began = None if (holder := holder_of(self._path)) is None else holder.since
        is_next = True
        for stage in STAGES:
            file = self._path / "stages" / f"{stage.name}.json"
            if not stage.is_wanted(settings) and not file.exists():
                continue
            record = self._record(stage.name)
            state = ShownStage(name=stage.name, summary=stage.summary, state="to come")
            if record and _is_current(stage, run):
                state = replace(state, state="done", note=duration(float(record.get("seconds", 0))))
                began = max(filter(None, (began, self._files.written(file))), default=None)
            elif file.exists() and not record:
                state = replace(state, state="damaged")
            elif is_next:
                note = f"for {rough_duration(max(0, time.time() - began))}" if works and began else ""
                state = replace(state, state="running" if works else "stopped", note=note)
                is_next = False
            shown.append(state)
        return shown

    def _verdict(self) -> str:
        """The sentence of the verdict; empty if there are no results."""
        results = self._files.read(self._path / "results.json", read_json) or {}
        verdict = results.get("verdict")
        return str(verdict.get("sentence", "")) if isinstance(verdict, dict) else ""

    def _losses(self, progress: Mapping[str, Any]) -> Sequence[tuple[int, float]]:
        """The loss on validation images along the adaptation, of the report or of the progress file."""
        report = self._files.read(self._path / "adapter" / "report.json", read_json) or {}
        noted = {bar["text"]: bar["measured"] for bar in progress.get("bars", [])}
        curve = report.get("curve") or noted.get("adapt", {}).get("val_loss", [])
        return [(int(step), float(loss)) for step, loss in curve]

    def _arms(self, settings: Settings) -> list[ShownArm]:
        """The trainings of the compared arms, and of the arm that is trained again."""
        found: dict[str, list[float]] = {name: [] for name in settings.compare.all_arms}
        for path in sorted((self._path / "arms").glob("*-seed*.npz")):
            accuracy = self._files.read(path, _accuracy_on_val)
            if accuracy is not None:
                found.setdefault(path.stem.rpartition("-seed")[0], []).append(accuracy)
        if not any(found.values()):
            return []
        return [
            ShownArm(
                name=name,
                wanted=settings.compare.num_seeds,
                accuracies=tuple(accuracies),
                learns_val=_learns_val(name, settings),
            )
            for name, accuracies in found.items()
        ]

    def _messages(self, progress: Mapping[str, Any]) -> list[str]:
        """The last lines of the run, the newest first; of a finished run, the notes about its images.

        Lines of stages that measure on test images are left out, except warnings.
        """
        notes = [f"load: {note}" for note in self._record("load").get("notes", [])]
        lines = [str(message["text"]) for message in progress.get("messages", [])] or notes
        shown = [line for line in lines if line.partition(":")[0] not in _TESTED or ": warning: " in line]
        return shown[::-1][:_MOST_MESSAGES]


def _read_settings(path: Path) -> Settings:
    return RunFolder.find(path.parent).settings


def _accuracy_on_val(path: Path) -> float:
    """The accuracy of a training on validation images; its predictions on test images are not read."""
    with readable(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return float(arrays["val_accuracy"])


def _learns_val(name: str, settings: Settings) -> bool:
    try:
        return find_arm(name, settings.compare).uses_val
    except InputError:  # of another version
        return False


def _is_current(stage: Stage, run: Run) -> bool:
    """Whether a stage that has a record need not be done again, as far as that can be told at once."""
    try:
        return stage.is_current is not None or stage.is_finished(run)
    except (InputError, OSError):
        return False


def _works(holder: Holder | None, progress: Mapping[str, Any]) -> bool:
    """Whether a process works in the folder."""
    if holder is not None:
        return holder.is_alive is not False
    return time.time() - float(progress.get("written", 0)) < _FRESH  # a file system without locks


def _elsewhere(holder: Holder) -> str:
    return (
        f"Process {holder.process} on {escape(holder.machine)} holds the folder; whether it still runs "
        "cannot be told from here."
    )


def _bars(progress: Mapping[str, Any], *, moves: bool = True) -> list[ShownBar]:
    """The loops of a progress file, with speed and time left if they move."""
    found = []
    for bar in progress.get("bars", []):
        done, total, began = int(bar["done"]), int(bar["total"]), bar["began"]
        note = "" if moves else "when it stopped"
        if moves and done >= total:  # scores and files follow a loop
            note = "done; the stage is still at work"
        elif moves and began is not None and done > bar["first"]:
            pace = (done - bar["first"]) / max(1e-3, progress["written"] - began)
            left = max(0.0, (total - done) / pace - (time.time() - progress["written"]))
            speed = f"{pace:.1f} {bar['unit']}/s" if pace >= 1 else f"{1 / pace:.0f} s for each"
            note = f"{speed}, about {rough_duration(left)} left"
        found.append(ShownBar(text=bar["text"], unit=bar["unit"], done=done, total=total, note=note))
    return found


def _part_at_work(progress: Mapping[str, Any], written: int) -> tuple[float, int] | None:
    """Time and number of all images drawn, with those that are in no file yet."""
    for bar in progress.get("bars", []):
        if bar["unit"] == "images" and bar["text"].startswith("draw round-"):
            return float(progress["written"]), max(written, int(bar["done"]))
    return None


def _facts(
    load: Mapping[str, Any], drawn: Sequence[tuple[float, int]], arms: Sequence[ShownArm]
) -> Iterator[tuple[str, str]]:
    """Numbers of the run, each with what it counts."""
    if isinstance(classes := load.get("classes"), list):
        yield f"{len(classes):,}", "classes"
    for name, words in (("train", "real train images"), ("val", "real validation images")):
        if isinstance(count := load.get(name), int):
            yield f"{count:,}", words
    if drawn:
        yield f"{drawn[-1][1]:,}", "synthetic images drawn"
    if arms:
        finished = sum(len(arm.accuracies) for arm in arms)
        yield f"{finished} of {sum(arm.wanted for arm in arms)}", "trainings finished"
