"""The run folder: settings, finished stages, atomic writes, what happened where.

::

    DIR/settings.yaml          every setting, resolved
    DIR/stages/NAME.json       written last, when a stage is complete: seconds, and what it reports
    DIR/data/ adapter/ ...     what the stages write
    DIR/.lock                  while a process works in the folder: which

A stage without its record is not finished: it runs again and takes up what it finds. Nothing here deletes
what a stage wrote.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import yaml

from understudy.core.errors import InputError
from understudy.core.files import read_json, temporary_path, write_json, write_text
from understudy.core.lock import LOCK_FILE
from understudy.core.provenance import peak_memory_gb
from understudy.settings import Settings, differing_keys, from_yaml, may_change, to_yaml

Resume = Literal["if-possible", "always", "never"]


_SECTIONS = (
    "data",
    "adaptation",
    "curation",
    "arms",
    "verdict",
    "cost",
    "environment",
)  # that results.json has in any case


_LISTED = 5  # runs of a study that a message names


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
        """Start a run in a new folder, or go on with one that has the same settings.

        Args:
            path: the folder; made if missing.
            settings: of this call.
            resume: ``if-possible``; ``always`` refuses to start anew; ``never`` refuses to go on.

        Raises:
            InputError: as :meth:`check`.
        """
        path.mkdir(parents=True, exist_ok=True)
        if not cls.check(path, settings, resume=resume) or cls.find(path).settings != settings:
            write_text(path / "settings.yaml", to_yaml(settings))
        return cls(path, settings)

    @staticmethod
    def check(path: Path, settings: Settings, *, resume: Resume = "if-possible") -> bool:
        """Whether ``path`` holds this run already; writes nothing.

        Raises:
            InputError: if the folder holds a run with other settings (the differing keys are named), holds
                something else, or does not fit ``resume``.
        """
        if (path / "settings.yaml").exists():
            if resume == "never":
                raise InputError(
                    f"{path} already holds a run, and --resume never was given: choose another --out"
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
                    f"{path} holds a run with other settings:\n{lines}\nchoose another --out, or the "
                    f"same settings"
                )
            return True
        if resume == "always":
            raise InputError(f"{path} holds no run to go on with, and --resume always was given")
        # A kill while the settings were written leaves their temporary file and that of the lock.
        ours = (temporary_path(path / "settings.yaml"), path / LOCK_FILE)
        if path.exists() and (not path.is_dir() or any(entry not in ours for entry in path.iterdir())):
            raise InputError(f"{path} is not an empty folder and holds no run: choose another --out")
        return False

    @classmethod
    def find(cls, path: Path) -> RunFolder:
        """The run that is in ``path``.

        Raises:
            InputError: if there is none; for the folder of a study, with the runs that lie in it.
        """
        if not (path / "settings.yaml").exists():
            if (path / "study.yaml").exists():
                runs = [str(found.parent) for found in sorted(path.glob("runs/*/settings.yaml"))]
                more = f" and {len(runs) - _LISTED} more" if len(runs) > _LISTED else ""
                raise InputError(
                    f"{path} holds a study, not a run: give one of its runs, "
                    f"{', '.join(runs[:_LISTED])}{more}"
                )
            raise InputError(
                f"{path} holds no run (no settings.yaml): start one with 'understudy run DATA --out {path}'"
            )
        return cls(path, _stored_settings(path))

    def record(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage reported, or None if it is not finished.

        Raises:
            InputError: for a damaged record.
        """
        path = self.path / "stages" / f"{stage}.json"
        mend = f"remove it, then do the stage again with 'understudy run {self.path}'"
        return read_json(path, mend=mend) if path.exists() else None

    @contextmanager
    def stage(self, name: str, *, started: float | None = None) -> Iterator[dict[str, Any]]:
        """Run a stage: its report is filled in the block and written when the block ends well.

        The clock starts with the block, or at the moment ``started`` of ``time.monotonic``.

        Time of earlier, interrupted attempts is not counted. Memory is the largest that this process has held
        so far.
        """
        report: dict[str, Any] = {}
        start = time.monotonic() if started is None else started
        yield report
        report |= {"seconds": round(time.monotonic() - start, 2), "peak_memory_gb": peak_memory_gb()}
        write_json(self.path / "stages" / f"{name}.json", report)


def finished_results(folder: RunFolder) -> dict[str, Any]:
    """Content of ``results.json``.

    Raises:
        InputError: if the run is not finished, or the file is damaged.
    """
    path = folder.path / "results.json"
    if not path.exists():
        raise InputError(f"{folder.path} is not finished: go on with 'understudy run {folder.path}'")
    return read_json(path, mend=f"write it anew with 'understudy report {folder.path}'", keys=_SECTIONS)


def _stored_settings(path: Path) -> Settings:
    """Of the run in ``path``."""
    file = path / "settings.yaml"
    try:
        return from_yaml(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"{file} must be YAML text, and is not ({str(error).splitlines()[0]}): put back what it was"
        ) from None
