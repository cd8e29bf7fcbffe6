"""Digits by other writers: what are synthetic images worth on USPS, to classifiers trained on ``digits``?

``USPS_PARQUET=FILE python -m benchmarks.other_writers`` needs the 2,007 test images of USPS as Parquet, with
the classes ``digit 0`` to ``digit 9``. It takes about an hour on one CPU core; finished runs are kept and
reused. Repetitions differ in the run seed: another adaptation, other synthetic images, other classifiers and,
with 5 images per class, another choice of real images. USPS chooses nothing. With ``--smoke``, deformed test
images of ``digits`` take the place of USPS.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import Claim, cell, command_line, minus, repeated, write
from benchmarks.shifted_digits import write_shifted
from understudy.core.files import write_json
from understudy.core.progress import Silent
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import PRESETS
from understudy.settings import build
from understudy.training.settings import DEFAULT_ARMS

REPEATS = (0, 1, 2, 3, 4)
CASES: Mapping[str, Mapping[str, Any]] = {
    "5 per class": {"data": {"shots": 5}},  # the demo
    "all 600": {"draw": {"min_per_class": 1}},  # as many synthetic images as real ones
}
_USPS = Path(os.environ.get("USPS_PARQUET", "usps/test.parquet"))
_COMMON: Mapping[str, Any] = {
    "data": {"source": "digits"},
    "compare": {"arms": DEFAULT_ARMS},
    "compute": {"threads": 1, "workers": 1},
}
_SMOKE: Mapping[str, Any] = {
    "data": {"shots": 3},
    "adapt": {"steps": 2, "batch_size": 8, "validation_pairs": 16},
    "draw": {"per_class": 2, "steps": 2},
    "curate": {"max_refills": 0},
    "compare": {"steps": 4},
}
_RIVALS = ("real", "real+val")


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Do every unfinished run, then write rows, tables and claims."""
    torch.set_num_threads(1)
    repeats = REPEATS[:1] if smoke else REPEATS
    rows = [_row(case, repeat, runs, smoke=smoke) for repeat in repeats for case in CASES]
    settings = {
        case: {
            "command": ["python", "-m", "benchmarks.other_writers"],
            "seeds": list(repeats),
            "settings": json.loads(json.dumps(_layers(case, smoke=smoke))),
        }
        for case in CASES
    }
    claims, tables = ([], []) if smoke else (_claims(rows), _tables(rows))
    write(out, settings=settings, rows=rows, claims=claims, tables=tables)


def _layers(case: str, *, smoke: bool) -> dict[str, Any]:
    layers = (_COMMON, CASES[case], _SMOKE if smoke else {})
    sections = dict.fromkeys(name for layer in layers for name in layer)
    return {
        name: {key: value for layer in layers for key, value in layer.get(name, {}).items()}
        for name in sections
    }


def _row(case: str, repeat: int, runs: Path, *, smoke: bool) -> dict[str, Any]:
    """Accuracy of every arm on the run's test images and on the other writers; finished runs are reused."""
    folder = runs / f"{case.replace(' ', '-')}-seed{repeat}"
    record = folder.with_suffix(".json")
    if not record.exists():
        plain = build(PRESETS["quick"], _layers(case, smoke=smoke), {"seed": repeat})
        tests = {"usps": str(_deformed(plain, folder) if smoke else _USPS.absolute())}
        shift = {"measure": True, "tests": tests, "corruptions": []}
        found = run(build(plain.model_dump(mode="json"), {"shift": shift}), folder)["shift"]
        sets = {"digits": found["clean"], "usps": found["tests"]["usps"]["arms"]}
        accuracy = {
            name: {arm: figures["accuracy"]["mean"] for arm, figures in arms.items()}
            for name, arms in sets.items()
        }
        images = found["tests"]["usps"]["images"]
        write_json(record, {"case": case, "repeat": repeat, "images": images, "accuracy": accuracy})
    return dict(json.loads(record.read_text()))


def _deformed(settings: Any, folder: Path) -> Path:
    run(settings, folder, until="load")
    test = Run(RunFolder.find(folder), "cpu", Silent()).test
    return write_shifted(test, folder.with_name(f"{folder.name}-tests"), seed=0)["all"]


def _points(rows: Sequence[dict[str, Any]], case: str, of: str, arm: str) -> list[float]:
    return [100 * row["accuracy"][of][arm] for row in rows if row["case"] == case]


def _claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """Differences in points; none has a target, and none was predicted."""
    found = []
    for case in CASES:
        usps = {arm: _points(rows, case, "usps", arm) for arm in DEFAULT_ARMS}
        fall = minus(usps["real"], _points(rows, case, "digits", "real"))
        found.append(repeated(f"{case}: real on USPS minus real on digits", fall, target="reported"))
        found += [
            repeated(f"{case}: {arm} minus {rival} on USPS", minus(usps[arm], usps[rival]), target="reported")
            for arm in DEFAULT_ARMS
            for rival in _RIVALS
            if arm not in _RIVALS
        ]
    return found


def _tables(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "title": f"Digits by other writers, {case}: accuracy in percent and differences in points, mean "
            f"over {len(REPEATS)} runs, 95% Student interval. 997 test images of `digits`, whose 13 writers "
            f"also wrote the train images, and {rows[0]['images']:,} of USPS by others.",
            "columns": ["arm", "`digits`", "USPS", *(f"minus `{rival}`, USPS" for rival in _RIVALS)],
            "rows": [[f"`{arm}`", *_cells(rows, case, arm)] for arm in DEFAULT_ARMS],
        }
        for case in CASES
    ]


def _cells(rows: Sequence[dict[str, Any]], case: str, arm: str) -> list[str]:
    usps = _points(rows, case, "usps", arm)
    differences = [minus(usps, _points(rows, case, "usps", rival)) for rival in _RIVALS]
    return [
        cell(_points(rows, case, "digits", arm)),
        cell(usps),
        *(
            "" if arm == rival else cell(difference)
            for rival, difference in zip(_RIVALS, differences, strict=True)
        ),
    ]


if __name__ == "__main__":
    command_line("other_writers", main, doc=__doc__ or "")
