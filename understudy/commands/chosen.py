"""Settings, run folder and values from the options of the command line."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.commands.defaults import with_defaults
from understudy.commands.options import Options, Place, ResumeOption
from understudy.commands.study_kinds import check_repeats
from understudy.commands.time_plan import TimeLimit
from understudy.core.config import at_home, check_effect, given_names, parse_override
from understudy.core.durations import read_duration
from understudy.core.errors import InputError, first_line
from understudy.core.listing import listed
from understudy.core.processes import Processes
from understudy.pipeline.folder import RunFolder
from understudy.recipes import PRESETS, RECIPES, REPEATS
from understudy.report.run_command import command_on, default_folder
from understudy.settings import Settings, build, check_contradictions, read_arms
from understudy.training.settings import DEFAULT_ARMS

_OPTION_SETTINGS = {
    "seed": "seed",
    "shots": "data.shots",
    "class_names": "data.class_names",
    "skip_bad": "data.skip_bad",
    "generator": "generator.name",
    "arms": "compare.arms",
    "times": "draw.times",
    "threads": "compute.threads",
    "executor": "compute.executor",
    "workers": "compute.workers",
    "gpus_per_worker": "compute.gpus_per_worker",
    "ray_address": "compute.ray_address",
}
"""The setting of each option that has one."""
_COMPUTE = ("threads", "executor", "workers", "gpus_per_worker", "ray_address")
_ON_A_RUN = {"data", "times", *_COMPUTE}
"""The fields of the options that may be given with the folder of a run."""


def _as_option(name: str) -> str:
    """The option of the command line behind a field of the options."""
    return "--set" if name == "override" else f"--{name.replace('_', '-')}"


def command_with(command: str, options: Options, **further: object) -> str:
    """The line of the shell that calls another command with the same options.

    Args:
        command: its name.
        options: those of this command.
        further: options that the command has besides, by their field; None for one that was not given.
    """
    given = {name: getattr(options, name) for name in Options.__annotations__ if name in options.given}
    words = []
    for name, value in (given | used(**further)).items():
        for each in () if name == "data" else value if isinstance(value, list) else (value,):
            words += [_as_option(name), *([str(each)] * (each is not True))]
    return command_on(command, options.settings_file or options.data, *words)


def overrides_of(options: Options) -> list[dict[str, Any]]:
    """The values of ``--set``, in their order."""
    return parse_overrides(options.override)


def parse_overrides(texts: Sequence[str] | None) -> list[dict[str, Any]]:
    """Nested settings from texts ``KEY=VALUE``."""
    return [parse_override(text) for text in texts or ()]


def settings_of(
    options: Options,
    added: dict[str, Any] | None = None,
    *,
    varied: Collection[str] = (),
    folder: Path | None = None,
) -> Settings:
    """Merge defaults for images and generator, preset, recipe, settings file, options, ``--set``, ``added``.

    Later ones win.

    Args:
        options: of the command line.
        added: nested settings of the command.
        varied: settings that the command gives several values of. Others that have an effect with some of
            these values only are accepted.
        folder: of the run or study. If it was begun, it keeps the defaults that it had.
    """
    overrides = overrides_of(options)
    _check_given_once(options, overrides)
    check_contradictions(overrides, added or {})
    if not options.data.strip():
        raise InputError("DATA must not be empty: give a folder, a file or a name, such as digits")
    settings = with_defaults([*layers_of(options), added or {}], folder)
    given = given_names(*overrides)
    given += ["draw.times"] if options.times is not None else []
    given += [f"compute.{name}" for name in _COMPUTE if getattr(options, name) is not None]
    check_effect(settings, given, varied=varied)
    try:
        check_effect(settings, given_names(options.sections), varied=varied)
    except InputError as error:
        if options.settings_file is None:  # sections from Python
            raise
        raise InputError(f"{options.settings_file}: {error}") from None
    return settings


def layers_of(options: Options) -> list[Mapping[str, Any]]:
    """Nested settings from all that the user chose, of which later ones win."""
    return [PRESETS[options.preset], *_layers_without_preset(options)]


def _layers_without_preset(options: Options) -> list[Mapping[str, Any]]:
    return [RECIPES[options.recipe], options.sections, _chosen(options), *overrides_of(options)]


def arms_of(options: Options) -> tuple[str, ...] | None:
    """The arms that the user gave in any way; None if they are those of preset and recipe."""
    is_option = options.arms is not None or options.arms_file is not None
    if not is_option and "compare.arms" not in given_names(options.sections, *overrides_of(options)):
        return None
    return build(*_layers_without_preset(options)).compare.arms


def run_folder(
    options: Options, out: Path | None, added: dict[str, Any] | None = None
) -> tuple[Path, Settings]:
    """Folder and settings of a new run, or of the run in DATA, with the settings of the command."""
    folder = Path(options.data)
    if not RunFolder.is_run(folder):
        place = out or default_folder(options.data)
        return place, settings_of(options, added, folder=place)
    refused = [_as_option(name) for name in Options.__annotations__ if name in options.given - _ON_A_RUN]
    refused += ["--out"] * (out is not None)
    if refused:
        raise InputError(
            f"{options.data} is a run, which keeps its settings and its folder: leave out "
            f"{listed(refused)}, or start a new run with images as DATA"
        )
    larger = (
        {} if options.times is None else {"scale": {"times": numbers(options.times, "--times", "1,2,5,10")}}
    )
    stored = RunFolder.find(folder).settings.model_dump(mode="json")
    return folder, build(stored, larger, _compute(options), added or {})


def time_limit(options: Options, text: str | None, repeats: int) -> TimeLimit | None:
    """The limit of ``--time-limit``, which cuts nothing that the user gave; None without a limit.

    Raises:
        InputError: for anything but a length of time, or a run as DATA.
    """
    if text is None:
        return None
    if RunFolder.is_run(Path(options.data)):
        raise InputError(
            f"{options.data} is a run, which keeps its settings: leave out --time-limit, or start a new run "
            "with images as DATA"
        )
    given = given_names(options.sections, *overrides_of(options))
    given += ["draw.times", "draw.min_per_class"] if options.times is not None else []
    try:
        return TimeLimit(seconds=read_duration(text), given=given, repeats=repeats)
    except InputError as error:
        raise InputError(f"--time-limit: {error}") from None


def whole_runs(options: Options, out: Path | None, repeats: int | None) -> int:
    """How many whole runs are wanted: ``--repeats``, or the number of the preset.

    A single run that was begun is continued alone if ``--repeats`` was not given.

    Raises:
        InputError: if the number is not from 1 to 1,000, or a single run has the place of several.
    """
    if repeats is None:
        places = (Path(options.data), out or default_folder(options.data))
        return 1 if any(map(RunFolder.is_run, places)) else REPEATS.get(options.preset, 1)
    check_repeats(repeats, "--repeats")
    for place in (Path(options.data), *([] if out is None else [out])):
        if repeats > 1 and RunFolder.is_run(place):
            raise InputError(
                f"{place} holds a single run, and {repeats} runs need a folder that holds them all: give the "
                "images as DATA and another --out. To make this run the first of them, move it there before: "
                f"mkdir -p DIR/runs && mv {place} DIR/runs/run-repeat0"
            )
    return repeats


def study_folder(options: Options, place: Place, kind: str) -> Path:
    """The folder of a study, whether new or to be continued.

    Raises:
        InputError: if it does not fit ``--resume``.
    """
    folder = place.out or default_folder(options.data, f"-{kind}")
    exists = (folder / "study.yaml").is_file()
    if place.resume is ResumeOption.NEVER and exists:
        raise InputError(
            f"{folder} already holds a study, and --resume never was given: choose another --out"
        )
    if place.resume is ResumeOption.ALWAYS and not exists:
        raise InputError(
            f"{folder} holds no study to continue, and --resume always was given: give the folder of a study "
            "as --out, or leave --resume out to start one"
        )
    return folder


def check_not_a_run(options: Options) -> None:
    """Check that DATA is not the folder of a run, which would be read as images.

    Raises:
        InputError: if DATA is a run.
    """
    if RunFolder.is_run(Path(options.data)):
        raise InputError(
            f"DATA must be images for this command, got the run {options.data}: give the images that it was "
            "made from, and the same options"
        )


def _chosen(options: Options) -> dict[str, Any]:
    """Nested settings from the options that were used."""
    compare: dict[str, Any] = {}
    if options.arms is not None:
        compare["arms"] = names(options.arms)
    if options.arms_file is not None:
        compare["own_arms"] = read_arms(options.arms_file)
        earlier = ChainMap(
            *(layer.get("compare", {}) for layer in (options.sections, RECIPES[options.recipe]))
        )
        beside = compare.get("arms") or earlier.get("arms", DEFAULT_ARMS)
        compare["arms"] = list(dict.fromkeys([*beside, *compare["own_arms"]]))
    data = {"source": options.data, **used(shots=options.shots, class_names=options.class_names)}
    data |= {"skip_bad": True} if options.skip_bad else {}
    generator = {} if options.generator is None else {"name": at_home(options.generator)}
    chosen: dict[str, Any] = {"data": data, "generator": generator, "compare": compare, **_compute(options)}
    if options.seed or "seed" in options.given:
        chosen["seed"] = options.seed
    if options.times is not None:
        sizes = numbers(options.times, "--times", "1,2,5,10")
        chosen |= {"draw": {"times": sizes[0], "min_per_class": 1}}
        chosen |= {"scale": {"times": sizes if len(sizes) > 1 else []}}
    return chosen


def _compute(options: Options) -> dict[str, Any]:
    """Nested settings for the use of the machine."""
    given = {name: getattr(options, name) for name in _COMPUTE}
    return {"compute": {name: value for name, value in given.items() if value is not None}}


def _check_given_once(options: Options, overrides: Sequence[dict[str, Any]]) -> None:
    """Check that no setting is given both by ``--set`` and by its option or argument."""
    written = given_names(*overrides)
    if options.data is not None and "data.source" in written:
        raise InputError(
            f"the images must be named once, got {options.data} and --set data.source: leave the latter out"
        )
    for name, key in _OPTION_SETTINGS.items():
        if name in options.given and key in written:
            raise InputError(
                f"{key} must be given once, got both {_as_option(name)} and --set: leave one of them out"
            )


def names(text: str) -> list[str]:
    """Split ``"a, b"`` into a and b; ``~/a`` is in the home folder."""
    return [at_home(name.strip()) for name in text.split(",")]


def numbers(text: str, option: str, example: str) -> list[float]:
    """Read ``"5,1,2"`` as the numbers 1, 2 and 5.

    Raises:
        InputError: for anything but numbers.
    """
    try:
        return sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise InputError(
            f"{option} must be numbers separated by commas, such as {example}, got {text!r}"
        ) from None


def used(**given: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in given.items() if value is not None}


def privacy_budget(text: str | None) -> dict[str, Any]:
    """Settings of ``--epsilon``: a number, or ``none``, which also takes back the delta.

    Raises:
        InputError: for anything else.
    """
    if text is None:
        return {}
    if text == "none":
        return {"private_epsilon": None, "private_delta": None}
    try:
        return {"private_epsilon": float(text)}
    except ValueError:
        raise InputError(
            f"--epsilon must be a number above 0, such as 8, or 'none' for no private reference, got {text!r}"
        ) from None


def named_paths(texts: list[str]) -> dict[str, str]:
    """Paths by name from texts ``NAME=PATH``.

    Raises:
        InputError: if a text has another form, or a name is given twice.
    """
    pairs = [text.partition("=") for text in texts]
    for text, (name, _, path) in zip(texts, pairs, strict=True):
        if not name or not path:
            raise InputError(
                f"--test must be NAME=PATH, such as --test sketches=photos/sketches, got {text!r}"
            )
    given = [name for name, _, _ in pairs]
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise InputError(
            f"--test must give each test set a different name, got {listed(twice)} more than once"
        )
    return {name: at_home(path) for name, _, path in pairs}


def torch_device(name: str) -> str:
    """The torch device behind ``--device``.

    Raises:
        InputError: if this machine does not have the device.
    """
    if (processes := Processes()).count > 1:
        return processes.device
    import torch  # slow to import; `understudy validate` needs no device

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.ones(1, device=name).add(1).item()  # torch also knows devices that cannot compute, such as meta
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error).rstrip(".")
        raise InputError(
            f"--device {name!r} cannot be used: {reason}: choose auto, cpu or another device of this machine"
        ) from None
    return name
