"""A run, from real images to a report: read ``STAGES`` from top to bottom for the whole method.

Each stage is a function in the file of its name. It does the work that the run folder lacks, and writes the
record ``stages/NAME.json`` when it is complete. A stopped run continues with the first stage that has no
record.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.core.errors import InputError
from understudy.core.executors.do import check_executor, check_one_process, clear
from understudy.core.lock import FolderLock
from understudy.core.processes import Processes
from understudy.core.progress import Observer
from understudy.core.progress_file import ProgressFile
from understudy.data.load import Splits
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
from understudy.pipeline.intact import check_intact
from understudy.pipeline.kept_files import changed_files, with_kept_files
from understudy.pipeline.machine import use_machine
from understudy.pipeline.stage import Stage
from understudy.pipeline.tracking import tracking
from understudy.settings import Settings, differing_keys, with_earlier_defaults, with_section

# fmt: off
STAGES: tuple[Stage, ...] = (
    Stage("load", load.load,
          "read, check and split the real images; images shared by splits stop the run",
          "concepts.md#real-images"),
    Stage("adapt", adapt.adapt,
          "fit the generator to the train split, and keep the weights with the lowest validation loss",
          "methods/adaptation.md", work=adapt.work),
    Stage("draw", draw.draw,
          "plan the synthetic images, a row and a seed each, and draw them part by part",
          "methods/drawing.md", work=draw.work),
    Stage("curate", curate.curate,
          "score the drawn images, draw rejected ones again, and mark copies of real images",
          "methods/curation.md", work=curate.work),
    Stage("fidelity", fidelity.fidelity,
          "measure how close the synthetic images come to real ones, and how close other real images do",
          "methods/fidelity.md", wanted="fidelity.measure", when="unless `fidelity.measure=false`"),
    Stage("memorisation", memorisation.memorisation,
          "measure how close the synthetic images come to single train images",
          "methods/memorisation.md", is_current=memorisation.is_current),
    Stage("tune", tune.tune,
          "choose learning rate and weight decay of every arm on validation images",
          "methods/comparison.md#tuning",
          wanted="tune.is_on", when="with `tune.learning_rates` or `tune.weight_decays`", work=tune.work),
    Stage("compare", compare.compare,
          "train every arm with the same steps and seeds, and test it once on real images",
          "methods/comparison.md", work=compare.work),
    Stage("scale", scale.scale,
          "train on larger synthetic sets and on parts of the real set: what more images are worth",
          "methods/worth.md", wanted="scale.times", when="with `--times` and several sizes",
          work=scale.work),
    Stage("gap", gap.gap,
          "explain the accuracy gap to real images: appearance, quality, quantity, content",
          "methods/content_gap.md", wanted="gap.measure", when="with `understudy gap`, or `gap.measure=true`",
          check=gap.check, work=gap.work),
    Stage("shift", shift.shift,
          "test the arms on corrupted images and on further test sets",
          "methods/shift.md",
          wanted="shift.measure", when="with `understudy evaluate`, or `shift.measure=true`",
          check=shift.check, check_finished=shift.check_finished, work=shift.work,
          is_current=shift.is_current),
    Stage("membership", membership.membership,
          "run membership-inference attacks against the arms",
          "methods/membership.md",
          wanted="membership.measure", when="with `understudy audit`, or `membership.measure=true`",
          check=membership.check, check_finished=membership.check_finished, work=membership.work),
    Stage("report", lambda run: report.report(run, STAGE_NAMES),
          "gather all records into results.json, a page and a dataset card",
          "results_json.md", is_current=lambda run, record: _reports_all(run, record), is_last=True),
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
    use_machine(settings)
    check_one_process(settings.compute)
    check_names(with_kept_files(settings, out), finished=_finished(settings, out, device))
    last, processes = STAGE_NAMES.index(until), Processes()
    progress = ProgressFile(out, observer)
    settings = _with_added_stages(settings, out, device, progress)
    this = Run(RunFolder(out, settings), device, progress)
    if not processes.is_main:
        if last > 0:
            adapt.help_to_adapt(this)
        return {}
    is_loaded = RunFolder.check(out, settings, resume=resume) and this.folder.record("load") is not None
    with FolderLock(out) as lock:
        _check_executor(this, STAGES[1 : last + 1])
        if is_loaded:
            _check_changes(this)
        else:
            check_stages(settings, this.splits)  # read and checked before the folder is made
        lock.take()
        clear(out)
        RunFolder.open(out, settings, resume=resume)
        progress.begin()
        if this.folder.record("load") is None:
            _do(this, STAGES[:1])
        elif not is_loaded:
            this.observer.say("load: finished by another process in the meantime, kept")
        if last > 0:
            processes.wait()  # the other processes now check whether to adapt
            processes.wait()
        _do_after_load(this, STAGES[1 : last + 1], progress)
    if until == "report":
        return finished_results(this.folder)
    return {name: this.folder.record(name) for name in STAGE_NAMES[: last + 1]}


def _finished(settings: Settings, out: Path, device: str) -> list[str]:
    """The stages that every run has and that are done in ``out`` with these settings."""
    run = Run(RunFolder(out, settings), device)
    return [
        stage.name
        for stage in STAGES
        if stage.wanted is None and not stage.is_last and stage.is_finished(run)
    ]


def _with_added_stages(settings: Settings, out: Path, device: str, observer: ProgressFile) -> Settings:
    """The settings with those of finished stages that another command added to the run.

    ``results.json`` keeps the results of such a stage, so the run keeps its settings if the first command is
    given again. Sizes that were measured are kept too.
    """
    if not RunFolder.is_run(out):
        return settings
    stored = Run(RunFolder.find(out), device, observer)
    kept = with_earlier_defaults(settings, stored.settings)
    for name, (_, value) in differing_keys(settings, kept).items():
        shown = ", ".join(value) if isinstance(value, list) else repr(value)
        observer.say(f"{name}: the default has changed since the run began; kept: {shown}")
    settings = _with_measured_sizes(kept, stored)
    added = {
        stage.name: section
        for stage in STAGES
        if (section := stage.section(stored.settings)) is not None
        and section.addable
        and stage.is_wanted(stored.settings)
        and not stage.is_wanted(settings)
        and stage.is_finished(stored)
    }
    if added:
        observer.say(f"{', '.join(added)}: added to the run earlier, settings kept")
    return settings.model_copy(update=added)


def _with_measured_sizes(settings: Settings, stored: Run) -> Settings:
    """The settings with all sizes that finished stages have measured; their trainings exist already."""
    for stage in STAGES:
        now, before = stage.section(settings), stage.section(stored.settings)
        if now is None or before is None or not stage.is_wanted(settings) or not stage.is_finished(stored):
            continue
        for name in now.growing:
            given, measured = getattr(now, name), getattr(before, name)
            if kept := sorted(set(measured) - set(given)):
                sizes = ", ".join(f"{size:g}" for size in kept)
                stored.observer.say(f"{stage.name}.{name}: {sizes} measured earlier, kept")
                values = {name: tuple(sorted({*given, *measured}))}
                settings = with_section(settings, stage.name, **values)
    return settings


def _check_executor(run: Run, stages: tuple[Stage, ...]) -> None:
    """Check that the executor can work, if one of the stages is still to be done."""
    if any(not stage.is_finished(run) for stage in stages if stage.is_wanted(run.settings)):
        check_executor(run.terms)


def _do_after_load(run: Run, stages: tuple[Stage, ...], progress: ProgressFile) -> None:
    """Do the stages after the first one, and track them; if none is to be done, check the files."""
    with tracking(run, progress) as track:
        has_done = _do(run, stages, track)
    if not has_done and stages and stages[-1].is_last:
        check_intact(run)  # a stage that does something reads the files that it needs
    progress.end()


def _do(run: Run, stages: tuple[Stage, ...], track: Callable[[str], object] = lambda stage: None) -> bool:
    """Do the wanted stages that are not finished, and the last one if any was; returns whether one was.

    ``track`` is called with the name of each stage that was done.
    """
    is_outdated = False
    for stage in stages:
        if stage.is_finished(run) and not (stage.is_last and is_outdated):
            run.observer.say(f"{stage.name}: finished earlier, kept")
        elif stage.is_wanted(run.settings):
            stage.do(run)
            track(stage.name)
            is_outdated = True
    return is_outdated


def check_stages(settings: Settings, splits: Splits) -> None:
    """Check that the wanted stages can work with the real images.

    Raises:
        InputError: for the first one that cannot.
    """
    for stage in STAGES:
        if stage.check is not None and stage.is_wanted(settings):
            stage.check(settings, splits.train, splits.val)


def _check_changes(run: Run) -> None:
    """Check settings added to a finished run before they are stored."""
    for line in changed_files(run.settings, run.path):
        run.observer.say(line)
    for stage in STAGES:
        if stage.is_wanted(run.settings) and not stage.is_finished(run):
            if stage.check is not None:
                stage.check(with_kept_files(run.settings, run.path), run.train, run.val)
            if stage.check_finished is not None:
                stage.check_finished(run)


def _reports_all(run: Run, record: dict[str, Any]) -> bool:
    """Whether the report was made with the present settings of every stage, and its files are whole."""
    added = {name: value for name, value in record.get("added", {}).items() if value is not None}
    try:
        return added == report.added_settings(run, STAGE_NAMES) and not report.lost_files(run)
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
    required = [stage.name for stage in STAGES if stage.wanted is None and not stage.is_last]
    if folder.record("compare") is None:
        raise InputError(f"{folder.path} is not finished: go on with 'understudy run {folder.path}'")
    with FolderLock(folder.path):
        if missing := [name for name in required if folder.record(name) is None]:
            raise InputError(
                f"{folder.path}/stages lacks the record of {', '.join(missing)}: go on with 'understudy run "
                f"{folder.path}'"
            )
        report.report(Run(folder, "cpu", ProgressFile(folder.path, observer)), STAGE_NAMES)
    return finished_results(folder)
