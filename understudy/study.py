"""The main job, top to bottom: load, adapt, draw, curate, compare, report.

Every stage takes the run folder, does what is missing in it, and leaves a record; see ``runs.py``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, final, get_args

import numpy as np
import pyarrow.parquet as pq

from understudy.adaptation import METHODS
from understudy.adaptation import adapt as adapt_generator
from understudy.curation import DISTANCE_UNIT, SCORES, Decisions, decide, nearest_real
from understudy.data import LabelledSet, export, load_splits
from understudy.errors import InputError
from understudy.evaluation import confusion, summarise, verdict
from understudy.generators import check_generator, load_generator
from understudy.generators.samplers import SAMPLERS
from understudy.nouns import Generator
from understudy.progress import Observer, Silent
from understudy.report import dataset_card, write_report
from understudy.runs import Resume, RunFolder, environment, write_atomically, write_json, write_text
from understudy.sampling import draw_parts, load_parts, make_plan, quotas, write_parts
from understudy.settings import Settings, to_yaml
from understudy.training import ARMS, check_backbone, fit_arm, run_arm

Stage = Literal["load", "adapt", "draw", "curate", "compare", "report"]
STAGES: tuple[Stage, ...] = get_args(Stage)
_JUDGE_SEED_OFFSET = 777_000  # the judge of drawn images is not one of the compared classifiers


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
        What ``results.json`` holds, or, before the report stage, the records of the stages done.

    Raises:
        InputError: for settings or data that do not fit; nothing that exists is changed.
    """
    check_names(settings)
    observer = observer or Silent()
    if not (RunFolder.check(out, settings, resume=resume) and (out / "stages" / "load.json").exists()):
        load(settings, out, resume=resume, observer=observer)
    study = _Study(RunFolder.open(out, settings), device, observer)
    stages: dict[Stage, Callable[[_Study], None]] = {
        "adapt": adapt,
        "draw": draw,
        "curate": curate,
        "compare": compare,
        "report": report,
    }
    for name in STAGES[1 : STAGES.index(until) + 1]:
        if study.folder.record(name) is not None and (name != "report" or (out / "results.json").exists()):
            study.observer.say(f"{name}: finished earlier, kept")
            continue
        stages[name](study)
    if until == "report":
        return dict(json.loads((study.path / "results.json").read_text()))
    return {name: study.folder.record(name) for name in STAGES[: STAGES.index(until) + 1]}


@final
@dataclass
class _Study:
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

    @cached_property
    def train(self) -> LabelledSet:
        return LabelledSet.load(self.path / "data" / "train.parquet")

    @cached_property
    def val(self) -> LabelledSet:
        return LabelledSet.load(self.path / "data" / "val.parquet")

    @cached_property
    def curated(self) -> LabelledSet:
        return LabelledSet.load(self.path / "synthetic" / "curated.parquet")

    @cached_property
    def generator(self) -> Generator:
        """The generator with its adapter applied, read from disk so that a resumed run draws the same."""
        generator = load_generator(self.settings.generator, device=self.device)
        if self.settings.adapt.method != "none":
            generator.load_adapter(self.path / "adapter", method=self.settings.adapt.method)
        return generator

    def draw(self, counts: np.ndarray, round_number: int) -> tuple[LabelledSet, int]:
        """Draw one round of the plan; returns all its images and how many were drawn just now."""
        name = f"round-{round_number:02d}"
        rows = make_plan(
            self.train,
            counts,
            settings=self.settings.draw,
            prompt_names=self.recorded("load")["prompt_names"],
            seed=self.settings.seed,
            round_number=round_number,
            adapter=self.recorded("adapt").get("fingerprint", ""),
        )
        plans = write_parts(rows, self.path / "synthetic" / "plan" / name, part_size=self.settings.draw.part_size)
        images = self.path / "synthetic" / "images" / name
        missing = [plan for plan in plans if not (images / plan.name).exists()]
        drawn = 0
        if missing:
            steps = draw_parts(self.generator, plans, images, train=self.train, batch_size=self.settings.draw.batch_size)
            with self.observer.bar(f"draw {name}", total=len(rows), unit="images") as advance:
                for step in steps:
                    advance(step.images)
                    drawn += step.images if step.drawn else 0
        return load_parts(images, plans), drawn


