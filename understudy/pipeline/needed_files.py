"""Local files and folders outside of a run that its settings name, and that other machines load too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path

from understudy.generators.load import GENERATORS
from understudy.settings import Settings
from understudy.training.backbones import BACKBONES

_BY_JOBS = (
    "generator.name",
    "generator.config",
    "generator.adapters",
    "generator.images",
    "generator.image_encoder",
    "generator.autoencoder",
    "compare.backbone",
    "compare.weights",
)
"""What draws and what is trained."""
_BY_PIPELINES = ("adapt.adapter", "adapt.distribution_encoders", "curate.clip", "generator.retrieved")
"""What adapts and curates besides."""
_BY_RUNS = (*_BY_PIPELINES, "fidelity.encoder", "shift.tests")
"""What the process of a run loads besides."""


def needed_by_jobs(settings: Settings, root: Path) -> tuple[Path, ...]:
    """What the parts of a run load that workers do.

    Args:
        settings: of the run.
        root: its folder; what lies there is sent, or seen by all.

    Returns:
        Absolute paths of what exists here.
    """
    whole = settings.draw.members > 1 or settings.membership.target == "pipeline"
    return _existing(_named(settings, _BY_JOBS + _BY_PIPELINES * whole), root)


def needed_by_runs(settings: Iterable[Settings], root: Path) -> tuple[Path, ...]:
    """What whole runs load, the same way."""
    return _existing([value for each in settings for value in _named(each, _BY_JOBS + _BY_RUNS)], root)


def _named(settings: Settings, names: Sequence[str]) -> list[str | Path]:
    found: list[str | Path] = []
    for name in names:
        value = attrgetter(name)(settings)
        several = value.values() if isinstance(value, dict) else value
        found += [value] if isinstance(value, str | Path) else several or ()
    return found


def _existing(values: Iterable[str | Path], root: Path) -> tuple[Path, ...]:
    known = {*GENERATORS, *BACKBONES}  # these names come first, also where a folder has the same one
    paths = {Path(value).absolute() for value in values if value not in known}
    return tuple(sorted(path for path in paths if path.exists() and not path.is_relative_to(root)))
