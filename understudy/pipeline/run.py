"""A run, from real images to a report: read ``STAGES`` from top to bottom for the whole method.

A stage is a function of the run in the file of its name. It does what is missing in the run folder and leaves
a record, ``stages/NAME.json``, when it is complete. A run that was stopped goes on with the first stage
without a record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from understudy.core.config import Section
from understudy.core.errors import InputError
from understudy.core.lock import FolderLock
from understudy.core.processes import Processes
from understudy.core.progress import Observer, Silent
from understudy.pipeline import (
    adapt,
    compare,
    curate,
    draw,
    fidelity,
    gap,
    load,
    membership,
    memorisation,
    report,
    scale,
    shift,
    tune,
)
from understudy.pipeline.checks import check_names
from understudy.pipeline.context import Run
from understudy.pipeline.folder import Resume, RunFolder, finished_results
from understudy.pipeline.work import Counted, Work
from understudy.settings import Settings


@final
@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a run.

    Attributes:
        name: also of its file in this folder and of its record.
        summary: what it does, for the documentation.
        do: does it.
        wanted: whether the settings ask for it; None for the stages of every run.
        may_change: section of settings that may change in a finished run; the stage is then done again.
        check: refuses, before the settings of a finished run change, what the stage could not do.
        work: counts what it will do, for ``understudy preview``; None if that takes next to no time.
        is_current: whether its record still fits the run; None if nothing can outdate it.
    """

    name: str
    summary: str
    do: Callable[[Run], None]
    wanted: Callable[[Settings], bool] | None = None
    may_change: str | None = None
    check: Callable[[Run], None] | None = None
    work: Callable[[Counted], Work] | None = None
    is_current: Callable[[Run, dict[str, Any]], bool] | None = None

    def is_wanted(self, settings: Settings) -> bool:
        """Whether a run with these settings has this stage."""
        return self.wanted is None or self.wanted(settings)

    def is_finished(self, run: Run) -> bool:
        """Whether the stage has left its record, made with the settings of today."""
        record = run.folder.record(self.name)
        if record is None:
            return False
        if self.is_current is not None and not self.is_current(run, record):
            return False
        if self.may_change is None:
            return True
        section: Section = getattr(run.settings, self.may_change)
        return section.gives_results_of(record.get("settings", {}))


STAGES: tuple[Stage, ...] = (
    Stage(
        name="load",
        summary="read, check and split the real images; the test split is sealed, and images shared by "
        "splits stop the run",
        do=load.load,
    ),
    Stage(
        name="adapt",
        summary="fit the generator to the train split; the weights with the lowest loss on validation "
        "images are kept",
        do=adapt.adapt,
        work=adapt.work,
    ),
    Stage(
        name="draw",
        summary="plan the synthetic images, a row and a seed each, and draw them part by part",
        do=draw.draw,
        work=draw.work,
    ),
    Stage(
        name="curate",
        summary="score the drawn images, draw rejected ones again, and mark copies of real images",
        do=curate.curate,
        work=curate.work,
    ),
    Stage(
        name="fidelity",
        summary="measure how close the synthetic images come to real ones, next to how close other real "
        "images come",
        do=fidelity.fidelity,
        wanted=lambda settings: settings.fidelity.measure,
        may_change="fidelity",
    ),
    Stage(
        name="memorisation",
        summary="measure how close the synthetic images come to single train images",
        do=memorisation.memorisation,
        may_change="fidelity",  # it uses the same encoder
    ),
    Stage(
        name="tune",
        summary="choose learning rate and weight decay of every arm on validation images",
        do=tune.tune,
        wanted=lambda settings: settings.tune.is_on,
        work=tune.work,
    ),
    Stage(
        name="compare",
        summary="train every arm with the same steps and seeds, and test it once on real images",
        do=compare.compare,
        work=compare.work,
    ),
    Stage(
        name="scale",
        summary="train on larger synthetic sets and on parts of the real set: what more images are worth",
        do=scale.scale,
        wanted=lambda settings: bool(settings.scale.times),
        may_change="scale",
        work=scale.work,
    ),
    Stage(
        name="gap",
        summary="explain the accuracy gap between real and synthetic images: appearance, quality, quantity, "
        "content",
        do=gap.gap,
        wanted=lambda settings: settings.gap.measure,
        may_change="gap",
        work=gap.work,
    ),
    Stage(
        name="shift",
        summary="test the arms on corrupted images and on further test sets",
        do=shift.shift,
        wanted=lambda settings: settings.shift.measure,
        may_change="shift",
        check=shift.check,
        work=shift.work,
    ),
    Stage(
        name="membership",
        summary="run membership-inference attacks against the arms",
        do=membership.membership,
        wanted=lambda settings: settings.membership.measure,
        may_change="membership",
        check=membership.check,
        work=membership.work,
    ),
    Stage(
        name="report",
        summary="gather all records into results.json, a page and a dataset card",
        do=lambda run: report.report(run, STAGE_NAMES),
        is_current=lambda run, record: _reports_all(run, record),
    ),
)
STAGE_NAMES: tuple[str, ...] = tuple(stage.name for stage in STAGES)


