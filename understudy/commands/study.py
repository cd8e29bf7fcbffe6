"""Command study: repeat a run while one setting varies and all others stay equal.

Every point and repeat of a study is an ordinary run in a folder below the folder of the study. A study can
therefore be stopped, resumed and enlarged, and its runs share adapters and trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, final

from understudy.commands.study_failures import Failures
from understudy.commands.study_folder import StudyFolder, StudyRun
from understudy.commands.study_jobs import StudyRunJob
from understudy.commands.study_kinds import STUDIES, Point, check_repeats, read_points
from understudy.commands.study_results import report
from understudy.commands.study_shared import could_share, take_adapter, take_trainings
from understudy.core.config import given_names
from understudy.core.errors import InputError
from understudy.core.executors.do import check_executor, check_one_process, clear, do_jobs
from understudy.core.executors.executor import Terms
from understudy.core.lock import FolderLock
from understudy.core.processes import Processes
from understudy.core.progress import Observer, Silent
from understudy.pipeline.checks import check_names
from understudy.pipeline.needed_files import needed_by_runs
from understudy.pipeline.run import run
from understudy.settings import Settings, build


def run_study(
    kind: str,
    settings: Settings,
    out: Path,
    *,
    points: Sequence[Point] | None = None,
    repeats: int = 3,
    overrides: Sequence[Mapping[str, Any]] = (),
    device: str = "cpu",
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Do the unfinished runs of a study, and summarise all runs.

    Args:
        kind: a key of ``STUDIES``.
        settings: of all runs, except the settings that the study varies.
        out: the folder; it can hold the same study with other points or fewer repeats, which are kept.
        points: values to try; by default the points of the kind.
        repeats: runs of each point. With ``data.shots`` they differ in the subset of images, otherwise in the
            seed.
        overrides: nested settings that win over all others, including the settings of a point.
        device: torch device.
        observer: receives messages and progress.

    Returns:
        The content of ``study.json``, which is written after every run, like ``study.html``; empty in all
        processes of ``accelerate launch`` but the first.

    Raises:
        InputError: if kind, points, settings or data do not fit, or the folder has other content, which is
            left unchanged.
    """
    observer = observer or Silent()
    base = build(settings.model_dump(mode="json", exclude_unset=True), *overrides)
    study = StudyFolder(kind, base, tuple(overrides), out, settings)
    study = study.with_earlier_defaults().with_fixed_test_images()
    _check_free_settings(study)
    check_one_process(study.base.compute)
    check_repeats(repeats, "repeats of a study")
    values = read_points(kind, STUDIES[kind].points if points is None else points)
    failures, asked = Failures(STUDIES[kind], observer), list[StudyRun]()
    for value, repeat in product(values, range(repeats)):
        with failures.of(value):
            one = study.run_of(value, repeat)
            has_captions = (one.path / "stages" / "load.json").exists()
            check_names(one.settings, finished=["load"] * has_captions)
            asked.append(one)
    asked.sort(key=lambda one: one.repeat)  # stable: points keep their order
    failures.check(asked)
    study.check(asked)
    if not Processes().is_main:
        for one in (one for one in asked if not one.is_finished):
            run(one.settings, one.path, device=device)
        return {}
    with FolderLock(out) as lock:
        clear(out)
        return _Work(study, failures, device, observer).do(asked, lock)


