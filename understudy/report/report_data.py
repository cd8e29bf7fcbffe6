"""What the report of a run is made of, and what its page is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np

from understudy.data.labelled_set import LabelledSet
from understudy.settings import Settings

Form = Literal["whole", "short", "shareable"]
"""What a page is for: to study a run, to give an impression of it, or to be read by those who must not see
the real images."""


@final
@dataclass(frozen=True, kw_only=True)
class ReportData:
    """What the report of a run shows.

    Attributes:
        results: content of ``results.json``; sections other than ``data``, ``arms`` and ``verdict`` may be
            missing or empty.
        settings: of the run.
        train: real train images.
        synthetic: synthetic images that were kept; the provenance columns ``score``, ``flag``,
            ``nearest_id``, ``nearest_distance`` and ``source_id`` are shown where they exist.
        confusions: per arm, counts of test images, (C, C): true classes in rows, predicted classes in
            columns.
        arm_summaries: per arm, one line that says what it trains on.
        val: real validation images, which are searched for repeated images.
        test: real test images; with them the page shows the images behind the mistakes.
        predictions: per arm, the class that each of its S trainings predicts for each test image, int
            (S, len(test)); needs ``test``. An arm may be missing.
        shareable: synthetic images that the shareable form shows; None if it must show none.

    Raises:
        InputError: if a set belongs to another split.
        ValueError: if ``predictions`` does not fit ``test``.
    """

    results: Mapping[str, Any]
    settings: Settings
    train: LabelledSet
    synthetic: LabelledSet
    confusions: Mapping[str, np.ndarray]
    arm_summaries: Mapping[str, str] = field(default_factory=dict)
    val: LabelledSet | None = None
    test: LabelledSet | None = None
    predictions: Mapping[str, np.ndarray] = field(default_factory=dict)
    shareable: LabelledSet | None = None

    def __post_init__(self) -> None:
        self.train.check_split("train", purpose="the report's gallery of real images")
        self.synthetic.check_split("synthetic", purpose="the report's gallery of synthetic images")
        if self.val is not None:
            self.val.check_split("val", purpose="the report's search for repeated images")
        if self.test is not None:
            self.test.check_split("test", purpose="the report's gallery of mistakes")
        shapes = {arm: classes.shape for arm, classes in self.predictions.items()}
        if any(
            self.test is None or len(shape) != 2 or shape[1] != len(self.test) for shape in shapes.values()
        ):
            raise ValueError(f"predictions must be (S, number of test images) for each arm, got {shapes}")

    @property
    def sets(self) -> Sequence[LabelledSet]:
        """All image sets: train, synthetic, and validation and test images where they are given."""
        return [part for part in (self.train, self.synthetic, self.val, self.test) if part is not None]

    def pictured(self, form: Form) -> dict[str, LabelledSet]:
        """The sets whose images a page shows side by side, by kind."""
        if form == "shareable":
            return {} if self.shareable is None else {"synthetic": self.shareable}
        return {"real": self.train, "synthetic": self.synthetic}
