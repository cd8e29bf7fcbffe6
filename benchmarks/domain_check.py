"""Does the domain check answer right, for every pair of a generator and a set of real images?

``PHOTOGRAPHS=FOLDER python -m benchmarks.domain_check`` needs the folders ``trashnet``, ``clothing``,
``sign-digits``, ``caltech101`` and ``cifar10`` with Parquet files in it, and ``pip install
"understudy[photo]"``. It takes about half an hour on one CPU core; finished sets are kept. With ``--smoke``
it runs on ``digits``.

For each set, a classifier learns from 5 and from 20 images per class (15 of Caltech-101) with the defaults of
the commands. It looks at images of four generators of known answer:

- ``mini``, not adapted: it knows ``digits`` and nothing else here;
- ``class_conditional`` before its training: it knows nothing;
- held-out real images as ready-made ones: a generator that knows everything. ``false`` is a false alarm;
- the same images with labels that were shuffled: a generator that knows nothing, and whose images look right.

The last two are judged on ``SAMPLES`` random samples of ``DRAWN`` images.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.claims import Claim, command_line, write
from benchmarks.folders import take_first, without_copies
from understudy.commands.defaults import defaults_for
from understudy.core.files import write_json
from understudy.core.progress import Silent
from understudy.data.load import load_splits
from understudy.evaluation.domain import measure_domain
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import PRESETS
from understudy.settings import Settings, build

SETS = ("digits", "trashnet", "clothing", "sign-digits", "caltech101", "cifar10")
SHOTS = (5, 20)
_FEWEST = {"caltech101": 15}  # train images of its smallest classes, rounded down
DRAWN = 100
SAMPLES = 200
KNOWN = {True: "knows", None: "cannot tell", False: "does not know"}
"""The answers of :func:`understudy.evaluation.domain.measure_domain`, in words."""
UNTRAINED = "class_conditional, untrained"
GENERATORS: Mapping[str, Mapping[str, Any]] = {
    "mini": {"adapt": {"method": "none"}},
    UNTRAINED: {
        "generator": {"name": "class_conditional", "resolution": 32, "patch": 4, "channels": [64, 128]},
        "adapt": {"steps": 1, "until": "steps"},
    },
}
SAMPLED = ("held-out real images", "shuffled labels")
_DATA = Path(os.environ.get("PHOTOGRAPHS", "photographs"))
_FIRST = {"cifar10": {"train": 4000, "test": 2000}}
_COMMON: Mapping[str, Any] = {
    "draw": {"steps": 10},
    "curate": {"score": "agreement", "stop_at_chance": False, "max_refills": 0, "firewall": "off"},
    "compare": {"steps": 60, "batch_size": 32},
    "fidelity": {"measure": False},
    "compute": {"threads": 1, "workers": 1},
}
_SMOKE: Mapping[str, Any] = {
    "adapt": {"batch_size": 8, "validation_pairs": 16},
    "draw": {"per_class": 2, "steps": 2},
    "compare": {"steps": 2, "batch_size": 8},
}


def main(out: Path, runs: Path, smoke: bool) -> None:
    """Do every unfinished set, then write rows, tables and claims."""
    torch.set_num_threads(1)
    sets, shots = (SETS[:1], SHOTS[:1]) if smoke else (SETS, SHOTS)
    rows = [
        _row(name, min(count, _FEWEST.get(name, count)), runs, smoke=smoke)
        for name in sets
        for count in shots
    ]
    settings = {
        generator: {
            "command": ["python", "-m", "benchmarks.domain_check"],
            "settings": json.loads(json.dumps({**_COMMON, **chosen})),
        }
        for generator, chosen in GENERATORS.items()
    }
    write(out, settings=settings, rows=rows, claims=[] if smoke else _claims(rows), tables=_tables(rows))


def _source(name: str, runs: Path) -> str:
    if name == "digits":
        return name
    source, clean = _DATA / name, runs / "data" / name
    if name in _FIRST:
        take_first(source, runs / "first" / name, **_FIRST[name])
        source = runs / "first" / name
    without_copies(source, clean)
    return str(clean)


def _row(name: str, shots: int, runs: Path, *, smoke: bool) -> dict[str, Any]:
    """Answers for all generators on a set; a finished row is read."""
    record = runs / f"{name}-{shots}.json"
    if not record.exists():
        source = _source(name, runs)
        found = {
            generator: _drawn(source, shots, generator, runs / f"{record.stem}-{place}", smoke=smoke)
            for place, generator in enumerate(GENERATORS)
        }
        case_run = Run(RunFolder.find(runs / f"{record.stem}-0"), "cpu", Silent())
        test = case_run.test.select(range(min(len(case_run.test), 2000)))
        predicted = case_run.classifiers.judge.predict(test).argmax(axis=1)
        rng = np.random.default_rng(0)
        answers = [_of_sample(predicted, test.labels, rng) for _ in range(SAMPLES)]
        found |= {kind: _shares([pair[place] for pair in answers]) for place, kind in enumerate(SAMPLED)}
        accuracy = float((predicted == test.labels).mean())
        write_json(record, {"set": name, "shots": shots, "accuracy": accuracy, "answers": found})
    return dict(json.loads(record.read_text(encoding="utf-8")))


def _drawn(source: str, shots: int, generator: str, folder: Path, *, smoke: bool) -> dict[str, Any]:
    """The answer for a generator, from images that it draws."""
    settings = _settings(source, shots, generator, smoke=smoke)
    return dict(run(settings, folder, until="curate")["curate"]["fidelity"]["domain"])


def _settings(source: str, shots: int, generator: str, *, smoke: bool) -> Settings:
    data = {"data": {"source": source, "shots": shots}}
    defaults, chosen = defaults_for(source), GENERATORS[generator]
    if defaults:
        defaults["compare"] |= {"resolution": 96}
    plain = build(PRESETS["quick"], defaults, _COMMON, chosen, data)
    classes = load_splits(plain.data, seed=0).train.num_classes
    few = {"draw": {"per_class": -(-DRAWN // classes)}}
    return build(PRESETS["quick"], defaults, _COMMON, chosen, data, few, _SMOKE if smoke else {})


def _of_sample(predicted: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[Any, Any]:
    """The answers for a sample of real images, with their labels and with shuffled ones."""
    some = rng.choice(len(labels), min(DRAWN, len(labels)), replace=False)
    given, shuffled = labels[some], rng.permutation(labels[some])
    return tuple(measure_domain(each, predicted[some] == each)["knows"] for each in (given, shuffled))


def _shares(answers: Sequence[bool | None]) -> dict[str, float]:
    return {
        words: sum(answer is known for answer in answers) / len(answers) for known, words in KNOWN.items()
    }


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    alarms, missed = (
        [row["answers"][kind][KNOWN[wrong]] for row in rows]
        for kind, wrong in zip(SAMPLED, (False, True), strict=True)
    )
    answers = [
        (row["answers"][generator]["knows"], (generator, row["set"]) == ("mini", "digits"))
        for row in rows
        for generator in GENERATORS
    ]
    wrong = sum(answer is not None and answer != right for answer, right in answers)
    unclear = sum(answer is None for answer, _ in answers)
    return [
        Claim.single(
            "share of false alarms on samples of held-out real images, largest of all sets",
            max(alarms),
            target="at most 1 in 20",
            met=max(alarms) <= 1 / 20,
        ),
        Claim.single(
            "share of samples with shuffled labels that pass as known, largest of all sets",
            max(missed),
            target="at most 1 in 20",
            met=max(missed) <= 1 / 20,
        ),
        Claim.single(
            f"wrong answers for generators, of {len(answers)}; {unclear} times the check cannot tell",
            wrong,
            target="0",
            met=wrong == 0,
        ),
    ]


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    columns = ["set", "images per class", "judge's accuracy on test images, %", *GENERATORS, *SAMPLED]
    body = [
        [
            row["set"],
            str(row["shots"]),
            f"{100 * row['accuracy']:.0f}",
            *(_answer(row["answers"][generator]) for generator in GENERATORS),
            *(_mixed(row["answers"][kind]) for kind in SAMPLED),
        ]
        for row in rows
    ]
    title = (
        f"The domain check: share of about {DRAWN} drawn images that a classifier of the real ones "
        f"recognises, and the answers for {SAMPLES} samples of {DRAWN} real images."
    )
    return [{"title": title, "columns": columns, "rows": body}]


def _answer(found: Mapping[str, Any]) -> str:
    share = found["agreement"]
    return (
        f"{100 * share['mean']:.0f}% [{100 * share['low']:.0f}, {100 * share['high']:.0f}]: "
        + KNOWN[found["knows"]]
    )


def _mixed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{words}: {100 * share:.0f}%" for words, share in shares.items() if share)


if __name__ == "__main__":
    command_line("domain_check", main, doc=__doc__ or "")
