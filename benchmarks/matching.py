"""Matching the real distribution on ``digits``: forms of the distribution term, and selections of images.

``python -m benchmarks.matching`` takes about two and a half hours on two CPU cores, one run on each; finished
cases are kept and reused. Two settings, with all 600 real images and with 10 per class, five run seeds each:

- the generator is fine-tuned for ``STEPS`` steps (``plain``), for ``TERM_STEPS`` more (``control``), and with
  a term: ``batch-mean`` and ``covariance`` from the first step, ``moments`` and ``drawn`` in the last
  ``TERM_STEPS``. All but ``plain`` take the same number of steps and keep the last weights;
- ``exemplars`` draws with the generator of ``plain``, guided by the train images;
- from three times as many images of ``plain``, each selection keeps as many as ``first``.

Distances are those to held-out real images, the test split, in mini's image encoder, which the terms see,
and in the letters ResNet, which the selections see. Weights and steps of the terms are the defaults, and
nothing is chosen on test images. What was expected is written in docs/methods/real_fake.md.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.claims import Claim, cell, command_line, repeated, write
from benchmarks.feature_distance import distances
from understudy.core.files import write_json
from understudy.core.progress import Silent
from understudy.curation.selections import SELECTIONS
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import PRESETS
from understudy.settings import build

SEEDS = (0, 1, 2, 3, 4)
STEPS = 300
TERM_STEPS = 100
EXEMPLAR_WEIGHT = 0.5
SHOTS: Mapping[str, int | None] = {"all 600": None, "10 per class": 10}
_MMD = "squared MMD"
SELECTED = ("coverage", "matched", "covariance", "herding")
_PROCESSES = 2
_ARMS = ("synthetic", "mixed")
_TIMES: Mapping[str, float] = {"all 600": 1.0, "10 per class": 10.0}
_COMMON: Mapping[str, Any] = {
    "draw": {"min_per_class": 1, "guidance_scale": 1.0},
    "curate": {"score": "none", "firewall": "off"},
    "compare": {"arms": ["real", *_ARMS], "steps": 150},
}
_SMOKE: Mapping[str, Any] = {
    "adapt": {"steps": 4, "batch_size": 8, "validation_pairs": 16, "validate_every": 4},
    "draw": {"steps": 2},
    "compare": {"steps": 4},
    "data": {"shots": 4},
}
_SMOKE_CASES = ("plain", "covariance", "drawn", "exemplars")
_SMOKE_ADAPT: Mapping[str, Any] = {
    "covariance": {"classes_per_batch": 2},
    "drawn": {"distribution_steps": 2, "drawn_images": 8, "drawn_steps": 2, "classes_per_batch": 2},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to fine-tune the generator, and to draw.

    Attributes:
        name: name in rows and claims.
        adapt: settings of the adaptation.
        arms: arms in addition to ``real``, ``synthetic`` and ``mixed``.
        draw: settings of drawing.
    """

    name: str
    adapt: Mapping[str, Any]
    arms: tuple[str, ...] = ()
    draw: Mapping[str, Any] = field(default_factory=dict)


def _longer(form: str, **changes: Any) -> dict[str, Any]:
    return {"steps": STEPS + TERM_STEPS, "distribution": form, **changes}