def run(
    settings: Settings,
    out: Path,
    *,
    device: str = "cpu",
    resume: Resume = "if-possible",
    until: str = "report",
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Do all stages, or the first ones; stages that are finished in ``out`` are kept.

    Args:
        settings: everything that decides the result.
        out: the run folder.
        device: torch device; it is not part of the settings.
        resume: whether to go on in a folder that holds a run.
        until: last stage to do.
        observer: watches.

    Returns:
        The content of ``results.json``, or, before the report stage, the records of the stages by name.
        Nothing in the processes of ``accelerate launch`` other than the first: they help to adapt and leave
        the rest to it.

    Raises:
        InputError: for settings or data that do not fit, or a folder in which another process works; nothing
            that exists is changed.
    """
    check_names(settings)
    last, processes = STAGE_NAMES.index(until), Processes()
    own = Run(RunFolder(out, settings), device, observer or Silent())
    if not processes.is_main:
        if last > 0:
            adapt.help_to_adapt(own)
        return {}
    is_loaded = RunFolder.check(out, settings, resume=resume) and own.folder.record("load") is not None
    with FolderLock(out) as lock:
        if is_loaded:
            _check_changes(own)
        else:
            _ = own.splits  # read and checked before the folder is made
        lock.take()
        RunFolder.open(out, settings, resume=resume)
        if own.folder.record("load") is None:
            _do(own, STAGES[:1])
        elif not is_loaded:
            own.observer.say("load: finished by another process meanwhile, kept")
        if last > 0:
            processes.wait()  # the other processes now look whether there is something to adapt
            processes.wait()
        _do(own, STAGES[1 : last + 1])
    if until == "report":
        return finished_results(own.folder)
    return {name: own.folder.record(name) for name in STAGE_NAMES[: last + 1]}


def _do(run: Run, stages: tuple[Stage, ...]) -> None:
    """Do the stages that are wanted and not finished; rewrite a report that is older than another stage."""
    is_outdated = False
    for stage in stages:
        if stage.is_finished(run) and not (stage.name == "report" and is_outdated):
            run.observer.say(f"{stage.name}: finished earlier, kept")
        elif stage.is_wanted(run.settings):
            stage.do(run)
            is_outdated = True


def _check_changes(run: Run) -> None:
    """Check settings added to a finished run before they are stored."""
    for stage in STAGES:
        if stage.check is not None and stage.is_wanted(run.settings) and not stage.is_finished(run):
            stage.check(run)


def _reports_all(run: Run, record: dict[str, Any]) -> bool:
    """Whether the report knows every stage as it is now, and its results can be read."""
    added = {name: value for name, value in record.get("added", {}).items() if value is not None}
    try:
        return added == report.added_settings(run, STAGE_NAMES) and bool(finished_results(run.folder))
    except InputError:
        return False


def write_report_again(folder: RunFolder, *, observer: Observer | None = None) -> dict[str, Any]:
    """Write results, report and card of a compared run again, for instance after an upgrade.

    Returns:
        The content of ``results.json``.

    Raises:
        InputError: if the arms have not been compared yet, a record is missing, or another process works in
            the folder.
    """
    required = [stage.name for stage in STAGES if stage.wanted is None and stage.name != "report"]
    if folder.record("compare") is None:
        raise InputError(f"{folder.path} is not finished: go on with 'understudy run {folder.path}'")
    with FolderLock(folder.path):
        if missing := [name for name in required if folder.record(name) is None]:
            raise InputError(
                f"{folder.path}/stages lacks the record of {', '.join(missing)}: go on with 'understudy run "
                f"{folder.path}'"
            )
        report.report(Run(folder, "cpu", observer or Silent()), STAGE_NAMES)
    return finished_results(folder)
