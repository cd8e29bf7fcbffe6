"""Stage curate: judge the drawn images, redraw rejected ones, and keep the best."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from understudy.core.files import write_atomically
from understudy.curation.curate import Decisions
from understudy.curation.exhausted import explain_rejection
from understudy.curation.scores import SCORES
from understudy.curation.settings import CurateSettings
from understudy.pipeline.context import Run
from understudy.pipeline.domain import check_domain, domain_of
from understudy.pipeline.samples import write_samples
from understudy.pipeline.synthetic import JudgedImages
from understudy.pipeline.work import Counted, Work
from understudy.sampling.plan import quotas


def curate(run: Run) -> None:
    """Make the curated set that the arms share."""
    settings, folder = run.settings, run.path / "synthetic"
    quota = quotas(run.train, settings.draw)
    with run.folder.stage("curate") as record:
        is_shifted = settings.draw.allocation == "weak-classes"
        made = run.sets.fill(
            quota,
            settings,
            check=lambda judged, is_last: check_domain(run, judged, is_last and not is_shifted),
        )
        if is_shifted:
            quota = run.sets.allocate(quota, made.images, again=True)
            made = run.sets.fill(quota, settings, check=partial(check_domain, run))
        write_atomically(folder / "decisions.parquet", partial(pq.write_table, made.decisions.table()))
        made.images.save(folder / "curated.parquet")
        record |= _record(made, quota, settings.curate, run.train.class_names)
        if settings.curate.score == "agreement":
            record["fidelity"]["domain"] = domain_of(made.decisions)
    shown = write_samples(run, made.images)
    counts = record["curation"]
    missing = sum(counts["missing"].values())
    short = f", {missing} fewer than wanted" if missing else ""
    run.observer.say(f"curate: kept {counts['kept']} of {counts['drawn']} drawn{short}{shown}")
    if counts["problem"] is not None:
        run.observer.say(f"curate: {counts['problem']}")


def _record(
    made: JudgedImages, quota: np.ndarray, settings: CurateSettings, class_names: tuple[str, ...]
) -> dict[str, Any]:
    decisions, labels = made.decisions, made.decisions.labels
    kept = np.bincount(labels[decisions.kept], minlength=len(quota))
    counts = zip(class_names, quota, kept, strict=True)
    return {
        "curation": {
            "drawn": len(labels),
            "kept": int(kept.sum()),
            "rejected": decisions.rejections,
            "threshold": decisions.threshold,
            "rounds": made.rounds,
            "missing": {name: int(want - have) for name, want, have in counts if want > have},
            "problem": explain_rejection(
                decisions, quota, class_names=class_names, settings=settings, rounds=made.rounds
            ),
        },
        "fidelity": {"agreement": _agreement(decisions, len(quota))} if settings.score == "agreement" else {},
    }


def _agreement(decisions: Decisions, num_classes: int) -> dict[str, Any]:
    """Share of the drawn images whose class the judge recognises, in all and per class."""
    agrees = decisions.scores == 1.0
    of_class = [agrees[decisions.labels == label] for label in range(num_classes)]
    per_class = [float(share.mean()) if len(share) else None for share in of_class]
    return {"mean": float(agrees.mean()), "per_class": per_class}


def work(counted: Counted) -> Work:
    """The training of the judge of drawn images, if there is one, and of classifiers that choose images."""
    score = counted.settings.curate.score
    judge = counted.training("real") if score != "none" and SCORES[score].judge == "real" else Work()
    return judge + counted.choosing(quotas(counted.train, counted.settings.draw), counted.settings)
