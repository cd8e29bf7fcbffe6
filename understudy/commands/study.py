"""Command study: repeat a run while one setting varies and all others stay equal.

Every point and repeat of a study is an ordinary run in a folder below the folder of the study. A study can
therefore be stopped, resumed and enlarged, and its runs share adapters and trainings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from understudy.commands.study_folder import StudyFolder, StudyRun
from understudy.commands.study_kinds import STUDIES, Point, check_repeats, label_of, read_points
from understudy.commands.study_shared import take_adapter, take_trainings
from understudy.core.config import given_names
from understudy.core.errors import InputError
from understudy.core.files import read_json, write_json
from understudy.core.lock import FolderLock
from understudy.core.processes import Processes
from understudy.core.progress import Observer, Silent
from understudy.core.provenance import environment
from understudy.evaluation.choice import Choice
from understudy.evaluation.repeats import study_sentence, summarise_points
from understudy.evaluation.verdict_over_runs import RealImages, verdict_over_runs
from understudy.pipeline.checks import check_names
from understudy.pipeline.results import arms_with_val
from understudy.pipeline.run import run
from understudy.report.html import is_whole
from understudy.report.study_page import write_study_page
from understudy.settings import Settings, build, to_yaml
from understudy.training.arms import find_arm, refittable_arms


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
    study = StudyFolder(kind, base, tuple(overrides), out)
    study = study.with_earlier_defaults().with_fixed_test_images()
    _check_free_settings(study)
    check_repeats(repeats, "repeats of a study")
    values = read_points(kind, STUDIES[kind].points if points is None else points)
    asked = [study.run_of(value, repeat) for repeat in range(repeats) for value in values]
    for one in asked:
        check_names(one.settings)
    study.check(asked)
    if not Processes().is_main:
        for one in (one for one in asked if not one.is_finished):
            run(one.settings, one.path, device=device)
        return {}
    with FolderLock(out) as lock:
        return _Work(study, device, observer).do(asked, len(values), lock)


@final
@dataclass(frozen=True)
class _Work:
    """Does the runs of a study, by repeat, then point."""

    study: StudyFolder
    device: str
    observer: Observer

    def do(self, asked: Sequence[StudyRun], num_points: int, lock: FolderLock) -> dict[str, Any]:
        """Load the data of every point first, so that errors appear before hours of work."""
        further = 0 if STUDIES[self.study.kind].varies else len(list(self.study.runs())) - len(asked)
        if further > 0:
            many = "s in the folder, which count" if further > 1 else " in the folder, which counts"
            self.observer.say(f"study: {further} more run{many} too")
        is_named = STUDIES[self.study.kind].axis == "names"
        first = asked[:num_points] if is_named else asked[:num_points][::-1]  # the most demanding point first
        for one in first:
            if not one.is_started:
                self.observer.say(f"study: {one.name}")
                self._run(one, until="load")
            lock.take()
            self.study.note(one.point)
        results = _report(self.study, self.device, self.observer)
        for number, one in enumerate(asked, start=1):
            if not one.is_finished:
                self.observer.say(f"study: {one.name}, run {number} of {len(asked)}")
                self._run(one, until="load")
                others = [
                    other
                    for other in self.study.runs()
                    if other.repeat == one.repeat and other.path != one.path
                ]
                with FolderLock(one.path):
                    take_adapter(one, others, self.observer)
                    take_trainings(one, others, self.observer)
                    self._run(one, until="report")
                results = _report(self.study, self.device, self.observer)
        return results

    def _run(self, one: StudyRun, *, until: str) -> None:
        run(one.settings, one.path, device=self.device, until=until, observer=self.observer)


def _report(study: StudyFolder, device: str, observer: Observer) -> dict[str, Any]:
    """Gather the finished runs, and write ``study.json`` and ``study.html`` if they changed or were cut."""
    finished = [one for one in study.runs() if one.is_finished]
    if not finished:
        return {}
    content = _content(study, finished)
    path, page = study.out / "study.json", study.out / "study.html"
    mend = "remove it, and the same command writes it again"
    stored = read_json(path, mend=mend) if path.exists() else {}
    made = stored.pop("environment", None)
    if stored == json.loads(json.dumps(content)):
        if is_whole(page):
            return {**content, "environment": made}
        observer.say(f"study: {page.name} was missing or cut short, and is made again")
    content["environment"] = environment(device)
    write_json(path, content)
    write_study_page(page, study=content, settings_yaml=to_yaml(study.base))
    return content


def _content(study: StudyFolder, finished: Sequence[StudyRun]) -> dict[str, Any]:
    kind, rows = STUDIES[study.kind], [one.row(study.out) for one in finished]
    known = [{"point": point, "label": label_of(point)} for point in study.known_points]
    points = summarise_points(rows, known, test_images=not kind.varies)
    measure = "accuracy" if any(row["measure"] == "accuracy" for row in rows) else "balanced_accuracy"
    arms = dict.fromkeys(arm for point in points for arm in point["arms"])
    candidates = [arm for arm in arms if find_arm(arm, study.base.compare).can_be_chosen]
    verdict: dict[str, Any] = {}
    if kind.varies:
        sentence = study_sentence(
            points, unit=kind.unit, ordered=kind.is_ordered, candidates=candidates, measure=measure
        )
    else:
        compare = study.base.compare
        verdict = verdict_over_runs(
            [row["arms"] for row in rows],
            Choice(
                candidates=candidates,
                num_val=min(row["val"] for row in rows),
                refittable=refittable_arms(candidates, compare) if compare.does_refit else (),
                measure=measure,
            ),
            with_val=arms_with_val(arms, compare),
            images=_images_of(rows),
        )
        sentence = verdict.pop("sentence")
        shared = _shared([one.images("train") for one in finished])
        if _images_of(rows) != "same" and shared:
            verdict["shared_train_images"] = shared
            sentence += f" Two runs have {shared:.0%} of their train images in common, on average."
    return {
        "schema": 1,
        "kind": study.kind,
        "summary": STUDIES.summary(study.kind),
        "sets": list(kind.sets),
        "unit": kind.unit,
        "axis": kind.axis,
        "source": study.base.data.source,
        "repeats_differ_in": "subset"
        if kind.varies and all(row["subset"] is not None for row in rows)
        else "seed",
        "measure": measure,
        "sentence": sentence,
        **({"verdict": verdict} if verdict else {}),
        "points": points,
        "runs": rows,
        "settings": study.base.model_dump(mode="json"),
    }


def _images_of(rows: Sequence[Mapping[str, Any]]) -> RealImages:
    """Which real images all runs have in common."""
    is_same = {name: len({row[name] for row in rows}) == 1 for name in ("train_images", "test_images")}
    if all(is_same.values()):
        return "same"
    return "same for testing" if is_same["test_images"] else "other"


def _shared(images: Sequence[Sequence[str]]) -> float:
    """Mean share of the images of one run that another run has too; 0 for a single run."""
    shares = [
        len(set(one).intersection(other)) / len(one)
        for number, one in enumerate(images)
        for other in [*images[:number], *images[number + 1 :]]
    ]
    return sum(shares) / len(shares) if shares else 0.0


def _check_free_settings(study: StudyFolder) -> None:
    """Check that the user sets nothing that the study sets itself."""
    kind, given = STUDIES[study.kind], given_names(*study.overrides)
    varies_images = kind.varies and (study.base.data.shots is not None or "data.shots" in kind.sets)
    for name in [*kind.sets, *(["data.subset"] if varies_images else [])]:
        section, _, key = name.partition(".")
        values = getattr(study.base, section)
        is_set = type(values).model_fields[key].default is None and getattr(values, key) is not None
        if name in given or is_set:
            raise InputError(
                f"a study of {study.kind} sets {name}, so it must not be given: leave it out; --points gives "
                "the values, --repeats the runs of each"
            )