def load(settings: Settings, out: Path, *, resume: Resume, observer: Observer) -> None:
    """Read the real images, check them, split them; only then make the run folder and store them."""
    start = time.monotonic()
    splits = load_splits(settings.data, seed=settings.seed)
    folder = RunFolder.open(out, settings, resume=resume)
    with folder.stage("load", started=start) as record:
        for data in (splits.train, splits.val, splits.test):
            data.save(out / "data" / f"{data.split}.parquet")
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


def adapt(study: _Study) -> None:
    """Fit the generator to the train split."""
    settings = study.settings.adapt
    with study.folder.stage("adapt") as record:
        if settings.method == "none":
            record["method"] = "none"
            study.observer.say("adapt: left out, the generator is used as it is")
            return
        steps = adapt_generator(
            load_generator(study.settings.generator, device=study.device),
            study.train,
            study.val,
            settings=settings,
            prompt_names=study.recorded("load")["prompt_names"],
            seed=study.settings.seed,
            folder=study.path / "adapter",
        )
        with study.observer.bar("adapt", total=settings.steps, unit="steps") as advance:
            done = 0  # a resumed adaptation begins with a later step
            for step in steps:
                advance(step.step - done)
                done = step.step
        record |= json.loads((study.path / "adapter" / "report.json").read_text())
    study.observer.say(
        f"adapt: validation loss {record['val_loss_before']:.4f} -> {record['val_loss_after']:.4f} (best at step {record['best_step']})"
    )


def draw(study: _Study) -> None:
    """Plan, then synthesise the first round."""
    with study.folder.stage("draw") as record:
        generator = study.generator  # loaded here so that its time does not count as drawing
        record["generator"] = generator.fingerprint
        start = time.monotonic()
        images, drawn = study.draw(quotas(study.train, study.settings.draw), 0)
        record |= {"images": len(images), "images_per_second": round(drawn / (time.monotonic() - start), 2) if drawn else None}
    study.observer.say(f"draw: {len(images)} images in {record['seconds']:.0f} s")


def curate(study: _Study) -> None:
    """Judge the drawn images, draw again what is missing to the quota, keep the good ones."""
    quota = quotas(study.train, study.settings.draw)
    with study.folder.stage("curate") as record:
        judge = fit_arm(
            "real",
            train=study.train,
            synthetic=None,
            settings=study.settings.compare,
            seed=study.settings.seed + _JUDGE_SEED_OFFSET,
            device=study.device,
        )

        def judged(drawn: LabelledSet) -> Decisions:
            distance = study.settings.data.near_duplicate_distance
            return decide(drawn, study.train, quota, judge=judge, settings=study.settings.curate, near_copy_distance=distance)

        drawn, _ = study.draw(quota, 0)
        decisions = judged(drawn)
        rounds = 0
        while rounds < study.settings.curate.max_refills and (wanted := _refill(study, decisions, quota, rounds + 1)).any():
            rounds += 1
            drawn = LabelledSet.concatenate([drawn, study.draw(wanted, rounds)[0]])
            decisions = judged(drawn)
        write_atomically(study.path / "synthetic" / "decisions.parquet", lambda path: pq.write_table(decisions.table(), path))
        decisions.curated(drawn).save(study.path / "synthetic" / "curated.parquet")
        record |= _curation_record(decisions, drawn, quota, rounds, score=study.settings.curate.score)
    counts = record["curation"]
    missing = sum(counts["missing"].values())
    study.observer.say(f"curate: kept {counts['kept']} of {counts['drawn']} drawn" + (f", {missing} fewer than wanted" if missing else ""))


