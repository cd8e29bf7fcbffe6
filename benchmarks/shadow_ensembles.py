"""Shadow models for membership inference: trained as an ensemble, or one after the other.

``python -m benchmarks.shadow_ensembles`` trains 64 shadow models of the miniature both ways and compares the
attacks based on them. The two ways alternate, a few models at a time, so that other work of the machine
affects both. The machine should be idle all the same: other processes slow down single trainings, whose
threads wait for each other, far more than the ensemble, and the ratio would flatter the ensemble.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.claims import Claim, command_line, repeated, write
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings
from understudy.evaluation.membership import audit_membership, half_splits
from understudy.functional.membership import scaled_confidence
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import TrainingData
from understudy.training.ensemble import Training, fit_ensemble
from understudy.training.fit import fit_arm
from understudy.training.settings import CompareSettings

Train = Callable[[list[Training], CompareSettings], list[TrainedClassifier]]
_TOGETHER = 8  # shadow models per round
_TARGET = 4.0
_TOLERANCE = 0.05  # allowed difference of the areas under the curve
_IDLE = 0.5  # highest load average at the start that counts as idle


def _one_after_the_other(trainings: list[Training], settings: CompareSettings) -> list[TrainedClassifier]:
    return [
        fit_arm(
            "real", train=each.data.train, synthetic=None, settings=settings, seed=each.seed, device="cpu"
        )
        for each in trainings
    ]


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _on_one_thread(trainings: list[Training], settings: CompareSettings) -> list[TrainedClassifier]:
    with _one_thread():
        return _one_after_the_other(trainings, settings)


def _ensemble(trainings: list[Training], settings: CompareSettings) -> list[TrainedClassifier]:
    return fit_ensemble("real", trainings, settings=settings, device="cpu")


def _stack(trainings: list[Training], settings: CompareSettings) -> list[TrainedClassifier]:
    return fit_ensemble("real", trainings, settings=settings, device="cpu", stacked=len(trainings) // 2)


WAYS: dict[str, Train] = {
    "one after the other, all threads": _one_after_the_other,
    "one after the other, one thread": _on_one_thread,
    "ensemble: a network per core": _ensemble,
    "ensemble: stacks with torch.func": _stack,
}
_BEFORE, _AFTER = "one after the other, all threads", "ensemble: a network per core"


def measure(*, num_models: int, steps: int, shots: int) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Rows and claims.

    Args:
        num_models: number of shadow models.
        steps: training steps of each model.
        shots: real images per class.
    """
    splits = load_splits(DataSettings(source="digits", shots=shots), seed=0)
    settings = CompareSettings(steps=steps, augmentation="none")
    members = half_splits(splits.train.labels, num_models, seed=0)
    group = [
        Training(TrainingData(train=splits.train.select(np.flatnonzero(inside))), seed=number)
        for number, inside in enumerate(members)
    ]
    load, rows = os.getloadavg()[0], list[dict[str, Any]]()
    said: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {way: [] for way in WAYS}
    for start in range(0, num_models, _TOGETHER):
        part = group[start : start + _TOGETHER]
        for way, train in WAYS.items():
            wall, cpu = time.monotonic(), time.process_time()
            trained = train(part, settings)
            rows.append(
                {
                    "round": start // _TOGETHER,
                    "way": way,
                    "models": len(part),
                    "steps": steps,
                    "seconds": time.monotonic() - wall,
                    "cpu_seconds": time.process_time() - cpu,
                }
            )
            said[way] += [
                (classifier.predict(splits.train), classifier.predict(splits.val)) for classifier in trained
            ]
    return rows, [*_speed(rows, load), *_agreement(said, members, splits.train, splits.val)]


def _speed(rows: list[dict[str, Any]], load: float) -> Iterator[Claim]:
    def per_round(way: str, key: str) -> np.ndarray:
        return np.array([row[key] for row in rows if row["way"] == way])

    models = sum(row["models"] for row in rows if row["way"] == _AFTER)
    why = "the peak of two cores allows less than 4: see docs/methods/membership.md"
    for way in list(WAYS)[1:]:
        faster = (per_round(_BEFORE, "seconds") / per_round(way, "seconds")).tolist()
        target, least = ("at least 4, on an idle machine", _TARGET) if way == _AFTER else ("none", 0.0)
        claim = repeated(
            f"{models} shadow models, {way}: times faster than {_BEFORE}",
            faster,
            target=target,
            least=least,
            why_not=why,
        )
        if load > _IDLE:
            claim = replace(
                claim,
                met=claim.met and way != _AFTER,
                why=f"not idle: {load:.1f} processes wanted a core at the start",
            )
        yield claim
    work = per_round("one after the other, one thread", "cpu_seconds") / per_round(_AFTER, "cpu_seconds")
    yield repeated(
        "computing time of one after the other, one thread, over that of the ensemble",
        work.tolist(),
        target="none",
    )


def _agreement(
    said: dict[str, list[tuple[np.ndarray, np.ndarray]]],
    members: np.ndarray,
    train: LabelledSet,
    val: LabelledSet,
) -> Iterator[Claim]:
    """Compare the attacks based on the models of both ways. Rounding differences grow with the steps, so the
    models agree in distribution only.
    """
    areas, phi = {}, {}
    for way, models in said.items():
        probabilities = np.stack([known for known, _ in models])
        phi[way] = scaled_confidence(probabilities, train.labels)
        found = audit_membership(
            probabilities,
            members,
            train.labels,
            population=np.stack([other for _, other in models]),
            population_labels=val.labels,
            false_positive_rates=(0.1,),
            num_resamples=100,
            seed=0,
        )
        areas[way] = {attack: figures["auc"] for attack, figures in found.items()}
    for attack in ("lira", "rmia"):
        before = areas[_BEFORE][attack]
        yield Claim.of(
            f"the attack {attack} on overfitted classifiers of real images: area under the curve",
            before,
            target="above 0.5",
            met=before["low"] > 0.5,
        )
        for way in list(WAYS)[2:]:
            difference = areas[way][attack]["mean"] - before["mean"]
            yield Claim.single(
                f"the same, {way}: difference",
                difference,
                target=f"at most {_TOLERANCE} either way",
                met=abs(difference) <= _TOLERANCE,
            )
    for way in list(WAYS)[2:]:
        same = float(np.corrcoef(phi[_BEFORE].ravel(), phi[way].ravel())[0, 1])
        yield Claim.single(f"correlation of logits, {way}", same, target="at least 0.9", met=same >= 0.9)


def run(out: Path, runs: Path, smoke: bool) -> None:
    """Measure and write the result file; ``runs`` is not used."""
    sizes = (
        {"num_models": 8, "steps": 2, "shots": 10} if smoke else {"num_models": 64, "steps": 20, "shots": 20}
    )
    rows, claims = measure(**sizes)
    command = ["python", "-m", "benchmarks.shadow_ensembles"]
    columns = ["way", "seconds per model", "computing seconds per model"]
    table = [
        [
            way,
            *(
                f"{sum(row[key] for row in rows if row['way'] == way) / sizes['num_models']:.2f}"
                for key in ("seconds", "cpu_seconds")
            ),
        ]
        for way in WAYS
    ]
    write(
        out,
        settings={"shadow ensembles": {"command": command, **sizes}},
        rows=rows,
        claims=claims,
        tables=[
            {
                "title": f"Shadow models of `mini`, {sizes['steps']} steps each",
                "columns": columns,
                "rows": table,
            }
        ],
    )


if __name__ == "__main__":
    command_line("shadow_ensembles", run, doc=__doc__ or "")
