"""The command line: parse, call, print. No logic."""

from __future__ import annotations

import errno
import inspect
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, final, get_type_hints

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup
from typer.models import ArgumentInfo

from understudy.core.config import given_names, parse_override
from understudy.core.errors import InputError
from understudy.settings import Settings, build, read_arms, refuse_contradictions, refuse_without_effect
from understudy.training.settings import DEFAULT_ARMS

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


class ExportWhat(StrEnum):
    """Values of --what."""

    DATASET = "dataset"
    CLASSIFIER = "classifier"
    ADAPTER = "adapter"


_SOURCES = "image folder, zip, Parquet, WebDataset tar, hub name, or the built-in 'digits'"
Out = Annotated[Path | None, typer.Option(help="run folder [default: runs/NAME-OF-DATA]", metavar="DIR")]
Run = Annotated[Path, typer.Argument(help="folder of a run", metavar="DIR")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")]
Resume = Annotated[ResumeOption, typer.Option(help="go on with a run that is in --out: if there is one, only if, or refuse to")]


_SETTING_OF = {
    "seed": "seed",
    "shots": "data.shots",
    "class_names": "data.class_names",
    "skip_bad": "data.skip_bad",
    "generator": "generator.name",
    "arms": "compare.arms",
    "times": "draw.times",
}
"""The setting behind an option."""


@final
@dataclass(frozen=True)
class Options:
    """The options that settings are made of; every command that needs settings has all of them."""

    data: Annotated[str, typer.Argument(help=f"{_SOURCES}; for run, adapt, ... also the folder of a run, to go on with it", metavar="DATA")]
    preset: Annotated[str, typer.Option(help="effort: quick, standard or thorough")] = "standard"
    recipe: Annotated[str, typer.Option(help="method, see 'understudy list recipes'")] = "adapted"
    shots: Annotated[int | None, typer.Option(help="use only this many train images per class (and as many for validation)")] = None
    generator: Annotated[
        str | None, typer.Option(help="'mini', 'class_conditional', a diffusers pipeline folder, or a hub name", metavar="NAME")
    ] = None
    arms: Annotated[
        str | None,
        typer.Option(help="ways to use the data, comma-separated, see 'understudy list arms'; strategies after @, as mixed@refresh"),
    ] = None
    arms_file: Annotated[Path | None, typer.Option(help="YAML file with arms of your own: name, list of phases", metavar="FILE")] = None
    times: Annotated[
        str | None,
        typer.Option(
            help="synthetic images per real one, also where classes are small; several (1,2,5,10) to see what larger sets are worth",
            metavar="N[,N...]",
        ),
    ] = None
    class_names: Annotated[Path | None, typer.Option(help="file with the words for each class in prompts", metavar="FILE")] = None
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="leave unreadable files out instead of stopping")] = False
    override: Annotated[
        list[str] | None, typer.Option("--set", help="any setting, as section.key=value; may be repeated", metavar="KEY=VALUE")
    ] = None
    seed: Annotated[int, typer.Option(help="from which every random choice follows")] = 0

    @property
    def overrides(self) -> list[dict[str, Any]]:
        """What was typed after ``--set``, in its order."""
        return [parse_override(text) for text in self.override or ()]

    @property
    def given(self) -> list[str]:
        """Names of the options that were used."""
        return [entry.name for entry in fields(self) if entry.name != "data" and getattr(self, entry.name) != entry.default]

    def settings(self, added: dict[str, Any] | None = None) -> Settings:
        """Preset, then recipe, then these options, then ``--set``, then what the command adds; later ones winning."""
        from understudy.recipes import PRESETS, RECIPES

        compare: dict[str, Any] = {}
        if self.arms is not None:
            compare["arms"] = [name.strip() for name in self.arms.split(",")]
        if self.arms_file is not None:
            compare["own_arms"] = read_arms(self.arms_file)
            beside = compare.get("arms") or RECIPES[self.recipe].get("compare", {}).get("arms", DEFAULT_ARMS)
            compare["arms"] = list(dict.fromkeys([*beside, *compare["own_arms"]]))
        chosen: dict[str, Any] = {
            "seed": self.seed,
            "data": {"source": self.data, "shots": self.shots, "class_names": self.class_names, "skip_bad": self.skip_bad},
            "generator": {} if self.generator is None else {"name": self.generator},
            "compare": compare,
        }
        if self.times is not None:
            sizes = _times(self.times)
            chosen |= {"draw": {"times": sizes[0], "min_per_class": 1}, "scale": {"times": sizes if len(sizes) > 1 else []}}
        self._refuse_twice()
        refuse_contradictions(self.overrides, added or {})
        if not self.data.strip():
            raise InputError("DATA must not be empty: give a folder, a file or a name, such as digits")
        settings = build(PRESETS[self.preset], RECIPES[self.recipe], chosen, *self.overrides, added or {})
        refuse_without_effect(settings, [*given_names(*self.overrides), *(["draw.times"] if self.times is not None else [])])
        return settings

    def _refuse_twice(self) -> None:
        """A setting that has an option of its own may be given by that or by ``--set``, not by both."""
        written = given_names(*self.overrides)
        for name, key in _SETTING_OF.items():
            if name in self.given and key in written:
                raise InputError(f"{key} is given twice, by --{name.replace('_', '-')} and by --set: leave one of them out")


