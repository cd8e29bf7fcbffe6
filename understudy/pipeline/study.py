"""The main job, top to bottom: load, adapt, draw, curate, fidelity, memorisation, tune, compare, scale, gap, shift, membership, report.

Every stage takes the run folder, does what is missing in it, and leaves a record; see ``runs.py``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, cast, final, get_args

import numpy as np
import pyarrow.parquet as pq

from understudy.adaptation.adapter import (
    apply_adapter,
    copy_adapter,
    load_projection,
    read_adapter_report,
    require_guidance,
    require_tokens,
    require_unseen,
)
from understudy.adaptation.fit import AdaptStep
from understudy.adaptation.fit import adapt as adapt_generator
from understudy.adaptation.methods import METHODS
from understudy.adaptation.terms import TERMS
from understudy.core.config import given_names
from understudy.core.errors import InputError
from understudy.core.files import read_arrays, write_arrays, write_atomically, write_json, write_text
from understudy.core.lock import FolderLock
from understudy.core.processes import Processes
from understudy.core.progress import Observer, Silent, follow
from understudy.core.provenance import environment
from understudy.curation.exhausted import explain_rejection
from understudy.curation.scores import SCORES, Classifier
from understudy.curation.selections import SELECTIONS
from understudy.curation.settings import CurateSettings
from understudy.data.captions.captions import CAPTIONS, caption_sets
from understudy.data.captions.file import read_captions
from understudy.data.export import export
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits, load_splits
from understudy.data.splits import first_of_each_class, take_share
from understudy.evaluation.accuracy import confusion, summarise
from understudy.evaluation.convergence import summarise_curves, summarise_phases
from understudy.evaluation.corruptions import CORRUPTIONS
from understudy.evaluation.encoders import AtHand, Encoder, check_encoder, load_encoder
from understudy.evaluation.feature_cache import FeatureCache
from understudy.evaluation.gap import summarise_gap
from understudy.evaluation.published import PUBLISHED
from understudy.evaluation.scale import stop_reason, summarise_scale
from understudy.evaluation.settings import ShiftSettings
from understudy.evaluation.shift_tests import load_test_set
from understudy.evaluation.side_measures import LabelledFeatures, side_measures
from understudy.evaluation.transferability import transferability
from understudy.functional.allocation import allocate_to_weak
from understudy.generators.generator import Generator
from understudy.generators.load import check_generator, load_generator
from understudy.generators.prompts import fill, read_templates
from understudy.generators.samplers import SAMPLERS
from understudy.generators.visual_guidance import VISUALS, VisualGuidance, check_widths, features_of
from understudy.pipeline.folder import Resume, RunFolder, finished_results
from understudy.pipeline.gap_sets import advice, as_many_as_real, gap_arms, gap_sets, redrawn_sets
from understudy.pipeline.proof import check_added, fidelity, membership, memorisation, shift
from understudy.pipeline.results import gather_results
from understudy.pipeline.shadows import check_audit
from understudy.pipeline.synthetic import ArmImages, Filled, SyntheticSets, check_strategies, planner_of, settings_of_arms, shots_of
from understudy.report.card import dataset_card
from understudy.report.html import write_report
from understudy.sampling.plan import quotas, times_of
from understudy.settings import Settings, build, refuse_without_effect, to_yaml
from understudy.training.arms import Arm, check_arm, find_arm
from understudy.training.backbones import build_backbone, pretrained_classifier
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import HeldOut, Measure, TrainingData
from understudy.training.fit import check_arms_fit, check_recipe, fit_arm
from understudy.training.loop import Steps
from understudy.training.records import ArmFolder, ArmResult
from understudy.training.run import run_arm
from understudy.training.settings import CompareSettings
from understudy.training.tune import Trial, best_trial, pairs, tune_arm

Stage = Literal[
    "load", "adapt", "draw", "curate", "fidelity", "memorisation", "tune", "compare", "scale", "gap", "shift", "membership", "report"
]
STAGES: tuple[Stage, ...] = get_args(Stage)
_OPTIONAL: dict[Stage, Callable[[Settings], bool]] = {
    "fidelity": lambda settings: settings.fidelity.measure,
    "tune": lambda settings: settings.tune.is_on,
    "scale": lambda settings: bool(settings.scale.times),
    "gap": lambda settings: settings.gap.measure,
    "shift": lambda settings: settings.shift.measure,
    "membership": lambda settings: settings.membership.measure,
}
"""Stages that are done only if settings ask for them."""
_ADDED: tuple[Stage, ...] = ("fidelity", "memorisation", "scale", "gap", "shift", "membership")
"""Stages whose settings may change in a finished run, see ``runs.py``; memorisation has the encoder of fidelity."""
_LICENCES = ("data.licence", "generator.licence")
_JUDGE_SEED_OFFSET = 777_000  # the judge of drawn images is not one of the compared classifiers
_MEMBER_SEED_OFFSET = 1_000_003
_ALLOCATION = Path("synthetic") / "weak-classes.json"  # images per class, by mistakes on validation images
_SPARE = "spare.parquet"  # real images that only the noise floor of the gap is measured with


def run(
    settings: Settings,
    out: Path,
    *,
    device: str = "cpu",
    resume: Resume = "if-possible",
    until: Stage = "report",
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Do the whole job, or its first stages; what is finished in ``out`` is kept.

    Args:
        settings: everything that decides the result.
        out: the run folder.
        device: torch device; it does not belong to the settings.
        resume: whether to go on in a folder that holds a run.
        until: last stage to do.
        observer: is told what happens.

    Returns:
        What ``results.json`` holds, or, before the report stage, the records of the stages done; nothing in the processes
        of ``accelerate launch`` besides the first, which help to adapt and leave the rest to it.

    Raises:
        InputError: for settings or data that do not fit, or a folder in which another process works; nothing that exists is changed.
    """
    check_names(settings)
    observer, processes = observer or Silent(), Processes()
    if not processes.is_main:
        if until != "load":
            _help_to_adapt(settings, out, device)
        return {}
    is_loaded = RunFolder.check(out, settings, resume=resume) and (out / "stages" / "load.json").exists()
    with FolderLock(out) as lock:
        if not is_loaded:
            load(settings, out, device=device, resume=resume, observer=observer, lock=lock)
        else:
            check_added(Study(RunFolder(out, settings), device, observer))  # before the settings are written, which would else stay wrong
        study = Study(RunFolder.open(out, settings), device, observer)
        if until != "load":
            processes.wait()  # the others look now whether there is something to adapt
            processes.wait()
        _do_stages(study, until)
    if until == "report":
        return dict(json.loads((study.path / "results.json").read_text()))
    return {name: study.folder.record(name) for name in STAGES[: STAGES.index(until) + 1]}


