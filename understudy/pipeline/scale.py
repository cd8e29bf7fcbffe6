"""Stage scale: how accuracy grows with larger synthetic sets, and how many real images each one equals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from understudy.core.errors import InputError
from understudy.core.files import read_list, write_json
from understudy.data.labelled_set import LabelledSet
from understudy.data.splits import take_share
from understudy.evaluation.scale import stop_reason, summarise_scale
from understudy.functional.allocation import first_of_each_class
from understudy.pipeline.context import Run
from understudy.pipeline.synthetic import CuratedSet, JudgedImages
from understudy.pipeline.work import Counted, Work
from understudy.sampling.plan import times_of
from understudy.training.records import ArmResult


def scale(run: Run) -> None:
    """Draw larger sets, each containing the smaller ones; train on each, and on parts of the real images."""
    settings, num_resamples = run.settings.scale, run.settings.compare.bootstrap
    with run.measurement("scale") as record:
        wanted = {times: times_of(run.train, times) for times in sorted(settings.times)}
        if empty := [times for times, quota in wanted.items() if not quota.any()]:
            raise InputError(
                f"scale.times must give a class at least one image, got {empty[0]:g} times at most "
                f"{run.train.counts.max()}"
            )
        real, images, stopped = dict[int, ArmResult](), dict[float, int](), None
        arms: dict[str, dict[float, ArmResult]] = {arm: {} for arm in settings.arms}
        for sets in _nested_sets(run, wanted):
            images |= {times: len(part) for times, part in sets.items()}
            run.sets.free_generators()
            _train_on_sizes(run, sets, parts={} if real else _parts_of_train(run), real=real, arms=arms)
            stopped = (
                None if settings.stop_below is None else stop_reason(arms, images, below=settings.stop_below)
            )
            if stopped is not None:
                break
        summary = summarise_scale(real, arms, images, num_resamples=num_resamples, seed=run.settings.seed)
        record["scale"] = summary | {"stopped": stopped}
    run.observer.say(f"scale: {', '.join(f'{times:g}x' for times in images)} in {record['seconds']:.0f} s")
    if stopped is not None:
        run.observer.say(f"scale: {stopped['sentence']}")


def _train_on_sizes(
    run: Run,
    sets: Mapping[float, LabelledSet],
    *,
    parts: Mapping[float, LabelledSet],
    real: dict[int, ArmResult],
    arms: Mapping[str, dict[float, ArmResult]],
) -> None:
    """Train on real images and on each set; the results are added to ``real`` and ``arms``."""
    total = len(parts) * run.steps("real") + len(sets) * sum(run.steps(arm) for arm in arms)
    with run.observer.bar("scale", total=total, unit="steps") as advance:
        on_sets = {
            (arm, times): run.training(arm, f"times-{times:g}", images=CuratedSet(images=part))
            for arm in arms
            for times, part in sets.items()
        }
        on_real = [run.training("real", f"real-{share:g}", train=part) for share, part in parts.items()]
        on_real.append(run.training("real"))
        run.classifiers.train_arms([*on_real, *on_sets.values()], advance)
        real |= {len(training.data.train): training.result() for training in on_real}
        for (arm, times), training in on_sets.items():
            arms[arm][times] = training.result()


def _parts_of_train(run: Run) -> dict[float, LabelledSet]:
    """Parts of the train split, by share; shares that give the same number of images count once."""
    by_size: dict[int, tuple[float, LabelledSet]] = {}
    for share in sorted(run.settings.scale.real_shares, reverse=True):
        part = take_share(run.train, share, seed=run.settings.seed)
        by_size[len(part)] = share, part
    return dict(entry for size, entry in by_size.items() if size < len(run.train))


def _nested_sets(run: Run, wanted: Mapping[float, np.ndarray]) -> Iterator[dict[float, LabelledSet]]:
    """Curated sets with these images per class, smallest first; each starts with the images of the last one.

    All sets come at once. With ``scale.stop_below``, which can end the search early, they come one by one,
    and each is drawn only when it is needed.
    """
    drawn: np.ndarray | None = None
    settings = run.settings
    one_by_one = [{times: quota} for times, quota in wanted.items()]
    for sizes in [wanted] if settings.scale.stop_below is None else one_by_one:
        for quota in sizes.values():
            made = run.sets.fill(quota, settings, at_least=drawn)
            drawn = np.bincount(made.decisions.labels, minlength=len(quota))
        yield _cut(run, made, sizes)


def _cut(run: Run, made: JudgedImages, sizes: Mapping[float, np.ndarray]) -> dict[float, LabelledSet]:
    """Cut sets of several sizes out of the largest."""
    largest, quota = made.images, list(sizes.values())[-1]
    if not len(largest):
        raise InputError(
            "scale needs images that pass curation, but every drawn image was rejected: see "
            "synthetic/decisions.parquet for the reasons"
        )
    largest.save(run.path / "synthetic" / "scaled.parquet")
    if short := int((quota - largest.counts).clip(min=0).sum()):
        run.observer.say(f"scale: the largest set lacks {short} images, because too few passed curation")
    ids = np.array(largest.ids)
    return {
        times: _as_trained(run, times, made.drawn, ids[first_of_each_class(largest.labels, quota)])
        for times, quota in sizes.items()
    }


def _as_trained(run: Run, times: float, drawn: LabelledSet, ids: np.ndarray) -> LabelledSet:
    """The set of this size. Its ids are stored on first use, so that later training uses the same images."""
    path = run.path / "arms" / f"times-{times:g}" / "images.json"
    if not path.exists():
        write_json(path, ids.tolist())
    position = drawn.place
    return drawn.select([position[name] for name in read_list(path)])


def work(counted: Counted) -> Work:
    """All larger sets, even with `scale.stop_below`, and trainings on them and on parts of the real set."""
    settings, train = counted.settings, counted.train
    total, trained = Work(), Work()
    for times in settings.scale.times:
        quota = times_of(train, times)
        total += counted.drawn(quota, settings) + counted.choosing(quota, settings)
        for arm in settings.scale.arms:
            total += counted.tuning(arm)
            trained += counted.training(arm, num_synthetic=int(quota.sum()))
    for size in {len(take_share(train, share, seed=settings.seed)) for share in settings.scale.real_shares}:
        if size < len(train):
            trained += counted.training("real", num_real=size)
    return total + trained * settings.compare.num_seeds
