"""Messages advise what the command that prints them accepts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

import understudy
from understudy.cli import app
from understudy.commands.chosen import run_folder
from understudy.commands.options import Options
from understudy.core.config import owner_of
from understudy.core.errors import InputError
from understudy.pipeline.folder import RunFolder
from understudy.settings import Settings, build

PACKAGE = Path(understudy.__file__).parent
OPTIONS = {
    name: {option for parameter in command.params for option in parameter.opts}
    for name, command in typer.main.get_command(app).commands.items()
}
PRINTED_BY = {
    "commands/compare_runs.py": ["compare-runs"],
    "commands/export.py": ["export"],
    "commands/export_classifier.py": ["export"],
    "commands/export_licences.py": ["export"],
    "commands/export_place.py": ["export"],
    "commands/export_predictions.py": ["export"],
    "core/hub_upload.py": ["export"],
    "training/onnx_file.py": ["export"],
    "commands/init.py": ["init"],
    "commands/preview.py": ["preview"],
    "commands/study.py": ["study"],
    "commands/study_folder.py": ["study"],
    "commands/study_kinds.py": ["study"],
    "commands/validate.py": ["validate"],
    "evaluation/membership.py": ["audit"],
    "evaluation/shift.py": ["evaluate"],
    "evaluation/shift_tests.py": ["evaluate"],
    "pipeline/gap.py": ["gap"],
    "pipeline/shadows.py": ["audit"],
    "pipeline/shift.py": ["evaluate"],
    "training/private.py": ["audit"],
}
"""Files whose messages few commands print; any command may print those of the others."""


def errors() -> Iterator[tuple[str, ast.Call]]:
    """File and call of every InputError."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputError":
                yield path.relative_to(PACKAGE).as_posix(), node


def messages() -> Iterator[tuple[str, int, list[str]]]:
    """File, line and arguments, as they are written, of every InputError."""
    for file, error in errors():
        texts = [
            "".join(str(part.value) for part in ast.walk(argument) if isinstance(part, ast.Constant))
            for argument in error.args
        ]
        yield file, error.lineno, texts


def edge(text: ast.expr, place: int) -> str | None:
    """First (0) or last (-1) piece of a text; None if it is no constant."""
    while isinstance(text, ast.BinOp | ast.JoinedStr):
        text = (text.left, text.right)[place] if isinstance(text, ast.BinOp) else text.values[place]
    return text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else None


def test_something_stands_between_a_problem_and_its_advice() -> None:
    """Both are printed as one text."""
    joined, checked = [], 0
    for file, error in errors():
        if len(error.args) == 2 and (end := edge(error.args[0], -1)):
            start = edge(error.args[1], 0) or ""
            checked += 1
            if not end[-1].isspace() and not start.startswith((":", ";")):
                joined.append((file, error.lineno, end, start))
    assert checked > 10
    assert not joined


def test_every_option_in_a_message_is_one_of_the_commands_that_print_it() -> None:
    wrong = [
        (file, line, option)
        for file, line, texts in messages()
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", " ".join(texts))
        if option not in set().union(*(OPTIONS[name] for name in PRINTED_BY.get(file, OPTIONS)))
    ]
    assert not wrong


def test_every_setting_in_a_message_exists() -> None:
    sections = "|".join(Settings.model_fields)
    wrong = []
    for file, line, texts in messages():
        for name in re.findall(rf"(?<![\w./-])((?:{sections})\.[a-z_]+[a-z])(?![\w./])", " ".join(texts)):
            try:
                owner_of(Settings, name)
            except KeyError:
                wrong.append((file, line, name))
    assert not wrong


def test_what_readers_of_images_say_about_options_is_advice() -> None:
    """Test sets and ready-made images are read too, where no option has an effect: the advice is replaced."""
    wrong = [
        (file, line)
        for file, line, texts in messages()
        if file.startswith("data/") and not file.startswith(("data/captions", "data/copy_groups"))
        if re.search(r"--(set|skip-bad|class-names)", texts[0])
    ]
    assert not wrong


@pytest.mark.parametrize("given", [{"seed"}, {"override", "preset"}, {"arms_file", "skip_bad", "times"}])
def test_a_run_names_the_options_to_leave_out_and_goes_on_without_them(
    given: set[str], tmp_path: Path
) -> None:
    RunFolder.open(tmp_path, build({"data": {"source": "digits"}}))
    places = [tmp_path / "other", None] if "seed" in given else [None]
    for out in places:
        with pytest.raises(InputError, match="which keeps its settings and its folder: leave out ") as caught:
            run_folder(Options(str(tmp_path), given=frozenset({"data", *given})), out)
    named = re.findall(r"--([a-z-]+)", str(caught.value))
    left = given - {"override" if name == "set" else name.replace("-", "_") for name in named}
    assert left == given & {"times"}
    run_folder(Options(str(tmp_path), given=frozenset({"data", *left})), None)