def compare(study: _Study) -> None:
    """Train every arm with every seed, and test each classifier once on the real test images."""
    arms, settings = _arms(study), study.settings.compare
    test = LabelledSet.load(study.path / "data" / "test.parquet")
    with (
        study.folder.stage("compare") as record,
        study.observer.bar("compare", total=len(arms) * settings.num_seeds * settings.steps, unit="steps") as advance,
    ):
        results = [
            run_arm(
                name,
                train=study.train,
                synthetic=study.curated,
                val=study.val,
                test=test,
                settings=settings,
                seed=study.settings.seed,
                device=study.device,
                folder=study.path / "arms",
                on_step=lambda step: advance(1),
            )
            for name in arms
        ]
        record |= {
            "arms": summarise(results, num_resamples=settings.bootstrap, seed=study.settings.seed),
            "environment": environment(study.device),
        }
        confusions = {result.arm: confusion(result) for result in results}
        write_atomically(study.path / "arms" / "confusions.npz", lambda path: _save_arrays(path, confusions))
    study.observer.say(f"compare: {len(arms)} arms, {settings.num_seeds} seeds each, in {record['seconds']:.0f} s")


def report(study: _Study) -> None:
    """Gather every record into ``results.json``, then write ``report.html`` and the dataset card."""
    results = _results(study)
    with np.load(study.path / "arms" / "confusions.npz") as arrays:
        confusions = {name: arrays[name] for name in arrays.files}
    with study.folder.stage("report"):
        write_json(study.path / "results.json", results)
        write_report(
            study.path / "report.html",
            results=results,
            settings_yaml=to_yaml(study.settings),
            train=study.train,
            synthetic=study.curated,
            confusions=confusions,
            arm_summaries={name: ARMS.summary(name) for name in results["arms"]},
        )
        write_text(study.path / "README.md", _card(study, results, data_files="synthetic/curated.parquet"))
    study.observer.say(f"report: {study.path / 'report.html'}")


def write_report_again(folder: RunFolder, *, observer: Observer | None = None) -> dict[str, Any]:
    """Write results, report and card of a compared run anew, for instance after an upgrade.

    Returns:
        What ``results.json`` holds.

    Raises:
        InputError: if the arms have not been compared yet.
    """
    if folder.record("compare") is None:
        raise InputError(f"{folder.path} is not finished: go on with 'understudy run {folder.path}'")
    report(_Study(folder, "cpu", observer or Silent()))
    return dict(json.loads((folder.path / "results.json").read_text(encoding="utf-8")))


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
    export(curated, to, form=form)
    if (folder.path / "results.json").exists():
        results = json.loads((folder.path / "results.json").read_text(encoding="utf-8"))
        write_text(to / "README.md", _card(_Study(folder, "cpu", Silent()), results, data_files=None))
    return len(curated)


def check_names(settings: Settings) -> None:
    """Refuse settings that name things which do not exist, before anything is read or written.

    Raises:
        InputError: listing what is known.
    """
    check_generator(settings.generator)
    METHODS[settings.adapt.method]
    SAMPLERS[settings.draw.sampler]
    SCORES[settings.curate.score]
    check_backbone(settings.compare)
    for arm in settings.compare.arms:
        ARMS[arm]


def _results(study: _Study) -> dict[str, Any]:
    """``results.json``, from the records and files of the stages."""
    records = {name: study.recorded(name) for name in STAGES[:-1]}
    loaded, curated = records["load"], records["curate"]
    arms = records["compare"]["arms"]
    return {
        "schema": 1,
        "data": {
            "source": study.settings.data.source,
            "shots": study.settings.data.shots,
            **{name: loaded[name] for name in ("classes", "train", "val", "test", "skipped")},
        },
        "adaptation": {name: value for name, value in records["adapt"].items() if name not in ("seconds", "peak_memory_gb")},
        "curation": curated["curation"],
        "arms": arms,
        "verdict": _verdict(arms, curated["curation"], num_test=loaded["test"]),
        "fidelity": curated["fidelity"],
        "memorisation": _memorisation(study),
        "cost": {
            "seconds": {name: record["seconds"] for name, record in records.items()},
            "images_per_second": records["draw"]["images_per_second"],
            "peak_memory_gb": max(record["peak_memory_gb"] for record in records.values()),
        },
        "environment": records["compare"]["environment"],
    }