def _do_stages(study: Study, until: Stage) -> None:
    """What is asked for and missing after load, in the order of ``STAGES``."""
    stages: dict[Stage, Callable[[Study], None]] = {
        "adapt": adapt,
        "draw": draw,
        "curate": curate,
        "fidelity": fidelity,
        "memorisation": memorisation,
        "tune": tune,
        "compare": compare,
        "scale": scale,
        "gap": gap,
        "shift": shift,
        "membership": membership,
        "report": report,
    }
    outdated = False  # a report that is older than what it is about
    for name in STAGES[1 : STAGES.index(until) + 1]:
        if study.is_finished(name) and not (name == "report" and outdated):
            study.observer.say(f"{name}: finished earlier, kept")
        elif name not in _OPTIONAL or _OPTIONAL[name](study.settings):
            stages[name](study)
            outdated = True


def _help_to_adapt(settings: Settings, out: Path, device: str) -> None:
    """What the other processes of ``accelerate launch`` do: their slice of each batch of the adaptation, and nothing else."""
    Processes().wait()  # until the data are there
    study = Study(RunFolder(out, settings), device, Silent())
    needed = settings.adapt.method != "none" and settings.adapt.adapter is None and not study.is_finished("adapt")
    Processes().wait()
    if needed:
        for _ in _adaptation(study, study.settings, study.path / "adapter"):
            pass


