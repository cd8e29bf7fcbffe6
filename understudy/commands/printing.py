"""What commands print: lines, and tables that need no results of a run."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.core.progress import Terminal

console = Console()
errors = Console(stderr=True)


def progress() -> Terminal:
    """An observer that prints messages and bars."""
    return Terminal(console)


def say(text: object, *, is_path: bool = False) -> None:
    """Print a sentence, or paths, which stay on one line so that they can be copied."""
    console.print(str(text), highlight=False, markup=False, soft_wrap=is_path)


def complain(text: str, *, style: str | None = None) -> None:
    """Print a sentence to standard error."""
    errors.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def show_table(columns: Iterable[str], rows: Iterable[Iterable[object]], *, title: str) -> None:
    """Print a table."""
    # Text, because rich would read brackets in a name as markup.
    table = Table(*columns, title=Text(title), title_justify="left")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console.print(table)