def _takes_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every field of :class:`Options` on the command line; it gets them as its first argument.

    Arguments of its own come before them on the command line, options of its own after them.
    """
    hints, own_hints = get_type_hints(Options, include_extras=True), get_type_hints(command, include_extras=True)
    shared = [parameter.replace(annotation=hints[name]) for name, parameter in inspect.signature(Options).parameters.items()]
    own = [parameter.replace(annotation=own_hints[name]) for name, parameter in list(inspect.signature(command).parameters.items())[1:]]

    def wrapped(**values: Any) -> None:
        command(Options(**{parameter.name: values.pop(parameter.name) for parameter in shared}), **values)

    arguments = [parameter for parameter in own if isinstance(parameter.annotation.__metadata__[0], ArgumentInfo)]
    ordered = (*arguments, *shared, *(parameter for parameter in own if parameter not in arguments))
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in ordered]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    return wrapped


def _run_of(options: Options, out: Path | None, added: dict[str, Any] | None = None) -> tuple[Path, Settings]:
    """Folder and settings of a new run, or of the one that the options name instead of data, with what is ``added`` to either."""
    from understudy.pipeline.folder import RunFolder

    folder = Path(options.data)
    if not (folder / "settings.yaml").exists():
        folder = out or Path("runs") / folder.resolve().stem
        return folder, options.settings(added)
    if out is not None or set(options.given) - {"times"}:
        raise InputError(f"{options.data} is a run and brings its settings: leave other options than --times out, or start a new run")
    larger = {} if options.times is None else {"scale": {"times": _times(options.times)}}
    return folder, build(RunFolder.find(folder).settings.model_dump(mode="json"), larger, added or {})


def _refuse_run(options: Options) -> None:
    """Before a run its data and settings are checked; the folder of one would be taken for data."""
    if (Path(options.data) / "settings.yaml").exists():
        raise InputError(f"{options.data} is a run, not images: give what it was made from, and its options")


def _do(settings: Settings, folder: Path, *, device: str, resume: ResumeOption, until: str) -> dict[str, Any]:
    """Run as far as asked, and print what came out if that is the whole way."""
    from understudy.pipeline.study import run

    results = run(settings, folder, device=_device(device), resume=resume.value, until=until, observer=_terminal())  # type: ignore[arg-type]
    if until == "report" and results:
        from understudy.report.terminal import summary_table

        _console.print(summary_table(results))
        _console.print(results["verdict"]["sentence"], highlight=False, markup=False)
        _console.print(f"{folder / 'report.html'}  {folder / 'results.json'}", highlight=False, markup=False, soft_wrap=True)
    return results


def _staged(until: str, summary: str) -> Callable[..., None]:
    """A command that does the job up to a stage; they differ in nothing else."""

    def command(options: Options, out: Out = None, device: Device = "auto", resume: Resume = ResumeOption.IF_POSSIBLE) -> None:
        folder, settings = _run_of(options, out)
        _do(settings, folder, device=device, resume=resume, until=until)

    command.__doc__ = summary
    return command


for _name, _until, _summary in (
    ("run", "report", "Do everything: load, adapt, draw, curate, compare, report. A stopped run goes on where it was."),
    ("adapt", "adapt", "Read and split the data, then fit the generator to the train split."),
    ("draw", "draw", "Up to and including drawing the synthetic images."),
    ("curate", "curate", "Up to and including scoring, filtering and refilling them."),
    ("compare", "compare", "Up to and including training every arm and testing it on real images."),
):
    app.command(_name)(_takes_options(_staged(_until, _summary)))


@app.command()
@_takes_options
def gap(
    options: Options,
    out: Out = None,
    device: Device = "auto",
    resume: Resume = ResumeOption.IF_POSSIBLE,
    strengths: Annotated[
        str | None, typer.Option(help="how far real images are noised and drawn again, comma-separated, 0 to 1", metavar="A,B,...")
    ] = None,
) -> None:
    """Take the gap between real and synthetic images apart: looks, labels, number, content. Of a run, or of DATA after a run of it."""
    given = {} if strengths is None else {"strengths": _times(strengths, option="--strengths", example="0.05,0.2,0.5")}
    folder, settings = _run_of(options, out, {"gap": {"measure": True, **given}})
    results = _do(settings, folder, device=device, resume=resume, until="report")
    if results:
        from understudy.report.terminal import gap_table

        _console.print(gap_table(results["gap"]))
        hypothesis = results["gap"]["hypothesis"]
        _console.print(f"{hypothesis['sentence']} The rule: {hypothesis['rule']}.", highlight=False, markup=False)


@app.command()
@_takes_options
def evaluate(
    options: Options,
    out: Out = None,
    device: Device = "auto",
    resume: Resume = ResumeOption.IF_POSSIBLE,
    test: Annotated[
        list[str] | None,
        typer.Option(help="a further labelled test set, of some or all of the classes; may be repeated", metavar="NAME=PATH"),
    ] = None,
    corruptions: Annotated[
        str | None, typer.Option(help="changes of the test images, comma-separated, or 'none' [default: all of them]", metavar="A,B,...")
    ] = None,
) -> None:
    """Test every arm on images unlike those it was compared on, with its calibration. Of a run, or of DATA after a run of it."""
    given: dict[str, Any] = {"tests": _named_paths(test)} if test else {}
    if corruptions is not None:
        given["corruptions"] = [] if corruptions == "none" else [name.strip() for name in corruptions.split(",")]
    folder, settings = _run_of(options, out, {"shift": {"measure": True, **given}})
    results = _do(settings, folder, device=device, resume=resume, until="report")
    if results:
        from understudy.report.terminal import shift_table

        _console.print(shift_table(results["shift"], results["data"]["classes"]))


@app.command()
@_takes_options
def audit(
    options: Options,
    out: Out = None,
    device: Device = "auto",
    resume: Resume = ResumeOption.IF_POSSIBLE,
    of: Annotated[str | None, typer.Option(help="arms to audit, comma-separated", metavar="ARMS")] = None,
    target: Annotated[
        str | None, typer.Option(help="what every shadow model makes anew: classifier, or pipeline, with adaptation and drawing")
    ] = None,
    shadows: Annotated[int | None, typer.Option(help="shadow models of each arm [default: 64]")] = None,
    rates: Annotated[
        str | None, typer.Option(help="false-positive rates at which members are found, comma-separated, 0 to 1", metavar="A,B,...")
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="privacy loss of a differentially private reference")] = None,
) -> None:
    """Audit how well an attacker can tell which real images a classifier goes back to. Of a run, or of DATA after a run of it."""
    given: dict[str, Any] = {"target": target, "shadows": shadows, "private_epsilon": epsilon}
    given["arms"] = None if of is None else [name.strip() for name in of.split(",")]
    given["false_positive_rates"] = None if rates is None else _times(rates, option="--rates", example="0.001,0.01")
    folder, settings = _run_of(
        options, out, {"membership": {"measure": True, **{key: value for key, value in given.items() if value is not None}}}
    )
    results = _do(settings, folder, device=device, resume=resume, until="report")
    if results:
        from understudy.report.terminal import membership_table

        _console.print(membership_table(results["membership"]))
        _console.print(" ".join(results["membership"]["promise"][:2]), highlight=False, markup=False)


@app.command()
def report(folder: Run) -> None:
    """Write report.html, results.json and README.md of a finished run anew."""
    from understudy.pipeline.folder import RunFolder
    from understudy.pipeline.study import write_report_again

    results = write_report_again(RunFolder.find(folder))
    _console.print(results["verdict"]["sentence"], highlight=False, markup=False)
    _console.print(str(folder / "report.html"), highlight=False, markup=False, soft_wrap=True)


@app.command("study")
@_takes_options
def make_study(
    options: Options,
    kind: Annotated[str, typer.Argument(help="what is varied: volume, guidance, shots or prompts", metavar="KIND")],
    out: Annotated[Path | None, typer.Option(help="study folder [default: runs/NAME-OF-DATA-KIND]", metavar="DIR")] = None,
    points: Annotated[str | None, typer.Option(help="values to try, comma-separated; more may be added later", metavar="A,B,...")] = None,
    repeats: Annotated[int, typer.Option(help="runs of each point")] = 3,
    device: Device = "auto",
) -> None:
    """Repeat the whole run while one thing varies: how many images, how much guidance, which prompts."""
    from understudy.commands.study import run_study

    folder = out or Path("runs") / f"{Path(options.data).resolve().stem}-{kind}"
    settings, overrides = options.settings(), options.overrides
    if options.times is not None:
        overrides.append({"draw": {"times": settings.draw.times}})
    values = None if points is None else points.split(",")
    study = run_study(
        kind, settings, folder, points=values, repeats=repeats, overrides=overrides, device=_device(device), observer=_terminal()
    )
    if study:
        from understudy.report.study_page import study_table

        _console.print(study_table(study))
        _console.print(study["sentence"], highlight=False, markup=False)
        _console.print(f"{folder / 'study.html'}  {folder / 'study.json'}", highlight=False, markup=False, soft_wrap=True)


@app.command()
@_takes_options
def validate(options: Options) -> None:
    """Check data, settings, generator and backbone; draw nothing, write nothing."""
    from understudy.commands.preflight import validate as check

    _refuse_run(options)
    settings = options.settings()
    _quiet_libraries()
    checked = check(settings)
    table = Table("class", "words in prompts", "train", "val", "test", title=Text(f"{options.data}: ready to run"))
    for row in checked.rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text, not str: rich would take brackets in a name for markup
    _console.print(table)
    for path, reason in checked.skipped:
        _console.print(f"left out: {path}: {reason}", highlight=False, markup=False)


@app.command()
@_takes_options
def preview(
    options: Options,
    to: Annotated[Path, typer.Option(help="picture to write", metavar="FILE")] = Path("preview.png"),
    device: Device = "auto",
) -> None:
    """Draw a few images per class with the generator as it is, and estimate time and disk of the whole run."""
    from understudy.commands.preflight import preview as draw_preview

    _refuse_run(options)
    settings = options.settings()
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
    what: Annotated[
        ExportWhat, typer.Option(help="the curated synthetic images, a classifier for timm, or the adapter for diffusers")
    ] = ExportWhat.DATASET,
    form: Annotated[
        ExportForm | None, typer.Option(help="of the images: image folder, WebDataset shards, or Hugging Face dataset [default: folder]")
    ] = None,
    arm: Annotated[str | None, typer.Option(help="whose classifier [default: that of the verdict]", metavar="ARM")] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="a licence for the cards, data.licence=... or generator.licence=...; the run keeps it", metavar="KEY=VALUE"
        ),
    ] = None,
) -> None:
    """Copy images, a classifier or the adapter of a run, with a card, to a folder that other tools read."""
    from understudy.commands.export import export_part
    from understudy.pipeline.study import stating_licences

    with stating_licences(folder, [parse_override(text) for text in override or ()]) as run:
        wrote = export_part(run, to, what=what.value, form=None if form is None else form.value, arm=arm)
    _console.print(wrote, highlight=False, markup=False, soft_wrap=True)


@app.command("compare-runs")
def compare_two_runs(
    a: Annotated[Path, typer.Argument(help="folder of a finished run", metavar="A")],
    b: Annotated[Path, typer.Argument(help="folder of another one, with the same classes", metavar="B")],
    to: Annotated[Path | None, typer.Option(help="page to write as well, such as compare.html", metavar="FILE")] = None,
) -> None:
    """Put two runs side by side: settings, data, accuracy of every arm with the difference, fidelity, copies, cost."""
    from understudy.commands.compare_runs import compare_runs
    from understudy.pipeline.folder import RunFolder
    from understudy.report.compared import compared_tables, write_comparison

    comparison = compare_runs(RunFolder.find(a), RunFolder.find(b))
    for table in compared_tables(comparison):
        _console.print(table)
    _console.print(comparison["sentence"], highlight=False, markup=False)
    if to is not None:
        write_comparison(to, comparison)
        _console.print(str(to), highlight=False, markup=False, soft_wrap=True)


@app.command("list")
def list_names(
    kind: Annotated[
        str | None, typer.Argument(help="recipes, presets, arms, backbones, generators, ...; everything if left out", metavar="KIND")
    ] = None,
) -> None:
    """Show the names that settings can take, each with a line of explanation."""
    from understudy.commands.names import CATALOGUE

    if kind is not None and kind not in CATALOGUE:
        raise InputError(f"unknown kind {kind!r}; known: {', '.join(CATALOGUE)}")
    for title in [kind] if kind else CATALOGUE:
        phases = title == "arms"
        table = Table("name", "what it is", *(["phases"] if phases else []), title=title, title_justify="left")
        for name in CATALOGUE[title]:
            details = [Text(CATALOGUE[title][name].describe())] if phases else []
            table.add_row(Text(name), Text(CATALOGUE[title].summary(name)), *details)
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


def _named_paths(texts: list[str]) -> dict[str, str]:
    """``NAME=PATH`` each, names once."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, _, path) in zip(texts, pairs, strict=True):
        if not name or not path:
            raise InputError(f"--test must be NAME=PATH, such as --test sketches=photos/sketches, got {text!r}")
    names = [name for name, _, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"--test must give each set a name of its own, got {', '.join(twice)} more than once")
    return {name: path for name, _, path in pairs}


def _times(text: str, *, option: str = "--times", example: str = "1,2,5,10") -> list[float]:
    """``"5,1,2"`` to 1, 2, 5."""
    try:
        return sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise InputError(f"{option} must be numbers with commas between them, such as {example}, got {text!r}") from None


def _device(name: str) -> str:
    import torch

    from understudy.core.processes import Processes

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
    from understudy.core.progress import Terminal

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
