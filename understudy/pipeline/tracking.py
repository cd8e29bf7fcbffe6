"""What experiment trackers get from a run: settings, losses, trainings, accuracies and a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from PIL import Image

from understudy.core.config import flatten
from understudy.core.errors import first_line
from understudy.core.files import read_arrays
from understudy.core.progress_file import ProgressFile
from understudy.core.run_trackers import Trackers
from understudy.pipeline.context import Run
from understudy.pipeline.folder import finished_results

_ALONG = ("loss", "val_accuracy", "val_loss")


@contextmanager
def tracking(run: Run, progress: ProgressFile) -> Iterator[Callable[[str], None]]:
    """Track the run in the block, if its settings name a tracker.

    Figures that a stage measures while it runs are tracked at once. What the trainings measured follows when
    all of them are finished, and accuracy on test images when the run is.

    Args:
        run: the run; its folder is locked.
        progress: passes figures on.

    Yields:
        A function that is called with the name of each stage that was done.
    """
    settings = run.settings.track
    trackers = Trackers(settings.to, run.path, project=settings.project, warn=run.observer.say)
    values = flatten(run.settings.model_dump(mode="json"))
    trackers.start({name: value if _is_plain(value) else json.dumps(value) for name, value in values.items()})
    progress.pass_on = trackers.log
    try:
        yield partial(_after, run, trackers)
    finally:
        trackers.finish()


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _after(run: Run, trackers: Trackers, stage: str) -> None:
    """Track what a finished stage has left in the run folder; if that cannot be read, the run goes on."""
    try:
        if trackers:
            _track(run, trackers, stage)
    except Exception as error:  # noqa: BLE001 - the run needs none of this
        run.observer.say(f"track: warning: what {stage} has left could not be tracked: {first_line(error)}")


def _track(run: Run, trackers: Trackers, stage: str) -> None:
    if stage in ("draw", "curate") and (path := run.path / "synthetic" / "samples.png").is_file():
        with Image.open(path) as image:
            trackers.picture("samples", path, np.asarray(image.convert("RGB")))
    if stage == "compare":
        for path in sorted((run.path / "arms").glob("*-seed*.npz")):
            record = read_arrays(path)
            for point in json.loads(str(record["history"]))["curve"]:
                trackers.log(path.stem, {name: point[name] for name in _ALONG}, step=point["step"])
            last = {"val_accuracy": float(record["val_accuracy"])}
            trackers.log(path.stem, last, step=int(record["steps"]))
    if stage == "report":
        for arm, measured in finished_results(run.folder)["arms"].items():
            trackers.log(arm, {"test_accuracy": measured["accuracy"]["mean"]}, step=0)
