"""The experiment trackers of a run, one of which may fail without stopping it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.core.errors import InputError, first_line
from understudy.core.files import read_json, write_json
from understudy.core.tracker import TRACKERS, Tracked, Tracker

TRACKING_FOLDER = "tracking"
"""In the run folder: what trackers keep on this disk, and the names by which they know the run."""
_NAMES = "names.json"


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
        self._trackers: dict[str, Tracker] = {}

    def __len__(self) -> int:
        """Number of trackers that work."""
        return len(self._trackers)

    def start(self, settings: Mapping[str, Any]) -> None:
        """Begin to track the run, or go on with it, and store its settings by dotted name."""
        for name in self._names:
            self._try(name, partial(self._start, name, settings))

    def log(self, group: str, figures: Mapping[str, float], *, step: int) -> None:
        """Log figures of a step; ``group`` and the name of a figure are its name there."""
        values = {name: float(value) for name, value in figures.items()}
        for name, tracker in list(self._trackers.items()):
            self._try(name, partial(tracker.log, group, values, step=step))

    def picture(self, name: str, path: Path, pixels: np.ndarray) -> None:
        """Log a picture: a file, and its pixels, uint8 (H, W, 3)."""
        for each, tracker in list(self._trackers.items()):
            self._try(each, partial(tracker.picture, name, path, pixels))

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
        tracker = self._trackers[name] = TRACKERS[name](run)
        if tracker.name is not None:
            write_json(file, known | {name: tracker.name})
        if run.known is None:
            tracker.store(settings)

    def _try(self, name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever happens in a tracker, the run goes on
            self._trackers.pop(name, None)
            self._warn(f"track: warning: {name} failed, and the run goes on without it: {first_line(error)}")