@final
@dataclass
class Study:
    """A run in progress: the folder, where to compute, who watches; sets and generator are loaded when first needed."""

    folder: RunFolder
    device: str
    observer: Observer

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def settings(self) -> Settings:
        return self.folder.settings

    def recorded(self, stage: Stage) -> dict[str, Any]:
        record = self.folder.record(stage)
        assert record is not None, f"{stage} must be finished first"
        return record

    def is_finished(self, stage: Stage) -> bool:
        """Whether a stage has left all that it leaves."""
        record = self.folder.record(stage)
        if record is None:
            return False
        if stage in _ADDED:
            own = getattr(self.settings, "fidelity" if stage == "memorisation" else stage)
            return bool(record.get("settings") == own.model_dump(mode="json"))
        if stage == "report":  # may be older than the stages before it
            return record.get("added") == self.added and self._has_results
        return True

    @property
    def _has_results(self) -> bool:
        """Whether ``results.json`` can be read."""
        try:
            return bool(finished_results(self.folder))
        except InputError:
            return False

    @property
    def added(self) -> dict[str, Any]:
        """Settings with which the stages were done that may be added to a finished run, and what its cards say besides."""
        licences = [self.settings.data.licence, self.settings.generator.licence]
        return {name: (self.folder.record(name) or {}).get("settings") for name in _ADDED} | {"licences": licences}

    @cached_property
    def train(self) -> LabelledSet:
        return LabelledSet.load(self.path / "data" / "train.parquet")

    @cached_property
    def val(self) -> LabelledSet:
        return LabelledSet.load(self.path / "data" / "val.parquet")

    @cached_property
    def test(self) -> LabelledSet:
        return LabelledSet.load(self.path / "data" / "test.parquet")

    @cached_property
    def curated(self) -> LabelledSet:
        return LabelledSet.load(self.path / "synthetic" / "curated.parquet")

    @cached_property
    def prompt_names(self) -> tuple[str, ...]:
        """Words for the classes."""
        return tuple(self.recorded("load")["prompt_names"])

    @cached_property
    def generator(self) -> Generator:
        """The generator with its adapter applied, read from disk so that a resumed run draws the same."""
        return self._adapted(self.path / "adapter")

    def member(self, number: int) -> Generator:
        """A further generator, adapted with a seed of its own, when it is first asked for."""
        folder = self.member_folder(number)
        if not (folder / "report.json").exists():
            if Processes().count > 1:
                raise InputError("several generators are adapted by one process: leave accelerate launch out, or draw.members at 1")
            settings = self.settings.model_copy(update={"seed": self.settings.seed + _MEMBER_SEED_OFFSET * number})
            with self.observer.bar(f"adapt generator {number}", total=settings.adapt.num_steps, unit="steps") as advance:
                _follow(_adaptation(self, settings, folder), advance)
        return self._adapted(folder)

    def member_folder(self, number: int) -> Path:
        """Of the adapter of a further generator."""
        return self.path / "adapter" / f"member-{number}"

    def _adapted(self, folder: Path) -> Generator:
        generator = load_generator(self.settings.generator, device=self.device)
        if self.recorded("adapt")["method"] != "none":
            guided = self.settings.visual.when_drawing != "none"
            apply_adapter(generator, folder, scale=self.settings.draw.adapter_scale, visual=guided)
        return generator

    @cached_property
    def visual(self) -> VisualGuidance | None:
        """Features that guide drawing."""
        kind = self.settings.visual.when_drawing
        if kind == "none":
            return None
        projection = load_projection(self.path / "adapter")
        check_widths(self.generator, projection=projection is not None)
        features = features_of(self.generator, self.train, cache=self.feature_cache)
        return VisualGuidance(features, self.train, kind=kind, images=self.settings.visual.images, projection=projection)

    @property
    def feature_cache(self) -> Path:
        return self.path / "data" / "features.safetensors"

    @cached_property
    def judge(self) -> TrainedClassifier:
        """A classifier of the real train images alone: scores drawn images, and gives soft labels."""
        seed = self.settings.seed + _JUDGE_SEED_OFFSET
        return fit_arm("real", train=self.train, synthetic=None, settings=self.settings.compare, seed=seed, device=self.device)

    @cached_property
    def clip(self) -> Classifier:
        """Scores drawn images from the names of the classes."""
        return _clip(self.settings, self.train.class_names, self.prompt_names, device=self.device)

    @cached_property
    def start(self) -> TrainedClassifier:
        """The network that every arm starts from, pretrained or with random weights; not to be trained."""
        settings = self.settings.compare
        backbone = pretrained_classifier(settings) or build_backbone(settings, self.train.num_classes, rng_seed=self.settings.seed)
        backbone.model.to(self.device)
        return TrainedClassifier(backbone, self.train.class_names, self.device)

    @cached_property
    def encoder(self) -> Encoder:
        """What makes the features that fidelity and memorisation are measured with."""
        pretrained = self.settings.compare.pretrained
        at_hand = AtHand(generator=lambda: self.generator, start=(lambda: self.start) if pretrained else None, device=self.device)
        return load_encoder(self.settings.fidelity.encoder, at_hand)

    def features(self, data: LabelledSet) -> np.ndarray:
        """Features of images, float32 (N, D); each image is encoded once."""
        return FeatureCache(self.path).features(self.encoder, data)

    @cached_property
    def sets(self) -> SyntheticSets:
        """What is drawn and curated."""
        return SyntheticSets(
            folder=self.path / "synthetic",
            settings=self.settings,
            train=self.train,
            val=self.val,
            prompt_names=self.prompt_names,
            help=_Help(self),
            observer=self.observer,
        )

    def again(self, path: Path, settings: Settings, *, train: LabelledSet) -> Study:
        """The same job up to the curated images in a folder of its own, with other train images; what is there is kept."""
        folder = RunFolder.open(path, settings)
        if folder.record("load") is None:
            for data in (train, self.val, self.test):
                data.save(path / "data" / f"{data.split}.parquet")
            with folder.stage("load") as record:
                record |= self.recorded("load") | {"train": len(train)}
        study = Study(folder, self.device, Silent())
        for name, stage in {"adapt": adapt, "draw": draw, "curate": curate}.items():
            if not study.is_finished(cast("Stage", name)):
                stage(study)
        return study

    def images_of(self, arm: str) -> ArmImages:
        """The synthetic images of an arm, drawn and curated if they are not there yet."""
        return self.sets.of_arm(arm, lambda: self.curated)

    def recipe(self, arm: str) -> CompareSettings:
        """How an arm is trained: as all others, but for what was tuned."""
        if not self.settings.tune.is_on:
            return self.settings.compare
        chosen = best_trial(follow(self.trials(arm)))
        return self.settings.compare.model_copy(update={key: chosen[key] for key in ("learning_rate", "weight_decay")})

    def trials(self, arm: str) -> Steps[list[Trial]]:
        """Tune an arm; trials that are there are kept, and an arm that only a later stage asks for is tuned then."""
        return tune_arm(
            ArmFolder(self.path / "arms" / "tuning", arm),
            self.training_data(self.images_of(arm)),
            self.val,
            settings=self.settings.compare,
            tune=self.settings.tune,
            seed=self.settings.seed,
            device=self.device,
        )

    def training_data(self, images: ArmImages, train: LabelledSet | None = None) -> TrainingData:
        """What an arm learns from: these synthetic images, and the train split or a part of it."""
        train = self.train if train is None else train
        return TrainingData(train=train, synthetic=images.images, quota=images.quota, teacher=lambda: self.judge)

    def steps(self, arm: str) -> int:
        """Optimisation steps of one training of an arm."""
        settings = self.settings.compare
        return sum(find_arm(arm, settings).phase_steps(settings, num_real=len(self.train), num_synthetic=len(self.curated)))

    def measure(
        self,
        arm: str,
        folder: str,
        *,
        train: LabelledSet | None = None,
        images: ArmImages | None = None,
        tuned_as: str | None = None,
        measure: Measure | None = None,
    ) -> Steps[ArmResult]:
        """Train an arm with every seed and test it; trainings that lie in ``arms/folder`` are kept."""
        images = self.images_of(arm) if images is None else images
        return run_arm(
            ArmFolder(self.path / "arms" / folder, arm),
            self.training_data(images, train),
            HeldOut(val=self.val, test=self.test, measure=measure),
            settings=self.recipe(tuned_as or arm),
            seed=self.settings.seed,
            device=self.device,
            keep_weights=not folder,  # of the compared arms, which later stages ask again
        )


@final
@dataclass(frozen=True)
class _Help:
    """What the synthetic sets need of a run."""

    study: Study

    def generator(self, member: int) -> Generator:
        return self.study.member(member) if member else self.study.generator

    def fingerprint(self, member: int) -> str:
        if member:
            return str(read_adapter_report(self.study.member_folder(member))["fingerprint"])
        return str(self.study.recorded("adapt").get("fingerprint", ""))

    def visual(self) -> VisualGuidance | None:
        return self.study.visual

    @property
    def judge(self) -> Classifier:
        return self.study.judge

    @property
    def clip(self) -> Classifier:
        return self.study.clip

    def features(self, data: LabelledSet) -> np.ndarray:
        """Of the network that every arm starts from if it is pretrained, otherwise of the judge."""
        study = self.study
        return (study.start if study.settings.compare.pretrained else study.judge).features(data)

    def allocate(self, quota: np.ndarray) -> np.ndarray:
        study, path = self.study, self.study.path / _ALLOCATION
        if not path.exists():
            write_json(path, _allocated(study, study.curated, quota).tolist())
        return np.array(json.loads(path.read_text(encoding="utf-8")), dtype=np.int64)


