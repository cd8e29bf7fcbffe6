"""The command line that made a run, as ``results.json`` has it, and commands made from it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Self, final

from understudy.recipes import REPEATS

ANY_FOLDER, ANY_DATA = "DIR", "DATA"
"""Stand for the folder of the run and for its images where the results do not tell them."""

FLAGS = ("skip-bad",)
"""Options without a value."""
KEPT = (
    *("preset", "recipe", "shots", "generator", "arms", "arms-file", "times", "class-names", "skip-bad"),
    *("set", "seed", "threads", "executor", "workers", "gpus-per-worker", "ray-address", "device"),
    *("time-limit", "repeats"),
)
"""Options of a run that the same run in another folder has too."""
SETTINGS_FILES = (".yaml", ".yml")
"""Endings of settings files, which take the place of images."""
_MAKES_A_RUN = ("run", "adapt", "draw", "curate", "compare", "gap", "evaluate", "audit")
_MANY_RUNS = ("study", "bakeoff")
_SETTING_OF = {"arms": "compare.arms", "generator": "generator.name", "times": "draw.times"}
"""Settings that ``--set`` may give in place of an option; a run takes only one of the two."""

_Pairs = tuple[tuple[str, str], ...]


@final
@dataclass(frozen=True, kw_only=True)
class RunCommand:
    """How a run was started.

    Attributes:
        data: its images or its settings file, as typed; :data:`ANY_DATA` if the results do not tell the
            command that read them, as after ``understudy gap RUN`` and for runs started from Python.
        images: its images, also if ``data`` is a settings file.
        options: pairs of a name in :data:`KEPT` and its value, in the order in which they were typed.
        out: the folder that the command named or made; :data:`ANY_FOLDER` if unknown.
        is_one_of_many: whether the run is part of a study, or of a run with ``--repeats``.
    """

    data: str = ANY_DATA
    images: str = ANY_DATA
    options: _Pairs = ()
    out: str = ANY_FOLDER
    is_one_of_many: bool = False

    @classmethod
    def of(cls, results: Mapping[str, Any]) -> Self:
        """Read the command in ``results.json``.

        Args:
            results: content of the file; only ``environment.command``, ``data.source`` and ``in_study`` are
                used.
        """
        command, options = _parsed(str(results.get("environment", {}).get("command", "")))
        if command[:1] and command[0] in _MANY_RUNS:
            return cls(is_one_of_many=True)
        if len(command) != 2 or command[0] not in _MAKES_A_RUN:
            return cls()
        data, source, given = command[1], str(results["data"]["source"]), dict(options)
        if data != source and PurePath(data).suffix.lower() not in SETTINGS_FILES:
            return cls(out=data)  # the folder of a run, which was continued
        repeats = given.get("repeats", str(REPEATS.get(given.get("preset", ""), 1)))
        return cls(
            data=data,
            images=source,
            options=tuple((name, value) for name, value in options if name in KEPT),
            out=given.get("out") or default_folder(source).as_posix(),
            is_one_of_many=repeats != "1" or results.get("in_study", False),
        )

    @property
    def has_file(self) -> bool:
        """Whether settings of the run stand in a file, which the results do not hold."""
        return self.data != self.images

    @property
    def folder(self) -> str:
        """The folder of the run itself; :data:`ANY_FOLDER` if unknown."""
        return ANY_FOLDER if self.is_one_of_many else self.out.rstrip("/") or "/"

    def value_of(self, name: str) -> str:
        """The last value of an option, or of a setting (``draw.times``) in ``--set``; empty if not given."""
        settings = (value.partition("=") for option, value in self.options if option == "set")
        return (dict(self.options) | {key: value for key, _, value in settings}).get(name, "")

    def again(self, ending: str, changed: Mapping[str, str], *, leave_out: Collection[str] = ()) -> str:
        """The line of the shell that starts a new run of the same images, with some options changed.

        Args:
            ending: of its folder, which begins like that of this run.
            changed: values by name of an option (``repeats``) or a setting (``curate.firewall``).
            leave_out: options and sections of settings (``draw``) that the new run does without; nothing can
                be left out of a settings file, so the new run then does without the file.
        """
        gone = {*changed, *leave_out}
        gone |= {_SETTING_OF[name] for name in gone if name in _SETTING_OF}
        words = _words(pair for pair in self.options if not _is_about(pair, gone))
        for name, value in changed.items():
            words += ["--set", f"{name}={value}"] if "." in name else [f"--{name}", value]
        data = self.images if "draw" in leave_out else self.data
        return command_on("run", data, *words, "--out", f"{self.out.rstrip('/')}-{ending}")

    def on_run(self, command: str, *words: str) -> str:
        """The line of the shell that calls a command on this run."""
        return command_on(command, self.folder, *words)


def default_folder(data: str, ending: str = "") -> Path:
    """The folder of a run or a study of these images, unless ``--out`` gives another.

    Args:
        data: as typed; a link stands for what it leads to, and ``.`` for the working directory.
        ending: of its name.
    """
    return Path("runs") / f"{Path(data).resolve().stem}{ending}"


def command_on(command: str, data: str | PurePath, *words: str) -> str:
    """The line of the shell that calls a command with DATA and options."""
    ordered = [*words, "--", str(data)] if str(data).startswith("-") else [str(data), *words]
    return shlex.join(["understudy", command, *ordered])


def _is_about(pair: tuple[str, str], names: Collection[str]) -> bool:
    """Whether an option is among the names, or sets one of them, or a setting of one of these sections."""
    name, value = pair
    key = value.partition("=")[0]
    return name in names or (name == "set" and (key in names or key.partition(".")[0] in names))


def _words(pairs: Iterable[tuple[str, str]]) -> list[str]:
    words = []
    for name, value in pairs:
        words += [f"--{name}"] if name in FLAGS else [f"--{name}", value]
    return words


def _parsed(line: str) -> tuple[list[str], _Pairs]:
    """Command and arguments, and options with their values; both empty for a line of another program."""
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote
        return [], ()
    if words[:1] != ["understudy"]:
        return [], ()
    return _arguments_and_options(words[1:])


def _arguments_and_options(words: Sequence[str]) -> tuple[list[str], _Pairs]:
    arguments, options, rest = list[str](), list[tuple[str, str]](), iter(words)
    for word in rest:
        if word == "--":
            arguments += rest
        elif not word.startswith("--"):
            arguments.append(word)
        else:
            name, has_value, value = word[2:].partition("=")
            options.append((name, value if has_value or name in FLAGS else next(rest, "")))
    return arguments, tuple(options)
