"""Command compare-runs: differences of two runs in settings, data and results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.files import read_arrays
from understudy.core.listing import listed
from understudy.data.image_groups import groups_of
from understudy.data.labelled_set import LabelledSet
from understudy.functional.intervals import paired_difference
from understudy.functional.unpaired import unpaired_difference
from understudy.pipeline.folder import RunFolder, finished_results
from understudy.settings import differing_keys
from understudy.training.records import ArmFolder

_SPLITS = ("train", "val", "test")
_PAIRED = {
    "images and seeds": "paired by test image and by seed",
    "images": "paired by test image; the seeds of the trainings differ",
    "nothing": "not paired, since the test images or the numbers of trainings differ: intervals are wide",
}


def compare_runs(a: RunFolder, b: RunFolder) -> dict[str, Any]:
    """Compare the settings, data and results of two finished runs.

    Args:
        a: the first run.
        b: the second; differences are those of ``b`` minus ``a``.

    Returns:
        ``sentence``; ``a`` and ``b`` (``path``, ``sentence``, ``best``); ``settings`` and ``environment``
        (two values by name, where they differ); ``data`` (by split, images in ``a``, in ``b`` and in both);
        ``arms`` (by name: accuracies ``a`` and ``b``, None where an arm is missing; their ``difference`` as
        ``mean``, ``low``, ``high``, in [-1, 1]; and how it is ``paired``); ``best`` (the same for the arms
        that were chosen on validation images); ``pairing`` (in words); ``rows`` (all other measures:
        ``section``, ``name``, ``kind``, ``a``, ``b``).

    Raises:
        InputError: if a run is not finished, both are the same, or their classes differ.
    """
    if a.path.resolve() == b.path.resolve():
        raise InputError(
            f"the two runs to compare must differ, got {a.path} twice: give the folder of another run"
        )
    first, second = (_Finished.read(folder) for folder in (a, b))
    _check_same_classes(first, second)
    pixels = {split: [_digests(run, split) for run in (first, second)] for split in _SPLITS}
    aligned = _aligned(first, second, pixels["test"])
    arms = {
        name: _side_by_side(first, name, second, name, aligned)
        for name in dict.fromkeys([*first.results["arms"], *second.results["arms"]])
    }
    chosen = [str(run.results["verdict"]["best"]) for run in (first, second)]
    best = {"arms": chosen} | _side_by_side(first, chosen[0], second, chosen[1], aligned)
    return {
        "sentence": _sentence(best),
        **{
            name: {
                "path": str(run.folder.path),
                "sentence": run.results["verdict"]["sentence"],
                "best": run.results["verdict"]["best"],
            }
            for name, run in (("a", first), ("b", second))
        },
        "settings": {key: list(values) for key, values in differing_keys(a.settings, b.settings).items()},
        "environment": _differing_environment(first.results, second.results),
        "data": {
            split: {"a": len(in_a), "b": len(in_b), "both": (Counter(in_a) & Counter(in_b)).total()}
            for split, (in_a, in_b) in pixels.items()
        },
        "arms": arms,
        "best": best,
        "pairing": "; ".join(
            dict.fromkeys(_PAIRED[arm["paired"]] for arm in [*arms.values(), best] if arm["paired"])
        ),
        "rows": _rows(first.results, second.results),
    }


@final
@dataclass(frozen=True)
class _Finished:
    """A run and its results."""

    folder: RunFolder
    results: dict[str, Any]

    @classmethod
    def read(cls, folder: RunFolder) -> _Finished:
        return cls(folder, finished_results(folder))

    def split(self, name: str) -> LabelledSet:
        return LabelledSet.load(self.folder.path / "data" / f"{name}.parquet")

    def correct(self, arm: str, labels: np.ndarray) -> tuple[np.ndarray, list[int]] | None:
        """Test images that each training gets right, bool (S, N), and the seeds; None without records."""
        files, num_seeds = ArmFolder(self.folder.path / "arms", arm), self.folder.settings.compare.num_seeds
        if not files.has_records(num_seeds):
            return None
        right, seeds = [], []
        for index in range(num_seeds):
            record = read_arrays(files.record(index))
            right.append(record["probabilities"].argmax(axis=1) == labels)
            seeds.append(int(record["seed"]))
        return np.stack(right), seeds


def _check_same_classes(a: _Finished, b: _Finished) -> None:
    of_a, of_b = (run.results["data"]["classes"] for run in (a, b))
    if set(of_a) != set(of_b):
        only = [
            f"\n  only in {run.folder.path}: {listed(sorted(set(names) - set(others)))}"
            for run, names, others in ((a, of_a, of_b), (b, of_b, of_a))
            if set(names) - set(others)
        ]
        raise InputError(f"runs to compare must have the same classes, got{''.join(only)}")


def _digests(run: _Finished, split: str) -> list[str]:
    """Hash of the pixels, and class, of every image."""
    data = run.split(split)
    return [f"{data.pixel_hash(index)} {data.class_names[label]}" for index, label in enumerate(data.labels)]


@final
@dataclass(frozen=True)
class _Aligned:
    """Labels and groups of both test sets, and the order that aligns their images; None if these differ."""

    labels: tuple[np.ndarray, np.ndarray]
    groups: tuple[np.ndarray | None, np.ndarray | None]
    order: tuple[np.ndarray, np.ndarray] | None

    @property
    def ordered_groups(self) -> np.ndarray | None:
        """Groups of the aligned images, as the first run that has them says."""
        found = (
            of[order] for of, order in zip(self.groups, self.order or (), strict=False) if of is not None
        )
        return next(found, None)


def _aligned(a: _Finished, b: _Finished, digests: list[list[str]]) -> _Aligned:
    orders = tuple(np.argsort(np.array(entries), kind="stable") for entries in digests)
    one, other = a.split("test"), b.split("test")
    return _Aligned(
        labels=(one.labels, other.labels),
        groups=(groups_of(one), groups_of(other)),
        order=(orders[0], orders[1]) if sorted(digests[0]) == sorted(digests[1]) else None,
    )


def _side_by_side(a: _Finished, arm_a: str, b: _Finished, arm_b: str, aligned: _Aligned) -> dict[str, Any]:
    """Accuracies, difference and pairing; difference and pairing are None without both arms' predictions."""
    accuracies = [run.results["arms"].get(arm, {}).get("accuracy") for run, arm in ((a, arm_a), (b, arm_b))]
    row: dict[str, Any] = {"a": accuracies[0], "b": accuracies[1], "difference": None, "paired": None}
    of_a, of_b = (
        run.correct(arm, labels)
        for run, arm, labels in zip((a, b), (arm_a, arm_b), aligned.labels, strict=True)
    )
    if of_a is None or of_b is None:
        return row
    (right_a, seeds_a), (right_b, seeds_b) = of_a, of_b
    if aligned.order is not None and len(seeds_a) == len(seeds_b):
        # Trainings with unrelated seeds can be paired in any way: their differences are as independent as the
        # trainings are.
        first, second = aligned.order
        ends = paired_difference(right_b[:, second], right_a[:, first], aligned.ordered_groups)
        paired = "images and seeds" if seeds_a == seeds_b else "images"
    else:
        ends, paired = unpaired_difference(right_b, right_a, aligned.groups[::-1]), "nothing"
    return row | {"difference": dict(zip(("mean", "low", "high"), ends, strict=True)), "paired": paired}


