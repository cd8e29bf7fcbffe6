"""Studies of matching on ``digits`` with all 600 real images: what settings do to distance and accuracy.

``python -m benchmarks.matching_studies`` takes about two and a half hours on two CPU cores; finished parts
are kept and reused. Five seeds each, equal for all cases. ``--only STUDY`` does one of them:

- ``weights`` (half an hour): the paper's form ``batch-mean`` with once, ten times and a hundred times its
  weight, in batches of 8, 32 and 128. All see ``SEEN`` images, so that larger batches take fewer steps, and
  each is compared only with plain fine-tuning in batches of its size.
- ``guidance``, ``deliberate`` (twenty minutes together): one fine-tuned generator draws with several
  guidance scales. ``deliberate`` chooses ``PER_CLASS`` images per class, which are compared with once, twice
  and four times as many plain ones. How many plain images are as good is read from a line of accuracy over
  the logarithm of their number.
- ``encoders`` (half an hour): ``drawn`` with the image encoder of the generator, and with the network that
  arms start from as well, after equally many steps.
- ``exemplars`` (fifteen minutes): the generator as it comes, with and without guidance by exemplars, at the
  weight with the highest accuracy on validation images in the trial of docs/methods/drawing.md. It is asked
  for the share of the gain of fine-tuning (``guidance 1``) that it has without any training.
- ``strengths`` (twenty-five minutes): a fine-tuned generator starts from real images plus noise, with each of
  ``STRENGTHS`` and with all of them in equal shares; with these, ``curriculum`` is compared with ``bridged``.

Distances are those to held-out real images, the test split, in two encoders. With ``encoders`` both are in a
loss, so accuracy decides there. Nothing is chosen on test images, or at all.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.claims import Claim, cell, command_line, repeated, write
from benchmarks.feature_distance import squared_mmd
from understudy.adaptation.terms import TERMS
from understudy.core.files import write_json
from understudy.core.progress import Silent
from understudy.data.labelled_set import LabelledSet
from understudy.functional.learning_curve import log_fit
from understudy.functional.ratios import fieller_interval
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.pipeline.synthetic import CuratedSet
from understudy.recipes import PRESETS
from understudy.sampling.plan import quotas
from understudy.settings import Settings, build

SEEDS = (0, 1, 2, 3, 4)
SEEN = 3840
BATCHES = (8, 32, 128)
WEIGHTS = (1, 10, 100)
SCALES = (1.0, 1.5, 2.0, 3.5)
EXEMPLARS, EXEMPLAR_WEIGHT = "exemplars", 1.0
STRENGTHS = (0.3, 0.5, 0.75, 1.0)
ALL_STRENGTHS = "all strengths"
PER_CLASS = 10
TIMES = (1, 2, 4)
DELIBERATE = "deliberate"
_STEPS, _TERM_STEPS = 300, 100
_PROCESSES = 2
_COMMON: Mapping[str, Any] = {
    "data": {"source": "digits"},
    "draw": {"min_per_class": 1, "guidance_scale": 1.0, "steps": 15},
    "curate": {"score": "none", "firewall": "off"},
    "compare": {"steps": 150, "curve_points": 0},
    "compute": {"workers": 1},
}
_SMOKE_ADAPT: Mapping[str, Any] = {"steps": 4, "batch_size": 8, "validation_pairs": 16}
_SMOKE_DRAWN: Mapping[str, Any] = {
    "distribution_steps": 2,
    "drawn_images": 8,
    "drawn_steps": 2,
    "classes_per_batch": 2,
}


@dataclass(frozen=True, kw_only=True)
class DrawnSet:
    """Images that are drawn with a fine-tuned generator.

    Attributes:
        study: the study that compares them.
        name: name in rows and tables.
        changes: settings of drawing and choosing.
        control: name of the set in the same study that it is compared with; empty for a control.
        arms: arms that learn from it.
    """

    study: str
    name: str
    changes: Mapping[str, Any]
    control: str = ""
    arms: tuple[str, ...] = ("synthetic", "mixed")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fine-tuned generator.

    Attributes:
        adapt: settings of the adaptation.
        sets: what is drawn with it.
    """

    adapt: Mapping[str, Any]
    sets: tuple[DrawnSet, ...]

    @property
    def name(self) -> str:
        """Name in the settings of the result file, and of the folder."""
        return ", ".join(dict.fromkeys((self.sets[0].study, self.sets[0].name)))


