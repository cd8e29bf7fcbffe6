"""What was found out about the images of large sets, kept for the next command that reads them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Self, final

import numpy as np

from understudy.data.changed_copies import SIDE
from understudy.data.inspection import Inspected
from understudy.data.levels import Levels

_RECORD = np.dtype(
    [
        ("kind", "S14"),
        ("low", "<f8"),
        ("high", "<f8"),
        ("bright", "<f8"),  # NaN if there is none
        ("pixels", "<i8"),
        ("has_pages", "?"),
        ("hash", "S64"),
        ("perceptual", "<u8"),
        ("thumbnail", "u1", (256,)),
        ("picture", "u1", (SIDE, SIDE)),
    ]
)
_LAYOUT = 1  # to be raised when the record or the way to find it changes
_MAKE = "CREATE TABLE IF NOT EXISTS images (key BLOB PRIMARY KEY, record BLOB)"
_ASK = "SELECT record FROM images WHERE key = ?"
_ADD = "INSERT OR IGNORE INTO images VALUES (?, ?)"


@final
class KnownImages:
    """A file that remembers what :func:`understudy.data.inspection.inspect` found, by the bytes of images.

    So it does not matter where an image lies or when it was copied, and a changed image is another one. The
    file lies in the folder for caches, which ``XDG_CACHE_HOME`` names, has about 2 kB per image, and may be
    removed at any time. It holds grey thumbnails of 32 x 32 pixels, so only its user may read it. If it
    cannot be read or written, nothing is remembered.
    """

    def __init__(self, path: Path | None, *, patience: float = 10) -> None:
        self._base: sqlite3.Connection | None = None
        if path is not None:
            with contextlib.suppress(OSError, sqlite3.Error):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(mode=0o600)  # it shows small pictures
                self._base = sqlite3.connect(path, timeout=patience)
                self._base.execute("PRAGMA synchronous = OFF")  # a lost file costs no more than time
                self._base.execute(_MAKE)

    @classmethod
    def open(cls) -> Self:
        """The file of this user, for the versions that decide what images and their thumbnails look like."""
        versions = [f"{name}-{version(name)}" for name in ("understudy", "pillow", "ImageHash")]
        return cls(cache_folder() / f"images-{_LAYOUT}-{'-'.join(versions)}.sqlite")

    def find(self, images: Sequence[bytes]) -> list[Inspected | None]:
        """What is known about each image; None if nothing is."""
        return [self._find(_key(data)) for data in images]

    def _find(self, key: bytes) -> Inspected | None:
        try:
            found = self._base and self._base.execute(_ASK, (key,)).fetchone()
        except sqlite3.Error:
            self._base = None  # another question would wait as long
            return None
        return _inspected(found[0]) if found else None

    def add(self, found: Mapping[bytes, Inspected]) -> None:
        """Remember what was found, by the bytes of each image."""
        rows = [(_key(data), _record(each)) for data, each in found.items() if each.fingerprint is not None]
        if self._base is not None and rows:
            with contextlib.suppress(sqlite3.Error), self._base:
                self._base.executemany(_ADD, rows)

    def close(self) -> None:
        """Close the file."""
        if self._base is not None:
            self._base.close()


def cache_folder() -> Path:
    """Where the file of this user lies."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "understudy"


def _key(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _record(found: Inspected) -> bytes:
    assert found.fingerprint is not None
    levels, (pixels, bits, thumbnail, picture) = found.levels, found.fingerprint
    bright = np.nan if levels.bright is None else levels.bright
    row = (levels.kind, levels.low, levels.high, bright, found.pixels, found.has_pages)
    return np.array((*row, pixels, bits, thumbnail, picture), dtype=_RECORD).tobytes()


def _inspected(record: bytes) -> Inspected:
    (row,) = np.frombuffer(record, dtype=_RECORD)
    bright = None if np.isnan(row["bright"]) else float(row["bright"])
    levels = Levels(row["kind"].decode(), float(row["low"]), float(row["high"]), bright)
    fingerprint = row["hash"].decode(), int(row["perceptual"]), row["thumbnail"], row["picture"]
    return Inspected(levels, fingerprint, int(row["pixels"]), bool(row["has_pages"]))