def _verdict(arms: dict[str, Any], curation: dict[str, Any], *, num_test: int) -> dict[str, Any]:
    answer = verdict(arms, uses_synthetic=[name for name in arms if ARMS[name].uses_synthetic], num_test=num_test)
    if not curation["kept"]:
        answer["sentence"] = f"None of the {curation['drawn']:,} drawn images passed curation. {answer['sentence']}"
    return answer


def _card(study: _Study, results: dict[str, Any], *, data_files: str | None) -> str:
    counts = dict(zip(study.curated.class_names, study.curated.counts.tolist(), strict=True))
    return dataset_card(results, settings=study.settings, class_counts=counts, data_files=data_files)


def _arms(study: _Study) -> list[str]:
    """The arms to compare, ``real`` first; without any curated image, only those that need none."""
    arms = ["real", *(name for name in study.settings.compare.arms if name != "real")]
    return [name for name in arms if len(study.curated) or not ARMS[name].uses_synthetic]


def _refill(study: _Study, decisions: Decisions, quota: np.ndarray, round_number: int) -> np.ndarray:
    """Images to draw anew per class: what is missing, over the share that passed so far (taken as at least a quarter).

    What a round was planned with is kept: a run that goes on with another number of threads may judge a borderline image
    otherwise, and must still go on with the same plan.
    """
    path = study.path / "synthetic" / "plan" / f"round-{round_number:02d}" / "counts.json"
    if path.exists():
        return np.array(json.loads(path.read_text(encoding="utf-8")), dtype=np.int64)
    kept = np.bincount(decisions.labels[decisions.kept], minlength=len(quota))
    drawn = np.bincount(decisions.labels, minlength=len(quota))
    passing = np.maximum(kept / np.maximum(drawn, 1), 0.25)
    counts = np.ceil(np.maximum(quota - kept, 0) / passing).astype(np.int64)
    if counts.any():
        write_json(path, counts.tolist())
    return counts


def _curation_record(decisions: Decisions, drawn: LabelledSet, quota: np.ndarray, rounds: int, *, score: str) -> dict[str, Any]:
    kept = np.bincount(decisions.labels[decisions.kept], minlength=len(quota))
    agrees = decisions.scores == 1.0
    per_class = [float(agrees[drawn.labels == label].mean()) if (drawn.labels == label).any() else None for label in range(len(quota))]
    return {
        "curation": {
            "drawn": len(drawn),
            "kept": int(kept.sum()),
            "rejected": decisions.rejections,
            "rounds": rounds + 1,
            "missing": {name: int(want - have) for name, want, have in zip(drawn.class_names, quota, kept, strict=True) if want > have},
        },
        "fidelity": {"agreement": {"mean": float(agrees.mean()), "per_class": per_class}} if score == "agreement" else {},
    }


def _memorisation(study: _Study) -> dict[str, Any]:
    """How close synthetic images come to train images, next to how close held-out real images come."""
    flags = study.curated.provenance("flag")
    distances = {
        "synthetic_to_train": np.array(study.curated.provenance("nearest_distance"), dtype=np.float64),
        "held_out_to_train": nearest_real(study.val, study.train)[1],
    }
    summary = {
        name: {"median": float(np.median(values)), "p05": float(np.percentile(values, 5))}
        for name, values in distances.items()
        if len(values)
    }
    return {"exact_copies": flags.count("exact copy"), "near_copies": flags.count("near copy"), **summary, "unit": DISTANCE_UNIT}


def _save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)