def _weight_cases() -> list[Case]:
    term, cases = TERMS["batch-mean"], []
    assert term is not None
    for batch in BATCHES:
        adapt = {"batch_size": batch, "steps": SEEN // batch, "keep": "last"}
        plain = f"batch {batch}, plain"
        cases.append(Case(adapt=adapt, sets=(_of_weights(plain),)))
        for weight in WEIGHTS:
            drawn = _of_weights(f"batch {batch}, weight x{weight}", control=plain)
            form = {"distribution": "batch-mean", "distribution_weight": weight * term.weight}
            cases.append(Case(adapt={**adapt, **form}, sets=(drawn,)))
    return cases


def _of_weights(name: str, control: str = "") -> DrawnSet:
    return DrawnSet(study="weights", name=name, changes={}, control=control, arms=("synthetic",))


def _scale(scale: float) -> DrawnSet:
    control = "" if scale == SCALES[0] else f"guidance {SCALES[0]:g}"
    changes = {"draw": {"guidance_scale": scale}}
    return DrawnSet(study="guidance", name=f"guidance {scale:g}", changes=changes, control=control)


def _plain(times: int) -> str:
    return f"plain, {times}x"


def _sized(name: str, times: int, **curate: Any) -> DrawnSet:
    # All without the images that a classifier of the real ones rejects, which are the ones to be unsure of.
    changes = {"draw": {"per_class": times * PER_CLASS}, "curate": {"score": "agreement", **curate}}
    return DrawnSet(study=DELIBERATE, name=name, changes=changes, arms=("synthetic",))


def _encoder_case(name: str, **adapt: Any) -> Case:
    longer = {"steps": _STEPS + _TERM_STEPS, **adapt}
    control = "" if name == "plain" else "plain"
    drawn = DrawnSet(study="encoders", name=name, changes={}, control=control)
    return Case(adapt=longer, sets=(drawn,))


def _strength(name: str, strength: float | Sequence[float], *arms: str) -> DrawnSet:
    drawn = {"draw": {"strength": strength}}
    arms = ("synthetic", "mixed", *arms)
    return DrawnSet(study="strengths", name=name, changes=drawn, arms=arms)


CASES: tuple[Case, ...] = (
    *_weight_cases(),
    Case(
        adapt={"steps": _STEPS},
        sets=(
            *map(_scale, SCALES),
            *(_sized(_plain(times), times) for times in TIMES),
            _sized(DELIBERATE, 1, select=DELIBERATE),
        ),
    ),
    _encoder_case("plain", keep="last"),
    _encoder_case("drawn", distribution="drawn", distribution_steps=_TERM_STEPS),
    _encoder_case(
        "drawn, two encoders",
        distribution="drawn",
        distribution_steps=_TERM_STEPS,
        distribution_encoders=["generator", "backbone"],
    ),
    Case(
        adapt={"method": "none"},
        sets=(
            DrawnSet(study=EXEMPLARS, name="vanilla", changes={}),
            DrawnSet(
                study=EXEMPLARS,
                name=f"weight {EXEMPLAR_WEIGHT:g}",
                changes={"draw": {"exemplar_weight": EXEMPLAR_WEIGHT}},
                control="vanilla",
            ),
        ),
    ),
    Case(
        adapt={"steps": _STEPS},
        sets=(
            _strength(ALL_STRENGTHS, STRENGTHS, "bridged", "curriculum"),
            *(_strength(f"strength {strength:g}", strength) for strength in STRENGTHS),
        ),
    ),
)
_SMOKE_CASES = (*CASES[:2], CASES[-6], *CASES[-3:])  # one of each study
STUDIES = tuple(dict.fromkeys(drawn.study for case in CASES for drawn in case.sets))


def main(out: Path, runs: Path, smoke: bool, only: Sequence[str] | None = None) -> None:
    """Do every unfinished case, then write rows, tables and claims of the studies that are complete."""
    cases, seeds = (_SMOKE_CASES, SEEDS[:1]) if smoke else (CASES, SEEDS)
    jobs = [(case, seed, runs, smoke) for case in cases for seed in seeds]
    if only is not None:
        jobs = [
            job
            for job in jobs
            if not {drawn.study for drawn in job[0].sets}.isdisjoint(only) or _record(*job[:3]).exists()
        ]
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        rows = [row for done in pool.starmap(_rows, jobs, chunksize=1) for row in done]
    settings = {
        case.name: {
            "command": ["python", "-m", "benchmarks.matching_studies"],
            "seeds": list(SEEDS),
            "adapt": dict(case.adapt),
            "sets": {drawn.name: dict(drawn.changes) for drawn in case.sets},
        }
        for case in CASES
        if any(row["set"] == case.sets[0].name and row["study"] == case.sets[0].study for row in rows)
    }
    claims, tables = ([], []) if smoke else (_claims(rows), _tables(rows))
    write(out, settings=settings, rows=rows, claims=claims, tables=tables)


def _record(case: Case, seed: int, runs: Path) -> Path:
    return runs / f"{case.name.replace(', ', '-').replace(' ', '-')}-seed{seed}.json"


def _rows(case: Case, seed: int, runs: Path, smoke: bool) -> list[dict[str, Any]]:
    """A row for each set that is drawn with a generator."""
    torch.set_num_threads(1)
    record = _record(case, seed, runs)
    if not record.exists():
        folder = record.with_suffix("")
        run(_settings(case, seed, smoke=smoke), folder, until="adapt")
        found = Run(RunFolder.find(folder), "cpu", Silent())
        write_json(record, [_row(found, drawn, seed, smoke=smoke) for drawn in case.sets])
    rows: list[dict[str, Any]] = json.loads(record.read_text(encoding="utf-8"))
    return rows


def _settings(case: Case, seed: int, *, smoke: bool = False) -> Settings:
    chosen = {"seed": seed, "adapt": case.adapt}
    if not smoke:
        return build(PRESETS["quick"], _COMMON, chosen)
    few = _SMOKE_DRAWN if case.adapt.get("distribution") == "drawn" else {}
    tiny = {"adapt": {**_SMOKE_ADAPT, **few}, "draw": {"steps": 4}, "compare": {"steps": 8}}
    return build(PRESETS["quick"], _COMMON, chosen, tiny)


def _row(found: Run, drawn: DrawnSet, seed: int, *, smoke: bool) -> dict[str, Any]:
    settings = build(found.settings.model_dump(), drawn.changes, {"draw": {"per_class": 2}} if smoke else {})
    images = found.sets.fill(quotas(found.train, settings.draw), settings).images
    return {
        "study": drawn.study,
        "set": drawn.name,
        "seed": seed,
        "images": len(images),
        "accuracy": _accuracies(found, drawn, images),
        "squared MMD": squared_mmd(images, found.test),
    }


def _accuracies(found: Run, drawn: DrawnSet, images: LabelledSet) -> dict[str, float]:
    """Accuracy on test images in percent, mean over the trainings of each arm."""
    place = f"{drawn.study}-{drawn.name}".replace(", ", "-").replace(" ", "-")
    trainings = {arm: found.training(arm, place, images=CuratedSet(images=images)) for arm in drawn.arms}
    found.classifiers.train_arms(trainings.values(), lambda steps: None)
    return {arm: 100 * float(training.result().correct.mean()) for arm, training in trainings.items()}


@dataclass(frozen=True)
class _Found:
    """The rows of a study that is complete.

    Attributes:
        sets: in the order of tables.
        rows: by name of the set, in the order of seeds.
    """

    sets: tuple[DrawnSet, ...]
    rows: Mapping[str, Sequence[Mapping[str, Any]]]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], study: str) -> _Found | None:
        """None if a row is missing."""
        sets = tuple(drawn for case in CASES for drawn in case.sets if drawn.study == study)
        by_set = {
            drawn.name: sorted(
                (row for row in rows if (row["study"], row["set"]) == (study, drawn.name)),
                key=lambda row: int(row["seed"]),
            )
            for drawn in sets
        }
        return cls(sets, by_set) if all(len(of_set) == len(SEEDS) for of_set in by_set.values()) else None

    def accuracy(self, name: str, arm: str) -> np.ndarray:
        """In percent, one value per seed."""
        return np.array([row["accuracy"][arm] for row in self.rows[name]])

    def distance(self, name: str, encoder: str) -> np.ndarray:
        """Squared MMD to test images, one value per seed."""
        return np.array([row["squared MMD"][encoder] for row in self.rows[name]])

    @property
    def encoders(self) -> list[str]:
        return list(self.rows[self.sets[0].name][0]["squared MMD"])


