"""Progress of long loops: the loop yields its steps, the caller draws the bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, Protocol, TypeVar, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from understudy.core.durations import rough_duration

T = TypeVar("T")

_BETWEEN_LINES = 60.0  # seconds


def follow(steps: Generator[Any, None, T], advance: Callable[[int], object] = lambda amount: None) -> T:
    """Run a loop to its end.

    Args:
        steps: generator that yields once per step.
        advance: called with 1 after each step, to move a bar.

    Returns:
        The return value of the loop.

    Example:
        >>> def loop():
        ...     yield from range(3)
        ...     return "result"
        >>> moved = []
        >>> follow(loop(), moved.append), moved
        ('result', [1, 1, 1])
    """
    with closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            advance(1)


class Observer(Protocol):
    """Receives the progress of a run."""

    def say(self, text: str) -> None:
        """Report a line of text."""

    def bar(self, text: str, *, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """Show a bar while the block runs; the yielded function adds to the number of units done."""


class Recorder(Observer, Protocol):
    """An observer that also receives figures; the stages of a run report to one."""

    def measured(self, name: str, figures: Mapping[str, float], *, step: int) -> None:
        """Receive figures that were measured after a step of the loop whose bar has this name."""


@final
class Silent:
    """A recorder that shows nothing."""

    def say(self, text: str) -> None:
        """Ignore the line."""

    @contextmanager
    def bar(self, text: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Show no bar."""
        yield lambda amount: None

    def measured(self, name: str, figures: Mapping[str, float], *, step: int) -> None:
        """Ignore the figures."""


@final
class Terminal:
    """Prints lines, and shows bars on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """Print the line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, text: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Show a bar with speed and time left; a log file gets a line a minute instead."""
        if not self._console.is_terminal:
            yield _Lines(self.say, text, total=total, unit=unit).advance
            return
        columns = [
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Speed(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        ]
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(text, total=total)
            yield lambda amount: progress.advance(task, amount)


@final
class _Lines:
    """Says once a minute how far a long loop is; a shorter one says nothing.

    The speed is that of the last minute without its first report, which holds what a resumed run found done.
    """

    def __init__(self, say: Callable[[str], None], text: str, *, total: int, unit: str) -> None:
        self._say, self._text, self._total, self._unit = say, text, total, unit
        self._done, self._said = 0, 0
        self._since: float | None = None

    def advance(self, amount: int) -> None:
        self._done += amount
        if self._since is None:
            self._said, self._since = self._done, time.monotonic()
        seconds = time.monotonic() - self._since
        if seconds < _BETWEEN_LINES or self._done >= self._total or self._done == self._said:
            return
        speed = (self._done - self._said) / seconds
        left = rough_duration((self._total - self._done) / speed)
        pace = f"{speed:.1f} {self._unit}/s" if speed >= 1 else f"{1 / speed:.0f} s for each"
        self._say(f"{self._text}: {self._done:,} of {self._total:,} {self._unit}, {pace}, about {left} left")
        self._said, self._since = self._done, time.monotonic()


@final
class _Speed(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self._unit}/s" if speed else f"- {self._unit}/s")
