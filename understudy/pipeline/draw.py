"""Stage draw: plan the synthetic images, then draw the first round of them."""

from __future__ import annotations

import time

import numpy as np

from understudy.core.device_memory import forget_peak, peak_gb
from understudy.core.files import REMOVE, read_list
from understudy.evaluation.domain import ENOUGH
from understudy.generators.pipeline_size import is_large
from understudy.pipeline.context import Run
from understudy.pipeline.domain import check_domain, is_checked
from understudy.pipeline.samples import write_samples
from understudy.pipeline.work import Counted, Work
from understudy.sampling.plan import quotas


def draw(run: Run) -> None:
    """Draw as many images per class as the settings ask for.

    Raises:
        InputError: if the first images of a large pipeline are recognised no better than by chance.
    """
    quota = quotas(run.train, run.settings.draw)
    with run.folder.stage("draw") as record:
        fingerprint = run.generators.main.fingerprint  # the time to load it does not count as drawing
        if run.settings.adapt.method == "none":  # an adapter knows its generator
            record["generator"] = fingerprint
        _judge_first(run, quota)
        forget_peak(run.device)
        start, before = time.monotonic(), run.sets.num_drawn
        images = run.sets.first(run.settings, quota)
        drawn = run.sets.num_drawn - before
        per_second = float(f"{drawn / (time.monotonic() - start):.4g}") if drawn else None
        record |= {"images": len(images), "images_per_second": per_second}
        record["device_memory_gb"] = peak_gb(run.device)
    shown = write_samples(run, images)
    run.observer.say(f"draw: {len(images)} images in {record['seconds']:.0f} s{shown}")
    if (short := int(quota.sum()) - len(images)) > 0:
        run.observer.say(
            f"draw: {short} images fewer than wanted, because there are no more ready-made images; see "
            "draw.per_class, draw.of_classes and draw.min_per_class"
        )


def _judge_first(run: Run, quota: np.ndarray) -> None:
    """Draw and judge a few images of each class first, where drawing all of them takes hours."""
    settings, few = run.settings, np.minimum(quota, -(-ENOUGH // len(quota)))
    planned = run.path / "synthetic" / "plan" / "round-00.json"
    has_begun = planned.exists() and sum(read_list(planned, mend=REMOVE)) > few.sum()  # without this check
    if has_begun or not is_checked(settings):
        return
    if is_large(settings.generator.name) and few.sum() < quota.sum():
        images = run.sets.first(settings, few)
        write_samples(run, images)  # the error leads there
        judged = run.sets.curator.judge(images, settings.curate)
        check_domain(run, judged, True, stage="draw")


def work(counted: Counted) -> Work:
    """The images of the first round, with those that a selection chooses from."""
    return counted.drawn(quotas(counted.train, counted.settings.draw), counted.settings)