def _complete(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, _Found]]:
    found = ((study, _Found.of(rows, study)) for study in STUDIES)
    return [(study, of_study) for study, of_study in found if of_study is not None]


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    claims = []
    for study, found in _complete(rows):
        for drawn in found.sets:
            if drawn.control:
                claims += _differences(study, found, drawn, drawn.control)
        if study == "encoders":
            two = found.sets[-1]
            claims += _differences(study, found, two, "drawn")
        if study == DELIBERATE:
            claims += _worth(found)
        if study == "strengths":
            claims += _strengths(found)
        if study == EXEMPLARS and (tuned := _Found.of(rows, "guidance")) is not None:
            claims.append(_share_of_fine_tuning(found, tuned))
    return claims


def _strengths(found: _Found) -> list[Claim]:
    """All strengths against each single one, and the curriculum against a random order."""
    mixture, *single = found.sets
    order = found.accuracy(mixture.name, "curriculum") - found.accuracy(mixture.name, "bridged")
    return [
        *(claim for each in single for claim in _gains("strengths", found, each, mixture.name)),
        repeated(
            f"strengths: {ALL_STRENGTHS}, curriculum minus bridged, accuracy in points",
            order,
            target="reported",
        ),
    ]


def _share_of_fine_tuning(found: _Found, tuned: _Found) -> Claim:
    """What guidance by exemplars gains over the generator as it comes, over what fine-tuning gains."""
    vanilla, guided = (found.accuracy(drawn.name, "synthetic") for drawn in found.sets)
    return repeated(
        f"{EXEMPLARS}: share of the gain of fine-tuning, synthetic",
        (guided - vanilla) / (tuned.accuracy(tuned.sets[0].name, "synthetic") - vanilla),
        least=1 / 3,
        target="at least a third",
    )


