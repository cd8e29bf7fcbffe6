"""The run folder: settings, and a record of every finished stage.

::

    DIR/settings.yaml          every setting, resolved
    DIR/stages/NAME.json       written last, when a stage is complete: seconds, and what it reports
    DIR/data/ adapter/ ...     what the stages write
    DIR/.lock                  the process that works in the folder, while one does

A stage without a record is not finished: it runs again and continues with the files it finds. Nothing here
deletes what a stage wrote.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from understudy.core.errors import InputError
from understudy.core.files import read_json, temporary_path, write_json, write_text
from understudy.core.listing import listed
from understudy.core.lock import LOCK_FILE
from understudy.core.provenance import forget_peak_memory, peak_memory_gb
from understudy.settings import Settings, differing_keys, from_yaml, may_change, to_yaml

Resume = Literal["if-possible", "always", "never"]

_SECTIONS = ("data", "adaptation", "curation", "arms", "verdict", "cost", "environment")
"""Sections of every ``results.json``."""
_ALWAYS = ("seconds", "peak_memory_gb")
"""Entries of the record of every stage."""

_FIRST_LINE, _LAST_LINE = (
    "# Every setting of this run, down to the line 'end of settings'.\n",
    "# end of settings\n",
)


@final
@dataclass(frozen=True)
class RunFolder:
    """A folder that holds one run with one set of settings.

    Attributes:
        path: the folder.
        settings: what the run was started with.
    """

    path: Path
    settings: Settings

    @classmethod
    def open(cls, path: Path, settings: Settings, *, resume: Resume = "if-possible") -> RunFolder:
        """Start a run in a new folder, or continue one with the same settings.

        Args:
            path: the folder; made if missing.
            settings: of this call.
            resume: ``if-possible``; ``always`` refuses to start a run; ``never`` refuses to continue one.

        Raises:
            InputError: as :meth:`check`.
        """
        path.mkdir(parents=True, exist_ok=True)
        if not cls.check(path, settings, resume=resume) or cls.find(path).settings != settings:
            write_text(path / "settings.yaml", f"{_FIRST_LINE}{to_yaml(settings)}{_LAST_LINE}")
        return cls(path, settings)

    @staticmethod
    def is_run(path: Path) -> bool:
        """Whether ``path`` is the folder of a run."""
        return (path / "settings.yaml").exists()

    @property
    def is_in_study(self) -> bool:
        """Whether the run belongs to a study, or to a run with ``--repeats``."""
        return (self.path.resolve().parent.parent / "study.yaml").is_file()

    @staticmethod
    def check(path: Path, settings: Settings, *, resume: Resume = "if-possible") -> bool:
        """Check that this run can be started or continued in ``path``; returns whether it is there already.

        Raises:
            InputError: if the folder holds a run with other settings (the differing keys are named), holds
                something else, or does not fit ``resume``.
        """
        if RunFolder.is_run(path):
            if resume == "never":
                raise InputError(
                    f"{path} already holds a run, and --resume never was given: leave --resume out to "
                    "continue it, or start a new run with images as DATA and another --out"
                )
            stored = _stored_settings(path)
            different = {
                key: values for key, values in differing_keys(stored, settings).items() if not may_change(key)
            }
            if different:
                lines = "\n".join(
                    f"  {key}: {old!r} in the folder, {new!r} now" for key, (old, new) in different.items()
                )
                raise InputError(
                    f"{path} holds a run with other settings:\n{lines}\n"
                    "choose another --out, or the same settings"
                )
            return True
        _check_no_study(path)
        if resume == "always":
            raise InputError(
                f"{path} holds no run to continue, and --resume always was given: give the folder of a run, "
                "or leave --resume out to start one"
            )
        # A kill while the settings were written leaves their temporary file and that of the lock.
        ours = (temporary_path(path / "settings.yaml"), path / LOCK_FILE)
        if path.exists() and (not path.is_dir() or any(entry not in ours for entry in path.iterdir())):
            raise InputError(f"{path} is not an empty folder and holds no run: choose another --out")
        return False

    @classmethod
    def find(cls, path: Path) -> RunFolder:
        """The run in ``path``.

        Raises:
            InputError: if there is none; for the folder of a study, the message names its runs.
        """
        if not cls.is_run(path):
            _check_no_study(path)
            raise InputError(
                f"{path} holds no run (no settings.yaml): start one with 'understudy run DATA --out {path}'"
            )
        return cls(path, _stored_settings(path))

    def record(self, stage: str) -> dict[str, Any] | None:
        """The record of a stage, or None if the stage is not finished.

        Raises:
            InputError: for a damaged record.
        """
        path = self.path / "stages" / f"{stage}.json"
        mend = f"remove it, then do the stage again with 'understudy run {self.path}'"
        return read_json(path, mend=mend, keys=_ALWAYS) if path.exists() else None

    @contextmanager
    def stage(self, name: str, *, started: float | None = None) -> Iterator[dict[str, Any]]:
        """Run a stage: the block fills its record, which is written if the block ends without an error.

        The record also gets the seconds since the block began, or since ``started`` (by ``time.monotonic``),
        and the peak memory of this process since the same moment; on other systems than Linux, since the
        process began. Earlier, interrupted attempts do not count.
        """
        record: dict[str, Any] = {}
        if started is None:
            forget_peak_memory()
        start = time.monotonic() if started is None else started
        yield record
        record |= {"seconds": round(time.monotonic() - start, 2), "peak_memory_gb": peak_memory_gb()}
        write_json(self.path / "stages" / f"{name}.json", record)


def _check_no_study(path: Path) -> None:
    """Check that a folder does not hold several runs.

    Raises:
        InputError: naming its runs.
    """
    if (path / "study.yaml").exists():
        runs = [str(found.parent) for found in sorted(path.glob("runs/*/settings.yaml"))]
        raise InputError(
            f"{path} holds a study, not a run: go on with the command that began it ('understudy study', "
            "'understudy bakeoff' or 'understudy run --repeats N'), choose another folder, or give one of "
            f"its runs, {listed(runs)}"
        )


def finished_results(folder: RunFolder) -> dict[str, Any]:
    """Content of ``results.json``.

    Raises:
        InputError: if the run is not finished, or the file is damaged.
    """
    path = folder.path / "results.json"
    if not path.exists():
        raise InputError(f"{folder.path} is not finished: go on with 'understudy run {folder.path}'")
    return read_json(path, mend=f"write it again with 'understudy report {folder.path}'", keys=_SECTIONS)


def _stored_settings(path: Path) -> Settings:
    """The settings of the run in ``path``."""
    file = path / "settings.yaml"
    mend = "restore the file, or choose another folder for a new run"
    try:
        text = file.read_text(encoding="utf-8")
        settings = from_yaml(text)
    except ValueError as error:  # no settings, not UTF-8, a bad date, ...
        raise InputError(f"{file} cannot be read: {error}\n{mend}") from None
    # Settings that are missing would get their default values. Older versions wrote no last line.
    if not text.endswith(_LAST_LINE if text.startswith(_FIRST_LINE) else "\n"):
        raise InputError(f"{file} was cut short, because its last line is missing or has no end: {mend}")
    return settings