def load(settings: Settings, out: Path, *, device: str, resume: Resume, observer: Observer, lock: FolderLock) -> None:
    """Read the real images, check them, split them; only then make and lock the run folder, caption and store them."""
    start = time.monotonic()
    splits = load_splits(settings.data, seed=settings.seed)
    sets = [splits.train, splits.val]
    if settings.captions.file is not None:  # what is wrong with it shows before the run folder is made
        read_captions(settings.captions.file, sets, others=splits.known_ids)
    if settings.adapt.adapter is not None:
        require_guidance(settings.adapt.adapter, visual=settings.visual.kind != "none")
        require_unseen(settings.adapt.adapter, seen=sets, test=splits.test, few_shots=settings.data.shots is not None)
    # What does not fit shows before the run folder is made, and before hours of captioning.
    check_fits(settings, splits, device=device)
    lock.take()
    folder = RunFolder.open(out, settings, resume=resume)
    if folder.record("load") is not None:
        observer.say("load: finished by another process meanwhile, kept")
        return
    with folder.stage("load", started=start) as record:
        captions = out / "data" / "captions"
        captioned = caption_sets(
            sets, splits.prompt_names, settings.captions, folder=captions, device=device, others=splits.known_ids
        )  # fmt: skip
        for data in (*captioned, splits.test):
            data.save(out / "data" / f"{data.split}.parquet")
        if splits.spare is not None:
            splits.spare.save(out / "data" / _SPARE)
        record |= {
            "classes": list(splits.train.class_names),
            "prompt_names": list(splits.prompt_names),
            "train": len(splits.train),
            "val": len(splits.val),
            "test": len(splits.test),
            "skipped": [list(entry) for entry in splits.skipped],
        }
    counts = f"{record['train']} train, {record['val']} val, {record['test']} test images"
    observer.say(f"load: {counts} of {len(record['classes'])} classes")


def adapt(study: Study) -> None:
    """Fit the generator to the train split, or take an adapter that was made before."""
    settings, folder = study.settings.adapt, study.path / "adapter"
    with study.folder.stage("adapt") as record:
        if settings.method == "none":
            record["method"] = "none"
            study.observer.say("adapt: left out, the generator is used as it is")
            return
        if settings.adapter is not None:
            copy_adapter(settings.adapter, folder)
            record |= read_adapter_report(folder)
            study.observer.say(f"adapt: left out, the adapter in {settings.adapter} is used")
            return
        with study.observer.bar("adapt", total=settings.num_steps, unit="steps") as advance:
            _follow(_adaptation(study, study.settings, folder), advance)
        record |= read_adapter_report(folder)
    study.observer.say(
        f"adapt: validation loss {record['val_loss_before']:.4f} -> {record['val_loss_after']:.4f} (best at step {record['best_step']})"
    )


def _follow(steps: Iterator[AdaptStep], advance: Callable[[int], None]) -> None:
    done = 0  # a resumed adaptation begins with a later step
    for step in steps:
        advance(step.step - done)
        done = step.step


def _adaptation(study: Study, settings: Settings, folder: Path) -> Iterator[AdaptStep]:
    generator = load_generator(settings.generator, device=study.device)
    # Tokens and classes are to be learned by a generator that has none yet.
    planned = load_generator(settings.generator, device=study.device) if learns_words(settings) else generator
    add_tokens(planned, settings, num_classes=study.train.num_classes)
    planned.learn_classes(study.prompt_names, seed=settings.seed)
    # A prompt that is too long to draw with shows now, and not after hours of adaptation.
    quota = quotas(study.train, settings.draw)
    planner = planner_of(settings, study.train, generator=planned, prompt_names=study.prompt_names, adapter="")
    planner.rows(np.zeros_like(quota), quota)
    yield from adapt_generator(
        generator,
        study.train,
        study.val,
        settings=settings.adapt,
        prompt_names=study.prompt_names,
        seed=settings.seed,
        folder=folder,
        visual=settings.visual,
        feature_cache=study.feature_cache,
    )


def draw(study: Study) -> None:
    """Plan, then synthesise the first round."""
    with study.folder.stage("draw") as record:
        generator = study.generator  # loaded here so that its time does not count as drawing
        record["generator"] = generator.fingerprint
        start = time.monotonic()
        images = study.sets.take(study.settings.draw, quotas(study.train, study.settings.draw))
        drawn = study.sets.drawn
        record |= {"images": len(images), "images_per_second": round(drawn / (time.monotonic() - start), 2) if drawn else None}
    study.observer.say(f"draw: {len(images)} images in {record['seconds']:.0f} s")
    if (short := int(quotas(study.train, study.settings.draw).sum()) - len(images)) > 0:
        study.observer.say(
            f"draw: {short} fewer than wanted, the ready-made images are not more; see draw.per_class and draw.min_per_class"
        )


def curate(study: Study) -> None:
    """Judge the drawn images, draw again what is missing to the quota, keep the good ones."""
    settings = study.settings
    quota = quotas(study.train, settings.draw)
    with study.folder.stage("curate") as record:
        if settings.draw.allocation == "weak-classes":
            first = study.sets.fill(quota, draw=settings.draw, curate=settings.curate)
            quota = _allocated(study, first.curated, quota)
            write_json(study.path / _ALLOCATION, quota.tolist())
        filled = study.sets.fill(quota, draw=settings.draw, curate=settings.curate)
        write_atomically(study.path / "synthetic" / "decisions.parquet", lambda path: pq.write_table(filled.decisions.table(), path))
        filled.curated.save(study.path / "synthetic" / "curated.parquet")
        record |= _curation_record(filled, quota, settings.curate, study.train.class_names)
    counts = record["curation"]
    missing = sum(counts["missing"].values())
    study.observer.say(f"curate: kept {counts['kept']} of {counts['drawn']} drawn" + (f", {missing} fewer than wanted" if missing else ""))
    if counts["problem"] is not None:
        study.observer.say(f"curate: {counts['problem']}")


def _allocated(study: Study, synthetic: LabelledSet, quota: np.ndarray) -> np.ndarray:
    """The same number of images, more for classes that a classifier of synthetic images takes for others on validation images."""
    settings, seed = study.settings.compare, study.settings.seed + _JUDGE_SEED_OFFSET
    classifier = fit_arm("synthetic", train=study.train, synthetic=synthetic, settings=settings, seed=seed, device=study.device)
    wrong = classifier.predict(study.val).argmax(axis=1) != study.val.labels
    errors = np.bincount(study.val.labels[wrong], minlength=len(quota))
    return allocate_to_weak(quota, errors, study.val.counts)


