"""Controls for few-shot gains on ``digits``: does it take an adapted generator, or only further images of the
classes, or networks that have seen them?

``python -m benchmarks.controls`` takes about two and a half hours on two CPU cores, a quarter of it for
pretraining; finished parts are kept and reused. Three cases, each with five subsets of 1 and 2 images per
class, the first one with 4 as well:

- ``mini``: the bundled generator and backbone. The generator has seen printed digits, the backbone has not.
  Controls are images drawn without adaptation, and printed characters from the fonts of the pretraining set.
- ``backbone knows digits``: the same images, but the backbone was pretrained on digits and letters.
- ``3, 5, 8 withheld``: a generator that was pretrained without these digits. Neither side has seen them.

All arms take ``STEPS`` steps of 32 images. Nothing is tuned and no arm is chosen.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.claims import Claim, cell, command_line, repeated, write
from understudy.core.files import write_json
from understudy.core.progress import Silent
from understudy.generators.mini import glyphs
from understudy.generators.mini.data import printed_glyphs
from understudy.generators.mini.files import save_classifier
from understudy.generators.mini.networks import accuracy, train_classifier
from understudy.generators.mini.optimise import Budget
from understudy.generators.mini.pretrain import pretrain, run_step
from understudy.pipeline.run import run
from understudy.recipes import PRESETS
from understudy.settings import build

SHOTS = (1, 2, 4)
SUBSETS = (0, 1, 2, 3, 4)
STEPS = 200
PER_CLASS = 100  # synthetic images
WITHHELD = "358"
_PLAIN = ("synthetic", "mixed", "bridged")
_ARMS = ("real", "real+val", *_PLAIN, "mixed+val", "bridged+val")
_PROCESSES = 2
_SMOKE: Mapping[str, Any] = {
    "adapt": {"steps": 4, "batch_size": 8, "validation_pairs": 16},
    "draw": {"steps": 2, "per_class": 3},
    "curate": {"score": "none"},
    "compare": {"steps": 4, "batch_size": 8},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A generator, a backbone and the arms to compare.

    Attributes:
        name: of the case.
        arms: to compare.
        settings: what the case changes, from the folder with the pretrained networks.
        adapter_of: the case whose adapters are used; None if the case adapts its own.
        shots: images per class.
    """

    name: str
    arms: tuple[str, ...]
    settings: Callable[[Path], Mapping[str, Any]] = lambda networks: {}
    adapter_of: str | None = None
    shots: tuple[int, ...] = (1, 2)


