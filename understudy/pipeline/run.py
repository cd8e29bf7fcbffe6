"""A run, from real images to a report: read ``STAGES`` from top to bottom for the whole method.

Each stage is a function in the file of its name. It does the work that the run folder lacks, and writes the
record ``stages/NAME.json`` when it is complete. A stopped run continues with the first stage that has no
record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, final

from understudy.core.config import Section
from understudy.core.errors import InputError
from understudy.core.lock import FolderLock
from understudy.core.processes import Processes
from understudy.core.progress import Observer, Silent
from understudy.core.threads import use_threads
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
@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: also the name of its file in this folder and of its record.
        do: the function that does it.
        summary: what it does, for the documentation.
        wanted: the setting that turns it on; None for a stage that every run has.
        may_change: the section of settings that may change in a finished run; the stage is then done again.
        check: checks changed settings against a finished run, before they are stored.
        work: counts what it will do, for ``understudy preview``; None if that takes next to no time.
        is_current: whether its record still fits the run; None if nothing can outdate it.
    """

    name: str
    do: Callable[[Run], None]
    summary: str
    _: KW_ONLY
    wanted: str | None = None
    may_change: str | None = None
    check: Callable[[Run], None] | None = None
    work: Callable[[Counted], Work] | None = None
    is_current: Callable[[Run, dict[str, Any]], bool] | None = None

    def is_wanted(self, settings: Settings) -> bool:
        """Whether a run with these settings has this stage."""
        return self.wanted is None or bool(attrgetter(self.wanted)(settings))

    def is_finished(self, run: Run) -> bool:
        """Whether the stage has left a record that fits the present settings."""
        record = run.folder.record(self.name)
        if record is None:
            return False
        if self.is_current is not None and not self.is_current(run, record):
            return False
        if self.may_change is None:
            return True
        section: Section = getattr(run.settings, self.may_change)
        return section.gives_results_of(record.get("settings", {}))


# fmt: off
STAGES: tuple[Stage, ...] = (
    Stage("load", load.load,
          "read, check and split the real images; images shared by splits stop the run"),
    Stage("adapt", adapt.adapt,
          "fit the generator to the train split, and keep the weights with the lowest validation loss",
          work=adapt.work),
    Stage("draw", draw.draw,
          "plan the synthetic images, a row and a seed each, and draw them part by part",
          work=draw.work),
    Stage("curate", curate.curate,
          "score the drawn images, draw rejected ones again, and mark copies of real images",
          work=curate.work),
    Stage("fidelity", fidelity.fidelity,
          "measure how close the synthetic images come to real ones, and how close other real images do",
          wanted="fidelity.measure", may_change="fidelity"),
    Stage("memorisation", memorisation.memorisation,
          "measure how close the synthetic images come to single train images",
          may_change="fidelity"),  # it uses the same encoder
    Stage("tune", tune.tune,
          "choose learning rate and weight decay of every arm on validation images",
          wanted="tune.is_on", work=tune.work),
    Stage("compare", compare.compare,
          "train every arm with the same steps and seeds, and test it once on real images",
          work=compare.work),
    Stage("scale", scale.scale,
          "train on larger synthetic sets and on parts of the real set: what more images are worth",
          wanted="scale.times", may_change="scale", work=scale.work),
    Stage("gap", gap.gap,
          "explain the accuracy gap to real images: appearance, quality, quantity, content",
          wanted="gap.measure", may_change="gap", work=gap.work),
    Stage("shift", shift.shift,
          "test the arms on corrupted images and on further test sets",
          wanted="shift.measure", may_change="shift", work=shift.work, check=shift.check),
    Stage("membership", membership.membership,
          "run membership-inference attacks against the arms",
          wanted="membership.measure", may_change="membership", work=membership.work, check=membership.check),
    Stage("report", lambda run: report.report(run, STAGE_NAMES),
          "gather all records into results.json, a page and a dataset card",
          is_current=lambda run, record: _reports_all(run, record)),
)
# fmt: on
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
    """Do all stages up to ``until``; stages that are finished in ``out`` are kept.

    Args:
        settings: everything that affects the result.
        out: the run folder.
        device: torch device; it is not part of the settings.
        resume: whether to continue a run in the folder: ``if-possible``, ``always`` or ``never``.
        until: last stage to do.
        observer: receives messages and progress.

    Returns:
        The content of ``results.json``; if ``until`` is an earlier stage, the records of the stages by name.
        Empty in all processes of ``accelerate launch`` but the first: they only help to adapt.

    Raises:
        InputError: for settings or data that do not fit, or a folder in which another process works; the
            folder is left unchanged.
    """
    use_threads(settings.compute.threads)
    check_names(settings)
    last, processes = STAGE_NAMES.index(until), Processes()
    this = Run(RunFolder(out, settings), device, observer or Silent())
    if not processes.is_main:
        if last > 0:
            adapt.help_to_adapt(this)
        return {}
    is_loaded = RunFolder.check(out, settings, resume=resume) and this.folder.record("load") is not None
    with FolderLock(out) as lock:
        if is_loaded:
            _check_changes(this)
        else:
            _ = this.splits  # read and checked before the folder is made
        lock.take()
        RunFolder.open(out, settings, resume=resume)
        if this.folder.record("load") is None:
            _do(this, STAGES[:1])
        elif not is_loaded:
            this.observer.say("load: finished by another process in the meantime, kept")
        if last > 0:
            processes.wait()  # the other processes now check whether to adapt
            processes.wait()
        _do(this, STAGES[1 : last + 1])
    if until == "report":
        return finished_results(this.folder)
    return {name: this.folder.record(name) for name in STAGE_NAMES[: last + 1]}


def _do(run: Run, stages: tuple[Stage, ...]) -> None:
    """Do the wanted stages that are not finished; write the report again if any of them was done."""
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
    """Whether the report was made with the present settings of every stage, and its results can be read."""
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
