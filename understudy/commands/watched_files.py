"""Files of a folder that another process writes, each read again only when it has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, final

from understudy.core.errors import InputError, first_line

T = TypeVar("T")


@final
class WatchedFiles:
    """Reads files, and keeps what was read until a file changes.

    Attributes:
        problems: why files could not be read, since the last :meth:`start`.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Path, Callable[[Path], Any]], tuple[object, Any]] = {}
        self.problems: list[str] = []

    def start(self) -> None:
        """Begin another look at the folder."""
        self.problems = []

    @staticmethod
    def written(path: Path) -> float | None:
        """When a file was written, in seconds since 1970; None if there is none."""
        try:
            return path.stat().st_mtime
        except OSError:
            return None

    def read(self, path: Path, reader: Callable[[Path], T]) -> T | None:
        """What ``reader`` makes of a file or folder.

        Returns:
            None if there is no such file, or it cannot be read; then :attr:`problems` says why. A file that
            is replaced while it is read is read at the next look.
        """
        try:
            facts = path.stat()
        except OSError:
            return None
        stamp, key = (facts.st_mtime_ns, facts.st_size, facts.st_ino), (path, reader)
        if key in self._known and self._known[key][0] == stamp:
            value: T = self._known[key][1]
            return value
        try:
            value = reader(path)
        except FileNotFoundError:
            return None
        except (InputError, OSError, UnicodeDecodeError) as error:
            self.problems.append(first_line(error))
            return None
        self._known[key] = stamp, value
        return value
