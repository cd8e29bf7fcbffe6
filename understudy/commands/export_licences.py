"""Licences that are stated when a run is exported, which the run then keeps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy.core.config import check_effect, given_names
from understudy.core.errors import InputError
from understudy.core.lock import FolderLock
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import write_report_again
from understudy.settings import build

_LICENCES = ("data.licence", "generator.licence")


@contextmanager
def stating_licences(path: Path, overrides: Sequence[Mapping[str, Any]]) -> Iterator[RunFolder]:
    """Yield a run with licences that were not stated when it was started.

    If the block ends without an error, the run keeps the licences, and its report is written again.

    Args:
        path: folder of a run.
        overrides: nested settings, only ``data.licence`` and ``generator.licence``; if empty, nothing is
            written.

    Raises:
        InputError: if other settings are given, a licence has no effect, the folder holds no run, or another
            process works in it.
    """
    if not overrides:
        yield RunFolder.find(path)
        return
    given = given_names(*overrides)
    if others := [name for name in given if name not in _LICENCES]:
        raise InputError(
            f"export can set only {' and '.join(_LICENCES)}, got {others[0]}: leave it out, or start a new "
            "run"
        )
    if path.is_dir() and not os.access(path, os.W_OK):
        raise InputError(
            f"{path} must be writable, because the run stores the licences: make it writable, or leave --set "
            "out"
        )
    with FolderLock(path):
        settings = build(RunFolder.find(path).settings.model_dump(mode="json"), *overrides)
        check_effect(settings, given)
        folder = RunFolder(path, settings)
        yield folder
        RunFolder.open(path, settings)
        if folder.record("report") is not None:
            write_report_again(folder)
