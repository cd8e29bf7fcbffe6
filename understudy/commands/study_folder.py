"""The folder of a study: its runs, and its index ``study.yaml``.

::

    DIR/study.yaml                   kind, every point that was started, and the settings that all runs share
    DIR/runs/POINT-repeatN/          an ordinary run folder
    DIR/study.json  study.html       results of the finished runs
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import pyarrow.parquet as pq
import yaml

from understudy.commands.study_kinds import STUDIES, Point, StudyKind, file_name
from understudy.core.config import Section, read_yaml
from understudy.core.errors import InputError
from understudy.core.files import readable, write_text
from understudy.core.listing import listed
from understudy.evaluation.accuracy import RIVALS
from understudy.pipeline.folder import RunFolder, finished_results
from understudy.settings import (
    Settings,
    build,
    decides_nothing,
    differing_keys,
    from_stored,
    with_earlier_defaults,
)


@final
@dataclass(frozen=True)
class StudyRun:
    """One run of a study.

    Attributes:
        point, repeat: its place in the study.
        path: its folder.
        settings: of the run.
    """

    point: Point
    repeat: int
    path: Path
    settings: Settings

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.path, self.settings)

    @property
    def is_started(self) -> bool:
        """Whether the images of the run were read and checked."""
        return self.folder.record("load") is not None

    @property
    def is_finished(self) -> bool:
        return self.folder.record("report") is not None and (self.path / "results.json").exists()

    def images(self, split: str) -> list[str]:
        """The ids of the images of a split, sorted."""
        path = self.path / "data" / f"{split}.parquet"
        with readable(path):
            return sorted(pq.read_table(path, columns=["id"]).column("id").to_pylist())

    def agrees(self, other: StudyRun, names: Sequence[str]) -> bool:
        """Whether two runs agree in these sections of settings."""
        mine, others = self.settings, other.settings.model_dump(mode="json")
        sections = {name: getattr(mine, name) for name in names}
        return all(
            value.gives_results_of(others[name]) if isinstance(value, Section) else value == others[name]
            for name, value in sections.items()
        )

    def row(self, out: Path) -> dict[str, Any]:
        """The row of a finished run in ``study.json``; ``out`` is the folder of the study."""
        results = finished_results(self.folder)
        return {
            "point": self.point,
            "repeat": self.repeat,
            "folder": self.path.relative_to(out).as_posix(),
            "seed": self.settings.seed,
            "subset": self.settings.data.subset,
            "train_images": _digest(self.images("train")),
            "test_images": _digest(self.images("test")),
            **{name: results["data"][name] for name in ("train", "val", "test")},
            "synthetic": results["curation"]["kept"],
            "measure": results["verdict"].get("measure", "accuracy"),  # runs of older versions have none
            "arms": {name: _figures(arm) for name, arm in results["arms"].items()},
            "seconds": round(sum(results["cost"]["seconds"].values()), 2),
        }


def _digest(ids: Sequence[str]) -> str:
    """Eight digits that stand for the images of a set."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:8]


