"""The options that settings are made of. Nothing is imported here that ``--help`` does not need."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from importlib.metadata import version
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


class ExportForm(StrEnum):
    """Values of --form."""

    FOLDER = "folder"
    WEBDATASET = "webdataset"
    HUGGINGFACE = "huggingface"


class ExportWhat(StrEnum):
    """Values of --what."""

    DATASET = "dataset"
    CLASSIFIER = "classifier"
    ADAPTER = "adapter"


Out = Annotated[Path | None, typer.Option(help="run folder [default: runs/NAME-OF-DATA]", metavar="DIR")]
RunPath = Annotated[Path, typer.Argument(help="folder of a run", metavar="DIR")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")]
Resume = Annotated[
    ResumeOption,
    typer.Option(
        help="if --out holds a run: continue it (if-possible), require one (always), or refuse (never)"
    ),
]


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"understudy {version('understudy')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="print the version", callback=_print_version, is_eager=True)
]


@final
@dataclass(frozen=True)
class Options:
    """The options that settings are made of."""

    data: Annotated[
        str,
        typer.Argument(
            help=f"{_SOURCES}; for run, adapt, ... also the folder of a run, to go on with it", metavar="DATA"
        ),
    ]
    preset: Annotated[str, typer.Option(help="effort: quick, standard or thorough")] = "standard"
    recipe: Annotated[str, typer.Option(help="method, see 'understudy list recipes'")] = "adapted"
    shots: Annotated[
        int | None,
        typer.Option(help="use only this many train images per class (and as many for validation)"),
    ] = None
    generator: Annotated[
        str | None,
        typer.Option(
            help="'mini', 'class_conditional', a diffusers pipeline folder, or a hub name", metavar="NAME"
        ),
    ] = None
    arms: Annotated[
        str | None,
        typer.Option(
            help="ways to use the data, comma-separated, see 'understudy list arms'; strategies follow an "
            "@, as in mixed@refresh"
        ),
    ] = None
    arms_file: Annotated[
        Path | None,
        typer.Option(help="YAML file with arms of your own: name, list of phases", metavar="FILE"),
    ] = None
    times: Annotated[
        str | None,
        typer.Option(
            help="synthetic images per real one, without the minimum per class; several (1,2,5,10) show "
            "what larger sets are worth",
            metavar="N[,N...]",
        ),
    ] = None
    class_names: Annotated[
        Path | None, typer.Option(help="file with the words for each class in prompts", metavar="FILE")
    ] = None
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="leave unreadable files out instead of stopping")
    ] = False
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="any setting, as section.key=value; may be repeated", metavar="KEY=VALUE"),
    ] = None
    seed: Annotated[int, typer.Option(help="every random choice follows from it")] = 0

    @property
    def given(self) -> list[str]:
        """Names of the options that were used."""
        used = [entry for entry in fields(self) if getattr(self, entry.name) != entry.default]
        return [entry.name for entry in used if entry.name != "data"]


def takes_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every field of :class:`Options` on the command line; it gets them as its first argument.

    Its other arguments come before them on the command line, its other options after them.
    """
    hints, own_hints = (
        get_type_hints(Options, include_extras=True),
        get_type_hints(command, include_extras=True),
    )
    parameters = inspect.signature(Options).parameters.items()
    shared = [parameter.replace(annotation=hints[name]) for name, parameter in parameters]
    further = list(inspect.signature(command).parameters.items())[1:]
    own = [parameter.replace(annotation=own_hints[name]) for name, parameter in further]

    def wrapped(**values: Any) -> None:
        command(Options(**{parameter.name: values.pop(parameter.name) for parameter in shared}), **values)

    arguments = [one for one in own if isinstance(one.annotation.__metadata__[0], ArgumentInfo)]
    ordered = (*arguments, *shared, *(one for one in own if one not in arguments))
    keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in ordered]
    wrapped.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in keywords}
    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    return wrapped
