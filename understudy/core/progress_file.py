"""The progress of a run as a small file in its folder, for other processes: :func:`read_progress`.

::

    written   when the file was written, in seconds since 1970, as all times
    bars      loops that run, the inner ones last: text, unit, total, done; began and first, the time and the
              amount of the first report, which holds what a resumed run found done; measured, by figure
              pairs of step and value
    messages  the last lines that the run said: time, text
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

from understudy.core.files import read_json, write_json
from understudy.core.progress import Observer, Silent

PROGRESS_FILE = "progress.json"
_BETWEEN_WRITES = 1.0  # seconds
_MOST_MESSAGES, _MOST_FIGURES = 50, 1000


@final
class ProgressFile:
    """Passes progress on to an observer, and notes it in a folder between :meth:`begin` and :meth:`end`.

    The file is written with every message, and else at most once a second. If that fails, the run goes on.
    Only the process that holds the lock of the folder may begin.

    Args:
        folder: of the run.
        observer: what else receives the progress.

    Attributes:
        pass_on: what else is called with figures, as :meth:`measured` is.
    """

    def __init__(self, folder: Path, observer: Observer | None = None) -> None:
        self._path = folder / PROGRESS_FILE
        self._observer = observer or Silent()
        self._bars: list[dict[str, Any]] = []
        self._messages: list[dict[str, Any]] = []
        self._measured: dict[str, dict[str, list[list[float]]]] = {}
        self._has_begun = False
        self._written = 0.0
        self.pass_on: Callable[..., object] = Silent().measured

    def begin(self) -> None:
        """Write from now on; goes on with the messages and figures of a run that was stopped."""
        earlier = read_progress(self._path.parent)
        self._messages = [*earlier.get("messages", []), *self._messages]
        self._measured = {bar["text"]: bar["measured"] for bar in earlier.get("bars", [])}
        self._has_begun = True

    def end(self) -> None:
        """Remove the file, because the stages are finished and their records say all."""
        self._has_begun = False
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def say(self, text: str) -> None:
        """Report a line of text, and note it."""
        self._observer.say(text)
        self._messages.append({"time": time.time(), "text": text})
        self._write()

    @contextmanager
    def bar(self, text: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Show a bar while the block runs, and note how far it is."""
        bar: dict[str, Any] = {"text": text, "unit": unit, "total": total, "done": 0}
        bar |= {"began": None, "first": 0, "measured": self._measured.setdefault(text, {})}
        self._bars.append(bar)
        with self._observer.bar(text, total=total, unit=unit) as advance:

            def advance_and_note(amount: int) -> None:
                advance(amount)
                bar["done"] += amount
                if bar["began"] is None:
                    bar["began"], bar["first"] = time.time(), bar["done"]
                self._write_seldom()

            yield advance_and_note
        self._bars.remove(bar)
        self._write_seldom()

    def measured(self, name: str, figures: Mapping[str, float], *, step: int) -> None:
        """Note figures with the bar of this name; those of a repeated step replace the earlier ones."""
        noted = self._measured.setdefault(name, {})
        for figure, value in figures.items():
            kept = [point for point in noted.get(figure, []) if point[0] < step]
            noted[figure] = [*kept, [step, value]][-_MOST_FIGURES:]
        self.pass_on(name, figures, step=step)
        self._write_seldom()

    def _write_seldom(self) -> None:
        if not 0 <= time.time() - self._written < _BETWEEN_WRITES:  # a clock may be set back
            self._write()

    def _write(self) -> None:
        if not self._has_begun:
            return
        self._messages = self._messages[-_MOST_MESSAGES:]
        self._written = time.time()
        with suppress(OSError):
            write_json(self._path, {"written": self._written, "bars": self._bars, "messages": self._messages})


def read_progress(folder: Path) -> dict[str, Any]:
    """What a :class:`ProgressFile` has noted in a folder; empty if it has noted nothing that can be read."""
    try:
        found = read_json(folder / PROGRESS_FILE)
        messages = [
            {"time": float(message["time"]), "text": str(message["text"])} for message in found["messages"]
        ]
        return {
            "written": float(found["written"]),
            "bars": [_bar(bar) for bar in found["bars"]],
            "messages": messages,
        }
    except Exception:  # noqa: BLE001 - somebody may have edited the file, and nothing depends on it
        return {}


def _bar(bar: Mapping[str, Any]) -> dict[str, Any]:
    """A bar of the file, in the form in which it was written."""
    return {
        **{name: str(bar[name]) for name in ("text", "unit")},
        **{name: int(bar[name]) for name in ("total", "done", "first")},
        "began": None if bar["began"] is None else float(bar["began"]),
        "measured": {
            str(figure): [[int(step), float(value)] for step, value in points]
            for figure, points in bar["measured"].items()
        },
    }
