"""The options that settings are made from. ``--help`` imports this file, so it needs little."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, final, get_type_hints

import typer
from typer.models import ArgumentInfo

_SOURCES = "image folder, zip, Parquet, WebDataset tar, hub name, or the built-in 'digits'"


class ResumeOption(StrEnum):
    """Values of --resume."""

    IF_POSSIBLE = "if-possible"
    ALWAYS = "always"
    NEVER = "never"


class ExportWhat(StrEnum):
    """Values of --what."""

    DATASET = "dataset"
    CLASSIFIER = "classifier"
    PREDICTIONS = "predictions"
    ADAPTER = "adapter"
    REPORT = "report"


class ExportForm(StrEnum):
    """Values of --form."""

    FOLDER = "folder"
    WEBDATASET = "webdataset"
    HUGGINGFACE = "huggingface"
    FIFTYONE = "fiftyone"
    TIMM = "timm"
    ONNX = "onnx"
    CLEANLAB = "cleanlab"
    DIFFUSERS = "diffusers"
    HTML = "html"


def _whole_number(text: str | int) -> int:
    """Parse the value of an option.

    Raises:
        typer.BadParameter: with what was given, which Typer's own message does not show.
    """
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"must be a whole number such as 3, got {text!r}") from None


def whole_number(*, help: str) -> Any:  # noqa: A002 - as Typer calls it
    """An option with a whole number."""
    return typer.Option(help=help, metavar="N", parser=_whole_number)


RunPath = Annotated[Path, typer.Argument(help="folder of a run", metavar="DIR")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")]
Repeats = Annotated[
    int | None,
    whole_number(
        help="whole runs with other seeds, judged together [default: 1; 5 with the preset thorough]"
    ),
]


TimeLimit = Annotated[
    str | None,
    typer.Option(
        help="cut seeds, steps and images until the run, or all runs of --repeats, fit this time, such as "
        "90s, 30m, 2h or 1h30m; what --set or --times gives is not cut",
        metavar="TIME",
    ),
]


PreviewImages = Annotated[
    int | None,
    whole_number(
        help="images to draw, spread over the classes [default: 4 per class, of up to 40 classes; 100 in all "
        "if that is more and takes no minute; also the most]"
    ),
]


Licences = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="licence for the card, as data.licence=... or generator.licence=...; the run stores it",
        metavar="KEY=VALUE",
    ),
]
Kind = Annotated[
    str,
    typer.Argument(
        help="what varies: volume, guidance, shots, steps, prompts, or nothing (repeats)", metavar="KIND"
    ),
]
Target = Annotated[Path, typer.Option(help="settings file to write", metavar="FILE")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the file if it exists")]
KindOfName = Annotated[
    str | None,
    typer.Argument(help="recipes, presets, arms, backbones, generators, ... [default: all]", metavar="KIND"),
]
WatchedPath = Annotated[
    Path, typer.Argument(help="folder of a run or a study; it may be made later", metavar="DIR")
]
Port = Annotated[
    int | None, whole_number(help="port of the page on this machine [default: 8642, or a free one]")
]
Opens = Annotated[bool, typer.Option("--open", help="open the page in a browser")]
FirstRun = Annotated[Path, typer.Argument(help="folder of a finished run", metavar="A")]
SecondRun = Annotated[Path, typer.Argument(help="folder of a second run with the same classes", metavar="B")]
Page = Annotated[Path | None, typer.Option(help="also write a page, such as compare.html", metavar="FILE")]
Tests = Annotated[
    list[str] | None,
    typer.Option(
        help="further test set with labels of some or all classes; may be repeated", metavar="NAME=PATH"
    ),
]
Strengths = Annotated[
    str | None,
    typer.Option(
        help="noise added to real images before they are redrawn, comma-separated "
        "[default: 0.05,0.2,0.4,0.6,0.8]",
        metavar="A,B,...",
    ),
]
Corruptions = Annotated[
    str | None,
    typer.Option(
        help="corruptions of the test images, comma-separated, or 'none' [default: all]", metavar="A,B,..."
    ),
]


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version  # slow to import for `--help`

        typer.echo(f"understudy {version('understudy')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="print the version", callback=_print_version, is_eager=True)
]


@final
@dataclass(frozen=True)
class Options:
    """The options that settings are made from."""

    data: Annotated[
        str,
        typer.Argument(
            help=f"{_SOURCES}; or a YAML file of settings, as 'understudy init' writes it; commands that run "
            "stages can also continue a run, given its folder",
            metavar="DATA",
        ),
    ]
    preset: Annotated[str, typer.Option(help="effort: quick, standard or thorough")] = "standard"
    recipe: Annotated[str, typer.Option(help="method, see 'understudy list recipes'")] = "adapted"
    shots: Annotated[
        int | None,
        whole_number(help="use only this many train images per class, and equally many for validation"),
    ] = None
    generator: Annotated[
        str | None,
        typer.Option(
            help="'mini', 'class_conditional', a diffusers pipeline folder, a hub name, or 'folder' for "
            "images that another tool has drawn (--set generator.images=[FOLDER])",
            metavar="NAME",
        ),
    ] = None
    arms: Annotated[
        str | None,
        typer.Option(
            help="ways to use the data, comma-separated, see 'understudy list arms'; append strategies "
            "with @, as in mixed@refresh"
        ),
    ] = None
    arms_file: Annotated[
        Path | None,
        typer.Option(help="YAML file with further arms: each name with its list of phases", metavar="FILE"),
    ] = None
    times: Annotated[
        str | None,
        typer.Option(
            help="synthetic images per real image; several values, as in 1,2,5,10, compare sets of these "
            "sizes and set draw.min_per_class to 1",
            metavar="N[,N...]",
        ),
    ] = None
    class_names: Annotated[
        Path | None, typer.Option(help="file with the words that prompts use for each class", metavar="FILE")
    ] = None
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="leave unreadable files out instead of stopping")
    ] = False
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="any setting, as section.key=value; may be repeated", metavar="KEY=VALUE"),
    ] = None
    seed: Annotated[int, whole_number(help="seed of every random choice")] = 0
    threads: Annotated[
        int | None,
        whole_number(help="threads of each worker [default: the cores that this process may use]"),
    ] = None
    executor: Annotated[
        str | None,
        typer.Option(help="who does the work: auto, local, processes, ray or slurm [default: auto]"),
    ] = None
    workers: Annotated[
        int | None,
        whole_number(
            help="workers of the executor; with auto, trainings side by side on a CPU [default: one per "
            "core or GPU, if memory allows]"
        ),
    ] = None
    gpus_per_worker: Annotated[
        float | None, typer.Option(help="GPUs of each worker of ray or slurm [default: 1]", metavar="N")
    ] = None
    ray_address: Annotated[
        str | None,
        typer.Option(help="address of a Ray cluster [default: RAY_ADDRESS, else this machine]"),
    ] = None

    # These are not options.
    given: frozenset[str] = frozenset()
    """Names of the options that the user gave."""
    settings_file: str = ""
    """The settings file that was given as DATA, which now names the images; empty if there was none."""
    sections: Mapping[str, Any] = field(default_factory=dict)
    """Nested settings from this file; options and ``--set`` win over them."""


@final
@dataclass(frozen=True)
class Place:
    """The folder of a run or a study, its device, and whether it is resumed."""

    out: Annotated[
        Path | None,
        typer.Option(help="folder [default: runs/NAME-OF-DATA; -KIND is added for a study]", metavar="DIR"),
    ] = None
    device: Device = "auto"
    resume: Annotated[
        ResumeOption,
        typer.Option(
            help="if --out holds a run: continue it (if-possible), require one (always), or refuse (never)"
        ),
    ] = ResumeOption.IF_POSSIBLE


@final
@dataclass(frozen=True)
class Variation:
    """The values that a study tries, and how often it tries each."""

    points: Annotated[
        str | None,
        typer.Option(help="values to try, comma-separated; you can add more later", metavar="A,B,..."),
    ] = None
    repeats: Annotated[int, whole_number(help="runs of each point")] = 3


@final
@dataclass(frozen=True)
class Contest:
    """The generators of a bake-off, and the small job of each."""

    generators: Annotated[
        str,
        typer.Option(
            help="names, pipeline folders, hub names and ready-made images, comma-separated; end a name with "
            ":adapted or :vanilla to try it in one way only",
            metavar="A,B,...",
        ),
    ] = "mini,class_conditional"
    per_class: Annotated[int, whole_number(help="synthetic images per class of each small job")] = 50
    repeats: Annotated[int, whole_number(help="small jobs of each generator")] = 1


@final
@dataclass(frozen=True)
class Attack:
    """The membership-inference attacks."""

    of: Annotated[
        str | None,
        typer.Option(
            help="arms to attack, comma-separated [default: real,synthetic,mixed,bridged]", metavar="ARMS"
        ),
    ] = None
    target: Annotated[
        str | None,
        typer.Option(
            help="part that is trained for each shadow model: classifier, or pipeline (generator too)"
        ),
    ] = None
    shadows: Annotated[int | None, whole_number(help="number of shadow models of each arm [default: 64]")] = (
        None
    )
    rates: Annotated[
        str | None,
        typer.Option(
            help="false-positive rates to report, comma-separated [default: 0.001,0.01]", metavar="A,B,..."
        ),
    ] = None
    epsilon: Annotated[
        str | None,
        typer.Option(
            help="also attack a differentially private classifier with this epsilon, or 'none' to stop that",
            metavar="E",
        ),
    ] = None


@final
@dataclass(frozen=True)
class Export:
    """What leaves a run, in which form, and where it goes."""

    to: Annotated[
        str,
        typer.Option(
            help="folder, new or empty, or hub:ORG/NAME for a repository on the Hugging Face hub",
            metavar="PLACE",
        ),
    ]
    what: Annotated[
        ExportWhat,
        typer.Option(
            help="the curated synthetic images, a classifier, its predictions for the real test images, "
            "the adapter for diffusers, or the report without real images"
        ),
    ] = ExportWhat.DATASET
    form: Annotated[
        ExportForm | None,
        typer.Option(
            help="of a dataset: folder (default), webdataset, huggingface (default on the hub), fiftyone; of "
            "a classifier: timm (default), onnx; of predictions: cleanlab; of an adapter: diffusers; of a "
            "report: html",
            show_choices=False,
            metavar="FORM",
        ),
    ] = None
    arm: Annotated[
        str | None,
        typer.Option(
            help="arm of the classifier or the predictions [default: that of the verdict if it helps, else "
            "one of real images alone]",
            metavar="ARM",
        ),
    ] = None
    public: Annotated[bool, typer.Option("--public", help="let everybody see the repository")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only show the files, their sizes and where they would go")
    ] = False


def takes_options(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the fields of the dataclasses that a command takes into options.

    On the command line, the other arguments of the command come first and its other options last.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {
        name: _fields(group)
        for name, group in hints.items()
        if isinstance(group, type) and is_dataclass(group)
    }
    parameters = inspect.signature(command).parameters
    further = [parameters[name].replace(annotation=hints[name]) for name in parameters if name not in groups]

    def wrapped(context: typer.Context, **values: Any) -> None:
        written = frozenset(name for name in values if _is_written(context, name))
        for name, options in groups.items():
            values[name] = hints[name](**{option.name: values.pop(option.name) for option in options})
        if "options" in groups:
            from understudy.commands.settings_file import opened  # `--help` needs no settings

            known = written.intersection(Options.__annotations__)
            values["options"] = opened(replace(values["options"], given=known))
        command(**values)

    arguments = [one for one in further if isinstance(one.annotation.__metadata__[0], ArgumentInfo)]
    options = [one for one in further if one not in arguments]
    ordered = (_CONTEXT, *arguments, *(option for group in groups.values() for option in group), *options)
    keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in ordered]
    wrapped.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in keywords}
    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    return wrapped


_NO_OPTIONS = ("given", "settings_file", "sections")
_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def _fields(group: type) -> list[inspect.Parameter]:
    """The fields of a group that are options of the command line."""
    hints = get_type_hints(group, include_extras=True)
    parameters = inspect.signature(group).parameters
    return [
        parameters[name].replace(annotation=hints[name]) for name in parameters if name not in _NO_OPTIONS
    ]


def _is_written(context: typer.Context, name: str) -> bool:
    """Whether the user gave an option, even with its default value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
