"""The command line: parse, call, print. No logic."""

from __future__ import annotations

import errno
import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from understudy.errors import InputError
from understudy.settings import Settings, build, given_names, parse_override, refuse_without_effect

_USERS_ERRNOS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)
"""Full or protected disks, and paths that cannot be written to: the user can mend them."""


class _InterruptError(Exception):
    """Ctrl-C."""


@final
class _Commands(TyperGroup):
    """The commands; typer would end on Ctrl-C without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _InterruptError from None


app = typer.Typer(
    name="understudy",
    cls=_Commands,
    help="Synthesise training images that match your own, train on real and synthetic data under equal terms, and see what it is worth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_console = Console()
_errors = Console(stderr=True)


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


_SOURCES = "image folder, zip, Parquet, WebDataset tar, hub name, or the built-in 'digits'"
Data = Annotated[str, typer.Argument(help=_SOURCES, metavar="DATA")]
DataOrRun = Annotated[str, typer.Argument(help=f"{_SOURCES}; or the folder of a run, to go on with it", metavar="DATA")]
Out = Annotated[Path | None, typer.Option(help="run folder [default: runs/NAME-OF-DATA]", metavar="DIR")]
Run = Annotated[Path, typer.Argument(help="folder of a run", metavar="DIR")]
Preset = Annotated[str, typer.Option(help="effort: quick, standard or thorough")]
Recipe = Annotated[str, typer.Option(help="method, see 'understudy list recipes'")]
Shots = Annotated[int | None, typer.Option(help="use only this many train images per class (and as many for validation)")]
Generator = Annotated[str | None, typer.Option(help="'mini', a diffusers pipeline folder, or a hub name", metavar="NAME")]
Times = Annotated[
    str | None,
    typer.Option(
        help="synthetic images per real one, also where classes are small; several (1,2,5,10) to see what larger sets are worth",
        metavar="N[,N...]",
    ),
]
Arms = Annotated[str | None, typer.Option(help="ways to use the data, comma-separated, see 'understudy list arms'")]
ClassNames = Annotated[Path | None, typer.Option(help="file with the words for each class in prompts", metavar="FILE")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="leave unreadable files out instead of stopping")]
Override = Annotated[
    list[str] | None, typer.Option("--set", help="any setting, as section.key=value; may be repeated", metavar="KEY=VALUE")
]
Seed = Annotated[int, typer.Option(help="from which every random choice follows")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")]
Resume = Annotated[ResumeOption, typer.Option(help="go on with a run that is in --out: if there is one, only if, or refuse to")]


def _staged(until: str, summary: str) -> Callable[..., None]:
    """A command that does the job up to a stage; they differ in nothing else."""

    def command(
        data: DataOrRun,
        out: Out = None,
        preset: Preset = "standard",
        recipe: Recipe = "adapted",
        shots: Shots = None,
        generator: Generator = None,
        arms: Arms = None,
        times: Times = None,
        class_names: ClassNames = None,
        skip_bad: SkipBad = False,
        override: Override = None,
        seed: Seed = 0,
        device: Device = "auto",
        resume: Resume = ResumeOption.IF_POSSIBLE,
    ) -> None:
        from understudy.runs import RunFolder
        from understudy.study import run

        given = (out, preset, recipe, shots, generator, arms, times, class_names, skip_bad, override, seed)
        if (Path(data) / "settings.yaml").exists():
            if given != (None, "standard", "adapted", None, None, None, times, None, False, None, 0):
                raise InputError(f"{data} is a run and brings its settings: leave other options than --times out, or start a new run")
            folder = Path(data)
            settings = RunFolder.find(folder).settings
            if times is not None:
                settings = build(settings.model_dump(mode="json"), {"scale": {"times": _times(times)}})
        else:
            folder = out or Path("runs") / Path(data).resolve().stem
            settings = _settings(
                data, preset, recipe, shots, generator, arms, times, class_names, skip_bad=skip_bad, override=override, seed=seed
            )
        observer = _terminal()
        results = run(settings, folder, device=_device(device), resume=resume.value, until=until, observer=observer)  # type: ignore[arg-type]
        if until == "report" and results:
            from understudy.report import summary_table

            _console.print(summary_table(results))
            _console.print(results["verdict"]["sentence"], highlight=False, markup=False)
            _console.print(f"{folder / 'report.html'}  {folder / 'results.json'}", highlight=False, markup=False, soft_wrap=True)

    command.__doc__ = summary
    return command


for _name, _until, _summary in (
    ("run", "report", "Do everything: load, adapt, draw, curate, compare, report. A stopped run goes on where it was."),
    ("adapt", "adapt", "Read and split the data, then fit the generator to the train split."),
    ("draw", "draw", "Up to and including drawing the synthetic images."),
    ("curate", "curate", "Up to and including scoring, filtering and refilling them."),
    ("compare", "compare", "Up to and including training every arm and testing it on real images."),
):
    app.command(_name)(_staged(_until, _summary))


@app.command()
def report(folder: Run) -> None:
    """Write report.html, results.json and README.md of a finished run anew."""
    from understudy.runs import RunFolder
    from understudy.study import write_report_again

    results = write_report_again(RunFolder.find(folder))
    _console.print(results["verdict"]["sentence"], highlight=False, markup=False)
    _console.print(str(folder / "report.html"), highlight=False, markup=False, soft_wrap=True)


@app.command()
def validate(
    data: Data,
    preset: Preset = "standard",
    recipe: Recipe = "adapted",
    shots: Shots = None,
    generator: Generator = None,
    arms: Arms = None,
    times: Times = None,
    class_names: ClassNames = None,
    skip_bad: SkipBad = False,
    override: Override = None,
    seed: Seed = 0,
) -> None:
    """Check data, settings, generator and backbone; draw nothing, write nothing."""
    from understudy.preflight import validate as check

    settings = _settings(data, preset, recipe, shots, generator, arms, times, class_names, skip_bad=skip_bad, override=override, seed=seed)
    _quiet_libraries()
    checked = check(settings)
    table = Table("class", "words in prompts", "train", "val", "test", title=Text(f"{data}: ready to run"))
    for row in checked.rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text, not str: rich would take brackets in a name for markup
    _console.print(table)
    for path, reason in checked.skipped:
        _console.print(f"left out: {path}: {reason}", highlight=False, markup=False)


@app.command()
def preview(
    data: Data,
    to: Annotated[Path, typer.Option(help="picture to write", metavar="FILE")] = Path("preview.png"),
    preset: Preset = "standard",
    recipe: Recipe = "adapted",
    shots: Shots = None,
    generator: Generator = None,
    arms: Arms = None,
    times: Times = None,
    class_names: ClassNames = None,
    skip_bad: SkipBad = False,
    override: Override = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Draw a few images per class with the generator as it is, and estimate time and disk of the whole run."""
    from understudy.preflight import preview as draw_preview

    settings = _settings(data, preset, recipe, shots, generator, arms, times, class_names, skip_bad=skip_bad, override=override, seed=seed)
    _quiet_libraries()
    estimate = draw_preview(settings, to, device=_device(device))
    table = Table("stage", "estimate", title="the whole run, roughly")
    for name, value in estimate.rows():
        table.add_row(name, value)
    _console.print(table)
    _console.print(f"real above, synthetic below, one column per class: {to}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def export(
    folder: Run,
    to: Annotated[Path, typer.Option(help="folder to write; must be new or empty", metavar="DIR")],
    form: Annotated[ExportForm, typer.Option(help="image folder, WebDataset shards, or Hugging Face dataset")] = ExportForm.FOLDER,
) -> None:
    """Copy the curated synthetic images of a run, with their dataset card, to a folder that other tools read."""
    from understudy.runs import RunFolder
    from understudy.study import export_run

    count = export_run(RunFolder.find(folder), to, form=form.value)
    _console.print(f"{count} images in {to}", highlight=False, markup=False, soft_wrap=True)