def _curation_record(filled: Filled, quota: np.ndarray, settings: CurateSettings, class_names: tuple[str, ...]) -> dict[str, Any]:
    decisions, labels = filled.decisions, filled.decisions.labels
    kept = np.bincount(labels[decisions.kept], minlength=len(quota))
    agrees = decisions.scores == 1.0
    per_class = [float(agrees[labels == label].mean()) if (labels == label).any() else None for label in range(len(quota))]
    return {
        "curation": {
            "drawn": len(labels),
            "kept": int(kept.sum()),
            "rejected": decisions.rejections,
            "threshold": decisions.threshold,
            "rounds": filled.rounds,
            "missing": {name: int(want - have) for name, want, have in zip(class_names, quota, kept, strict=True) if want > have},
            "problem": explain_rejection(decisions, quota, class_names=class_names, settings=settings, rounds=filled.rounds),
        },
        "fidelity": {"agreement": {"mean": float(agrees.mean()), "per_class": per_class}} if settings.score == "agreement" else {},
    }


def tune(study: Study) -> None:
    """Try every arm with every pair of learning rate and weight decay, and choose on validation images."""
    arms, settings = _arms(study), study.settings
    with study.folder.stage("tune") as record:
        trials = len(pairs(settings.compare, settings.tune)) * settings.tune.num_seeds
        with study.observer.bar("tune", total=len(arms) * trials, unit="trainings") as advance:
            tried = {name: follow(study.trials(name), advance) for name in arms}
        record["arms"] = {name: {"chosen": best_trial(own), "trials": own} for name, own in tried.items()}
    study.observer.say(f"tune: {trials} trainings of each of {len(arms)} arms in {record['seconds']:.0f} s")


def compare(study: Study) -> None:
    """Train every arm with every seed, and test each classifier once on the real test images."""
    arms, settings = _arms(study), study.settings.compare
    images = {name: study.images_of(name).record for name in arms}  # drawn before anything is trained: a filter may leave nothing
    with (
        study.folder.stage("compare") as record,
        study.observer.bar("compare", total=sum(_steps(study, name) for name in arms), unit="steps") as advance,
    ):
        measure = partial(feature_quality, train=study.train, test=study.test) if settings.transferability else None
        source = _of_source(study) if settings.transferability else None  # first: it may not fit
        results = [follow(study.measure(name, "", measure=measure), advance) for name in arms]
        record |= {
            "arms": summarise(results, num_resamples=settings.bootstrap, seed=study.settings.seed),
            "images": {name: own for name, own in images.items() if own},
            "convergence": {result.arm: summarise_curves(result) for result in results if settings.curve_points},
            "environment": environment(study.device),
        }
        if settings.transferability:
            record["transferability"] = {"source": source, "arms": summarise_phases(results)}
        confusions = {result.arm: confusion(result) for result in results}
        write_arrays(study.path / "arms" / "confusions.npz", confusions)
    study.observer.say(f"compare: {len(arms)} arms, {settings.num_seeds} seeds each, in {record['seconds']:.0f} s")


def _steps(study: Study, name: str) -> int:
    """Optimisation steps of an arm, all trainings together."""
    return study.settings.compare.num_seeds * study.steps(name)


def feature_quality(classifier: TrainedClassifier, *, train: LabelledSet, test: LabelledSet) -> dict[str, float | None]:
    """How well a classifier's features, as they are, tell the real classes apart: fitted on train images, tested on test images.

    Returns:
        As :func:`understudy.evaluation.transferability.transferability`; ``leep`` is None for a network without a head.
    """
    return transferability(
        classifier.features(train),
        train.labels,
        classifier.features(test),
        test.labels,
        source_probabilities=classifier.probabilities(train) if classifier.backbone.model.num_classes else None,
    )


def _of_source(study: Study) -> dict[str, float | None] | None:
    """The same of the network that every arm starts from, with its own classes; None if it is not pretrained."""
    return feature_quality(study.start, train=study.train, test=study.test) if study.settings.compare.pretrained else None


def scale(study: Study) -> None:
    """Draw larger sets, each holding the smaller ones, and train on each of them; then on parts of the real images."""
    settings, num_resamples = study.settings.scale, study.settings.compare.bootstrap
    with study.folder.stage("scale") as record:
        wanted = {times: times_of(study.train, times) for times in sorted(settings.times)}
        empty = [times for times, quota in wanted.items() if not quota.any()]
        if empty:
            raise InputError(f"scale.times must give a class at least one image, got {empty[0]:g} times at most {study.train.counts.max()}")
        real, images, stopped = dict[int, ArmResult](), dict[float, int](), None
        arms: dict[str, dict[float, ArmResult]] = {arm: {} for arm in settings.arms}
        for sets in _nested_sets(study, wanted):
            images |= {times: len(part) for times, part in sets.items()}
            _train_on_sizes(study, sets, parts={} if real else _parts_of_train(study), real=real, arms=arms)
            stopped = None if settings.stop_below is None else stop_reason(arms, images, below=settings.stop_below)
            if stopped is not None:
                break
        summary = summarise_scale(real, arms, images, num_resamples=num_resamples, seed=study.settings.seed)
        record |= {
            "settings": settings.model_dump(mode="json"),
            "environment": environment(study.device),
            "scale": summary | {"stopped": stopped},
        }
    study.observer.say(f"scale: {', '.join(f'{times:g}x' for times in images)} in {record['seconds']:.0f} s")
    if stopped is not None:
        study.observer.say(f"scale: {stopped['sentence']}")


def _train_on_sizes(
    study: Study,
    sets: Mapping[float, LabelledSet],
    *,
    parts: Mapping[float, LabelledSet],
    real: dict[int, ArmResult],
    arms: Mapping[str, dict[float, ArmResult]],
) -> None:
    """Add to ``real`` what parts of the train images give, and all of them; to ``arms`` what each of the sets gives."""
    total = len(parts) * _steps(study, "real") + len(sets) * sum(_steps(study, arm) for arm in arms)
    with study.observer.bar("scale", total=total, unit="steps") as advance:
        real |= {len(part): follow(study.measure("real", f"real-{share:g}", train=part), advance) for share, part in parts.items()}
        real[len(study.train)] = follow(study.measure("real", ""), advance)
        for arm, results in arms.items():
            for times, part in sets.items():
                results[times] = follow(study.measure(arm, f"times-{times:g}", images=_whole(part)), advance)


