"""Checks of what the project measures: fidelity, shift, planted copies and membership. For the speed of
shadow models see ``shadow_ensembles``.

``python -m benchmarks.proof`` takes about an hour and a half on two CPU cores; finished parts are kept and
reused. Each part is a module: ``fidelity_ranks``, ``shifted_arms``, ``planted_copies``,
``membership_of_arms``, ``fidelity_size``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import fidelity_ranks, fidelity_size, membership_of_arms, planted_copies, shifted_arms
from benchmarks.claims import Claim, command_line, write
from understudy.core.files import write_json

_Part = tuple[list[dict[str, Any]], list[Claim]]


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Measure every unfinished part, then write rows, tables and claims."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    few = 1 if smoke else None
    sets = [
        fidelity_ranks.row(name, repeat, runs, smoke=smoke)
        for repeat in fidelity_ranks.REPEATS[:few]
        for name in (fidelity_ranks.SMOKE if smoke else fidelity_ranks.SETS)
    ]
    shifted = [
        shifted_arms.row(shifted_arms.measure(shots, runs, smoke=smoke)) for shots in shifted_arms.SHOTS[:few]
    ]
    audits = [
        membership_of_arms.row(membership_of_arms.measure(case, runs, smoke=smoke))
        for case in list(membership_of_arms.CASES)[:few]
    ]
    parts = [
        _kept(runs / "planted_copies.json", partial(planted_copies.measure, smoke=smoke)),
        _kept(runs / "fidelity_size.json", partial(fidelity_size.measure, smoke=smoke)),
    ]
    rows = [*sets, *shifted, *audits, *(row for part, _ in parts for row in part)]
    claims, tables = ([], []) if smoke else _summary(sets, shifted, audits)
    write(
        out,
        settings={"proof": {"command": ["python", "-m", "benchmarks.proof"]}},
        rows=rows,
        claims=claims if smoke else [*claims, *(claim for _, part in parts for claim in part)],
        tables=tables,
    )


def _summary(
    sets: list[dict[str, Any]], shifted: list[dict[str, Any]], audits: list[dict[str, Any]]
) -> tuple[list[Claim], list[dict[str, Any]]]:
    claims = [*fidelity_ranks.claims(sets), *shifted_arms.claims(shifted), *membership_of_arms.claims(audits)]
    return claims, [
        *fidelity_ranks.tables(sets),
        *shifted_arms.tables(shifted),
        *membership_of_arms.tables(audits),
    ]


def again(content: Mapping[str, Any]) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Claims and tables from the rows of a result file; claims that :func:`_summary` does not make, of parts
    without rows, stay as they were.
    """
    sets, shifted, audits = (
        [row for row in content["rows"] if row.get("part") == part]
        for part in ("fidelity", "shift", "membership")
    )
    claims, tables = _summary(sets, shifted, audits)
    made = {claim.claim for claim in claims}
    return claims + [Claim(**claim) for claim in content["claims"] if claim["claim"] not in made], tables


def _kept(path: Path, measure: Callable[[], _Part]) -> _Part:
    """Rows and claims of a part, measured once and stored."""
    if not path.exists():
        rows, claims = measure()
        write_json(path, {"rows": rows, "claims": [asdict(claim) for claim in claims]})
    stored = json.loads(path.read_text(encoding="utf-8"))
    return stored["rows"], [Claim(**claim) for claim in stored["claims"]]


if __name__ == "__main__":
    command_line("proof", main, doc=__doc__)