CASES = (
    Case(
        name="mini",
        shots=SHOTS,
        arms=(*_ARMS, *(f"{arm}@{control}" for control in ("unadapted", "retrieved") for arm in _PLAIN)),
    ),
    Case(
        name="backbone knows digits",
        arms=("real", "real+val", "bridged", "bridged+val"),
        settings=lambda networks: {"compare": {"backbone": str(networks / "characters_resnet")}},
        adapter_of="mini",
    ),
    Case(
        name="3, 5, 8 withheld",
        arms=(*_ARMS, "mixed@unadapted", "bridged@unadapted"),
        settings=lambda networks: {"generator": {"name": str(networks / "pipeline")}},
    ),
)


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Pretrain what is missing, run every unfinished case, then write rows, tables and claims."""
    networks = runs / "networks"
    _pretrain(networks, smoke=smoke)
    shots, subsets = (SHOTS[1:2], SUBSETS[:1]) if smoke else (SHOTS, SUBSETS)
    jobs = [(few, subset, runs, smoke) for few in shots for subset in subsets]
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        rows = [row for done in pool.starmap(_rows, jobs, chunksize=1) for row in done]
    settings = {
        case.name: {"command": ["python", "-m", "benchmarks.controls"], "arms": case.arms, "steps": STEPS}
        for case in CASES
    }
    claims, tables = ([], []) if smoke else (_claims(rows), _tables(rows))
    write(out, settings=settings, rows=rows, claims=claims, tables=tables)


def _pretrain(networks: Path, *, smoke: bool) -> None:
    """Pretrain the generator without the withheld digits, and the backbone that knows all of them."""
    torch.set_num_threads(1)
    budget = Budget().smoke() if smoke else Budget()
    pretrain(networks, budget, seed=0, device=torch.device("cpu"), withhold=WITHHELD)

    def train() -> tuple[Any, dict[str, float]]:
        names = len(glyphs.DIGITS) + 26  # upper and lower case are one class, as for the bundled backbone
        train, held_out = (
            printed_glyphs(count, seed=seed) for count, seed in ((budget.images, 0), (64, 1_000_003))
        )
        labels, held_out_labels = (
            torch.where(data.labels < names, data.labels, data.labels - 26) for data in (train, held_out)
        )
        model = train_classifier(train.images, labels, budget, torch.device("cpu"), num_classes=names)
        right = accuracy(model, held_out.images, held_out_labels, torch.device("cpu"))
        return model, {"held_out_accuracy": right, "held_out_images": len(held_out_labels)}

    run_step(
        networks,
        "characters",
        train,
        lambda model: save_classifier(networks / "characters_resnet", model),
        seed=0,
    )


def _rows(shots: int, subset: int, runs: Path, smoke: bool) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    return [_row(case, shots, subset, runs, smoke=smoke) for case in CASES if shots in case.shots]


def _row(case: Case, shots: int, subset: int, runs: Path, *, smoke: bool) -> dict[str, Any]:
    def folder(name: str) -> Path:
        return runs / f"{name.replace(', ', '-').replace(' ', '-')}-{shots}-{subset}"

    record = folder(case.name).with_suffix(".json")
    if not record.exists():
        chosen: dict[str, Any] = {
            "data": {"source": "digits", "shots": shots, "subset": subset},
            "draw": {"per_class": PER_CLASS},
            "compare": {
                "arms": list(case.arms),
                "steps": STEPS,
                "batch_size": 32,
                "num_seeds": 3,
                "refit": False,
            },
            "fidelity": {"measure": False},
        }
        if case.adapter_of is not None:
            chosen["adapt"] = {"adapter": str(folder(case.adapter_of) / "adapter")}
        few = _SMOKE if smoke else {}
        settings = build(PRESETS["quick"], chosen, case.settings(runs / "networks"), few)
        results = run(settings, folder(case.name), observer=Silent())
        arms = {
            name: {"accuracy": arm["accuracy"]["mean"], "per_class": arm["per_class"]}
            for name, arm in results["arms"].items()
        }
        write_json(record, {"case": case.name, "shots": shots, "subset": subset, "arms": arms})
    return dict(json.loads(record.read_text()))


def _of(rows: Sequence[dict[str, Any]], case: str, shots: int) -> list[dict[str, Any]]:
    return [row for row in rows if (row["case"], row["shots"]) == (case, shots)]


def _points(rows: Sequence[dict[str, Any]], arm: str, minus: str | None = None) -> np.ndarray:
    """Accuracy of an arm in percent by subset, or its difference to another arm."""
    values = np.array([100 * row["arms"][arm]["accuracy"] for row in rows])
    return values if minus is None else values - _points(rows, minus)


def _recall(rows: Sequence[dict[str, Any]], arm: str, digits: str) -> np.ndarray:
    """Mean recall of these digits in percent by subset."""
    classes = [int(digit) for digit in digits]
    return np.array([100 * np.mean([row["arms"][arm]["per_class"][of] for of in classes]) for row in rows])


def _comparisons(rows: Sequence[dict[str, Any]], shots: int) -> list[tuple[str, str, np.ndarray]]:
    """Case, what is compared, and its values in points by subset; no values if a case was not run."""
    mini, knows, withheld = (case.name for case in CASES)
    of = {name: _of(rows, name, shots) for name in (mini, knows, withheld)}
    against = (
        (mini, "bridged+val", "real+val"),
        (mini, "mixed+val", "real+val"),
        (mini, "bridged", "real"),
        (mini, "bridged", "bridged@retrieved"),
        (mini, "bridged", "bridged@unadapted"),
        (mini, "mixed", "mixed@retrieved"),
        (mini, "mixed", "mixed@unadapted"),
        (knows, "bridged+val", "real+val"),
        (knows, "bridged", "real"),
        (withheld, "bridged+val", "real+val"),
        (withheld, "mixed+val", "real+val"),
        (withheld, "bridged", "real"),
        (withheld, "bridged", "bridged@unadapted"),
    )
    return [
        *((case, f"`{arm}` minus `{minus}`", _points(of[case], arm, minus)) for case, arm, minus in against),
        (
            f"{mini} and {knows}",
            "`bridged` of the first minus `real` of the second",
            _points(of[mini][: len(of[knows])], "bridged") - _points(of[knows], "real"),
        ),
        (
            withheld,
            "recall of these digits, `bridged` minus `real`",
            _recall(of[withheld], "bridged", WITHHELD) - _recall(of[withheld], "real", WITHHELD),
        ),
    ]


def _claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    return [
        repeated(
            f"{shots} per class, {case}: {what.replace('`', '')}, points",
            values.tolist(),
            low_above=0.0,
            target="interval above 0",
        )
        for shots in SHOTS
        for case, what, values in _comparisons(rows, shots)
        if len(values)
    ]


def _cell(values: np.ndarray) -> str:
    return cell(values) if len(values) else ""


def _tables(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    what = (
        f"mean over {len(SUBSETS)} subsets, three trainings each, 95% Student interval; 997 real test images"
    )
    columns = [f"{shots} per class" for shots in SHOTS]
    by_shots = [_comparisons(rows, shots) for shots in SHOTS]
    tables = [
        {
            "title": f"What is gained, and over what, in points: {what}.",
            "columns": ["case", "what is compared", *columns],
            "rows": [
                [*same[0][:2], *(_cell(values) for _, _, values in same)]
                for same in zip(*by_shots, strict=True)
            ],
        },
        {
            "title": f"Accuracy in percent, {PER_CLASS} synthetic images per class.",
            "columns": ["case", "arm", *columns],
            "rows": [
                [
                    case.name,
                    f"`{arm}`",
                    *(_cell(_points(_of(rows, case.name, shots), arm)) for shots in SHOTS),
                ]
                for case in CASES
                for arm in case.arms
            ],
        },
    ]
    others = "".join(digit for digit in glyphs.DIGITS if digit not in WITHHELD)
    body = [
        [
            case,
            f"`{arm}`",
            ", ".join(digits) if digits == WITHHELD else "others",
            *(_cell(_recall(_of(rows, case, shots), arm, digits)) for shots in SHOTS),
        ]
        for case in (CASES[0].name, CASES[2].name)
        for arm in _ARMS
        for digits in (WITHHELD, others)
    ]
    title = "Recall of the digits that one generator has never seen, and of the others, in percent."
    return [*tables, {"title": title, "columns": ["case", "arm", "digits", *columns], "rows": body}]


if __name__ == "__main__":
    command_line("controls", main, doc=__doc__ or "")
