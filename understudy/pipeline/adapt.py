"""Stage adapt: fit the generator to the train split, or use a ready adapter."""

from __future__ import annotations

from collections.abc import Iterator

from understudy.adaptation.adapter import MEND_GIVEN, copy_adapter, read_adapter_report
from understudy.adaptation.fit import AdaptStep
from understudy.core.processes import Processes
from understudy.pipeline.context import Run
from understudy.pipeline.generators import progress_of
from understudy.pipeline.learning_from_scratch import after_learning_from_scratch
from understudy.pipeline.work import Counted, Work

_ENDS = {
    "plateau": "; ended after {steps} steps, half of which lowered the loss by less than 1%",
    "max_steps": "; ended after {steps} steps (adapt.max_steps), while the loss was still falling",
}


def adapt(run: Run) -> None:
    """Adapt the run's main generator."""
    settings, folder = run.settings.adapt, run.path / "adapter"
    with run.folder.stage("adapt") as record:
        if settings.method == "none":
            record["method"] = "none"
            run.observer.say("adapt: skipped, because the generator is used unchanged")
            return
        if settings.adapter is not None:
            copy_adapter(settings.adapter, folder, mend=MEND_GIVEN)
            record |= read_adapter_report(folder)
            run.observer.say(f"adapt: skipped, because the adapter in {settings.adapter} is used")
            return
        with run.observer.bar("adapt", total=settings.num_steps, unit="steps") as advance:
            for amount in progress_of(_noted(run)):
                advance(amount)
        record |= read_adapter_report(folder)
    losses = f"{record['val_loss_before']:.4f} -> {record['val_loss_after']:.4f}"
    ended = _ENDS[record["end"]].format(steps=record["steps"]) if "end" in record else ""
    run.observer.say(f"adapt: validation loss {losses} (weights of step {record['best_step']}){ended}")
    if warning := after_learning_from_scratch(record["steps"], run.image_kind, run.settings):
        run.observer.say(f"adapt: {warning}")


def _noted(run: Run) -> Iterator[AdaptStep]:
    """Adapt the main generator, and report the losses whenever they are measured on validation images."""
    for step in run.generators.adapt(run.path / "adapter"):
        if step.val_loss is not None:
            losses = {"loss": step.loss, "val_loss": step.val_loss}
            run.observer.measured("adapt", losses, step=step.step)
        yield step


def help_to_adapt(run: Run) -> None:
    """Compute a slice of every batch, as all processes of ``accelerate launch`` but the first do."""
    Processes().wait()  # wait until the data are in the run folder
    settings = run.settings.adapt
    is_needed = settings.method != "none" and settings.adapter is None and run.folder.record("adapt") is None
    Processes().wait()
    if is_needed:
        for _ in run.generators.adapt(run.path / "adapter"):
            pass


def work(counted: Counted) -> Work:
    """The adaptation of every generator (`draw.members`)."""
    return Work(adaptations=counted.settings.draw.members)
