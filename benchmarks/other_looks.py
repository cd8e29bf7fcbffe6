"""Other looks of the same classes: what are synthetic photographs worth on paintings, cartoons and sketches?

``PACS=FOLDER python -m benchmarks.other_looks`` needs PACS as four Parquet files and ``pip install
"understudy[photo]"``. It takes about 45 minutes on two CPU cores; finished runs are kept and reused. A run
learns from ``photo`` alone, with a generator that learned from its train images, and is tested on the other
looks, which choose nothing. Settings are those of ``benchmarks.photographs``. Repetitions differ in the run
seed, and with it in the split of ``photo``. With ``--smoke``, deformed test images of ``digits`` take the
place of one other look.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import Claim, cell, command_line, minus, repeated, write
from benchmarks.photographs import ARMS, BACKBONES, GENERATORS, RIVALS, SYNTHETIC, settings_of
from benchmarks.shifted_digits import write_shifted
from understudy.core.files import write_json
from understudy.core.progress import Silent
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run

REPEATS = (0, 1, 2)
LOOKS = ("art_painting", "cartoon", "sketch")
OWN = "photo"
_GENERATOR = "class_conditional"
_PACS = Path(os.environ.get("PACS", "pacs"))
_PROCESSES = 2


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Do every unfinished run, then write rows, tables and claims."""
    jobs = [(repeat, runs, smoke) for repeat in REPEATS[: 1 if smoke else None]]
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        rows = [row for done in pool.starmap(_rows, jobs, chunksize=1) for row in done]
    settings = {
        backbone: {
            "command": ["python", "-m", "benchmarks.other_looks"],
            "seeds": list(REPEATS),
            "settings": json.loads(json.dumps({**GENERATORS[_GENERATOR], "compare": dict(of_backbone)})),
        }
        for backbone, of_backbone in BACKBONES.items()
    }
    claims, tables = ([], []) if smoke else (_claims(rows), _tables(rows))
    write(out, settings=settings, rows=rows, claims=claims, tables=tables)


def _rows(repeat: int, runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """A row per backbone; both get the images of one adapted generator."""
    torch.set_num_threads(1)
    rows, adapter = [], None
    for backbone in BACKBONES:
        folder = runs / f"{backbone.replace(' ', '-')}-{repeat}"
        rows.append(_row(backbone, repeat, folder, adapter=adapter, smoke=smoke))
        adapter = adapter or folder / "adapter"
    return rows


def _row(backbone: str, repeat: int, folder: Path, *, adapter: Path | None, smoke: bool) -> dict[str, Any]:
    """Balanced accuracy of every arm on photographs and on each other look; a finished run is read."""
    record = folder.with_suffix(".json")
    if not record.exists():
        digits = {"source": "digits", "shots": 4}
        source = digits if smoke else {"source": str(_PACS / f"{OWN}.parquet")}
        plain = settings_of(source, repeat, _GENERATOR, backbone, adapter=adapter, smoke=smoke)
        tests = _deformed(plain, folder) if smoke else {look: _PACS / f"{look}.parquet" for look in LOOKS}
        shift = {"measure": True, "tests": tests, "corruptions": []}
        values = plain.model_dump(mode="json") | {"shift": json.loads(json.dumps(shift, default=str))}
        found = run(type(plain).model_validate(values), folder)["shift"]
        arms = {OWN: found["clean"], **{name: each["arms"] for name, each in found["tests"].items()}}
        accuracy = {
            look: {arm: figures["balanced_accuracy"]["mean"] for arm, figures in of_look.items()}
            for look, of_look in arms.items()
        }
        write_json(record, {"backbone": backbone, "repeat": repeat, "accuracy": accuracy})
    return dict(json.loads(record.read_text(encoding="utf-8")))


def _deformed(settings: Any, folder: Path) -> dict[str, Path]:
    run(settings, folder, until="load")
    test = Run(RunFolder.find(folder), "cpu", Silent()).test
    deformed = write_shifted(test, folder.with_name(f"{folder.name}-tests"), seed=0)["all"]
    return {LOOKS[0]: deformed}


def _points(rows: Sequence[Mapping[str, Any]], look: str, arm: str) -> list[float]:
    return [100 * float(row["accuracy"][look][arm]) for row in rows]


def _by_backbone(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    return {backbone: [row for row in rows if row["backbone"] == backbone] for backbone in BACKBONES}


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Differences in points of balanced accuracy; none has a target."""
    return [
        repeated(
            f"{backbone}, {look}: {arm} minus {rival}",
            minus(_points(of_backbone, look, arm), _points(of_backbone, look, rival)),
            target="reported",
        )
        for backbone, of_backbone in _by_backbone(rows).items()
        for look in (OWN, *LOOKS)
        for arm in SYNTHETIC
        for rival in RIVALS
    ]


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "title": f"PACS, learned from photographs, {backbone}: balanced accuracy in percent, mean and "
            f"95% Student interval over {len(REPEATS)} runs.",
            "columns": ["arm", *(f"`{look}`" for look in (OWN, *LOOKS))],
            "rows": [
                [f"`{arm}`", *(cell(_points(of_backbone, look, arm)) for look in (OWN, *LOOKS))]
                for arm in ARMS
            ],
        }
        for backbone, of_backbone in _by_backbone(rows).items()
    ]


if __name__ == "__main__":
    command_line("other_looks", main, doc=__doc__ or "")
