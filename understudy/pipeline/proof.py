"""Stages that show how far synthetic images can be trusted: fidelity, memorisation, shift, membership.

Each takes the run, does what is missing and leaves a record, as the stages in ``study.py``, which calls them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from understudy.core.errors import InputError
from understudy.core.provenance import environment
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.fidelity import EncodedImages, measure_fidelity
from understudy.evaluation.memorisation import measure_memorisation
from understudy.evaluation.shift import FurtherSet, Outcome, measure_corruption, measure_further, summarise_shift
from understudy.evaluation.shift_tests import load_test_set
from understudy.pipeline.shadows import audit, check_audit, check_measurable
from understudy.pipeline.synthetic import settings_of_arms
from understudy.training.records import ArmFolder

if TYPE_CHECKING:
    from understudy.pipeline.study import Study


def check_added(study: Study) -> None:
    """Refuse what is asked of a run besides and does not fit its images.

    Raises:
        InputError: for a further test set that cannot be used, or an audit that cannot be made.
    """
    if study.settings.shift.measure and not study.is_finished("shift"):
        for name in study.settings.shift.tests:
            _further(study, name)
        if study.is_finished("compare"):
            for name in study.recorded("compare")["arms"]:
                ArmFolder(study.path / "arms", name).check_weights(study.settings.compare.num_seeds)
    if study.settings.membership.measure and not study.is_finished("membership"):
        check_audit(study.settings.membership, study.train, study.settings.compare)
        if study.is_finished("curate"):
            check_measurable(study.settings.membership, study.settings.compare, study.curated)
        settings_of_arms(study.settings, study.train)


def fidelity(study: Study) -> None:
    """Measure how close the curated images come to real ones, next to how close other real images come."""
    settings = study.settings.fidelity
    with study.folder.stage("fidelity") as record:
        encoder = study.encoder
        record["settings"] = settings.model_dump(mode="json")
        record["fidelity"] = {"encoder": {"name": encoder.name, "fingerprint": encoder.fingerprint, "width": encoder.width}}
        sets = [EncodedImages(features=study.features(data), labels=data.labels) for data in (study.train, study.val, study.curated)]
        try:
            record["fidelity"] |= measure_fidelity(
                *sets,
                class_names=study.train.class_names,
                neighbours=settings.neighbours,
                num_resamples=settings.resamples,
                max_bytes=settings.memory_gb * 1e9,
                seed=study.settings.seed,
            )
        except InputError as error:  # a few images too few are no reason to stop before anything is trained
            record["fidelity"]["warnings"] = [f"Fidelity was not measured: {error}."]
            study.observer.say(f"fidelity: not measured, {error}")
            return
    value, floor = (record["fidelity"]["measures"]["frechet_distance"][role]["mean"] for role in ("value", "floor"))
    study.observer.say(f"fidelity: Frechet distance {value:.3g}, between real images {floor:.3g} ({encoder.name} features)")


def memorisation(study: Study) -> None:
    """Measure how close synthetic images come to train images, next to how close held-out real images come."""
    settings = study.settings
    with study.folder.stage("memorisation") as record:
        record["settings"] = settings.fidelity.model_dump(mode="json")
        record["memorisation"] = measure_memorisation(
            study.curated,
            study.sets.copies,
            features=study.features if settings.fidelity.measure else None,
            firewall=settings.curate.firewall,
            removed=study.recorded("curate")["curation"]["rejected"].get("copy", 0),
            seed=settings.seed,
            num_resamples=settings.compare.bootstrap,
        )
    flagged = record["memorisation"]["firewall"]["flagged"]
    study.observer.say(f"memorisation: {flagged} of {len(study.curated)} images are marked as copies of train images")


def shift(study: Study) -> None:
    """Test every training of every arm on corrupted test images and on further test sets."""
    settings = study.settings.shift
    with study.folder.stage("shift") as record:
        # Read first: what does not fit shows before anything is measured.
        further = {name: _further(study, name) for name in settings.tests}
        arms = {
            name: ArmFolder(study.path / "arms", name).trainings(study.settings.compare.num_seeds, device=study.device)
            for name in study.recorded("compare")["arms"]
        }
        size = arms["real"][0].backbone.input_size
        total = len(settings.corruptions) * len(settings.severities) + len(further)
        with study.observer.bar("shift", total=total, unit="sets") as advance:
            corruptions: dict[str, dict[int, dict[str, Outcome]]] = {}
            for name in settings.corruptions:
                corruptions[name] = {}
                for severity in settings.severities:
                    corruptions[name][severity] = measure_corruption(
                        name, severity, test=study.test, arms=arms, size=size, seed=study.settings.seed
                    )
                    advance(1)
            tests: dict[str, FurtherSet] = {}
            for name, (data, classes) in further.items():
                tests[name] = measure_further(data, classes, arms=arms)
                advance(1)
        clean = measure_further(study.test, range(study.test.num_classes), arms=arms).arms
        record |= {
            "settings": settings.model_dump(mode="json"),
            "environment": environment(study.device),
            "shift": summarise_shift(clean, corruptions, tests, num_resamples=study.settings.compare.bootstrap, seed=study.settings.seed),
        }
    study.observer.say(f"shift: {total} sets and {len(arms)} arms in {record['seconds']:.0f} s")


def _further(study: Study, name: str) -> tuple[LabelledSet, list[int]]:
    return load_test_set(
        name, study.settings.shift.tests[name], class_names=study.train.class_names, learned_from=[study.train, study.val],
        settings=study.settings.data,
    )  # fmt: skip


def membership(study: Study) -> None:
    """Train shadow models of the audited arms, and let each be attacked with the help of the others."""
    settings = study.settings.membership
    # Halves depend on the number of models, so each number has a folder of its own.
    folder = study.path / "membership" / f"{settings.target}-{settings.shadows}"
    with study.folder.stage("membership") as record:
        found = audit(
            train=study.train,
            val=study.val,
            test=study.test,
            settings=settings,
            recipe=study.recipe,
            images_of=lambda name: study.images_of(name).images,
            seed=study.settings.seed,
            device=study.device,
            folder=folder,
            make_synthetic=partial(_once_more, study, folder) if settings.target == "pipeline" else None,
            observer=study.observer,
        )
        record |= {
            "settings": settings.model_dump(mode="json"),
            "environment": environment(study.device),
            "membership": found,
        }
    study.observer.say(f"membership: {settings.shadows} shadow models of {len(found['arms'])} arms in {found['seconds']:.0f} s")


def _once_more(study: Study, folder: Path, members: np.ndarray, seed: int) -> LabelledSet:
    """Adapt, draw and curate anew, in a folder of its own, with some of the real images alone."""
    settings = study.settings.model_copy(update={"seed": seed})
    own = study.again(folder / f"pipeline-{seed}", settings, train=study.train.select(members))
    return own.curated