def _differences(study: str, found: _Found, drawn: DrawnSet, control: str) -> list[Claim]:
    claims = [
        repeated(
            f"{study}: squared MMD, {encoder}: {control} minus {drawn.name}",
            found.distance(control, encoder) - found.distance(drawn.name, encoder),
            target="reported",
        )
        for encoder in found.encoders
    ]
    return claims + _gains(study, found, drawn, control)


def _gains(study: str, found: _Found, drawn: DrawnSet, control: str) -> list[Claim]:
    return [
        repeated(
            f"{study}: {arm}, {drawn.name} minus {control}, accuracy in points",
            found.accuracy(drawn.name, arm) - found.accuracy(control, arm),
            target="reported",
        )
        for arm in drawn.arms
    ]


def _worth(found: _Found) -> list[Claim]:
    """How many plain images are as good as an image that ``deliberate`` chose, and what it adds."""
    chosen = found.accuracy(DELIBERATE, "synthetic")
    claims = [
        repeated(
            f"{DELIBERATE}: synthetic, {DELIBERATE} minus {_plain(times)}, accuracy in points",
            chosen - found.accuracy(_plain(times), "synthetic"),
            target="interval above 0" if times == 1 else "reported",
            low_above=0.0,
        )
        for times in TIMES
    ]
    value, low, high = factor(found)
    why = "2^(gain / gain of each doubling), Fieller's interval over runs; none if the doublings gain nothing"
    claim = f"{DELIBERATE}: plain images with the accuracy of one that it chose"
    return [
        *claims,
        Claim(claim=claim, value=value, low=low, high=high, target="interval above 1", met=low > 1, why=why),
    ]


def factor(found: _Found) -> tuple[float, float, float]:
    """Plain images per chosen image at equal accuracy, with its 95% interval, which may be infinite.

    Accuracy of plain images is a line over log2 of their number, one line per seed. If a doubling adds b, and
    the chosen images are d better than the line at their number, they are worth 2^(d / b) as many.
    """
    plain = np.stack([found.accuracy(_plain(times), "synthetic") for times in TIMES], axis=1)
    at_once, doubling = log_fit(np.array(TIMES), plain)
    better = found.accuracy(DELIBERATE, "synthetic") - at_once
    ratio = fieller_interval(better.tolist(), doubling.tolist())
    with np.errstate(over="ignore"):  # beyond 2^1023, infinite
        value, low, high = np.exp2(ratio).tolist()
    return value, low, high


_TITLES = {
    "weights": f"weights: `batch-mean` with 1, 10 and 100 times its weight, after {SEEN} images",
    "guidance": "guidance: one fine-tuned generator, drawn with each guidance scale",
    DELIBERATE: f"{DELIBERATE}: {PER_CLASS} images per class, and two and four times as many",
    EXEMPLARS: f"{EXEMPLARS}: not adapted, drawn with and without guidance by exemplars",
    "strengths": "strengths: one fine-tuned generator, started from real images plus noise",
    "encoders": f"encoders: `drawn` in the last {_TERM_STEPS} of {_STEPS + _TERM_STEPS} steps",
}


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [_table(study, found) for study, found in _complete(rows)]


def _table(study: str, found: _Found) -> dict[str, Any]:
    title = (
        f"{_TITLES[study]}. Squared MMD to held-out real images, accuracy in percent; mean over {len(SEEDS)} "
        "runs, 95% Student interval."
    )
    arms = tuple(dict.fromkeys(arm for drawn in found.sets for arm in drawn.arms))
    lines = [
        [
            drawn.name,
            str(found.rows[drawn.name][0]["images"]),
            *(cell(found.distance(drawn.name, encoder), digits=4) for encoder in found.encoders),
            *(cell(found.accuracy(drawn.name, arm)) if arm in drawn.arms else "" for arm in arms),
        ]
        for drawn in found.sets
    ]
    return {"title": title, "columns": ["set", "images", *found.encoders, *arms], "rows": lines}


if __name__ == "__main__":
    command_line("matching_studies", main, doc=__doc__ or "", parts=STUDIES)