def _figures(arm: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of an arm of a run that a study repeats."""

    def ends(measured: Mapping[str, Any]) -> dict[str, float]:
        return {end: measured[end] for end in ("mean", "low", "high")}

    def differences(measured: Mapping[str, Any]) -> dict[str, Any]:
        return {name: ends(measured[name]) for name in RIVALS if name in measured}

    over_classes = {name: arm[name] for name in ("balanced_accuracy", "macro_f1") if name in arm}
    return {
        "accuracy": ends(arm["accuracy"]),
        **differences(arm),
        **{name: ends(measured) | differences(measured) for name, measured in over_classes.items()},
        "steps": arm["steps"],
        **{name: value for name, value in arm.items() if name.startswith("val_")},
    }


def stored_settings(folder: Path) -> Settings | None:
    """The settings that the runs of a study share; None if the folder holds no study that was begun.

    They stand in the index or, if the study was stopped before it had one, in a run that it began.
    """
    if (index := folder / "study.yaml").exists():
        return _read_index(index).settings
    begun = sorted(folder.glob("runs/*/settings.yaml"))
    return RunFolder.find(begun[0].parent).settings if begun else None


@final
@dataclass(frozen=True)
class StudyFolder:
    """A study: its kind, the settings that its runs share, and its folder.

    Attributes:
        kind: a key of ``STUDIES``.
        base: settings of all runs.
        overrides: nested settings that win over all others.
        out: the folder.
        whole: the settings without the overrides: of the whole runs that the small ones of a bake-off stand
            for.
    """

    kind: str
    base: Settings
    overrides: tuple[Mapping[str, Any], ...]
    out: Path
    whole: Settings | None = None

    @property
    def index(self) -> Path:
        """``study.yaml``, written when the first images are read."""
        return self.out / "study.yaml"

    @property
    def known_points(self) -> list[Point]:
        """Every point that was ever started."""
        return list(_read_index(self.index).points) if self.index.exists() else []

    def with_earlier_defaults(self) -> StudyFolder:
        """The same study, with the defaults of the version that began it where they have changed."""
        stored = stored_settings(self.out)
        return self if stored is None else replace(self, base=with_earlier_defaults(self.base, stored))

    def with_fixed_test_images(self) -> StudyFolder:
        """The same study, with the test images of its first run in all runs if its kind needs that.

        Then no image that a run is tested on chooses anything in another run. Studies that an earlier version
        began go on with other test images in each run.
        """
        data, kind = self.base.data, STUDIES[self.kind]
        have_one_seed = kind.varies and data.shots is not None
        if have_one_seed or not kind.fixes_test_images or data.test_split is not None:
            return self
        number = _read_index(self.index).settings.data.test_split if self.index.exists() else self.base.seed
        base = self.base.model_copy(update={"data": data.model_copy(update={"test_split": number})})
        return replace(self, base=base)

    def note(self, point: Point) -> None:
        """Remember a point."""
        points = STUDIES[self.kind].sort(list(dict.fromkeys([*self.known_points, point])))
        content = {"kind": self.kind, "points": points, "settings": self.base.model_dump(mode="json")}
        text = yaml.safe_dump(content, sort_keys=False)
        if not self.index.exists() or self.index.read_text(encoding="utf-8") != text:
            write_text(self.index, text)

    def defaults(self, point: Point) -> dict[str, dict[str, Any]]:
        """Nested settings that suit a point, unless the user gives others.

        If a run of the point was begun, only those that it has: earlier versions had fewer.
        """
        suited = STUDIES[self.kind].defaults(point)
        begun = sorted(self.out.glob(f"runs/{file_name(point)}-repeat*/settings.yaml")) if suited else []
        if not begun:
            return {section: dict(values) for section, values in suited.items()}
        stored = RunFolder.find(begun[0].parent).settings
        return {
            section: {
                name: value
                for name, value in values.items()
                if getattr(getattr(stored, section), name) == value
            }
            for section, values in suited.items()
        }

    def run_of(self, point: Point, repeat: int) -> StudyRun:
        """The run of a point and a repeat.

        Where points are compared, repeats of few images take other subsets, so that the test images stay.
        Other repeats take another seed, also for the test images unless the study fixes them.
        """
        kind = STUDIES[self.kind]
        # Only what was given, because defaults depend on the generator.
        given = self.base.model_dump(mode="json", exclude_unset=True)
        settings = build(
            self.defaults(point), given, _measured_anyway(kind), kind.settings_at(point), *self.overrides
        )
        if kind.varies and settings.data.shots is not None:
            settings = settings.model_copy(
                update={"data": settings.data.model_copy(update={"subset": repeat})}
            )
        else:
            settings = settings.model_copy(update={"seed": settings.seed + repeat})
            if settings.data.test_split == settings.seed:  # as it is anyway: a single run can be this run
                data = settings.data.model_copy(update={"test_split": None})
                settings = settings.model_copy(update={"data": data})
        return StudyRun(point, repeat, self.out / "runs" / f"{file_name(point)}-repeat{repeat}", settings)

    def runs(self) -> Iterator[StudyRun]:
        """All runs that were ever started, by point, then repeat."""
        for point in self.known_points:
            stem = f"{file_name(point)}-repeat"
            numbers = [path.name.removeprefix(stem) for path in self.out.glob(f"runs/{stem}*")]
            repeats = sorted(int(number) for number in numbers if number.isdecimal())
            yield from (self.run_of(point, repeat) for repeat in repeats)

    def check(self, asked: Sequence[StudyRun]) -> None:
        """Check that the folder holds this study with the same settings, or is new.

        A study that was stopped before the first images were read has no index, only the folder of a run.

        Raises:
            InputError: if the folder holds anything else.
        """
        if self.index.exists():
            stored = _read_index(self.index)
            if stored.kind != self.kind:
                raise InputError(
                    f"{self.out} holds a study of {stored.kind}, not of {self.kind}: choose another --out"
                )
            different = differing_keys(stored.settings, self.base)
            if different := {key: pair for key, pair in different.items() if not decides_nothing(key)}:
                changes = [
                    f"  {key}: {old!r} in the folder, {new!r} now" for key, (old, new) in different.items()
                ]
                lines = "\n".join(changes)
                raise InputError(
                    f"{self.out} holds a study with other settings:\n{lines}\n"
                    "choose another --out, or the same settings"
                )
        elif self.out.exists():
            self._check_begun(asked)
        for run in asked:
            RunFolder.check(run.path, run.settings)

    def _check_begun(self, asked: Sequence[StudyRun]) -> None:
        """Check that a folder without an index holds nothing but runs that this study began."""
        entries = {entry.name for entry in self.out.iterdir()} if self.out.is_dir() else {""}
        runs = self.out / "runs"
        begun = {entry.name for entry in runs.iterdir()} if runs.is_dir() else set()
        are_ours = all(re.fullmatch(r".+-repeat\d+", name) for name in begun)
        if not (are_ours and entries <= {"runs", ".study.yaml.tmp", ".lock"}):
            raise InputError(f"{self.out} is not an empty folder and holds no study: choose another --out")
        if others := sorted(begun - {run.name for run in asked}):
            raise InputError(
                f"{self.out} holds runs of a study that was stopped before its first images were read, and "
                f"this study has no run {listed(others)}: give the same --points and --repeats, or choose "
                "another --out"
            )


def _measured_anyway(kind: StudyKind) -> dict[str, Any]:
    """Settings with which a point is measured even if the generator draws nothing useful there."""
    return {"curate": {"stop_at_chance": False}} if kind.varies and not kind.ranks else {}


@final
@dataclass(frozen=True)
class _Index:
    """The content of ``study.yaml``.

    Attributes:
        kind: a key of ``STUDIES``.
        points: every point that was ever started.
        settings: shared by all runs.
    """

    kind: str
    points: tuple[Point, ...]
    settings: Settings


def _read_index(path: Path) -> _Index:
    try:
        text = path.read_text(encoding="utf-8")
        stored = read_yaml(text)
    except ValueError as error:
        raise InputError(f"{path} must be YAML as the study wrote it: {error}\nrestore the file") from None
    found = {name: type(value) for name, value in stored.items()} if isinstance(stored, dict) else {}
    if found != {"kind": str, "points": list, "settings": dict}:
        raise InputError(
            f"{path} must have kind, points and settings, as the study wrote them, got {str(stored)[:60]}: "
            "restore the file"
        )
    try:
        expected: Any = str if STUDIES[stored["kind"]].axis == "names" else (int, float)
        settings = from_stored(stored["settings"])
    except InputError as error:
        raise InputError(f"{path}: {error}\nrestore the file") from None
    if not stored["points"] or not all(isinstance(point, expected) for point in stored["points"]):
        raise InputError(
            f"{path} must have points of a study of {stored['kind']}, as the study wrote it, got "
            f"{str(stored['points'])[:60]}: restore the file"
        )
    if not text.endswith("\n"):  # settings that are missing would get their default values
        raise InputError(f"{path} was cut short, because its last line has no end: restore the file")
    return _Index(stored["kind"], tuple(stored["points"]), settings)


def about(study: StudyFolder) -> dict[str, Any]:
    """The fields that the content of ``study.json`` begins with: what is varied, and on which data."""
    kind = STUDIES[study.kind]
    return {
        "schema": 1,
        "kind": study.kind,
        "summary": STUDIES.summary(study.kind),
        "sets": list(kind.sets),
        "unit": kind.unit,
        "axis": kind.axis,
        "source": study.base.data.source,
    }