def _whole(images: LabelledSet) -> ArmImages:
    return ArmImages(images=images, quota=None, record={})


def _parts_of_train(study: Study) -> dict[float, LabelledSet]:
    """Train images by share, no size twice: where classes are small, the smallest of the shares that come to the same stands for them."""
    by_size: dict[int, tuple[float, LabelledSet]] = {}
    for share in sorted(study.settings.scale.real_shares, reverse=True):
        part = take_share(study.train, share, seed=study.settings.seed)
        by_size[len(part)] = share, part
    return dict(entry for size, entry in by_size.items() if size < len(study.train))


def _nested_sets(study: Study, wanted: Mapping[float, np.ndarray]) -> Iterator[dict[float, LabelledSet]]:
    """Curated sets of these sizes per class, smallest first; each begins with all that the one before took.

    All together; with a rule that may stop, one by one, and none is drawn before it is asked for.
    """
    taken: np.ndarray | None = None
    draw, curate = study.settings.draw, study.settings.curate
    for sizes in [wanted] if study.settings.scale.stop_below is None else [{times: quota} for times, quota in wanted.items()]:
        for quota in sizes.values():
            filled = study.sets.fill(quota, draw=draw, curate=curate, taken=taken)
            taken = np.bincount(filled.decisions.labels, minlength=len(quota))
        yield _cut(study, filled, sizes)


def _cut(study: Study, filled: Filled, sizes: Mapping[float, np.ndarray]) -> dict[float, LabelledSet]:
    """Sets of several sizes from the largest."""
    largest, quota = filled.curated, list(sizes.values())[-1]
    if not len(largest):
        raise InputError("no drawn image passed curation, so there is no set to scale: see synthetic/decisions.parquet")
    largest.save(study.path / "synthetic" / "scaled.parquet")
    if short := int((quota - largest.counts).clip(min=0).sum()):
        study.observer.say(f"scale: {short} images fewer than wanted passed curation")
    ids = np.array(largest.ids)
    return {times: _as_trained(study, times, filled.drawn, ids[first_of_each_class(largest.labels, own)]) for times, own in sizes.items()}


def _as_trained(study: Study, times: float, drawn: LabelledSet, ids: np.ndarray) -> LabelledSet:
    """The set of a size. Once something may be trained on it, it stays: a set that fell short would grow with a larger one's images."""
    path = study.path / "arms" / f"times-{times:g}" / "images.json"
    if not path.exists():
        write_json(path, ids.tolist())
    position = {name: index for index, name in enumerate(drawn.ids)}
    return drawn.select([position[name] for name in json.loads(path.read_text(encoding="utf-8"))])


def gap(study: Study) -> None:
    """Take the difference between real and synthetic images apart: train on sets that lie between them."""
    settings = study.settings
    with study.folder.stage("gap") as record:
        plain = as_many_as_real(settings)
        sets = gap_sets(study.sets, plain)
        redrawn = redrawn_sets(study.sets, plain, settings.gap.strengths)
        again = real_again(study)
        total = (len(sets) + len(redrawn)) * _steps(study, "synthetic") + len(again) * _steps(study, "real")
        with study.observer.bar("gap", total=total, unit="steps") as advance:
            arms = {
                role: follow(study.measure(arm, f"gap/{role}", images=images, tuned_as="synthetic"), advance)
                for role, (arm, images) in sets.items()
            }
            arms["real"] = follow(study.measure("real", ""), advance)
            reconstructed = {
                strength: follow(study.measure("synthetic", f"gap/redrawn-{strength:g}", images=images), advance)
                for strength, images in redrawn.items()
            }
            floor = [follow(study.measure("real", f"gap/again-{index}", train=part), advance) for index, part in enumerate(again)]
        measures = _side_measures(study, sets, redrawn)
        summary = summarise_gap(
            arms,
            reconstructed,
            class_names=study.train.class_names,
            real_again=floor,
            gan_test={strength: measures[f"redrawn {strength:g}"]["gan_test"] for strength in redrawn},
            num_resamples=settings.compare.bootstrap,
            seed=settings.seed,
        )
        images = {role: own.record for role, (_, own) in sets.items()}
        record |= {
            "settings": settings.gap.model_dump(mode="json"),
            "environment": environment(study.device),
            "gap": summary | {"side_measures": measures, "advice": advice(study.recorded("compare")["arms"]), "images": images},
        }
    study.observer.say(f"gap: {len(arms) + len(reconstructed)} sets in {record['seconds']:.0f} s. {summary['hypothesis']['sentence']}")


def real_again(study: Study) -> list[LabelledSet]:
    """Real images to measure the noise floor with: as many others as the train split has, or its two halves."""
    if (study.path / "data" / _SPARE).exists():
        return [LabelledSet.load(study.path / "data" / _SPARE)]
    if study.train.counts.min() < 2:
        return []
    half = take_share(study.train, 0.5, seed=study.settings.seed)
    taken = set(half.ids)
    return [half, study.train.select([index for index, name in enumerate(study.train.ids) if name not in taken])]


def _side_measures(
    study: Study, sets: Mapping[str, tuple[str, ArmImages]], redrawn: Mapping[float, ArmImages]
) -> dict[str, dict[str, Any]]:
    """Of each set, against the validation images, which no classifier was trained on."""
    task = TrainedClassifier.load(ArmFolder(study.path / "arms", "real").classifier, device=study.device)
    raw = study.start

    def of(data: LabelledSet) -> LabelledFeatures:
        return LabelledFeatures(labels=data.labels, features={"raw": raw.features(data), "task": task.features(data)})

    held_out = of(study.val)
    named = {role: images for role, (_, images) in sets.items() if images.quota is None}
    named |= {f"redrawn {strength:g}": images for strength, images in redrawn.items()}
    return {
        name: side_measures(
            held_out, of(own.images), probabilities=task.predict(own.images), seed=study.settings.seed,
            num_resamples=study.settings.compare.bootstrap,
        )
        for name, own in named.items()
    }  # fmt: skip


