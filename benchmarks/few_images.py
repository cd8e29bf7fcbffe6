"""Arms for few real images in the benchmark of bridged transfer, with their claims and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.claims import Claim, cell, repeated, t_interval
from understudy.core.listing import listed
from understudy.training.arms import Arm
from understudy.training.settings import CompareSettings, Phase

SHOTS = (1, 2, 4)
"""Real images per class with which these arms are compared."""
LONGER = Arm(
    name="bridged-4x",
    phases=(Phase(data="synthetic", share=4), Phase(data="real")),
    summary="a synthetic phase four times as long",
)
LONGER_REAL = Arm(
    name="real-5x",
    phases=(Phase(data="real", share=5),),
    summary="control: real images alone, with the steps of both phases of bridged-4x",
)
CONTROLS: Mapping[str, str] = {
    "bridged+class-means": "real+class-means",
    "bridged+lp-ft": "real+lp-ft",
    LONGER.name: LONGER_REAL.name,
    "bridged@soft-labels": "real-long",
    "mixed@protoaug": "mixed",
}
"""By arm, its control: an arm without synthetic images that does the same or takes as many steps; for
`mixed@protoaug`, the arm without its losses.
"""
BRIDGED = tuple(arm for arm in CONTROLS if arm.startswith("bridged"))
ARMS = (*CONTROLS, "real+class-means", "real+lp-ft", LONGER_REAL.name)


def with_own_arms(settings: CompareSettings) -> CompareSettings:
    """The settings with the arms that are not built in, for :func:`understudy.training.arms.find_arm`."""
    return settings.model_copy(update={"own_arms": {arm.name: arm.phases for arm in (LONGER, LONGER_REAL)}})


Repeats = Mapping[int, Sequence[Mapping[str, Any]]]
"""By real images per class, the rows of the benchmark in the order of the repetitions."""


def claims(repeats: Repeats) -> list[Claim]:
    """What each arm adds to ``bridged`` and to its control, and with how many images it pays."""
    stated = []
    for arm, control in CONTROLS.items():
        differences = {shots: _minus(rows, arm, "bridged") for shots, rows in repeats.items()}
        stated += [
            repeated(f"{shots} per class: {arm} minus bridged, accuracy", values.tolist(), target="reported")
            for shots, values in differences.items()
        ]
        stated += [
            repeated(
                f"{shots} per class: {arm} minus {control}, accuracy: what remains against its control",
                _minus(rows, arm, control).tolist(),
                target="reported",
            )
            for shots, rows in repeats.items()
        ]
        pays = _pays(differences)
        numbers = listed([str(shots) for shots in repeats])
        with_these = f"with {listed([str(shots) for shots in pays])}" if pays else "with none"
        stated.append(
            Claim.single(
                f"{arm} pays over bridged {with_these} of {numbers} images per class",
                len(pays),
                target="reported",
                met=True,
                why="numbers of images for which the whole Student interval of the difference lies above 0",
            )
        )
    return stated


def tables(repeats: Repeats) -> list[dict[str, Any]]:
    """Accuracies of the arms, and their differences to ``bridged`` and to their controls."""
    columns = [f"{shots} per class" for shots in repeats]
    accuracies = [
        [f"`{arm}`", *(cell(100 * _accuracy(rows, arm)) for rows in repeats.values())]
        for arm in ("bridged", *ARMS)
    ]
    differences = []
    for arm, control in CONTROLS.items():
        minus_bridged = {shots: _minus(rows, arm, "bridged") for shots, rows in repeats.items()}
        pays = ", ".join(map(str, _pays(minus_bridged))) or "none"
        cells = [cell(100 * values) for values in minus_bridged.values()]
        differences.append([f"`{arm}`", "`bridged`", *cells, pays])
        cells = [cell(100 * _minus(rows, arm, control)) for rows in repeats.values()]
        differences.append([f"`{arm}`", f"`{control}`", *cells, ""])
    return [
        {
            "title": "Arms for few images, accuracy in percent: mean and interval as above.",
            "columns": ["arm", *columns],
            "rows": accuracies,
        },
        {
            "title": "The same in points minus `bridged` and minus the control of the arm; "
            "an arm pays with the numbers of images for which the interval against `bridged` lies above 0.",
            "columns": ["arm", "minus", *columns, "pays with"],
            "rows": differences,
        },
    ]


def _pays(differences: Mapping[int, np.ndarray]) -> list[int]:
    return [shots for shots, values in differences.items() if t_interval(values.tolist())[1] > 0]


def _minus(rows: Sequence[Mapping[str, Any]], arm: str, other: str) -> np.ndarray:
    return np.asarray(_accuracy(rows, arm) - _accuracy(rows, other))


def _accuracy(rows: Sequence[Mapping[str, Any]], arm: str) -> np.ndarray:
    return np.array([row["arms"][arm]["accuracy"] for row in rows])