def _sentence(best: Mapping[str, Any]) -> str:
    """The difference between the arms that were chosen on validation images, in a sentence."""
    (arm_a, arm_b), difference = best["arms"], best["difference"]
    if difference is None:
        return (
            f"A chose {arm_a} and B chose {arm_b}; their predictions were deleted, so the difference is "
            "unknown."
        )
    mean, low, high = (100 * difference[end] for end in ("mean", "low", "high"))
    if low > 0:
        return f"{arm_b} of B beats {arm_a} of A by {mean:.1f} points [{low:.1f}, {high:.1f}]."
    if high < 0:
        return f"{arm_a} of A beats {arm_b} of B by {-mean:.1f} points [{-high:.1f}, {-low:.1f}]."
    return (
        f"No difference can be shown between {arm_b} of B and {arm_a} of A: {mean:+.1f} points [{low:+.1f}, "
        f"{high:+.1f}]."
    )


def _differing_environment(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    flat = [
        {key: value for key, value in environment.items() if key != "versions"}
        | environment.get("versions", {})
        for environment in (results.get("environment", {}) for results in (a, b))
    ]
    return {
        key: [flat[0].get(key), flat[1].get(key)]
        for key in dict.fromkeys([*flat[0], *flat[1]])
        if flat[0].get(key) != flat[1].get(key)
    }


def _rows(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All measures of either run except accuracies, in a fixed order."""
    values = [
        {(section, name): (kind, value) for section, name, kind, value in _measured(results, encoder)}
        for results, encoder in zip((a, b), _encoders(a, b), strict=True)
    ]
    rows = []
    for section, name in dict.fromkeys([*values[0], *values[1]]):
        kind_a, value_a = values[0].get((section, name), (None, None))
        kind_b, value_b = values[1].get((section, name), (None, None))
        rows.append({"section": section, "name": name, "kind": kind_a or kind_b, "a": value_a, "b": value_b})
    order = list(dict.fromkeys(row["section"] for row in rows))
    return sorted(rows, key=lambda row: order.index(row["section"]))


def _encoders(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, str]:
    """Names of the two encoders; only distances in features of the same network can be compared."""
    encoders = [(results.get("fidelity") or {}).get("encoder", {}) for results in (a, b)]
    name, other = (encoder.get("name", "unknown encoder") for encoder in encoders)
    prints = [encoder.get("fingerprint") for encoder in encoders]
    if prints[0] == prints[1] and prints[0] is not None:
        return name, name
    return (name, other) if name != other else (f"{name} of A", f"{name} of B, another network")


def _measured(results: Mapping[str, Any], encoder: str) -> Iterator[tuple[str, str, str, Any]]:
    """Rows with section, name, kind (``share``, ``number``, ``count`` or ``seconds``) and value."""
    yield from _means_over_classes(results["arms"])
    for name in ("drawn", "kept"):
        yield "curation", f"images {name}", "count", results["curation"][name]
    yield from _fidelity(results.get("fidelity") or {}, encoder)
    yield from _memorisation(results.get("memorisation") or {}, encoder)
    for attack, arms in (results.get("membership") or {}).get("attacks", {}).items():
        for arm, measured in arms.items():
            yield "membership", f"{attack}, {arm}: AUC", "number", measured["auc"]
            for entry in measured["tpr"]:
                yield (
                    "membership",
                    f"{attack}, {arm}: true positives at {entry['fpr']:.3g}",
                    "share",
                    entry["tpr"],
                )
    yield from _shift(results.get("shift") or {})
    cost = results.get("cost") or {}
    for stage, seconds in cost.get("seconds", {}).items():
        yield "cost", stage, "seconds", seconds
    for name, key in (("images drawn per second", "images_per_second"), ("memory, GB", "peak_memory_gb")):
        if cost.get(key) is not None:
            yield "cost", name, "number", cost[key]


def _means_over_classes(arms: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    for name, words in (("balanced_accuracy", "balanced accuracy"), ("macro_f1", "macro F1")):
        for arm, measured in arms.items():
            if name in measured:  # runs of older versions have none
                yield "means over classes", f"{arm}: {words}", "share", measured[name]


def _fidelity(fidelity: Mapping[str, Any], encoder: str) -> Iterator[tuple[str, str, str, Any]]:
    if "agreement" in fidelity:
        yield "fidelity", "agreement with the intended class", "share", fidelity["agreement"]["mean"]
    for name, measure in fidelity.get("measures", {}).items():
        yield (
            "fidelity",
            f"{name.replace('_', ' ')} ({measure['better']} is better; {encoder})",
            "number",
            measure["value"],
        )


def _memorisation(copies: Mapping[str, Any], encoder: str) -> Iterator[tuple[str, str, str, Any]]:
    for name in ("exact", "flagged", "removed"):
        if "firewall" in copies:
            yield "memorisation", f"copies of train images: {name}", "count", copies["firewall"][name]
    for space, measured in copies.get("spaces", {}).items():
        by = f"{space} ({encoder})" if space == "feature" else space
        yield (
            "memorisation",
            f"closer to train than held-out images, by {by}",
            "share",
            measured["closer_than_held_out"],
        )


def _shift(shift: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    for arm, measured in shift.get("mean_corruption", {}).items():
        yield "shift", f"{arm}: accuracy, mean over corruptions", "share", measured["accuracy"]
    for test, measured in shift.get("tests", {}).items():
        for arm, outcome in measured["arms"].items():
            yield "shift", f"{arm}: accuracy on {test}", "share", outcome["accuracy"]
