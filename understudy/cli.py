"""The command line: parse, call, print.

Commands import the code that they need when they are called, because PyTorch and other libraries take seconds
to load and ``--help`` needs none of them.
"""

from __future__ import annotations

import atexit
import gc
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, final

import typer.core

from understudy.commands import options as typed
from understudy.commands.options import Options, Place, RunPath, takes_options
from understudy.core.errors import InputError
from understudy.core.fixable import problem_of
from understudy.core.stop import stopped_by_sigterm

if TYPE_CHECKING:
    from understudy.settings import Settings


class _InterruptError(Exception):
    """Ctrl-C or SIGTERM, with the exit code."""


@final
class _Commands(typer.core.TyperGroup):
    """The commands; if they are stopped they raise an error of ours, as Typer would end without a message."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise _InterruptError(getattr(stop, "exit_code", 130)) from None


app = typer.Typer(
    name="understudy",
    cls=_Commands,
    help="Draw synthetic training images like yours, train on real and synthetic data under equal terms, and "
    "see what the synthetic images are worth.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def main_options(
    version: typed.Version = False,
) -> None:
    """Options of the program itself."""


def _do(settings: Settings, folder: Path, place: Place, *, until: str) -> dict[str, Any]:
    """Run all stages up to ``until``, and print the results if the run is complete."""
    from understudy.commands import chosen, printing
    from understudy.pipeline import run as running

    results = running.run(
        settings,
        folder,
        device=chosen.torch_device(place.device),
        resume=place.resume.value,
        until=until,
        observer=_terminal(),
    )
    if until == "report" and results:
        from understudy.report import terminal

        printing.console.print(terminal.summary_table(results))
        printing.say(results["verdict"]["sentence"])
        printing.say(f"{folder / 'report.html'}  {folder / 'results.json'}", is_path=True)
    return results


def _do_study(kind: str, settings: Settings, folder: Path, *, device: str, **given: Any) -> None:
    """Do the runs of a study, and print its results."""
    from understudy.commands import bakeoff, chosen, printing
    from understudy.commands.study import run_study

    given |= {"device": chosen.torch_device(device), "observer": _terminal()}
    if kind == "bakeoff":
        study = bakeoff.run_bakeoff(settings, folder, **given)
    else:
        study = run_study(kind, settings, folder, **given)
    if study:
        from understudy.report.study_page import study_table

        printing.console.print(study_table(study))
        printing.say(study["sentence"])
        printing.say(f"{folder / 'study.html'}  {folder / 'study.json'}", is_path=True)


@app.command("run")
@takes_options
def do_whole_runs(
    options: Options, place: Place, repeats: typed.Repeats = None, time_limit: typed.TimeLimit = None
) -> None:
    """Run every stage, from reading images to the report. A stopped run continues where it stopped.

    --repeats does several runs with other seeds, and judges over all. --time-limit cuts what does not fit.
    """
    from understudy.commands import chosen, say_next
    from understudy.commands.time_limit import settings_within

    number = chosen.whole_runs(options, place.out, repeats)
    limit = chosen.time_limit(options, time_limit, number)
    if number > 1:
        folder = chosen.study_folder(options, place, "repeats")
        settings = chosen.settings_of(options, folder=folder)
    else:
        folder, settings = chosen.run_folder(options, place.out)
    settings = settings_within(settings, limit, folder, device=place.device, observer=_terminal())
    if number > 1:
        _do_study("repeats", settings, folder, device=place.device, repeats=number)
    else:
        say_next.say_next(_do(settings, folder, place, until="report"))


def _staged(until: str, summary: str) -> Callable[..., None]:
    """A command that runs all stages up to ``until``."""

    def command(options: Options, place: Place) -> None:
        from understudy.commands import chosen

        folder, settings = chosen.run_folder(options, place.out)
        _do(settings, folder, place, until=until)

    command.__doc__ = summary
    return command


for _name, _until, _summary in (
    ("adapt", "adapt", "Read and split the data, and fit the generator to it."),
    ("draw", "draw", "Run all stages up to drawing synthetic images."),
    ("curate", "curate", "Run all stages up to filtering the synthetic images."),
    ("compare", "compare", "Run all stages up to training and testing every arm."),
):
    app.command(_name)(takes_options(_staged(_until, _summary)))


def _measure(options: Options, place: Place, section: str, given: dict[str, Any]) -> Any:
    """Add a measurement to a finished or a new run; returns its results and the class names."""
    from understudy.commands import chosen

    folder, settings = chosen.run_folder(options, place.out, {section: {"measure": True, **given}})
    results = _do(settings, folder, place, until="report")
    return (results[section], results["data"]["classes"]) if results else (None, ())


@app.command()
@takes_options
def gap(
    options: Options,
    place: Place,
    strengths: typed.Strengths = None,
) -> None:
    """Explain the accuracy gap between real and synthetic data.

    DATA can be the folder of a finished run. The run keeps its settings, so the only options for it are
    --strengths, --times, --threads, --workers, --device and --resume. With images as DATA, a whole run comes
    first.
    """
    from understudy.commands import chosen, printing

    given = None if strengths is None else chosen.numbers(strengths, "--strengths", "0.05,0.2,0.5")
    found, _ = _measure(options, place, "gap", chosen.used(strengths=given))
    if found:
        from understudy.report import terminal

        printing.console.print(terminal.gap_table(found))
        printing.say(f"{found['hypothesis']['sentence']} The rule: {found['hypothesis']['rule']}.")


@app.command()
@takes_options
def evaluate(
    options: Options,
    place: Place,
    test: typed.Tests = None,
    corruptions: typed.Corruptions = None,
) -> None:
    """Test every arm on corrupted images and further test sets.

    Calibration is measured too. DATA can be the folder of a finished run. The run keeps its settings, so the
    only options for it are --test, --corruptions, --times, --threads, --workers, --device and --resume. With
    images as DATA, a whole run comes first.
    """
    from understudy.commands import chosen, printing

    asked = None if corruptions is None else [] if corruptions == "none" else chosen.names(corruptions)
    given = chosen.used(tests=chosen.named_paths(test) if test else None, corruptions=asked)
    found, classes = _measure(options, place, "shift", given)
    if found:
        from understudy.report import terminal

        printing.console.print(terminal.shift_table(found, classes))


@app.command()
@takes_options
def audit(options: Options, place: Place, attack: typed.Attack) -> None:
    """Run membership-inference attacks against every arm.

    DATA can be the folder of a finished run. The run keeps its settings, so the only options for it are --of,
    --target, --shadows, --rates, --epsilon, --times, --threads, --workers, --device and --resume. With images
    as DATA, a whole run comes first.
    """
    from understudy.commands import chosen, printing

    given = chosen.used(
        target=attack.target,
        shadows=attack.shadows,
        arms=None if attack.of is None else chosen.names(attack.of),
        false_positive_rates=None
        if attack.rates is None
        else chosen.numbers(attack.rates, "--rates", "0.001,0.01"),
    )
    found, _ = _measure(options, place, "membership", given | chosen.privacy_budget(attack.epsilon))
    if found:
        from understudy.report import terminal

        printing.console.print(terminal.membership_table(found))
        printing.say(" ".join(found["promise"][:2]))


@app.command()
def report(folder: RunPath) -> None:
    """Write the report and results.json of a finished run again.

    The dataset card README.md is written again too.
    """
    from understudy.commands import printing
    from understudy.pipeline import run as running
    from understudy.pipeline.folder import RunFolder

    results = running.write_report_again(RunFolder.find(folder))
    printing.say(results["verdict"]["sentence"])
    printing.say(folder / "report.html", is_path=True)


@app.command("study")
@takes_options
def make_study(
    options: Options,
    place: Place,
    kind: typed.Kind,
    variation: typed.Variation,
) -> None:
    """Repeat the whole run while one setting varies.

    It can be the number of synthetic images (volume), the guidance scale, the number of real images (shots),
    the training steps, or the prompts. With repeats nothing varies but the seed.
    """
    from understudy.commands import chosen

    if kind == "bakeoff":
        raise InputError("a bake-off has its own command: understudy bakeoff DATA --generators A,B,...")
    chosen.check_not_a_run(options)
    folder, overrides = chosen.study_folder(options, place, kind), chosen.overrides_of(options)
    settings = chosen.settings_of(options, folder=folder)
    if options.times is not None:
        overrides.append({"draw": {"times": settings.draw.times}})
    _do_study(
        kind,
        settings,
        folder,
        device=place.device,
        points=None if variation.points is None else variation.points.split(","),
        repeats=variation.repeats,
        overrides=overrides,
    )


@app.command()
@takes_options
def bakeoff(options: Options, place: Place, contest: typed.Contest) -> None:
    """Do the same small job with each generator, and rank them on validation images.

    The other options are those of the whole run that the small jobs stand for.
    """
    from understudy.commands import chosen

    chosen.check_not_a_run(options)
    folder = chosen.study_folder(options, place, "bakeoff")
    _do_study(
        "bakeoff",
        chosen.settings_of(options, varied=("generator.name",), folder=folder),
        folder,
        device=place.device,
        generators=chosen.names(contest.generators),
        per_class=contest.per_class,
        repeats=contest.repeats,
        **chosen.used(arms=chosen.arms_of(options)),
    )


@app.command("init")
@takes_options
def init_settings(
    options: Options, to: typed.Target = Path("understudy.yaml"), overwrite: typed.Overwrite = False
) -> None:
    """Look at the images, and write a settings file that gives the reason for each choice.

    The file takes the place of DATA in other commands: edit it, then give it to preview and run.
    """
    from understudy.commands import chosen, init, printing

    chosen.check_not_a_run(options)
    checked = init.write_settings_file(options, to, overwrite=overwrite, observer=printing.progress())
    printing.say(f"{options.data}: {checked.words}; {checked.counted}")
    for line in checked.sentences:
        printing.say(line)
    printing.say(f"wrote {to}", is_path=True)
    printing.say(f"next: {chosen.command_with('preview', Options(str(to)))}", is_path=True)


@app.command()
@takes_options
def validate(
    options: Options,
    every_class: Annotated[bool, typer.Option("--all", help="show all classes, not only ten")] = False,
) -> None:
    """Check data, settings, generator and backbone without a run."""
    from understudy.commands import chosen, printing
    from understudy.commands import validate as validating

    chosen.check_not_a_run(options)
    settings = chosen.settings_of(options)
    checked = validating.validate(settings, observer=printing.progress())
    columns = ("class", "words in prompts", "train", "val", "test")
    rows = checked.rows if every_class else validating.shown_classes(checked.rows)
    printing.show_table(columns, rows, title=f"{options.data}: {checked.words}")
    for line in checked.sentences:
        printing.say(line)
    printing.say(f"next: {chosen.command_with('preview', options)}", is_path=True)


@app.command()
@takes_options
def preview(
    options: Options,
    to: Annotated[Path, typer.Option(help="picture to write", metavar="FILE")] = Path("preview.png"),
    device: typed.Device = "auto",
    repeats: typed.Repeats = None,
    images: typed.PreviewImages = None,
    time_limit: typed.TimeLimit = None,
) -> None:
    """Draw a few images per class, and estimate the cost of a run.

    The generator is not adapted; an adapter made earlier (adapt.adapter) is used.
    """
    from understudy.commands import chosen, printing
    from understudy.commands.preview import preview as draw_preview
    from understudy.generators.silence import no_progress_bars

    chosen.check_not_a_run(options)
    settings, number = chosen.settings_of(options), chosen.whole_runs(options, None, repeats)
    limit = chosen.time_limit(options, time_limit, number)
    no_progress_bars()
    place, shown = chosen.torch_device(device), printing.progress()
    found = draw_preview(settings, to, device=place, images=images, limit=limit, observer=shown)
    rows = found.estimate.rows(repeats=number)
    title = f"estimate for the whole run, preset {options.preset}"
    printing.show_table(("stage", "estimate"), rows, title=title)
    for line in filter(None, (found.cut, found.recognised, found.words, *found.room, *found.warnings)):
        printing.say(line)
    printing.say(f"one column per class (at most 40), real images above synthetic ones: {to}", is_path=True)
    used = None if device == "auto" else device
    run = chosen.command_with("run", options, device=used, repeats=repeats, time_limit=time_limit)
    printing.say(f"next: {run}", is_path=True)


@app.command()
@takes_options
def export(folder: RunPath, asked: typed.Export, override: typed.Licences = None) -> None:
    """Export images, a classifier, predictions, the adapter or the report of a run.

    The export is in the format of other tools and comes with a card; the report becomes a page without real
    images. It goes to a folder, or to a repository on the Hugging Face hub, which is private unless you give
    --public.
    """
    from understudy.commands import chosen, printing
    from understudy.commands.export_place import export_as_asked

    for line in export_as_asked(folder, asked, chosen.parse_overrides(override)):
        printing.say(line, is_path=True)


@app.command("watch")
def watch_folder(folder: typed.WatchedPath, port: typed.Port = None, opens: typed.Opens = False) -> None:
    """Show a run or a study on a local page while it grows, until Ctrl-C. The folder is only read."""
    from understudy.commands.watch import watch

    watch(folder, port=port, opens=opens)


@app.command("compare-runs")
def compare_two_runs(
    a: typed.FirstRun,
    b: typed.SecondRun,
    to: typed.Page = None,
) -> None:
    """Compare two runs: settings, data, accuracy, fidelity, cost."""
    from understudy.commands import printing
    from understudy.commands.compare_runs import compare_runs
    from understudy.pipeline.folder import RunFolder
    from understudy.report import compared

    if to is not None:
        compared.check_page(to)
    comparison = compare_runs(RunFolder.find(a), RunFolder.find(b))
    for table in compared.compared_tables(comparison):
        printing.console.print(table)
    printing.say(comparison["sentence"])
    if to is not None:
        compared.write_comparison(to, comparison)
        printing.say(to, is_path=True)


@app.command("list")
def list_names(kind: typed.KindOfName = None) -> None:
    """List the names that settings accept, each with a summary."""
    from understudy.commands import printing
    from understudy.commands.names import tables

    for title, columns, rows in tables(kind):
        printing.show_table(columns, rows, title=title)


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Errors that users can fix give a message and exit code 2, Ctrl-C 130, SIGTERM 143."""
    words = sys.argv[1:] if arguments is None else arguments
    # The libraries make a million objects that stay. Looking through them for garbage so often, and once
    # more at the end, takes a fifth of the time of a short command.
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):  # names of files may hold what the terminal cannot show
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")
    again = shlex.join(["understudy", *words])
    try:
        with stopped_by_sigterm():
            app(words)
    except _InterruptError as stop:
        from understudy.commands import printing

        printing.complain(f"\nstopped; everything finished is kept. To continue: {again}")
        sys.exit(stop.args[0])
    except InputError as error:
        _refuse(str(error))
    except Exception as error:
        if (problem := problem_of(error)) is None:
            raise
        _refuse(f"{problem}; everything finished is kept: solve this problem, then continue with: {again}")


def _refuse(message: str) -> NoReturn:
    from understudy.commands import printing

    printing.complain(f"error: {message}", style="red")
    sys.exit(2)


def _terminal() -> Any:
    from understudy.commands import printing
    from understudy.generators.silence import no_progress_bars

    no_progress_bars()
    return printing.progress()


if __name__ == "__main__":
    main()
