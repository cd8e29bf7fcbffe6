"""Adapters and trainings on real images, which the runs of a study copy from each other."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial

from understudy.adaptation.adapter import copy_adapter, read_adapter_report
from understudy.commands.study_folder import StudyRun
from understudy.core.files import content_of, write_atomically
from understudy.core.progress import Observer
from understudy.training.arms import find_arm
from understudy.training.records import ArmFolder
from understudy.training.tune import pairs

_DECIDE_ADAPTER = ("seed", "data", "generator", "captions", "visual", "adapt")
_DECIDE_REAL_TRAININGS = ("seed", "data", "compare", "tune")
"""Sections of settings that decide an adapter, and the training of an arm without synthetic images."""


def could_share(run: StudyRun, other: StudyRun) -> bool:
    """Whether one of two runs may use work of the other, once that is finished."""
    return (_makes_adapter(run) and run.agrees(other, _DECIDE_ADAPTER)) or run.agrees(
        other, _DECIDE_REAL_TRAININGS
    )


def take_adapter(run: StudyRun, others: Sequence[StudyRun], observer: Observer) -> None:
    """Copy an adapter that another run made from the same images, with the same settings and seed."""
    if not _makes_adapter(run) or run.folder.record("adapt") is not None:
        return
    for other in others:
        if (
            run.agrees(other, _DECIDE_ADAPTER)
            and other.folder.record("adapt") is not None
            and _same_images(run, other)
        ):
            with run.folder.stage("adapt") as record:
                copy_adapter(other.path / "adapter", run.path / "adapter")
                record |= read_adapter_report(run.path / "adapter")
            observer.say(f"adapt: uses the adapter of {other.name}, which was made from the same images")
            return


def take_trainings(run: StudyRun, others: Sequence[StudyRun], observer: Observer) -> None:
    """Copy trainings on real images that another run made with the same images, settings and seeds."""
    compare = run.settings.compare
    if run.folder.record("compare") is not None:
        return
    for other in others:
        has_trained = other.folder.record("compare") is not None
        if run.agrees(other, _DECIDE_REAL_TRAININGS) and has_trained and _same_images(run, other):
            arms = [arm for arm in compare.all_arms if not find_arm(arm, compare).uses_synthetic]
            for arm in arms:
                _copy_trainings(arm, other, run)
            observer.say(
                f"compare: uses the trainings of {', '.join(arms)} in {other.name}, which were made from the "
                "same images"
            )
            return


def _makes_adapter(run: StudyRun) -> bool:
    return run.settings.adapt.method != "none" and run.settings.adapt.adapter is None


def _same_images(run: StudyRun, other: StudyRun) -> bool:
    """Whether two runs read the same images; the source can have changed in between."""
    names = [f"data/{split}.parquet" for split in ("train", "val", "test")]
    return all(content_of(run.path / name) == content_of(other.path / name) for name in names)


def _copy_trainings(arm: str, other: StudyRun, run: StudyRun) -> None:
    source, to, settings = other.path / "arms", run.path / "arms", run.settings
    files = ArmFolder(source, arm).files(settings.compare.num_seeds)
    if settings.tune.is_on:
        tuning = ArmFolder(source / "tuning", arm)
        files += [tuning.trial(index) for index in range(len(pairs(settings.compare, settings.tune)))]
    for path in files:
        target = to / path.relative_to(source)
        if not target.exists():
            write_atomically(target, partial(shutil.copy, path))
