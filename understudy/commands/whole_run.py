"""The time of the whole run with each generator of a bake-off, from the pace of its small jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from understudy.commands.cost import Pace, estimate
from understudy.commands.study_folder import StudyFolder, StudyRun
from understudy.commands.study_kinds import STUDIES, Point
from understudy.core.executors.side_by_side import side_by_side
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits
from understudy.pipeline.folder import finished_results
from understudy.settings import Settings, build


class WholeRuns:
    """Turns the work of whole runs into time, by what the small jobs took.

    Args:
        study: a bake-off.
        compared: its finished runs by point.
        device: torch device that they used.
    """

    def __init__(self, study: StudyFolder, compared: Mapping[Point, Sequence[StudyRun]], device: str) -> None:
        self._study, self._compared = study, compared
        runs = [one for of_point in compared.values() for one in of_point]
        arms = [arm for one in runs for arm in finished_results(one.folder)["arms"].values()]
        steps = sum(arm["steps"] * len(arm["accuracy"]["seeds"]) for arm in arms)
        workers = side_by_side(runs[0].settings.compute, device).trainings
        self._step = sum(arm["seconds"] for arm in arms) / steps / workers
        train, val, test = (
            LabelledSet.load(runs[0].path / "data" / f"{name}.parquet") for name in ("train", "val", "test")
        )
        self._splits = Splits(
            train, val, test, prompt_names=train.class_names, skipped=(), known_ids=frozenset()
        )

    def seconds(self, point: Point) -> float | None:
        """Seconds of the whole run with a generator.

        None if its small jobs do not show a pace that the run needs: of drawing, of private training or of
        corrupting test images. Predictions, reading and checking the images, measures of closeness and the
        report are not counted.
        """
        settings = whole_settings(self._study, point)
        stages = [
            one.folder.record(name) or {} for one in self._compared[point] for name in ("adapt", "draw")
        ]
        adapting, drawing = stages[::2], stages[1::2]
        speeds = [speed for one in drawing if (speed := one.get("images_per_second"))]
        if not speeds or _needs_another_pace(settings):
            return None
        pace = Pace(
            adaptations=max(one["seconds"] for one in adapting) if settings.adapt.num_steps else 0.0,
            images=1 / float(np.mean(speeds)),
            steps=self._step,
            private_steps=0.0,
            predictions=0.0,
            corruptions=0.0,
            image_bytes=0.0,
            classifier_bytes=0.0,
        )
        strength = 1.0 if settings.draw.start_snr is not None else settings.draw.mean_strength
        return sum(estimate(settings, self._splits, pace, strength=strength).seconds.values())


def _needs_another_pace(settings: Settings) -> bool:
    is_private = settings.membership.measure and settings.membership.private_epsilon is not None
    return is_private or (settings.shift.measure and bool(settings.shift.corruptions))


def whole_settings(study: StudyFolder, point: Point) -> Settings:
    """The settings of the whole run with a generator: those of the command without a smaller job."""
    whole = study.base if study.whole is None else study.whole
    kind, given = STUDIES[study.kind], whole.model_dump(mode="json", exclude_unset=True)
    return build(study.defaults(point), given, kind.settings_at(point))
