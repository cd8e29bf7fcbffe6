"""Experiment trackers, all through those of accelerate: TensorBoard, MLflow and Weights & Biases."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.core.registry import Registry

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


class Tracker(ABC):
    """A run in one tracker, begun or continued."""

    def __init__(self, run: Tracked) -> None:
        self._inner = self._begin(run)
        self._inner.start()

    @property
    @abstractmethod
    def name(self) -> str | None:
        """The name that the tracker gave the run; None if it needs none to go on with it."""

    @abstractmethod
    def _begin(self, run: Tracked) -> Any:
        """The tracker of accelerate."""

    def store(self, settings: Mapping[str, Any]) -> None:
        """Store the settings of a run, by dotted name."""
        self._inner.store_init_configuration(dict(settings))

    def log(self, group: str, figures: Mapping[str, float], *, step: int) -> None:
        """Log the figures of a group at a step."""
        self._inner.log({f"{group}/{name}": value for name, value in figures.items()}, step=step)

    def picture(self, name: str, path: Path, pixels: np.ndarray) -> None:
        """Log a picture: a file, and its pixels, uint8 (H, W, 3)."""
        self._inner.log_images({name: pixels[None]})

    def finish(self) -> None:
        """End the run in the tracker, which can be continued."""
        self._inner.finish()


TRACKERS: Registry[type[Tracker]] = Registry("tracker")


@TRACKERS.register("tensorboard", summary="event files in the run folder (extra `tensorboard`)")
@final
class TensorBoard(Tracker):
    """Event files; a run that is resumed adds one."""

    name = None

    def _begin(self, run: Tracked) -> Any:
        from accelerate.tracking import TensorBoardTracker  # slow to import, and few runs need it

        return TensorBoardTracker(run_name="tensorboard", logging_dir=run.folder)

    def picture(self, name: str, path: Path, pixels: np.ndarray) -> None:
        """Its pictures are a batch, whose axes it must be told."""
        self._inner.log_images({name: pixels[None]}, dataformats="NHWC")


@TRACKERS.register("mlflow", summary="a run in the store that MLFLOW_TRACKING_URI names (extra `mlflow`)")
@final
class MLflow(Tracker):
    """A run of MLflow."""

    def _begin(self, run: Tracked) -> Any:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before its first import
        from accelerate.tracking import MLflowTracker  # slow to import, and few runs need it

        return MLflowTracker(experiment_name=run.project, run_name=run.name, run_id=run.known)

    @property
    def name(self) -> str:
        """The id of the run."""
        return str(self._inner.tracker.info.run_id)

    def log(self, group: str, figures: Mapping[str, float], *, step: int) -> None:
        """Names may have fewer characters there."""
        plain = {re.sub(r"[^\w./ -]", "_", name): value for name, value in figures.items()}
        super().log(re.sub(r"[^\w./ -]", "_", group), plain, step=step)

    def picture(self, name: str, path: Path, pixels: np.ndarray) -> None:
        """A picture is a file there."""
        self._inner.log_artifact(str(path), "pictures")


@TRACKERS.register("wandb", summary="a run of Weights & Biases, or offline by WANDB_MODE (extra `wandb`)")
@final
class WeightsAndBiases(Tracker):
    """A run of Weights & Biases."""

    def _begin(self, run: Tracked) -> Any:
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

    @property
    def name(self) -> str:
        """The id of the run."""
        return str(self._inner.tracker.id)

    def log(self, group: str, figures: Mapping[str, float], *, step: int) -> None:
        """Steps of a run only rise there, but each training begins anew: the step is one more figure."""
        self._inner.log({f"{group}/{name}": value for name, value in {**figures, "step": step}.items()})
