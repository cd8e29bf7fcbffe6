"""What a benchmark writes: environment, settings, measured rows, and claims with their targets."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from understudy.core.files import write_text
from understudy.core.provenance import environment
from understudy.functional.intervals import student_interval


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One figure that was asked for, or that the documentation states.

    Attributes:
        claim: the sentence that the figure supports.
        value, low, high: measured, with a 95% interval; equal where there is none,
            null for a single repetition.
        target: what was asked for, in words.
        met: whether the value reaches it.
        why: the reason where it does not, or how the interval was made.
    """

    claim: str
    value: float
    low: float
    high: float
    target: str
    met: bool
    why: str = ""


def t_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95% Student interval over independent repetitions; no interval for a single one."""
    interval = student_interval(values)
    if len(values) < 2:
        return interval["mean"], math.nan, math.nan
    return interval["mean"], interval["low"], interval["high"]


def cell(values: Sequence[float] | np.ndarray, *, digits: int = 1) -> str:
    """Mean and interval of repetitions, for a table."""
    mean, low, high = t_interval([float(value) for value in values])
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def repeated(
    claim: str,
    values: Sequence[float],
    *,
    target: str,
    least: float = -math.inf,
    most: float = math.inf,
    low_above: float = -math.inf,
    why_not: str = "",
) -> Claim:
    """A claim about the mean over runs, with its Student interval.

    Args:
        claim: the sentence.
        values: one per run.
        target: what was asked for, in words.
        least: the mean must reach this.
        most: the mean must not exceed this.
        low_above: the lower end of the interval must lie above this.
        why_not: the reason, if it is not met.
    """
    mean, low, high = t_interval(values)
    met = least <= mean <= most and (low > low_above or low_above == -math.inf)
    why = f"Student interval over {len(values)} runs" + (f"; {why_not}" if why_not and not met else "")
    return Claim(claim=claim, value=mean, low=low, high=high, target=target, met=met, why=why)


def write(
    path: Path,
    *,
    settings: Any,
    rows: Sequence[dict[str, Any]],
    claims: Sequence[Claim],
    tables: Sequence[dict[str, Any]] = (),
) -> None:
    """Write a benchmark's result file; a number that does not exist is null.

    Args:
        path: the file.
        settings: by case, with the command; defaults need not be named.
        rows: what was measured, one per run.
        claims: what follows.
        tables: summaries for the results page: ``title``, ``columns``, ``rows`` of texts; without any, the
            page lists the runs.
    """
    content = {
        "environment": environment("cpu"),
        "settings": settings,
        "claims": [asdict(claim) for claim in claims],
        "tables": list(tables),
        "rows": list(rows),
    }
    compact = json.loads(
        json.dumps(content), parse_constant=lambda name: None, parse_float=lambda text: round(float(text), 6)
    )
    rows = ",\n    ".join(
        json.dumps(row) for row in compact.pop("rows")
    )  # a line each: indented, they are most of the file
    write_text(
        path, json.dumps(compact, indent=2).removesuffix("\n}") + f',\n  "rows": [\n    {rows}\n  ]\n}}\n'
    )


def command_line(name: str, run: Callable[[Path, Path, bool], None], *, doc: str) -> None:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks") / "results" / f"{name}.json", help="result file"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs") / "benchmarks" / name,
        help="folder of the runs behind it; finished ones are kept",
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="the same with a few steps each, to see that it works; the numbers mean nothing",
    )
    arguments = parser.parse_args()
    run(arguments.out, arguments.runs / "smoke" if arguments.smoke else arguments.runs, arguments.smoke)