@app.command("list")
def list_names(
    kind: Annotated[
        str | None, typer.Argument(help="recipes, presets, arms, backbones, generators, ...; everything if left out", metavar="KIND")
    ] = None,
) -> None:
    """Show the names that settings can take, each with a line of explanation."""
    from understudy.catalogue import CATALOGUE

    if kind is not None and kind not in CATALOGUE:
        raise InputError(f"unknown kind {kind!r}; known: {', '.join(CATALOGUE)}")
    for title in [kind] if kind else CATALOGUE:
        table = Table("name", "what it is", title=title, title_justify="left")
        for name in CATALOGUE[title]:
            table.add_row(Text(name), Text(CATALOGUE[title].summary(name)))
        _console.print(table)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: 2 for what the user can mend, 130 for Ctrl-C, with a message instead of a traceback."""
    words = sys.argv[1:] if arguments is None else arguments
    again = shlex.join(["understudy", *words])
    try:
        app(words)
    except _InterruptError:
        _errors.print(f"\nstopped; nothing finished is lost. To go on: {again}", highlight=False, markup=False, soft_wrap=True)
        sys.exit(130)
    except InputError as error:
        _refuse(str(error))
    except Exception as error:
        # safetensors reports a full disk in words only.
        if getattr(error, "errno", None) not in _USERS_ERRNOS and "No space left on device" not in str(error):
            raise
        _refuse(f"{error}; nothing finished is lost: mend it, then run again: {again}")


def _refuse(message: str) -> NoReturn:
    _errors.print(f"error: {message}", style="red", highlight=False, markup=False, soft_wrap=True)
    sys.exit(2)


def _settings(
    data: str,
    preset: str,
    recipe: str,
    shots: int | None,
    generator: str | None,
    arms: str | None,
    times: str | None,
    class_names: Path | None,
    *,
    skip_bad: bool,
    override: list[str] | None,
    seed: int,
) -> Settings:
    from understudy.recipes import PRESETS, RECIPES

    given: dict[str, Any] = {"seed": seed, "data": {"source": data, "shots": shots, "class_names": class_names, "skip_bad": skip_bad}}
    if generator is not None:
        given["generator"] = {"name": generator}
    if arms is not None:
        given["compare"] = {"arms": [name.strip() for name in arms.split(",")]}
    if times is not None:
        sizes = _times(times)
        given |= {"draw": {"times": sizes[0], "min_per_class": 1}, "scale": {"times": sizes if len(sizes) > 1 else []}}
    overrides = [parse_override(text) for text in override or ()]
    settings = build(PRESETS[preset], RECIPES[recipe], given, *overrides)
    refuse_without_effect(settings, [*given_names(*overrides), *(["draw.times"] if times is not None else [])])
    return settings


def _times(text: str) -> list[float]:
    """``"5,1,2"`` to 1, 2, 5."""
    try:
        return sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise InputError(f"--times must be numbers with commas between them, such as 1,2,5,10, got {text!r}") from None


def _device(name: str) -> str:
    import torch

    from understudy.processes import Processes

    if (processes := Processes()).count > 1:
        return processes.device
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return name


def _terminal() -> Any:
    from understudy.progress import Terminal

    _quiet_libraries()
    return Terminal(_console)


def _quiet_libraries() -> None:
    """No progress bars of others for the loading of weights."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


if __name__ == "__main__":
    main()
