"""Command export: a part of a run goes to a folder or to the Hugging Face hub; a dry run shows its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from understudy.commands.export import export_part
from understudy.commands.export_licences import stating_licences
from understudy.commands.options import Export, ExportWhat
from understudy.core.errors import InputError
from understudy.core.hub_upload import Kind, check_repository, check_token, upload
from understudy.core.listing import shortened
from understudy.data.export import check_new
from understudy.pipeline.folder import RunFolder

_HUB = "hub:"
_MOST_FILES = 20
"""Files that a dry run lists."""


def export_as_asked(path: Path, asked: Export, licences: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write a part of a run to a folder or to the hub, or show what would be written.

    Args:
        path: folder of the run.
        asked: the options of the command.
        licences: nested settings that the run then keeps, as for
            :func:`understudy.commands.export_licences.stating_licences`.

    Returns:
        Lines for the user: what was written, or the files of a dry run.

    Raises:
        InputError: as :func:`understudy.commands.export.export_part`; and if an option has no effect, the
            name on the hub cannot be one, or the hub does not take the files.
    """
    if licences and asked.dry_run:
        raise InputError("--set stores licences in the run, --dry-run stores nothing: leave one of them out")
    with stating_licences(path, licences) as folder:
        return _export(folder, asked)


def _export(folder: RunFolder, asked: Export) -> list[str]:
    form = None if asked.form is None else asked.form.value
    write = partial(export_part, folder, what=asked.what.value, form=form, arm=asked.arm)
    if asked.to.startswith(_HUB):
        return _to_hub(write, asked.to.removeprefix(_HUB), asked)
    if Path(asked.to).resolve().is_relative_to(folder.path.resolve()):
        raise InputError(
            f"{asked.to} must be outside of the run, which keeps its own files there: choose another"
        )
    return _to_folder(write, Path(asked.to), asked)


def _to_folder(write: Callable[..., str], to: Path, asked: Export) -> list[str]:
    if asked.public:
        raise InputError("--public has no effect on a folder: leave it out, or give hub:ORG/NAME to --to")
    check_new(to)
    if not asked.dry_run:
        return [f"{write(to, hub=None)} in {to}"]
    with _temporary_folder() as temporary:
        wrote = write(temporary, hub=None)
        return [*_files(temporary), f"{wrote} would go to {to}; this dry run has written nothing there"]


def _to_hub(write: Callable[..., str], name: str, asked: Export) -> list[str]:
    check_repository(name)
    if asked.what is ExportWhat.REPORT:
        raise InputError("the hub has no place for a report: give a folder to --to")
    if asked.what is ExportWhat.PREDICTIONS:
        raise InputError(
            "predictions name your real images and tell their labels, so they are not uploaded: give a "
            "folder to --to"
        )
    if not asked.dry_run:
        check_token()
    kind: Kind = "dataset" if asked.what is ExportWhat.DATASET else "model"
    # Written as a whole before the hub is asked for a repository, which would otherwise stay empty.
    with _temporary_folder() as temporary:
        wrote = write(temporary, hub=name)
        if not asked.dry_run:
            return [f"{wrote} in {upload(temporary, name, kind=kind, public=asked.public)}"]
        seen = "public" if asked.public else "private"
        place = f"the {seen} {kind} repository {name} on the hub"
        return [*_files(temporary), f"{wrote} would go to {place}; this dry run has not asked the hub"]


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="understudy-") as folder:
        yield Path(folder) / "export"


def _files(folder: Path) -> list[str]:
    """A line for each file below a folder with its size, and one with their number and total size."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = [path.stat().st_size for path in files]
    lines = [
        f"{size:>15,} bytes  {path.relative_to(folder).as_posix()}"
        for size, path in zip(sizes, files, strict=True)
    ]
    return [*shortened(lines, most=_MOST_FILES), f"{sum(sizes):>15,} bytes  in {len(files):,} files"]