def report(study: Study) -> None:
    """Gather every record into ``results.json``, then write ``report.html`` and the dataset card."""
    results = gather_results(study.folder)
    confusions = read_arrays(study.path / "arms" / "confusions.npz")
    with study.folder.stage("report") as record:
        record["added"] = study.added
        write_json(study.path / "results.json", results)
        write_report(
            study.path / "report.html",
            results=results,
            settings_yaml=to_yaml(study.settings),
            train=study.train,
            synthetic=study.curated,
            confusions=confusions,
            arm_summaries={name: _summary(find_arm(name, study.settings.compare)) for name in results["arms"]},
            val=study.val,
            test=study.test,
            named={name: follow(study.measure(name, "")).predicted for name in results["arms"] if _has_predictions(study, name)},
        )
        write_text(study.path / "README.md", _card(study, results, data_files="synthetic/curated.parquet"))
    study.observer.say(f"report: {study.path / 'report.html'}")


def write_report_again(folder: RunFolder, *, observer: Observer | None = None) -> dict[str, Any]:
    """Write results, report and card of a compared run anew, for instance after an upgrade.

    Returns:
        What ``results.json`` holds.

    Raises:
        InputError: if the arms have not been compared yet, or another process works in the folder.
    """
    if folder.record("compare") is None:
        raise InputError(f"{folder.path} is not finished: go on with 'understudy run {folder.path}'")
    with FolderLock(folder.path):
        report(Study(folder, "cpu", observer or Silent()))
    return finished_results(folder)


@contextmanager
def stating_licences(path: Path, overrides: Sequence[Mapping[str, Any]]) -> Iterator[RunFolder]:
    """A run with licences that were not stated when it was started; when the block ends well, it keeps them, and its report says them.

    Args:
        path: folder of a run.
        overrides: nested settings, ``data.licence`` and ``generator.licence``; without any, nothing is written.

    Raises:
        InputError: for other settings, a licence that has no effect, a folder without a run, or one in which another process works.
    """
    if not overrides:
        yield RunFolder.find(path)
        return
    given = given_names(*overrides)
    if others := [name for name in given if name not in _LICENCES]:
        raise InputError(f"export sets {' and '.join(_LICENCES)} alone, got {others[0]}: leave it out, or start a new run")
    if path.is_dir() and not os.access(path, os.W_OK):
        raise InputError(f"{path} keeps the licences that are set, and cannot be written: leave --set out, or mend it")
    with FolderLock(path):
        settings = build(RunFolder.find(path).settings.model_dump(mode="json"), *overrides)
        refuse_without_effect(settings, given)
        folder = RunFolder(path, settings)
        yield folder
        RunFolder.open(path, settings)
        if folder.record("report") is not None:
            report(Study(folder, "cpu", Silent()))


def export_run(folder: RunFolder, to: Path, *, form: str) -> int:
    """Write the curated images of a run, and their card, where other tools read them.

    Args:
        folder: a run whose curate stage is finished.
        to: new or empty folder.
        form: a key of ``EXPORTS``.

    Returns:
        The number of images.

    Raises:
        InputError: if the run has no curated images, or ``to`` is not empty.
    """
    if folder.record("curate") is None:
        raise InputError(f"{folder.path} has no curated images yet: go on with 'understudy run {folder.path}'")
    curated = LabelledSet.load(folder.path / "synthetic" / "curated.parquet")
    if not len(curated):
        raise InputError(f"{folder.path} has no images to export: none that was drawn passed curation")
    results = finished_results(folder) if (folder.path / "results.json").exists() else None  # before anything is written
    export(curated, to, form=form)
    if results is not None:
        write_text(to / "README.md", _card(Study(folder, "cpu", Silent()), results, data_files=None))
    return len(curated)


def check_names(settings: Settings) -> None:
    """Refuse settings that name things which do not exist, before anything is read or written.

    Raises:
        InputError: listing what is known.
    """
    check_generator(settings.generator)
    if settings.generator.name == "class_conditional" and settings.adapt.method != "full":
        raise InputError(
            f"adapt.method must be full for the generator 'class_conditional', which is trained from nothing, got {settings.adapt.method!r}"
        )
    CAPTIONS[settings.captions.source]
    VISUALS[settings.visual.kind]
    VISUALS[settings.visual.when_drawing]
    _check_prompts(settings)
    TERMS[settings.adapt.distribution]
    METHODS[settings.adapt.method]
    SAMPLERS[settings.draw.sampler]
    SCORES[settings.curate.score]
    SELECTIONS[settings.curate.select]
    check_recipe(settings.compare)
    check_encoder(settings.fidelity.encoder)
    _check_shift(settings.shift)
    _check_membership(settings)
    if settings.compare.published is not None:
        PUBLISHED[settings.compare.published]
    for name in settings.compare.arms:
        arm = find_arm(name, settings.compare)
        check_arm(arm, settings.compare)
        _check_tuned(arm, settings)
        check_strategies(name, settings)
    for name in settings.scale.arms:
        if not find_arm(name, settings.compare).uses_synthetic:
            raise InputError(f"scale.arms must use synthetic images, got {name!r}: real images have scale.real_shares")
        if "@" in name:
            raise InputError(f"scale.arms must be arms without strategies, got {name!r}: sets of every size are drawn as the run's own")


def _check_membership(settings: Settings) -> None:
    membership = settings.membership
    for name in membership.arms:
        find_arm(name, settings.compare)
        check_strategies(name, settings)
    if membership.measure and membership.target == "pipeline" and not (settings.adapt.num_steps and settings.adapt.adapter is None):
        raise InputError(
            f"membership.target=pipeline needs a generator that the run adapts itself, got adapt.method {settings.adapt.method!r}"
            f"{' and an adapter made before' if settings.adapt.adapter else ''}: use membership.target=classifier"
        )


def _check_shift(settings: ShiftSettings) -> None:
    for name in settings.corruptions:
        CORRUPTIONS[name]


