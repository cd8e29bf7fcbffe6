"""The result of a bake-off: generators ranked on validation images, with what each costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from understudy.commands.study_folder import StudyFolder, StudyRun, about
from understudy.commands.study_kinds import Point, label_of
from understudy.commands.whole_run import WholeRuns
from understudy.core.errors import InputError
from understudy.core.files import read_arrays
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.ranking import (
    FLOOR,
    OnValidation,
    accuracy_over_runs,
    against,
    rank,
    ranking_sentence,
)
from understudy.pipeline.folder import RunFolder, finished_results
from understudy.training.arms import find_arm
from understudy.training.records import ArmFolder
from understudy.training.settings import CompareSettings

_NOT_SHOWN = ("arms", "measure")
"""Fields of the row of a run about test images, which have no part in a ranking."""


def ranked_content(
    study: StudyFolder, finished: Sequence[StudyRun], failed: Mapping[Point, str], *, device: str = "cpu"
) -> dict[str, Any]:
    """The content of ``study.json`` for a study that ranks its points, without the environment.

    Args:
        study: the study.
        finished: its finished runs, at least one.
        failed: points that could not be run, with the reason.
        device: torch device that the runs used.

    Raises:
        InputError: if the validation images of runs with the same number differ.
    """
    rows = [one.row(study.out) for one in finished]
    compared = _comparable([one for one in finished if one.point not in failed])
    measure = "accuracy" if any(row["measure"] == "accuracy" for row in rows) else "balanced_accuracy"
    content: dict[str, Any] = {
        **about(study),
        "repeats_differ_in": "subset" if study.base.data.shots is not None else "seed",
        "measure": measure,
    }
    ranked = _ranked(study, compared, measure, device=device) if compared else _nothing()
    return {
        **content,
        **ranked,
        "failed": [
            {"point": point, "label": label_of(point), "reason": reason} for point, reason in failed.items()
        ],
        "runs": [{name: value for name, value in row.items() if name not in _NOT_SHOWN} for row in rows],
        "settings": study.base.model_dump(mode="json"),
    }


def _nothing() -> dict[str, Any]:
    return {"sentence": "Every generator failed; the table says why.", "ranking": None, "points": []}


def _comparable(runs: Iterable[StudyRun]) -> dict[Point, list[StudyRun]]:
    """Runs of every point that began with the first repeat: those that all of these points have finished."""
    by_point: dict[Point, dict[int, StudyRun]] = {}
    for one in runs:
        by_point.setdefault(one.point, {})[one.repeat] = one
    by_point = {point: of_point for point, of_point in by_point.items() if 0 in of_point}
    if not by_point:
        return {}
    shared = sorted(set.intersection(*map(set, by_point.values())))
    return {point: [of_point[repeat] for repeat in shared] for point, of_point in by_point.items()}


def ranking_arm(settings: CompareSettings) -> str:
    """The arm that generators are ranked by: the first that uses synthetic images and no validation images.

    Raises:
        InputError: if there is none.
    """
    for name in settings.all_arms:
        if find_arm(name, settings).can_be_chosen:
            return name
    raise InputError(
        "a bake-off ranks generators by an arm that uses their images and does not learn from validation "
        f"images, got the arms {', '.join(settings.all_arms)}: add one, such as mixed"
    )


def _ranked(
    study: StudyFolder, compared: Mapping[Point, list[StudyRun]], measure: str, *, device: str
) -> dict[str, Any]:
    """``sentence``, ``ranking`` and ``points`` of the runs that can be compared."""
    arm, labels = ranking_arm(study.base.compare), {label_of(point): point for point in compared}
    first = next(iter(compared.values()))
    outcomes = {label: [_on_validation(one, arm) for one in compared[labels[label]]] for label in labels}
    outcomes[FLOOR] = [_on_validation(one, FLOOR) for one in first]
    for of_one in outcomes.values():
        for mine, of_real in zip(of_one, outcomes[FLOOR], strict=True):
            if not np.array_equal(mine.labels, of_real.labels):
                raise InputError(
                    f"the validation images have changed since {first[0].name} was finished, so generators "
                    "cannot be compared: restore them, or choose another --out"
                )
    ranking = rank(outcomes, measure=measure, seed=study.base.seed)
    num_val = len(outcomes[FLOOR][0].labels)
    whole = WholeRuns(study, compared, device)
    points = {
        label: _point(study, label, compared[labels[label]], measure)
        | {"whole_run_seconds": whole.seconds(labels[label])}
        for label in labels
    }
    return {
        "sentence": ranking_sentence(ranking, measure=measure, num_val=num_val),
        "ranking": {
            "arm": arm,
            "images": num_val,
            "trainings": study.base.compare.num_seeds,
            "interval": ranking["interval"],
            "floor": ranking["accuracy"][FLOOR],
            "differences": ranking["differences"],
        },
        "points": [
            {
                "point": labels[label],
                "place": ranking["places"][label],
                **points[label],
                "minus_real": against(ranking, label, FLOOR),
            }
            for label in ranking["order"]
        ],
    }


def _on_validation(one: StudyRun, arm: str) -> OnValidation:
    """What the trainings of an arm predict for the validation images of a run."""
    files = ArmFolder(one.path / "arms", arm)
    records = [read_arrays(files.record(index)) for index in range(one.settings.compare.num_seeds)]
    if any("val_predicted" not in record for record in records):
        raise InputError(f"{one.path} was made by an older version of understudy: use another folder")
    labels = LabelledSet.load(one.path / "data" / "val.parquet").labels
    return OnValidation(np.stack([record["val_predicted"] for record in records]), labels)


def _point(study: StudyFolder, label: str, runs: Sequence[StudyRun], measure: str) -> dict[str, Any]:
    """Accuracy of its arms on validation images, closeness of its images, time and memory."""
    results = [finished_results(one.folder) for one in runs]
    drew = [one.folder.record("draw") or {} for one in runs]
    chosen = RunFolder.find(runs[0].path).settings  # a path may have become another thing since
    arms = [name for name in results[0]["arms"] if find_arm(name, chosen.compare).can_be_chosen]
    fidelity = [found.get("fidelity", {}) for found in results]
    mmd = [found["measures"]["mmd"] for found in fidelity if "measures" in found]
    within = [found["within_classes"] for found in mmd if found.get("within_classes")]
    closest = within if len(within) == len(results) else mmd
    return {
        "label": label,
        "runs": len(runs),
        "generator": {
            "name": chosen.generator.name,
            "images": [str(path) for path in chosen.generator.images],
            "adapt": chosen.adapt.method,
        },
        "arms": {
            name: accuracy_over_runs([_on_validation(one, name) for one in runs], measure) for name in arms
        },
        "mmd": _mean(found["value"]["mean"] for found in closest),
        "mmd_floor": _mean(found["floor"]["mean"] for found in closest),
        "agreement": _mean(found["agreement"]["mean"] for found in fidelity if "agreement" in found),
        "drawn": int(np.mean([found["curation"]["drawn"] for found in results])),
        "kept": int(np.mean([found["curation"]["kept"] for found in results])),
        "seconds_per_image": _mean(1 / speed for one in drew if (speed := one.get("images_per_second"))),
        "memory_gb": _largest(one.get("peak_memory_gb") for one in drew),
        "device_memory_gb": _largest(one.get("device_memory_gb") for one in drew),
    }


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return float(np.mean(known)) if known else None


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