@final
@dataclass(frozen=True)
class _Work:
    """Does the runs of a study, by repeat, then point."""

    study: StudyFolder
    failures: Failures
    device: str
    observer: Observer

    def do(self, asked: Sequence[StudyRun], lock: FolderLock) -> dict[str, Any]:
        """Check the executor and load all points first, so that errors appear before hours of work."""
        further = 0 if STUDIES[self.study.kind].varies else len(list(self.study.runs())) - len(asked)
        if further > 0:
            many = "s in the folder, which count" if further > 1 else " in the folder, which counts"
            self.observer.say(f"study: {further} more run{many} too")
        is_here = self.study.base.compute.is_here
        if not is_here and (missing := [one for one in asked if self._is_missing(one)]):
            check_executor(self._terms(missing))
        is_named = STUDIES[self.study.kind].axis == "names"
        first = [one for one in asked if not one.repeat]
        for one in first if is_named else first[::-1]:  # the most demanding point first
            with self.failures.of(one.point):
                if not one.is_started:
                    self.observer.say(f"study: {one.name}")
                    self._run(one, until="load")
                lock.take()
                self.study.note(one.point)
        self.failures.check(asked)
        return self._finish_each(asked) if is_here else self._finish_side_by_side(asked)

    def _terms(self, asked: Sequence[StudyRun]) -> Terms:
        """Of the executor that does the runs."""
        out = self.study.out.absolute()
        return Terms(
            root=out,
            compute=self.study.base.compute,
            device=self.device,
            memory=self.study.base.data.memory,
            needs=needed_by_runs((one.settings for one in asked), out),
            say=self.observer.say,
        )

    def _is_missing(self, one: StudyRun) -> bool:
        return not one.is_finished and one.point not in self.failures.reasons

    def _finish_each(self, asked: Sequence[StudyRun]) -> dict[str, Any]:
        """Do the missing runs one after the other in this process."""
        results = self._report()
        for number, one in enumerate(asked, start=1):
            if self._is_missing(one):
                self.observer.say(f"study: {one.name}, run {number} of {len(asked)}")
                with self.failures.of(one.point):
                    self._prepare(one)
                    self._run(one, until="report")
                results = self._report()
        return results

    def _finish_side_by_side(self, asked: Sequence[StudyRun]) -> dict[str, Any]:
        """Do the missing runs in workers; a run that may use work of an earlier one waits for that."""
        results = self._report()
        while waiting := [one for one in asked if self._is_missing(one)]:
            wave = [
                one
                for index, one in enumerate(waiting)
                if not any(could_share(one, earlier) for earlier in waiting[:index])
            ]
            self.observer.say(f"study: {', '.join(one.name for one in wave)}")
            for one in wave:
                with self.failures.of(one.point):
                    self._prepare(one)
            jobs = [StudyRunJob(one=one, device=self.device) for one in wave if self._is_missing(one)]
            for job in jobs:
                job.forget()
            with self.observer.bar("study", total=len(jobs), unit="runs") as advance:
                do_jobs(jobs, self._terms(wave), advance=advance)
            for job in jobs:
                with self.failures.of(job.one.point):
                    job.check()
            results = self._report()
        return results

    def _prepare(self, one: StudyRun) -> None:
        """Read the images of a run, and take the work of other runs where it is the same."""
        self._run(one, until="load")
        others = [
            other for other in self.study.runs() if other.repeat == one.repeat and other.path != one.path
        ]
        with FolderLock(one.path):
            take_adapter(one, others, self.observer)
            take_trainings(one, others, self.observer)

    def _report(self) -> dict[str, Any]:
        return report(self.study, self.failures.reasons, self.device, self.observer)

    def _run(self, one: StudyRun, *, until: str) -> None:
        run(one.settings, one.path, device=self.device, until=until, observer=self.observer)


def _check_free_settings(study: StudyFolder) -> None:
    """Check that the user sets nothing that the study sets itself."""
    kind, given = STUDIES[study.kind], given_names(*study.overrides)
    varies_images = kind.varies and (study.base.data.shots is not None or "data.shots" in kind.sets)
    for name in [*kind.sets, *(["data.subset"] if varies_images else [])]:
        section, _, key = name.partition(".")
        values = getattr(study.base, section)
        default = type(values).model_fields[key].default
        is_set = default in (None, {}) and getattr(values, key) != default
        if name in given or is_set:
            raise InputError(
                f"a study of {study.kind} sets {name}, so it must not be given: leave it out; --points gives "
                "the values, --repeats the runs of each"
            )