def learns_words(settings: Settings) -> bool:
    """Whether a generator must learn words before prompts can be checked, and is then no longer as it was loaded."""
    return settings.adapt.has_token or settings.generator.name == "class_conditional"


def add_tokens(generator: Generator, settings: Settings, *, num_classes: int) -> None:
    """Give a generator the tokens that prompts of a run have, if any: those of an adapter made before, or as they begin.

    Raises:
        InputError: for tokens that do not fit the generator, or an adapter with others.
    """
    adapt = settings.adapt
    if adapt.adapter is not None:
        require_tokens(adapt.adapter, adapt.tokens(num_classes))
    if adapt.has_token and adapt.adapter is not None:
        apply_adapter(generator, adapt.adapter)
    elif adapt.has_token:
        METHODS[adapt.method](generator, adapt, seed=0, num_classes=num_classes)


def check_fits(settings: Settings, splits: Splits, *, device: str) -> None:
    """Refuse what does not fit the data: generator, classes of ready-made images, strategies, CLIP model, backbone, lengths of phases.

    Raises:
        InputError: naming what does not fit.
    """
    generator = load_generator(settings.generator, device=device)
    generator.available(splits.train.class_names)
    if settings.generator.name == "folder":
        cast("Any", generator).refuse_copies([splits.val, splits.test])
    check_generator_fits(generator, settings, prompt_names=splits.prompt_names)
    check_arms_fit(settings.compare, splits.train, num_synthetic=int(quotas(splits.train, settings.draw).sum()))
    if settings.membership.measure:
        check_audit(settings.membership, splits.train, settings.compare)
    for name, path in settings.shift.tests.items():
        load_test_set(
            name, path, class_names=splits.train.class_names, learned_from=[splits.train, splits.val], settings=settings.data
        )  # fmt: skip
    if settings.gap.measure:
        gap_arms(as_many_as_real(settings), shots=shots_of(splits.train))
    if any(own.curate.score == "clip" for own in settings_of_arms(settings, splits.train)):
        _clip(settings, splits.train.class_names, splits.prompt_names, device=device)


def _clip(settings: Settings, class_names: tuple[str, ...], prompt_names: tuple[str, ...], *, device: str) -> Classifier:
    from understudy.generators.zero_shot import load_zero_shot

    return load_zero_shot(settings.curate.clip, settings.generator, class_names=class_names, prompt_names=prompt_names, device=device)


def _check_tuned(arm: Arm, settings: Settings) -> None:
    """Refuse trials that would all be the same training."""
    for key, values in (("learning_rate", settings.tune.learning_rates), ("weight_decay", settings.tune.weight_decays)):
        if values and all(getattr(phase, key) is not None for phase in arm.phases):
            raise InputError(f"tune.{key}s has no effect on the arm {arm.name!r}, whose phases all set {key}: leave it out of one of them")


def check_generator_fits(generator: Generator, settings: Settings, *, prompt_names: Sequence[str]) -> None:
    """Refuse a sampler, start, image features, prompts without captions or layers that do not fit a generator.

    Args:
        generator: it is prepared for adaptation, so load it anew afterwards.
        settings: of the run.
        prompt_names: class names for prompts.

    Raises:
        InputError: naming what does not fit.
    """
    draw = settings.draw
    strength = generator.strength_at(draw.start_snr or 1.0, sampler=draw.sampler, steps=draw.steps)
    if draw.start_snr is not None and strength == 1:
        raise InputError(f"draw.start_snr {draw.start_snr} is pure noise to this generator: raise it, or leave it out")
    add_tokens(generator, settings, num_classes=len(prompt_names))
    generator.learn_classes(prompt_names, seed=0)
    tokens = settings.adapt.tokens(len(prompt_names))
    for number, templates in enumerate(_templates(settings)):
        is_negative = number == 2
        filled = [
            fill(template, words=words, caption="", token="" if is_negative else token)
            for template in templates
            for words, token in zip(prompt_names, tokens, strict=True)
        ]
        generator.check_prompts(filled, keep_last=not is_negative and settings.visual.kind != "none")
    if settings.visual.kind != "none":
        check_widths(generator, projection=settings.visual.projection)
    if settings.adapt.distribution == "kernel":
        _ = generator.feature_width
    if settings.adapt.adapter is None and not settings.adapt.has_token:
        METHODS[settings.adapt.method](generator, settings.adapt, seed=0, num_classes=len(prompt_names))


def _templates(settings: Settings) -> tuple[tuple[str, ...], ...]:
    """For adapting, for drawing, and negative ones."""
    adapt, draw = settings.adapt, settings.draw
    return (
        *(read_templates(text, needs_class=adapt.needs_class, has_token=adapt.has_token) for text in (adapt.prompt, draw.prompt)),
        read_templates(draw.negative_prompt, needs_class=False),
    )


def _check_prompts(settings: Settings) -> None:
    templates = [template for templates in _templates(settings) for template in templates]
    if settings.captions.source != "none" and not any("{caption}" in template for template in templates):
        raise InputError(
            f"captions.source {settings.captions.source!r} has no effect: no prompt has a {{caption}}; write one into adapt.prompt and "
            "draw.prompt, or use their template sets real-fake-train and real-fake-draw"
        )


def _has_predictions(study: Study, arm: str) -> bool:
    """Whether they were not deleted, which is allowed once figures were made of them."""
    return ArmFolder(study.path / "arms", arm).has_records(study.settings.compare.num_seeds)


def _summary(arm: Arm) -> str:
    return f"{arm.summary}: {arm.describe()}"


def _card(study: Study, results: dict[str, Any], *, data_files: str | None) -> str:
    counts = dict(zip(study.curated.class_names, study.curated.counts.tolist(), strict=True))
    return dataset_card(results, settings=study.settings, class_counts=counts, data_files=data_files)


def _arms(study: Study) -> list[str]:
    """The arms to compare, ``real`` first; without any curated image, only those that need none."""
    arms = ["real", *(name for name in study.settings.compare.arms if name != "real")]
    return [name for name in arms if len(study.curated) or not find_arm(name, study.settings.compare).uses_synthetic]
