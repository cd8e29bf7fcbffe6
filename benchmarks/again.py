"""Compute claims and tables of committed result files again from their rows: ``python -m benchmarks.again``.

For a new interval or another target: nothing is measured, and rows, settings and environment stay. Claims and
cells of tables that differ by rounding alone stay as they are, because rows are rounded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import content_gap, proof
from benchmarks.claims import Claim, save

_RESULTS = Path("benchmarks") / "results"
_ROUNDING = 1e-4

Again = Callable[[Mapping[str, Any]], tuple[list[Claim], list[dict[str, Any]]]]
BENCHMARKS: Mapping[str, Again] = {
    "content_gap": content_gap.again,
    "content_gap_class_conditional": content_gap.again,
    "proof": proof.again,
}
"""By name of the result file, what computes its claims and tables from its content."""


def computed_again(content: Mapping[str, Any], again: Again) -> dict[str, Any]:
    """The content of a result file with claims and tables from its rows.

    Raises:
        ValueError: if a claim about something else results, such as another arm.
    """
    claims, tables = again(content)
    before = {claim["claim"]: claim for claim in content["claims"]}
    unknown = [claim.claim for claim in claims if claim.claim not in before]
    if unknown or len(claims) != len(before):
        raise ValueError(f"rows must give the {len(before)} claims of the file, got others: {unknown}")
    settled = [_settled(before[claim.claim], asdict(claim)) for claim in claims]
    earlier = {table["title"]: table for table in content["tables"]}
    cells = [_settled_table(earlier.get(table["title"]), table) for table in tables]
    return {**content, "claims": settled, "tables": cells}


def _settled(before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, Any]:
    same = all(before[key] == after[key] for key in ("target", "met"))
    return (
        before if same and all(_close(before[end], after[end]) for end in ("value", "low", "high")) else after
    )


def _settled_table(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Mapping[str, Any]:
    if before is None or len(before["rows"]) != len(after["rows"]):
        return after
    rows = []
    for old, new in zip(before["rows"], after["rows"], strict=True):
        cells = dict(zip(before["columns"], old, strict=True))
        rows.append(
            [
                cells[column] if _rounded(cells.get(column, ""), cell) else cell
                for column, cell in zip(after["columns"], new, strict=True)
            ]
        )
    return {**after, "rows": rows}


def _rounded(before: str, after: str) -> bool:
    """Whether two cells are the same number but for the last digit."""
    digits = [re.fullmatch(r"-?\d+\.(\d+)", cell) for cell in (before, after)]
    if digits[0] is None or digits[1] is None or len(digits[0][1]) != len(digits[1][1]):
        return False
    return round(abs(float(before) - float(after)), 9) <= 10.0 ** -len(digits[0][1])


def _close(before: float | None, after: float) -> bool:
    if before is None:
        return not math.isfinite(after)
    return math.isclose(before, after, rel_tol=_ROUNDING, abs_tol=_ROUNDING)


if __name__ == "__main__":
    for name, again in BENCHMARKS.items():
        path = _RESULTS / f"{name}.json"
        save(path, computed_again(json.loads(path.read_text(encoding="utf-8")), again))
