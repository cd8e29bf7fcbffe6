"""Studies: the main job of ``study.py`` again and again, with one thing varied and all else equal.

Every point and repeat of a study is one ordinary run in a folder of its own. So a study can be stopped, taken up again and made
larger; what two of its runs must have in common is made once.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import yaml

from understudy.adaptation.adapter import copy_adapter, read_adapter_report
from understudy.adaptation.settings import AdaptSettings
from understudy.core.config import given_names
from understudy.core.errors import InputError
from understudy.core.files import write_atomically, write_json, write_text
from understudy.core.lock import FolderLock
from understudy.core.processes import Processes
from understudy.core.progress import Observer, Silent
from understudy.core.provenance import environment
from understudy.core.registry import Registry
from understudy.evaluation.repeats import study_sentence, summarise_points
from understudy.generators.prompts import read_templates
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.study import check_names, run
from understudy.recipes import RECIPES
from understudy.report.study_page import write_study_page
from understudy.sampling.settings import DrawSettings
from understudy.settings import Settings, build, differing_keys, to_yaml
from understudy.training.arms import find_arm
from understudy.training.records import ArmFolder
from understudy.training.tune import pairs

Point = int | float | str
_ADAPTER_FOLLOWS_FROM = ("seed", "data", "generator", "captions", "visual", "adapt")
_TRAININGS_FOLLOW_FROM = ("seed", "data", "compare", "tune")
"""Settings that decide an adapter, and the training of an arm that sees no synthetic image."""


@final
@dataclass(frozen=True, kw_only=True)
class StudyKind:
    """One thing that can be varied.

    Attributes:
        unit: what a point counts or names.
        axis: how points are laid out: numbers on a logarithmic or linear axis, or names side by side.
        points: those of a study that asks for none.
        expected: what a point must be, for messages.
        read: a point from text; ValueError if it is none.
        layer: the settings that make a point.
        sets: dotted names of the settings that the study sets, and nobody else may.
    """

    unit: str
    axis: Literal["log", "linear", "names"]
    points: tuple[Point, ...]
    expected: str
    read: Callable[[str], Point]
    layer: Callable[[Point], Mapping[str, Any]]
    sets: tuple[str, ...]

    @property
    def is_ordered(self) -> bool:
        """Whether more of it is of interest, not only which is best."""
        return self.axis == "log"


def _number(text: str) -> Point:
    number = float(text)
    return int(number) if number.is_integer() else number


def _prompt_settings(point: Point) -> dict[str, Any]:
    """The prompts of a point, and how their token is learned; all else of a recipe is left to the study, for equal terms."""
    name, plain = str(point), DrawSettings.model_fields["prompt"].default
    if name in _recipes_with_token():
        recipe = RECIPES[name]
        return {"adapt": recipe["adapt"], "draw": {"prompt": recipe.get("draw", {}).get("prompt", plain)}}
    return {"adapt": {"method": "none", "prompt": plain}, "draw": {"prompt": plain if name == "single" else name}}


def _prompt_point(text: str) -> Point:
    if text != "single" and text not in _recipes_with_token():
        try:
            read_templates(text, needs_class=True)
        except InputError as error:
            raise ValueError(str(error)) from None
    return text


def _recipes_with_token() -> list[str]:
    return [name for name in RECIPES if AdaptSettings(method=RECIPES[name].get("adapt", {}).get("method", "none")).has_token]


STUDIES: Registry[StudyKind] = Registry("study")
STUDIES.register("volume", summary="synthetic images per class: what more of them are worth")(
    StudyKind(
        unit="synthetic images per class",
        axis="log",
        points=(50, 100, 200, 500, 1000),
        expected="whole numbers of images",
        read=int,
        layer=lambda point: {"draw": {"per_class": point}},
        sets=("draw.per_class", "draw.times", "draw.min_per_class"),
    )
)
STUDIES.register("guidance", summary="scale of the classifier-free guidance that images are drawn with")(
    StudyKind(
        unit="guidance scale",
        axis="linear",
        points=(2, 3.5, 5, 6.5, 8),  # Li et al. 2024 (arXiv:2403.19866), figure 6
        expected="numbers",
        read=_number,
        layer=lambda point: {"draw": {"guidance_scale": point}},
        sets=("draw.guidance_scale",),
    )
)
STUDIES.register("shots", summary="real images per class: where synthetic ones are worth most")(
    StudyKind(
        unit="real images per class",
        axis="log",
        points=(1, 2, 4, 8, 16),
        expected="whole numbers of images",
        read=int,
        layer=lambda point: {"data": {"shots": point}},
        sets=("data.shots",),
    )
)
STUDIES.register("prompts", summary="prompts of the generator as it is: one, many, or with a token that is learned or means nothing")(
    StudyKind(
        unit="prompt set",
        axis="names",
        points=("single", "photographs", "neutral-token", "style-inversion"),
        expected="'single', a recipe with a token, the name of a template set or a file of templates",
        read=_prompt_point,
        layer=_prompt_settings,
        sets=("draw.prompt", "adapt.prompt", "adapt.method", "adapt.adapter"),
    )
)


def run_study(
    kind: str,
    settings: Settings,
    out: Path,
    *,
    points: Sequence[Point] | None = None,
    repeats: int = 3,
    overrides: Sequence[Mapping[str, Any]] = (),
    device: str = "cpu",
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Make every run of a study that is not there yet, and say what all of them show.

    Args:
        kind: a key of ``STUDIES``.
        settings: of all runs, but for what the study varies.
        out: the folder; it may hold the same study with other points or fewer repeats, which stay.
        points: values to try; those of the kind if not given.
        repeats: runs of each point. Where few images are used (``data.shots``) they differ in which, else in the seed.
        overrides: nested settings that win over those of a point too.
        device: torch device.
        observer: is told what happens.

    Returns:
        What ``study.json`` holds, which is written after every run, like ``study.html``; nothing in the processes of
        ``accelerate launch`` besides the first.

    Raises:
        InputError: for a kind, points, settings or data that do not fit, or a folder with something else; what exists is not changed.
    """
    observer = observer or Silent()
    study = _Study(kind, build(settings.model_dump(mode="json"), *overrides), tuple(overrides), out, device)
    _refuse_what_the_study_sets(study)
    if repeats < 1:
        raise InputError(f"repeats of a study must be at least 1, got {repeats}")
    values = _read_points(kind, STUDIES[kind].points if points is None else points)
    asked = [study.run_of(value, repeat) for repeat in range(repeats) for value in values]
    for own in asked:
        check_names(own.settings)
    _check_folder(study, asked)
    if not Processes().is_main:
        for own in (own for own in asked if not own.is_finished):
            run(own.settings, own.path, device=device)
        return {}
    with FolderLock(out) as lock:
        return _do_runs(study, asked, len(values), observer, lock)