CASES = (
    Case(
        name="plain",
        adapt={"steps": STEPS},
        arms=tuple(f"{arm}@{selection}" for selection in SELECTED for arm in _ARMS),
    ),
    Case(name="control", adapt=_longer("none", keep="last")),
    Case(name="batch-mean", adapt=_longer("batch-mean", keep="last")),
    # All classes in every batch: batches of a few classes cost as much as a term may gain.
    Case(name="covariance", adapt=_longer("covariance", keep="last", classes_per_batch=10)),
    Case(name="moments", adapt=_longer("moments", distribution_steps=TERM_STEPS)),
    Case(name="drawn", adapt=_longer("drawn", distribution_steps=TERM_STEPS)),
    Case(name="exemplars", adapt={"steps": STEPS}, draw={"exemplar_weight": EXEMPLAR_WEIGHT}),
)
CONTROLS = {case.name: "plain" if case.draw else "control" for case in CASES[2:]}
"""What each case is compared with."""


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Do every unfinished case, then write rows, tables and claims."""
    kinds, seeds = (("all 600",), SEEDS[:1]) if smoke else (tuple(SHOTS), SEEDS)
    jobs = [(kind, seed, runs, smoke) for seed in seeds for kind in kinds]
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        rows = [row for done in pool.starmap(_rows, jobs, chunksize=1) for row in done]
    settings = {
        f"{kind}, {case.name}": {
            "command": ["python", "-m", "benchmarks.matching"],
            "seeds": list(seeds),
            "adapt": dict(case.adapt),
            "draw": dict(case.draw),
            "arms": list(case.arms),
        }
        for kind in kinds
        for case in CASES
    }
    claims, tables = ([], []) if smoke else (_claims(rows), _tables(rows))
    write(out, settings=settings, rows=rows, claims=claims, tables=tables)


def _rows(kind: str, seed: int, runs: Path, smoke: bool) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    cases = [case for case in CASES if not smoke or case.name in _SMOKE_CASES]
    return [_row(case, kind, seed, runs, smoke=smoke) for case in cases]


def _row(case: Case, kind: str, seed: int, runs: Path, *, smoke: bool) -> dict[str, Any]:
    folder = runs / f"{kind.replace(' ', '-')}-{case.name}-seed{seed}"
    record = folder.with_suffix(".json")
    if not record.exists():
        results = run(_settings(case, kind, seed, smoke=smoke), folder)
        write_json(
            record, {"kind": kind, "case": case.name, "seed": seed, **_measured(case, folder, results)}
        )
    return dict(json.loads(record.read_text(encoding="utf-8")))


def _settings(case: Case, kind: str, seed: int, *, smoke: bool = False) -> Any:
    chosen: dict[str, Any] = {
        "seed": seed,
        "data": {"source": "digits", "shots": SHOTS[kind]},
        "draw": {"times": _TIMES[kind], **case.draw},
        "adapt": case.adapt,
        "compare": {"arms": ["real", *_ARMS, *case.arms]},
    }
    extra = [_SMOKE, {"adapt": _SMOKE_ADAPT.get(case.name, {})}] if smoke else []
    return build(PRESETS["quick"], _COMMON, chosen, *extra)


def _measured(case: Case, folder: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    found = Run(RunFolder.find(folder), "cpu", Silent())
    sets = {"first": found.curated}
    sets |= {name.split("@")[1]: found.sets.of_arm(name).images for name in case.arms if "synthetic" in name}
    return {
        "train": results["data"]["train"],
        "synthetic": {name: len(images) for name, images in sets.items()},
        "arms": {
            name: {"accuracy": arm["accuracy"], "minus_real": arm["minus_real"]}
            for name, arm in results["arms"].items()
        },
        "distance": {name: distances(images, found.test) for name, images in sets.items()},
        "selection seconds": _selection_seconds(found) if case.arms else {},
        "adaptation": {
            key: results["adaptation"][key] for key in ("best_step", "val_loss_before", "val_loss_after")
        },
    }


def _selection_seconds(found: Run) -> dict[str, float]:
    """CPU seconds that each selection takes for all classes, with features that are known already."""
    train, quota = found.train, np.bincount(found.curated.labels, minlength=found.train.num_classes)
    drawn = found.sets.first(
        found.settings, np.ceil(found.settings.curate.candidates * quota).astype(np.int64)
    )
    features = {part: found.classifiers.features(images) for part, images in _parts(train, drawn).items()}
    seconds = {}
    for name in SELECTED:
        start = time.process_time()
        for label, wanted in enumerate(quota.tolist()):
            candidates, real = features["drawn", label], features["real", label]
            choose = SELECTIONS[name].choose
            assert choose is not None
            choose(candidates, real, wanted)
        seconds[name] = time.process_time() - start
    return seconds


def _parts(train: LabelledSet, drawn: LabelledSet) -> dict[tuple[str, int], LabelledSet]:
    return {
        (name, label): images.select(np.flatnonzero(images.labels == label))
        for name, images in (("real", train), ("drawn", drawn))
        for label in range(train.num_classes)
    }


@dataclass(frozen=True)
class _Found:
    """The rows of one kind, in the order of seeds.

    Attributes:
        rows: by case.
    """

    rows: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], kind: str) -> _Found:
        ordered = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["seed"])
        return cls({case.name: [row for row in ordered if row["case"] == case.name] for case in CASES})

    def accuracy(self, case: str, arm: str) -> np.ndarray:
        """Accuracy on test images in percent, one value per seed."""
        return np.array([100 * row["arms"][arm]["accuracy"]["mean"] for row in self.rows[case]])

    def distance(self, case: str, measure: str, encoder: str, selection: str = "first") -> np.ndarray:
        """Distance to test images, one value per seed."""
        return np.array([row["distance"][selection][measure][encoder] for row in self.rows[case]])

    @property
    def encoders(self) -> list[str]:
        """Names of the encoders."""
        return list(self.rows["plain"][0]["distance"]["first"][_MMD])

    @property
    def measures(self) -> list[tuple[str, str]]:
        """Each measure with each encoder."""
        first = self.rows["plain"][0]["distance"]["first"]
        return [(measure, encoder) for measure in first for encoder in first[measure]]


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    return [
        claim
        for kind in SHOTS
        for found in [_Found.of(rows, kind)]
        for claim in (*_term_claims(kind, found), *_selection_claims(kind, found))
    ]


def _term_claims(kind: str, found: _Found) -> list[Claim]:
    claims = []
    for form, control in CONTROLS.items():
        for measure, encoder in found.measures:
            before, after = (found.distance(case, measure, encoder) for case in (control, form))
            claims.append(
                repeated(
                    f"{kind}: {measure}, {encoder}: {control} minus {form}",
                    before - after,
                    low_above=0.0,
                    target=f"interval above 0: {form} lowers it" if form != "batch-mean" else "reported",
                )
            )
        for arm in _ARMS:
            target = "reported" if form == "batch-mean" else "interval above 0"
            claims.append(
                repeated(
                    f"{kind}: {arm}, {form} minus {control}, accuracy in points",
                    found.accuracy(form, arm) - found.accuracy(control, arm),
                    low_above=0.0,
                    target=target,
                )
            )
    for encoder in found.encoders:
        ratio = found.distance("drawn", _MMD, encoder) / found.distance("control", _MMD, encoder)
        claim = f"{kind}: {_MMD}, {encoder}: drawn over control"
        claims.append(repeated(claim, ratio, most=0.5, target="at most 0.5: halved"))
    return claims


def _selection_claims(kind: str, found: _Found) -> list[Claim]:
    claims = []
    for name in SELECTED:
        for encoder in found.encoders:  # the tables have the Fréchet distances
            before, after = (found.distance("plain", _MMD, encoder, how) for how in ("first", name))
            claim = f"{kind}: {_MMD}, {encoder}: first minus {name}"
            claims.append(repeated(claim, before - after, low_above=0.0, target="interval above 0"))
        for arm in _ARMS:
            gain = found.accuracy("plain", f"{arm}@{name}") - found.accuracy("plain", arm)
            claim = f"{kind}: {arm}, selected by {name} minus first, accuracy in points"
            target = "interval above 0" if (name, arm) == ("covariance", "mixed") else "reported"
            claims.append(repeated(claim, gain, low_above=0.0, target=target))
        ratio = [
            row["selection seconds"][name] / row["selection seconds"]["coverage"]
            for row in found.rows["plain"]
        ]
        if name != "coverage":
            claims.append(repeated(f"{kind}: CPU time of {name} over coverage", ratio, target="measured"))
    return claims


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        table
        for kind in SHOTS
        for found in [_Found.of(rows, kind)]
        for table in (_term_table(kind, found), _selection_table(kind, found))
    ]


def _cells(found: _Found, case: str, selection: str, arms: Sequence[str]) -> list[str]:
    return [
        *(
            cell(found.distance(case, measure, encoder, selection), digits=4)
            for measure, encoder in found.measures
        ),
        *(cell(found.accuracy(case, arm)) for arm in arms),
        cell(found.accuracy(case, "real")),
    ]


def _table(title: str, found: _Found, lines: Sequence[list[str]], first: str) -> dict[str, Any]:
    columns = [first, *(f"{measure}, {encoder}" for measure, encoder in found.measures), *_ARMS, "real"]
    return {"title": title, "columns": columns, "rows": list(lines)}


def _term_table(kind: str, found: _Found) -> dict[str, Any]:
    title = (
        f"{kind}: distance of the drawn images to held-out real images, and accuracy in percent; mean over "
        f"{len(SEEDS)} runs, 95% Student interval. `control` takes as many steps as the terms; `exemplars` "
        "is drawn with the generator of `plain`."
    )
    lines = [[case.name, *_cells(found, case.name, "first", _ARMS)] for case in CASES]
    return _table(title, found, lines, "adaptation")


def _selection_table(kind: str, found: _Found) -> dict[str, Any]:
    title = f"{kind}: selections from three times as many images of `plain`, as in the table above."
    lines = [
        [name, *_cells(found, "plain", name, [arm if name == "first" else f"{arm}@{name}" for arm in _ARMS])]
        for name in ("first", *SELECTED)
    ]
    return _table(title, found, lines, "selection")


if __name__ == "__main__":
    command_line("matching", main, doc=__doc__ or "")
