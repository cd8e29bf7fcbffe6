"""Stage membership: attack the arms with shadow models, to tell which images were in the train split."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from understudy.curation.selections import candidates_wanted
from understudy.data.labelled_set import LabelledSet
from understudy.data.splits import take_share
from understudy.pipeline.context import Run
from understudy.pipeline.curate import work as judging
from understudy.pipeline.shadow_pipeline import begin
from understudy.pipeline.shadows import Shadows, check_audit, check_measurable
from understudy.pipeline.strategies import effective_settings, settings_of_arms, shots_of
from understudy.pipeline.work import Counted, Work
from understudy.sampling.plan import quotas
from understudy.sampling.settings import resembles_real_images
from understudy.settings import Settings
from understudy.training.arms import find_arm


def membership(run: Run) -> None:
    """Train shadow models of every attacked arm, and attack each one with the help of the others."""
    settings = run.settings.membership
    # Which images a shadow model sees depends on how many models there are, so each number has a folder.
    folder = run.path / "membership" / f"{settings.target}-{settings.shadows}"
    for line in _replaced_budget(run):
        run.observer.say(f"membership: {line}")
    with run.measurement("membership") as record:
        _draw_before_training(run)
        found = Shadows(
            train=run.train,
            val=run.val,
            test=run.test,
            settings=settings,
            training_settings=run.training_settings,
            images_of=lambda name: run.sets.of_arm(name).images,
            seed=run.settings.seed,
            device=run.device,
            folder=folder,
            pipeline=partial(begin, run, folder) if settings.target == "pipeline" else None,
            observer=run.observer,
            terms=run.terms,
        ).audit()
        record["membership"] = found
    arms, seconds = len(found["arms"]), found["seconds"]
    run.observer.say(f"membership: {settings.shadows} shadow models of {arms} arms in {seconds:.0f} s")


def _draw_before_training(run: Run) -> None:
    """Draw the images that strategies of attacked arms need, then give the memory of the generators back."""
    settings = run.settings
    if settings.membership.target == "classifier":
        for name in settings.membership.arms:
            if find_arm(name, settings.compare).uses_synthetic:
                run.sets.of_arm(name)
    run.sets.free_generators()


def _replaced_budget(run: Run) -> Iterator[str]:
    """What it means that an earlier audit had a private reference with another budget, or that it goes."""
    earlier = (run.folder.record("membership") or {}).get("settings", {})
    settings, before = run.settings.membership, earlier.get("private_epsilon")
    now = settings.private_epsilon
    if before is None or (before, earlier.get("private_delta")) == (now, settings.private_delta):
        return
    yield (
        f"the private reference with epsilon {before:g} leaves the results. Nothing was private but that "
        "reference: arms, synthetic images and results of this run never had a guarantee. Its shadow models "
        f"stay in {run.path / 'membership'}; remove the files private-{before}-* there if they must go"
    )
    if now is not None:
        yield (
            f"the reference with epsilon {now:g} is trained on the same images: whoever publishes both has "
            f"spent epsilon {before + now:g} together"
        )


def check(settings: Settings, train: LabelledSet, val: LabelledSet) -> None:
    """Check that the attacked arms can be trained on halves of the real images.

    Raises:
        InputError: naming what is missing.
    """
    check_audit(settings.membership, train, settings.compare)
    settings_of_arms(settings, train)


def check_finished(run: Run) -> None:
    """Check that the synthetic images allow the attacks.

    Raises:
        InputError: naming what is missing.
    """
    if run.folder.record("curate") is not None:
        check_measurable(run.settings.membership, run.settings.compare, run.curated)


def work(counted: Counted) -> Work:
    """Every shadow model of every arm; with `membership.target=pipeline` also a generator and images each."""
    settings, membership = counted.settings, counted.settings.membership
    half = take_share(counted.train, 0.5, seed=settings.seed)
    predictions = len(counted.train) + len(counted.splits.val) + len(counted.splits.test)
    shared, each = Work(), Work()
    for name in membership.arms:
        if membership.target == "classifier":
            shared += counted.images_of(name)
        shared += counted.tuning(name)
        if _is_attacked(counted, name):
            each += counted.training(name, num_real=len(half), predictions=predictions)
    if membership.private_epsilon is not None:
        each += Work(private_steps=settings.compare.steps, predictions=predictions)
    if membership.target == "pipeline" and any(map(counted.uses_synthetic, membership.arms)):
        images = int(candidates_wanted(quotas(half, settings.draw), settings.curate).sum())
        each += Work(adaptations=settings.draw.members, images=images) + judging(counted)
    return shared + each * membership.shadows


def _is_attacked(counted: Counted, name: str) -> bool:
    """Whether an arm depends at all on the real images in a shadow model's half."""
    needed = effective_settings(name, counted.settings, shots=shots_of(counted.train)).settings
    of_real = any(phase.data != "synthetic" for phase in find_arm(name, needed.compare).phases)
    return of_real or resembles_real_images(needed) or counted.settings.membership.target == "pipeline"
