"""What must be right before any figure of quality means something: counts, files left out, leaks, copies, missing images, repetitions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import yaml

from understudy.data import LabelledSet

_FEWEST_SEEDS = 3
_LISTED = 5
Status = Literal["ok", "attention", "not checked"]


@final
@dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the page's first table.

    Attributes:
        subject: what was looked at.
        status: whether it is clean.
        words: what was found, in a sentence or two.
    """

    subject: str
    status: Status
    words: str


def checks(results: Mapping[str, Any], *, settings_yaml: str, sets: Sequence[LabelledSet]) -> list[Check]:
    """Everything that should be clean before quality is looked at.

    Args:
        results: content of ``results.json``.
        settings_yaml: every setting of the run, for what leaks were looked for.
        sets: the image sets at hand: train and synthetic images, test images if they are shown.

    Returns:
        A row per subject, always in the same order.
    """
    return [
        _counts(results, sets),
        _left_out(results["data"].get("skipped") or []),
        _leaks(yaml.safe_load(settings_yaml)["data"]["near_duplicate_distance"]),
        _repeated(sets),
        _missing(results.get("curation", {})),
        _copies(results.get("memorisation", {}).get("firewall"), num_synthetic=_synthetic(sets)),
        _trainings(results["arms"]),
    ]


def _synthetic(sets: Sequence[LabelledSet]) -> int:
    return sum(len(part) for part in sets if part.split == "synthetic")


def _counts(results: Mapping[str, Any], sets: Sequence[LabelledSet]) -> Check:
    data = results["data"]
    numbers = [f"{data[split]:,} {words}" for split, words in (("train", "train"), ("val", "validation"), ("test", "test"))]
    words = f"{', '.join(numbers)} and {_synthetic(sets):,} synthetic images of {len(data['classes'])} classes."
    untested = [name for name, share in zip(data["classes"], results["arms"]["real"]["per_class"], strict=True) if share is None]
    lacking = [(part.split, name) for part in sets for name, count in zip(part.class_names, part.counts, strict=True) if not count]
    problems = [f"no test image of {_list(untested)}"] if untested else []
    problems += [
        f"no {split} image of {_list([name for own, name in lacking if own == split])}"
        for split in dict.fromkeys(own for own, _ in lacking)
        if split != "test"
    ]
    if problems:
        return Check(subject="Images", status="attention", words=f"{words} There is {', and '.join(problems)}.")
    return Check(subject="Images", status="ok", words=f"{words} Every class has some.")


def _left_out(skipped: Sequence[Sequence[str]]) -> Check:
    if not skipped:
        return Check(subject="Unreadable files", status="ok", words="Every file of the source was read.")
    listed = _list([f"{file} ({reason})" for file, reason in skipped])
    return Check(subject="Unreadable files", status="attention", words=f"{len(skipped):,} left out: {listed}. The end of the page has all.")


def _leaks(distance: int) -> Check:
    if distance < 0:
        return Check(
            subject="Leaks between splits",
            status="attention",
            words="No picture is in two of train, validation and test images, pixel for pixel; near copies were not looked for "
            "(data.near_duplicate_distance is -1).",
        )
    return Check(
        subject="Leaks between splits",
        status="ok",
        words="No picture is in two of train, validation and test images, neither pixel for pixel nor nearly so "
        f"(perceptual hashes within {distance} of 64 bits whose pixels agree); a run with one stops.",
    )


def _repeated(sets: Sequence[LabelledSet]) -> Check:
    """Files that a set holds more than once, byte for byte: cheap at any size, and how most duplicates come about."""
    repeated = {part.split: len(part) - len({hashlib.sha256(part.encoded(index)).digest() for index in range(len(part))}) for part in sets}
    found = [f"{count:,} among the {split} images" for split, count in repeated.items() if count]
    if found:
        return Check(
            subject="Repeated files", status="attention", words=f"The same file once more: {', '.join(found)}. Repeated images count twice."
        )
    return Check(subject="Repeated files", status="ok", words=f"No file is twice among the {' or '.join(repeated)} images.")


def _missing(curation: Mapping[str, Any]) -> Check:
    if not curation:
        return Check(subject="Missing after curation", status="not checked", words="Nothing is known of curation.")
    if missing := curation.get("missing"):
        total, listed = sum(missing.values()), _list([f"{count:,} of {name}" for name, count in missing.items()])
        problem = f" {curation['problem']}" if curation.get("problem") else ""
        return Check(
            subject="Missing after curation",
            status="attention",
            words=f"Of the images that were asked for, {total:,} did not pass: {listed}.{problem}",
        )
    return Check(subject="Missing after curation", status="ok", words=f"All {curation['kept']:,} images that were asked for passed.")


def _copies(firewall: Mapping[str, Any] | None, *, num_synthetic: int) -> Check:
    subject = "Copies of train images"
    if not firewall or firewall["setting"] == "off":
        return Check(subject=subject, status="not checked", words="They were not looked for: see curate.firewall.")
    flagged, exact = firewall["flagged"], firewall["exact"]
    if firewall["setting"] != "flag":
        how = "were replaced" if firewall["setting"] == "redraw" else "were left out"
        return Check(subject=subject, status="ok", words=f"{firewall['removed']:,} drawn images were too near to a train image and {how}.")
    expected = firewall["false_alarms"]["allowed"] * num_synthetic
    words = (
        f"{flagged:,} of {num_synthetic:,} synthetic images are marked as copies and kept, {exact:,} of them exact; new real images "
        f"would be marked about {expected:,.0f} times."
    )
    return Check(subject=subject, status="attention" if exact or flagged > max(1, expected) else "ok", words=words)


def _trainings(arms: Mapping[str, Any]) -> Check:
    fewest = min(len(arm["accuracy"]["seeds"]) for arm in arms.values())
    if fewest < _FEWEST_SEEDS:
        return Check(
            subject="Trainings",
            status="attention",
            words=f"Some arm was trained fewer than {_FEWEST_SEEDS} times, so that intervals over trainings are too narrow.",
        )
    return Check(subject="Trainings", status="ok", words=f"Every arm was trained at least {fewest} times, with different seeds.")


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
