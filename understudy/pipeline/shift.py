"""Stage shift: test every training of every arm on corrupted images and further test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from understudy.core.errors import InputError
from understudy.core.files import content_of
from understudy.data.copy_groups import shared_sentences
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.shift import (
    Outcome,
    ShiftTest,
    measure_corruption,
    measure_test_set,
    summarise_shift,
)
from understudy.evaluation.shift_tests import FurtherTestSet, left_out_sentence, load_test_set
from understudy.pipeline.context import Run
from understudy.pipeline.kept_files import with_kept_files
from understudy.pipeline.work import Counted, Work
from understudy.settings import Settings
from understudy.training.classifier import TrainedClassifier
from understudy.training.records import ArmFolder


def shift(run: Run) -> None:
    """Measure the arms on corrupted test images and on further test sets."""
    settings = run.settings.shift
    for line in _changed_tests(run, run.folder.record("shift") or {}):
        run.observer.say(f"shift: {line}; all sets are measured again")
    with run.measurement("shift") as record:
        # Read before measuring, so that a test set that does not fit is reported at once.
        test_sets, record["tests"] = _read_test_sets(run)
        for name, test_set in test_sets.items():
            if line := left_out_sentence(name, test_set.left_out):
                run.observer.say(f"shift: {line}")
            for line in shared_sentences(test_set.copies["shared"], test=f"images of the test set {name!r}"):
                run.observer.say(f"shift: warning: {line}")
        arms = {
            name: _folder(run, name).trainings(run.settings.compare.num_seeds, device=run.device)
            for name in run.recorded("compare")["arms"]
        }
        total = len(settings.corruptions) * len(settings.severities) + len(test_sets)
        tests: dict[str, ShiftTest] = {}
        with run.observer.bar("shift", total=total, unit="sets") as advance:
            corruptions = _corruptions(run, arms, advance)
            for name, test_set in test_sets.items():
                tests[name] = measure_test_set(test_set.images, test_set.classes, arms=arms)
                advance(1)
        clean = measure_test_set(run.test, range(run.test.num_classes), arms=arms).arms
        record["shift"] = summarise_shift(clean, corruptions, tests)
        for name, test_set in test_sets.items():
            record["shift"]["tests"][name] |= {
                "copies": dict(test_set.copies),
                "left_out": dict(test_set.left_out),
            }
    run.observer.say(f"shift: {total} test sets and {len(arms)} arms in {record['seconds']:.0f} s")


def check(settings: Settings, train: LabelledSet, val: LabelledSet) -> None:
    """Check further test sets.

    Raises:
        InputError: for a test set that cannot be used.
    """
    list(_test_sets(settings, train, val))


def check_finished(run: Run) -> None:
    """Check that the weights of every arm were kept.

    Raises:
        InputError: naming missing weights.
    """
    for name in (run.folder.record("compare") or {"arms": ()})["arms"]:
        _folder(run, name).check_weights(run.settings.compare.num_seeds)


def is_current(run: Run, record: dict[str, Any]) -> bool:
    """Whether the record was made with the present settings and test sets."""
    same = run.settings.shift.gives_results_of(record.get("settings", {}))
    return same and not _changed_tests(run, record)


def _read_test_sets(run: Run) -> tuple[dict[str, FurtherTestSet], dict[str, Any]]:
    """The further test sets, and the content of their files.

    Raises:
        InputError: for a test set that cannot be used, or has changed while it was read.
    """
    contents = {name: run.content_of(path) for name, path in run.settings.shift.tests.items()}
    test_sets = dict(_test_sets(with_kept_files(run.settings, run.path), run.train, run.val))
    for name, path in run.settings.shift.tests.items():
        if content_of(path) != contents[name]:
            raise InputError(
                f"the test set {name!r} ({path}) has changed while it was read: give the same command again "
                "when its files stay as they are"
            )
    return test_sets, contents


def _changed_tests(run: Run, record: Mapping[str, Any]) -> list[str]:
    """Say which test sets have changed since the record; one that was moved away has not."""
    changes, measured = [], record.get("tests", {})  # older versions recorded no contents
    paths = record.get("settings", {}).get("tests", {})
    for name, path in run.settings.shift.tests.items():
        if name not in measured or paths.get(name) != str(path) or not path.exists():
            continue
        before, now = measured[name], run.content_of(path)
        if before != now:
            sizes = [f"{part['files']:,} files with {part['bytes']:,} bytes" for part in (before, now)]
            changes.append(
                f"the test set {name!r} ({path}) has changed since it was measured: {sizes[0]} then, "
                f"{sizes[1]}{' but other contents' if sizes[0] == sizes[1] else ''} now"
            )
    return changes


def _corruptions(
    run: Run, arms: Mapping[str, list[TrainedClassifier]], advance: Callable[[int], None]
) -> dict[str, dict[int, dict[str, Outcome]]]:
    """Results by corruption, severity and arm."""
    settings, size = run.settings.shift, arms["real"][0].backbone.input_size
    found: dict[str, dict[int, dict[str, Outcome]]] = {name: {} for name in settings.corruptions}
    for name, severities in found.items():
        for severity in settings.severities:
            severities[severity] = measure_corruption(
                name, severity, test=run.test, arms=arms, size=size, seed=run.settings.seed
            )
            advance(1)
    return found


def _test_sets(
    settings: Settings, train: LabelledSet, val: LabelledSet
) -> Iterator[tuple[str, FurtherTestSet]]:
    """Read the further test sets one by one, each with its name."""
    for name, path in settings.shift.tests.items():
        test_set = load_test_set(
            name,
            path,
            class_names=train.class_names,
            learned_from=[train, val],
            settings=settings.data,
        )
        yield name, test_set


def _folder(run: Run, arm: str) -> ArmFolder:
    return ArmFolder(run.path / "arms", arm)


def work(counted: Counted) -> Work:
    """Corrupting test images, and the predictions of every training of every arm."""
    settings, splits = counted.settings.shift, counted.splits
    trainings = len(counted.arms) * counted.settings.compare.num_seeds
    corrupted = len(settings.corruptions) * len(settings.severities) * len(splits.test)
    test_sets = _test_sets(counted.settings, counted.train, splits.val)
    further = sum(len(test_set.images) for _, test_set in test_sets)
    return Work(corruptions=corrupted, predictions=(corrupted + further + len(splits.test)) * trainings)
