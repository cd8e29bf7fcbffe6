"""Experiment trackers by name, all through those of accelerate: TensorBoard, MLflow and Weights & Biases."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.core.errors import InputError, first_line
from understudy.core.files import read_json, write_json
from understudy.core.registry import Registry

TRACKING_FOLDER = "tracking"
"""In the run folder: what trackers keep on this disk, and the names by which they know the run."""
_NAMES = "names.json"
_LOGIN_SECONDS = 30  # that Weights & Biases waits for a key on a terminal


@final
@dataclass(frozen=True, kw_only=True)
class Tracked:
    """The run that a tracker shows.

    Attributes:
        folder: for what the tracker writes to this disk.
        project: the group of runs.
        name: of the run.
        known: the name that the tracker gave the run when it began to track it; None for a new one.
    """

    folder: Path
    project: str
    name: str
    known: str | None


TRACKERS: Registry[Callable[[Tracked], Any]] = Registry("tracker")


@TRACKERS.register("tensorboard", summary="event files in the run folder (extra `tensorboard`)")
def tensorboard(run: Tracked) -> Any:
    """Event files; a run that is resumed adds one."""
    from accelerate.tracking import TensorBoardTracker  # slow to import, and few runs need it

    return TensorBoardTracker(run_name="tensorboard", logging_dir=run.folder)


@TRACKERS.register("mlflow", summary="a run in the store that MLFLOW_TRACKING_URI names (extra `mlflow`)")
def mlflow(run: Tracked) -> Any:
    """A run of MLflow."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before its first import
    from accelerate.tracking import MLflowTracker  # slow to import, and few runs need it

    return MLflowTracker(experiment_name=run.project, run_name=run.name, run_id=run.known)


@TRACKERS.register("wandb", summary="a run of Weights & Biases, or offline by WANDB_MODE (extra `wandb`)")
def wandb(run: Tracked) -> Any:
    """A run of Weights & Biases."""
    from accelerate.tracking import WandBTracker  # slow to import, and few runs need it
    from wandb import Settings  # the extra `wandb`, which few runs need

    # What the run did not ask to send: lines of the terminal, git, packages, the machine.
    quiet = Settings(
        console="off",
        disable_git=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        login_timeout=_LOGIN_SECONDS,
    )
    place = {"dir": str(run.folder), "settings": quiet}
    return WandBTracker(run_name=run.project, name=run.name, id=run.known, resume="allow", **place)


def check_trackers(names: Sequence[str]) -> None:
    """Check that the packages of these trackers are installed.

    Raises:
        InputError: naming the extra that brings one.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f'track.to={name} needs {name}: pip install "understudy[{name}]", or leave it out'
            )


@final
class Trackers:
    """The trackers of a run. One that fails is given up with a warning, and the run goes on.

    Args:
        names: keys of ``TRACKERS``; none for no tracking.
        folder: of the run.
        project: the group of runs that it belongs to.
        warn: receives a sentence about each tracker that fails.
    """

    def __init__(
        self, names: Sequence[str], folder: Path, *, project: str, warn: Callable[[str], object]
    ) -> None:
        self._names, self._project, self._warn = names, project, warn
        self._run, self._folder = folder, folder / TRACKING_FOLDER
        self._trackers: dict[str, Any] = {}

    def __len__(self) -> int:
        """Number of trackers that work."""
        return len(self._trackers)

    def start(self, settings: Mapping[str, Any]) -> None:
        """Begin to track the run, or go on with it, and store its settings by dotted name."""
        for name in self._names:
            self._try(name, partial(self._start, name, settings))

    def log(self, group: str, figures: Mapping[str, float], *, step: int) -> None:
        """Log figures of a step; ``group`` and the name of a figure are its name there."""
        values = {f"{group}/{name}": float(value) for name, value in figures.items()}
        for name, tracker in list(self._trackers.items()):
            if name == "wandb":  # there, steps of a run only rise, but each training begins with the first
                self._try(name, partial(tracker.log, {**values, f"{group}/step": step}))
            elif name == "mlflow":  # which allows fewer characters
                plain = {re.sub(r"[^\w./ -]", "_", key): value for key, value in values.items()}
                self._try(name, partial(tracker.log, plain, step=step))
            else:
                self._try(name, partial(tracker.log, values, step=step))

    def picture(self, name: str, path: Path, pixels: np.ndarray) -> None:
        """Log a picture: a file, and its pixels, uint8 (H, W, 3)."""
        for each, tracker in list(self._trackers.items()):
            self._try(each, partial(self._picture, each, tracker, name, path, pixels))

    @staticmethod
    def _picture(tracker_name: str, tracker: Any, name: str, path: Path, pixels: np.ndarray) -> None:
        if tracker_name == "mlflow":
            tracker.log_artifact(str(path), "pictures")
        else:
            layout = {"dataformats": "NHWC"} if tracker_name == "tensorboard" else {}
            tracker.log_images({name: pixels[None]}, **layout)

    def finish(self) -> None:
        """End the tracked runs, which can be continued."""
        for name, tracker in list(self._trackers.items()):
            self._try(name, tracker.finish)
        self._trackers.clear()

    def _start(self, name: str, settings: Mapping[str, Any]) -> None:
        file = self._folder / _NAMES
        known = read_json(file) if file.exists() else {}
        self._folder.mkdir(exist_ok=True)
        own = self._run.resolve().name
        run = Tracked(folder=self._folder, project=self._project, name=own, known=known.get(name))
        tracker = TRACKERS[name](run)
        tracker.start()
        self._trackers[name] = tracker
        if name != "tensorboard":
            found = tracker.tracker.id if name == "wandb" else tracker.tracker.info.run_id
            write_json(file, known | {name: found})
        if run.known is None:
            tracker.store_init_configuration(dict(settings))

    def _try(self, name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever happens in a tracker, the run goes on
            self._trackers.pop(name, None)
            self._warn(f"track: warning: {name} failed, and the run goes on without it: {first_line(error)}")
