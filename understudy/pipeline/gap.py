"""Stage gap: explain the accuracy gap between real and synthetic training images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from understudy.data.labelled_set import LabelledSet
from understudy.data.splits import take_share
from understudy.evaluation.gap import summarise_gap
from understudy.evaluation.side_measures import LabelledFeatures, side_measures
from understudy.functional.denoising import strength_of
from understudy.pipeline.context import Run
from understudy.pipeline.strategies import as_many_as_real, gap_arms, shots_of
from understudy.pipeline.synthetic import CuratedSet, SyntheticSets
from understudy.pipeline.work import Counted, Work
from understudy.sampling.plan import quotas
from understudy.settings import Settings, with_section
from understudy.training.classifier import TrainedClassifier
from understudy.training.records import ArmFolder, ArmResult
from understudy.training.strategies import STRATEGIES

_PLACE = "gap/"  # prefix of the sets' names


def gap(run: Run) -> None:
    """Train on every set between real and synthetic, and turn the differences into the terms of the gap."""
    settings = run.settings
    with run.measurement("gap") as record:
        plain = as_many_as_real(settings)
        sets = role_sets(run.sets, plain)
        redrawn = redrawn_sets(run.sets, plain)
        again = real_again(run.train, run.spare, seed=settings.seed)
        total = (len(sets) + len(redrawn)) * run.steps("synthetic") + len(again) * run.steps("real")
        with run.observer.bar("gap", total=total, unit="steps") as advance:
            arms, reconstructed, floor = _train(run, sets, redrawn, again, advance)
        measures = _side_measures(run, sets, redrawn)
        summary = summarise_gap(
            arms,
            reconstructed,
            class_names=run.train.class_names,
            real_again=floor,
            gan_test={strength: measures[f"redrawn {strength:g}"]["gan_test"] for strength in redrawn},
        )
        found = {
            "side_measures": measures,
            "advice": _advice(run.recorded("compare")["arms"]),
            "images": {role: images.record for role, (_, images) in sets.items()},
        }
        record["gap"] = summary | found
    num_sets = len(arms) + len(reconstructed)
    run.observer.say(
        f"gap: {num_sets} sets in {record['seconds']:.0f} s. {summary['hypothesis']['sentence']}"
    )


def _train(
    run: Run,
    sets: Mapping[str, tuple[str, CuratedSet]],
    redrawn: Mapping[float, CuratedSet],
    again: Sequence[LabelledSet],
    advance: Callable[[int], object],
) -> tuple[dict[str, ArmResult], dict[float, ArmResult], list[ArmResult]]:
    """Results by role, with ``real`` among them, by strength, and of the sets for the noise floor."""
    trainings = {
        role: run.training(arm, f"gap/{role}", images=images, tuned_as="synthetic")
        for role, (arm, images) in sets.items()
    }
    trainings["real"] = run.training("real")
    redrawings = {
        strength: run.training("synthetic", f"gap/redrawn-{strength:g}", images=images)
        for strength, images in redrawn.items()
    }
    parts = [run.training("real", f"gap/again-{index}", train=part) for index, part in enumerate(again)]
    run.sets.free_generators()
    run.classifiers.train_arms([*trainings.values(), *redrawings.values(), *parts], advance)
    return (
        {role: training.result() for role, training in trainings.items()},
        {strength: training.result() for strength, training in redrawings.items()},
        [training.result() for training in parts],
    )


def real_again(train: LabelledSet, spare: LabelledSet | None, *, seed: int) -> list[LabelledSet]:
    """Real sets that measure the noise floor: equally many other images, or the halves of the train split."""
    if spare is not None:
        return [spare]
    if train.counts.min() < 2:
        return []
    half = take_share(train, 0.5, seed=seed)
    taken = set(half.ids)
    return [half, train.select([index for index, name in enumerate(train.ids) if name not in taken])]


def role_sets(sets: SyntheticSets, plain: Settings) -> dict[str, tuple[str, CuratedSet]]:
    """By role, the arm and its images: the plain set, and sets that differ from it in one respect."""
    quota = quotas(sets.train, plain.draw)
    shared = sets.named(f"{_PLACE}plain", quota, plain)
    found = {"plain": ("synthetic", shared)}
    for role, arm in gap_arms(plain, shots=shots_of(sets.train)).items():
        found[role] = arm, sets.of_arm(arm, base=plain, shared=shared.images, place=_PLACE)
    return found


def redrawn_sets(sets: SyntheticSets, plain: Settings) -> dict[float, CuratedSet]:
    """By strength, the set in which every real image was noised and drawn again."""
    found = {}
    for strength, settings in _redrawing(plain).items():
        name = f"{_PLACE}redrawn-{strength:g}"
        found[strength] = sets.named(name, quotas(sets.train, settings.draw), settings)
    return found


def _redrawing(plain: Settings) -> dict[float, Settings]:
    """By strength, the settings that redraw real images in at least one step; empty for ready-made images."""
    if plain.generator.is_ready_made:
        return {}
    least = strength_of(1, plain.draw.steps)
    return {
        strength: with_section(
            plain,
            "draw",
            strength=strength,
            start_snr=None,
            noise_scale=1.0,
            pairing="paired",
            exemplar_weight=0.0,
        )
        for strength in sorted({max(strength, least) for strength in plain.gap.strengths})
    }


def _side_measures(
    run: Run, sets: Mapping[str, tuple[str, CuratedSet]], redrawn: Mapping[float, CuratedSet]
) -> dict[str, dict[str, Any]]:
    """Compare each set with the validation images, on which no classifier was trained."""
    task = TrainedClassifier.load(ArmFolder(run.path / "arms", "real").classifier, device=run.device)
    raw = run.classifiers.start

    def of(data: LabelledSet) -> LabelledFeatures:
        return LabelledFeatures(
            labels=data.labels, features={"raw": raw.features(data), "task": task.features(data)}
        )

    held_out = of(run.val)
    named = {role: curated for role, (_, curated) in sets.items() if curated.quota is None}
    named |= {f"redrawn {strength:g}": curated for strength, curated in redrawn.items()}
    return {
        name: side_measures(
            held_out,
            of(curated.images),
            probabilities=task.predict(curated.images),
            seed=run.settings.seed,
        )
        for name, curated in named.items()
    }


def _advice(arms: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List every strategy but the controls, and its gain in this run if an arm uses no other strategy.

    Args:
        arms: result of :func:`understudy.evaluation.accuracy.summarise`.

    Returns:
        ``name``, ``summary``, ``addresses``, ``source`` and ``gains``. ``gains`` holds by plain arm how much
        the accuracy rises over the plain arm (``mean``, ``low``, ``high``).
    """
    rows = []
    for name in STRATEGIES:
        suffix, strategy = f"@{name}", STRATEGIES[name]
        if strategy.is_control:
            continue
        gains = {
            arm.removesuffix(suffix): arms[arm]["minus_plain"]
            for arm in arms
            if arm.endswith(suffix) and arm.count("@") == 1 and "minus_plain" in arms[arm]
        }
        rows.append(
            {
                "name": name,
                "summary": STRATEGIES.summary(name),
                "addresses": list(strategy.addresses),
                "source": strategy.source,
                "gains": gains,
            }
        )
    return rows


def check(settings: Settings, train: LabelledSet, val: LabelledSet) -> None:
    """Check the arms that explain the gap.

    Raises:
        InputError: for an arm that these settings cannot make.
    """
    gap_arms(as_many_as_real(settings), shots=shots_of(train))


def work(counted: Counted) -> Work:
    """The sets between real and synthetic, and the trainings on them and on other real images."""
    plain, train = as_many_as_real(counted.settings), counted.train
    total = counted.drawn(quotas(train, plain.draw), plain)
    total += counted.tuning("synthetic")
    arms = gap_arms(plain, shots=shots_of(train))
    for arm in arms.values():
        total += counted.images_of(arm, plain)
    redrawing = _redrawing(plain)
    for settings in redrawing.values():
        total += counted.drawn(quotas(train, settings.draw), settings)
    trained = counted.training("synthetic", num_synthetic=len(train)) * (1 + len(arms) + len(redrawing))
    for part in real_again(train, counted.splits.spare, seed=counted.settings.seed):
        trained += counted.training("real", num_real=len(part))
    return total + trained * counted.settings.compare.num_seeds
