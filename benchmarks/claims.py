"""The result file of a benchmark: environment, settings, measured rows, and claims with their targets."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from understudy.core.files import write_text
from understudy.core.provenance import environment
from understudy.functional.intervals import TAIL, student, student_interval

NO_TARGET = ("measured", "reported", "none")
"""Targets of figures that are stated and not judged."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A figure with a target, or one that the documentation states.

    Attributes:
        claim: the sentence that the figure supports.
        value, low, high: the measurement and its 95% interval. Both ends equal the value if there is no
            interval; they are null after a single repetition.
        target: the target, in words; one of :data:`NO_TARGET` if there is none.
        met: whether the whole interval reaches the target, or the value if there is no interval; None without
            a target.
        why: why the target was missed, or how the interval was computed.
    """

    claim: str
    value: float
    low: float
    high: float
    target: str
    met: bool | None
    why: str = ""

    def __post_init__(self) -> None:
        if self.target in NO_TARGET:
            object.__setattr__(self, "met", None)

    @classmethod
    def of(
        cls,
        claim: str,
        interval: Mapping[str, float],
        *,
        target: str = "measured",
        met: bool = True,
        why: str = "",
        scale: float = 1.0,
    ) -> Claim:
        """A claim about a measured interval with ``mean``, ``low`` and ``high``, times ``scale``."""
        value, low, high = (scale * interval[end] for end in ("mean", "low", "high"))
        return cls(claim=claim, value=value, low=low, high=high, target=target, met=met, why=why)

    @classmethod
    def single(cls, claim: str, value: float, *, target: str, met: bool, why: str = "") -> Claim:
        """A claim about one value without an interval."""
        return cls(claim=claim, value=value, low=value, high=value, target=target, met=met, why=why)


def t_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95% Student interval over independent repetitions; the ends are NaN for a single one."""
    interval = student_interval(values)
    if len(values) < 2:
        return interval["mean"], math.nan, math.nan
    return interval["mean"], interval["low"], interval["high"]


def minus(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Paired differences, one per run."""
    return [first - second for first, second in zip(one, other, strict=True)]


def cell(values: Sequence[float] | np.ndarray, *, digits: int = 1) -> str:
    """Table cell with the mean and the interval over repetitions."""
    mean, low, high = t_interval([float(value) for value in values])
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def excludes_zero(values: Sequence[float], *, rows_of_table: int) -> bool:
    """Whether a mean over runs differs from 0 together with all other rows of a table.

    Student's interval with Bonferroni's error: a handful of runs cannot measure how rows are correlated.
    """
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return abs(mean) > student(len(values) - 1, TAIL / rows_of_table) * error


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
        claim: the sentence that the figure supports.
        values: one value per run.
        target: the target, in words.
        least: the whole interval must lie at or above this.
        most: the whole interval must lie at or below this.
        low_above: the lower end of the interval must lie above this.
        why_not: the reason to state if the target is missed.
    """
    mean, low, high = t_interval(values)
    # Without an interval, after a single run, nothing is shown about others: comparisons with NaN are false.
    reaches = [least == -math.inf or low >= least, most == math.inf or high <= most]
    met = all(reaches) and (low_above == -math.inf or low > low_above)
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
    """Write the result file of a benchmark; NaN and infinity become null.

    Args:
        path: the file.
        settings: command and settings by case; defaults can be left out.
        rows: measurements, one row per run.
        claims: claims based on the rows.
        tables: summaries for the results page, each with ``title``, ``columns`` and ``rows`` of text.
    """
    content = {
        "environment": environment("cpu"),
        "settings": settings,
        "claims": [asdict(claim) for claim in claims],
        "tables": list(tables),
        "rows": list(rows),
    }
    save(path, content)


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write the content of a result file, one line per row; numbers have six digits."""
    compact = json.loads(
        json.dumps(content), parse_constant=lambda name: None, parse_float=lambda text: round(float(text), 6)
    )
    # One line per row: indented, the rows would fill most of the file.
    lines = ",\n    ".join(json.dumps(row) for row in compact.pop("rows"))
    write_text(
        path, json.dumps(compact, indent=2).removesuffix("\n}") + f',\n  "rows": [\n    {lines}\n  ]\n}}\n'
    )
    print(f"wrote {path}")


def print_part(rows: Sequence[dict[str, Any]], claims: Sequence[Claim]) -> None:
    """Print the rows and claims of one part of a benchmark as JSON."""
    print(json.dumps([list(rows), [asdict(claim) for claim in claims]], indent=2))


def command_line(name: str, run: Callable[..., None], *, doc: str, parts: Sequence[str] = ()) -> None:
    """Parse the options that all benchmarks share, and run the benchmark.

    Args:
        name: of its module.
        run: takes the result file, the folder for the runs, whether it is a smoke test and, if there are
            parts, ``only``: the parts that were asked for, or None.
        doc: its description.
        parts: names of parts that can be done alone.
    """
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
        help="folder for the runs; finished runs are kept and reused",
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="a few steps of everything, to check that it works; the numbers mean nothing",
    )
    if parts:
        told = "do these parts; finished ones stay in the result"
        parser.add_argument("--only", choices=parts, nargs="+", help=told)
    arguments = parser.parse_args()
    runs = arguments.runs / "smoke" if arguments.smoke else arguments.runs
    run(arguments.out, runs, arguments.smoke, **({"only": arguments.only} if parts else {}))
