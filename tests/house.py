"""Figures of the code itself: lengths of files and functions, parameters, imported names, repeated lines.

``python tests/house.py`` prints them; ``tests/test_house.py`` holds the limits.
"""

import ast
import io
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "understudy"
LINES_ALIKE = 6
"""Two places count as a pair if so many consecutive statements are the same but for their names."""
ASSETS = {".html", ".css", ".js"}


@dataclass(frozen=True)
class Function:
    """One function or method, and where it stands."""

    path: Path
    node: ast.FunctionDef | ast.AsyncFunctionDef

    def __str__(self) -> str:
        return f"{self.path.relative_to(PACKAGE)}:{self.node.lineno} {self.node.name}"

    @property
    def lines(self) -> int:
        """From ``def`` to the last line, the docstring included."""
        return (self.node.end_lineno or 0) - self.node.lineno + 1

    @property
    def parameters(self) -> int:
        """Everything a caller can pass; ``self`` and ``cls`` do not count."""
        given = self.node.args
        named = [
            a for a in (*given.posonlyargs, *given.args, *given.kwonlyargs) if a.arg not in ("self", "cls")
        ]
        return len(named) + sum(star is not None for star in (given.vararg, given.kwarg))


@cache
def modules() -> list[Path]:
    """Every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


@cache
def syntax(path: Path) -> ast.Module:
    """The syntax tree of a file, which several of the figures read."""
    return ast.parse(path.read_text(encoding="utf-8"))


def file_lengths() -> dict[Path, int]:
    """Lines of every file that somebody wrote: Python, and the templates of pages."""
    paths = [*modules(), *(path for path in sorted(PACKAGE.rglob("*")) if path.suffix in ASSETS)]
    return {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}


@cache
def functions() -> list[Function]:
    """Every function and method of the package, nested ones included."""
    return [
        Function(path, node)
        for path in modules()
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def share(values: list[int], most: int) -> float:
    """Share of the values that are at most so large."""
    return sum(value <= most for value in values) / len(values)


def imported_names(path: Path) -> set[str]:
    """Names that a file imports anywhere, as they are called in it."""
    return {
        alias.asname or alias.name
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__"
        for alias in node.names
    }


def shapes(path: Path) -> list[tuple[int, str]]:
    """Statements without imports, docstrings and fields; kinds stand for names and literals.

    A statement counts as one line however it is broken, so that the width of the lines does not matter.
    """
    text = path.read_text(encoding="utf-8")
    skipped: set[int] = set()
    for node in ast.walk(syntax(path)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom | ast.AnnAssign):
            skipped |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    kinds = {tokenize.NAME: "n", tokenize.NUMBER: "0", tokenize.STRING: "s"}
    rows: list[tuple[int, str]] = []
    words: list[str] = []
    start = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE and words:
            rows.append((start, " ".join(words)))
            words = []
        elif token.start[0] not in skipped and token.type in (*kinds, tokenize.OP):
            start = start if words else token.start[0]
            is_keyword = token.type == tokenize.NAME and token.string in KEYWORDS
            words.append(token.string if is_keyword else kinds.get(token.type, token.string))
    return rows


KEYWORDS = frozenset(
    [
        "if",
        "else",
        "elif",
        "for",
        "while",
        "return",
        "yield",
        "def",
        "class",
        "with",
        "raise",
        "try",
        "not",
        "in",
    ]
)


def pairs_alike() -> list[tuple[str, str]]:
    """Pairs of places of which six consecutive statements have the same shape; a longer match counts once."""
    places: dict[tuple[str, ...], list[tuple[Path, int, int]]] = defaultdict(list)
    for path in modules():
        rows = shapes(path)
        for start in range(len(rows) - LINES_ALIKE + 1):
            window = rows[start : start + LINES_ALIKE]
            places[tuple(shape for _, shape in window)].append((path, start, window[0][0]))
    found = {
        (a, b)
        for same in places.values()
        for a, b in combinations(same, 2)
        if a[0] != b[0] or abs(a[1] - b[1]) >= LINES_ALIKE
    }
    starts = {((a[0], a[1]), (b[0], b[1])) for a, b in found}
    return sorted(
        (f"{a[0].relative_to(PACKAGE)}:{a[2]}", f"{b[0].relative_to(PACKAGE)}:{b[2]}")
        for a, b in found
        if ((a[0], a[1] - 1), (b[0], b[1] - 1)) not in starts
    )


def deferred_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every import inside a function."""
    for function in ast.walk(syntax(path)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield node.lineno, (node.module or "").split(".")[0]


def rows() -> Iterator[tuple[str, str]]:
    """What ``python tests/house.py`` prints."""
    lengths, every = file_lengths(), functions()
    longest = max(lengths, key=lambda path: lengths[path])
    lines, parameters = ([getattr(f, name) for f in every] for name in ("lines", "parameters"))
    names = {path: len(imported_names(path)) for path in modules() if path != PACKAGE / "__init__.py"}
    most = max(names, key=lambda path: names[path])
    yield "files", f"{len(lengths)} with {sum(lengths.values()):,} lines"
    yield "longest file", f"{longest.relative_to(PACKAGE)}, {lengths[longest]} lines"
    yield "functions", f"{len(every)}, {100 * share(lines, 30):.1f}% of at most 30 lines"
    yield "longest function", _largest(every, "lines")
    yield "parameters", f"{100 * share(parameters, 6):.1f}% of the functions have at most 6"
    yield "most parameters", _largest(every, "parameters")
    yield "most imported names", f"{most.relative_to(PACKAGE)}, {names[most]}"
    yield f"pairs of {LINES_ALIKE} alike", str(len(pairs_alike()))


def _largest(every: list[Function], name: str) -> str:
    largest = max(every, key=lambda function: int(getattr(function, name)))
    return f"{largest}, {getattr(largest, name)}"


if __name__ == "__main__":
    for label, value in rows():
        print(f"{label + ':':<28}{value}")  # noqa: T201
    if "--pairs" in sys.argv:
        for one, other in pairs_alike():
            print(f"{one}  {other}")  # noqa: T201