def _do_runs(study: _Study, asked: Sequence[_Run], num_points: int, observer: Observer, lock: FolderLock) -> dict[str, Any]:
    """The runs that are not there yet, by repeat, then point."""
    for own in _most_demanding_first(study, asked[:num_points]):  # what does not fit shows before hours of work
        if not own.is_started:
            observer.say(f"study: {own.name}")
            run(own.settings, own.path, device=study.device, until="load", observer=observer)
        lock.take()
        study.note(own.point)
    results = study.report()
    for number, own in enumerate(asked, start=1):
        if not own.is_finished:
            observer.say(f"study: {own.name}, run {number} of {len(asked)}")
            run(own.settings, own.path, device=study.device, until="load", observer=observer)
            others = [other for other in study.runs() if other.repeat == own.repeat and other.path != own.path]
            with FolderLock(own.path):
                _take_adapter(own, others, observer)
                _take_trainings(own, others, observer)
                run(own.settings, own.path, device=study.device, observer=observer)
            results = study.report()
    return results


@final
@dataclass(frozen=True)
class _Run:
    """One run of a study.

    Attributes:
        point, repeat: which.
        path: its folder.
        settings: what it is started with.
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
        """Whether its images are read and checked."""
        return self.folder.record("load") is not None

    @property
    def is_finished(self) -> bool:
        return self.folder.record("report") is not None and (self.path / "results.json").exists()

    def agrees(self, other: _Run, names: Sequence[str]) -> bool:
        """Whether two runs have the same sections of settings."""
        return all(getattr(self.settings, name) == getattr(other.settings, name) for name in names)


@final
@dataclass(frozen=True)
class _Study:
    """A study: what all its runs share, and where it is."""

    kind: str
    base: Settings
    overrides: tuple[Mapping[str, Any], ...]
    out: Path
    device: str

    @property
    def index(self) -> Path:
        """The file that says what is studied; written when the first images are read."""
        return self.out / "study.yaml"

    @property
    def known_points(self) -> list[Point]:
        """Every point that was ever begun."""
        return list(_read_index(self.index).points) if self.index.exists() else []

    def note(self, point: Point) -> None:
        """Remember a point."""
        if point not in (known := self.known_points):
            points = [*known, point] if STUDIES[self.kind].axis == "names" else sorted([*known, point], key=float)
            content = {"kind": self.kind, "points": points, "settings": self.base.model_dump(mode="json")}
            write_text(self.index, yaml.safe_dump(content, sort_keys=False))

    def run_of(self, point: Point, repeat: int) -> _Run:
        """The settings and the folder of a run."""
        settings = build(self.base.model_dump(mode="json"), STUDIES[self.kind].layer(point), *self.overrides)
        if settings.data.shots is not None:
            settings = settings.model_copy(update={"data": settings.data.model_copy(update={"subset": repeat})})
        else:
            settings = settings.model_copy(update={"seed": settings.seed + repeat})
        return _Run(point, repeat, self.out / "runs" / f"{_file_name(point)}-repeat{repeat}", settings)

    def runs(self) -> Iterator[_Run]:
        """All runs that were ever begun, by point, then repeat."""
        for point in self.known_points:
            stem = f"{_file_name(point)}-repeat"
            numbers = [path.name.removeprefix(stem) for path in self.out.glob(f"runs/{stem}*")]
            yield from (self.run_of(point, repeat) for repeat in sorted(int(number) for number in numbers if number.isdecimal()))

    def report(self) -> dict[str, Any]:
        """Gather the finished runs and write ``study.json`` and ``study.html``, unless they say the same already."""
        kind = STUDIES[self.kind]
        rows = [_row(own, self.out) for own in self.runs() if own.is_finished]
        if not rows:
            return {}
        points = summarise_points(rows, [{"point": point, "label": _label(point)} for point in self.known_points])
        arms = dict.fromkeys(arm for point in points for arm in point["arms"])
        drawn = [arm for arm in arms if find_arm(arm, self.base.compare).uses_synthetic]
        study = {
            "schema": 1,
            "kind": self.kind,
            "summary": STUDIES.summary(self.kind),
            "sets": list(kind.sets),
            "unit": kind.unit,
            "axis": kind.axis,
            "source": self.base.data.source,
            "repeats_differ_in": "subset" if all(row["subset"] is not None for row in rows) else "seed",
            "sentence": study_sentence(points, unit=kind.unit, ordered=kind.is_ordered, uses_synthetic=drawn),
            "points": points,
            "runs": rows,
            "settings": self.base.model_dump(mode="json"),
        }
        path, page = self.out / "study.json", self.out / "study.html"
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        made = stored.pop("environment", None)
        if stored == json.loads(json.dumps(study)) and page.exists():
            return {**study, "environment": made}
        study["environment"] = environment(self.device)
        write_json(path, study)
        write_study_page(page, study=study, settings_yaml=to_yaml(self.base))
        return study


def _refuse_what_the_study_sets(study: _Study) -> None:
    kind, given = STUDIES[study.kind], given_names(*study.overrides)
    sets = [*kind.sets, "data.subset"] if study.base.data.shots is not None or "data.shots" in kind.sets else list(kind.sets)
    for name in sets:
        section, _, key = name.partition(".")
        values = getattr(study.base, section)
        is_set = type(values).model_fields[key].default is None and getattr(values, key) is not None
        if name in given or is_set:
            raise InputError(f"a study of {study.kind} sets {name} itself: leave it out; --points says which values, --repeats how often")


def _read_points(kind: str, points: Sequence[Point]) -> list[Point]:
    known, values = STUDIES[kind], []
    for given in points:
        text = _plain(given)
        try:
            values.append(known.read(text))
        except (ValueError, OverflowError) as error:
            reason = f": {error}" if known.axis == "names" else ""
            raise InputError(
                f"points of a study of {kind} must be {known.expected}, with commas between them, got {text!r}{reason}"
            ) from None
    if not values:
        raise InputError(f"a study must have at least one point, got none: leave --points out for {', '.join(map(_plain, known.points))}")
    if twice := [value for value in values if values.count(value) > 1]:
        raise InputError(f"points of a study must differ, got {_plain(twice[0])} twice")
    return values if known.axis == "names" else sorted(values, key=float)


def _most_demanding_first(study: _Study, asked: Sequence[_Run]) -> Sequence[_Run]:
    """Runs in the order in which data and prompts are checked: the most shots first, before anything is written."""
    return asked if STUDIES[study.kind].axis == "names" else asked[::-1]


def _check_folder(study: _Study, asked: Sequence[_Run]) -> None:
    """Refuse a folder that holds something else, another study, or runs with other settings.

    Before the first images are read and checked there is no index, only the folder of the run that was stopped meanwhile.
    """
    out, names = study.out, {own.name for own in asked}
    if study.index.exists():
        stored = _read_index(study.index)
        if stored.kind != study.kind:
            raise InputError(f"{out} holds a study of {stored.kind}, not of {study.kind}: choose another --out")
        different = differing_keys(stored.settings, study.base)
        if different:
            lines = "\n".join(f"  {key}: {old!r} in the folder, {new!r} now" for key, (old, new) in different.items())
            raise InputError(f"{out} holds a study with other settings:\n{lines}\nchoose another --out, or the same settings")
    elif out.exists():
        entries = {entry.name for entry in out.iterdir()} if out.is_dir() else {""}
        begun = {entry.name for entry in (out / "runs").iterdir()} if (out / "runs").is_dir() else set()
        if not entries <= {"runs", ".study.yaml.tmp", ".lock"} or not begun <= names:
            raise InputError(f"{out} is not an empty folder and holds no study: choose another --out")
    for own in asked:
        RunFolder.check(own.path, own.settings)


@final
@dataclass(frozen=True)
class _Index:
    """What ``study.yaml`` says.

    Attributes:
        kind: what is varied.
        points: every point that was ever begun.
        settings: what all runs share.
    """

    kind: str
    points: tuple[Point, ...]
    settings: Settings


def _read_index(path: Path) -> _Index:
    try:
        stored = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # a date that is none, nesting without end
        raise InputError(f"{path} must be YAML as the study wrote it: {error}") from None
    found = {name: type(value) for name, value in stored.items()} if isinstance(stored, dict) else {}
    if found != {"kind": str, "points": list, "settings": dict}:
        raise InputError(f"{path} must have kind, points and settings, as the study wrote it, got {str(stored)[:60]}")
    try:
        expected: Any = str if STUDIES[stored["kind"]].axis == "names" else (int, float)
        settings = build(stored["settings"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not stored["points"] or not all(isinstance(point, expected) for point in stored["points"]):
        raise InputError(f"{path} must have points of a study of {stored['kind']}, as the study wrote it, got {str(stored['points'])[:60]}")
    return _Index(stored["kind"], tuple(stored["points"]), settings)


def _same_images(own: _Run, other: _Run) -> bool:
    """Whether two runs read the same: their source may have changed in between."""
    names = [f"data/{split}.parquet" for split in ("train", "val", "test")]
    return all((own.path / name).read_bytes() == (other.path / name).read_bytes() for name in names)


def _take_adapter(own: _Run, others: Sequence[_Run], observer: Observer) -> None:
    """Copy an adapter that another run made from the same images, with the same settings and seed."""
    adapt = own.settings.adapt
    if adapt.method == "none" or adapt.adapter is not None or own.folder.record("adapt") is not None:
        return
    for other in others:
        if own.agrees(other, _ADAPTER_FOLLOWS_FROM) and other.folder.record("adapt") is not None and _same_images(own, other):
            with own.folder.stage("adapt") as record:
                copy_adapter(other.path / "adapter", own.path / "adapter")
                record |= read_adapter_report(own.path / "adapter")
            observer.say(f"adapt: the adapter of {other.name} is used, made from the same images")
            return


def _take_trainings(own: _Run, others: Sequence[_Run], observer: Observer) -> None:
    """Copy trainings that saw the same images with the same recipe and seeds in another run, as no synthetic image took part."""
    compare = own.settings.compare
    if own.folder.record("compare") is not None:
        return
    for other in others:
        if own.agrees(other, _TRAININGS_FOLLOW_FROM) and other.folder.record("compare") is not None and _same_images(own, other):
            arms = [arm for arm in dict.fromkeys(["real", *compare.arms]) if not find_arm(arm, compare).uses_synthetic]
            for arm in arms:
                _copy_training(arm, other, own)
            observer.say(f"compare: the trainings of {', '.join(arms)} in {other.name} are used, made from the same images")
            return


def _copy_training(arm: str, other: _Run, own: _Run) -> None:
    source, to, tune = other.path / "arms", own.path / "arms", own.settings.tune
    files = ArmFolder(source, arm).files(own.settings.compare.num_seeds)
    if tune.is_on:
        tuning = ArmFolder(source / "tuning", arm)
        files += [tuning.trial(index) for index in range(len(pairs(own.settings.compare, tune)))]
    for path in files:
        target = to / path.relative_to(source)
        if not target.exists():
            write_atomically(target, lambda temporary, path=path: shutil.copy(path, temporary))  # type: ignore[misc]


def _row(own: _Run, out: Path) -> dict[str, Any]:
    """What ``study.json`` says of a finished run."""
    results = json.loads((own.path / "results.json").read_text(encoding="utf-8"))
    ends = ("mean", "low", "high")
    return {
        "point": own.point,
        "repeat": own.repeat,
        "folder": own.path.relative_to(out).as_posix(),
        "seed": own.settings.seed,
        "subset": own.settings.data.subset,
        **{name: results["data"][name] for name in ("train", "val", "test")},
        "synthetic": results["curation"]["kept"],
        "arms": {
            name: {
                "accuracy": {end: arm["accuracy"][end] for end in ends},
                **{name: {end: arm[name][end] for end in ends} for name in ("minus_real", "minus_real_long") if name in arm},
                "steps": arm["steps"],
                "val_accuracy": arm["val_accuracy"],
            }
            for name, arm in results["arms"].items()
        },
        "seconds": round(sum(results["cost"]["seconds"].values()), 2),
    }


def _plain(point: Point) -> str:
    """As on the command line."""
    return str(point).removesuffix(".0") if isinstance(point, float) else str(point).strip()


def _label(point: Point) -> str:
    """As people write it."""
    return f"{point:,}" if isinstance(point, int) else str(point)


def _file_name(point: Point) -> str:
    """A point as part of a file name: as it is where it can be, else its letters and a hash that tells it from others."""
    text = _plain(point)
    letters = re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.")[:40]
    return text if letters == text else f"{letters}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
