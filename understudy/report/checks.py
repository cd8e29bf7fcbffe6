"""Checks that come before any figure of quality: counts, unreadable files, leaks, repetitions, copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from understudy.data.labelled_set import LabelledSet, pixel_hash
from understudy.report.wording import listed
from understudy.settings import Settings

_FEWEST_SEEDS = 3
Status = Literal["ok", "attention", "not checked"]


@final
@dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the first table on the page.

    Attributes:
        subject: what was looked at.
        status: whether it is clean.
        words: what was found, in a sentence or two.
    """

    subject: str
    status: Status
    words: str


def checks(results: Mapping[str, Any], *, settings: Settings, sets: Sequence[LabelledSet]) -> list[Check]:
    """Run all checks.

    Args:
        results: content of ``results.json``.
        settings: of the run; they say which leaks were searched for.
        sets: the image sets at hand: train and synthetic images, validation and test images if they are
            given.

    Returns:
        A row per subject, always in the same order.
    """
    return [
        _counts(results, sets),
        _left_out(results["data"].get("skipped") or []),
        _leaks(settings.data.near_duplicate_distance),
        _repeated(sets),
        _missing(results.get("curation", {})),
        _copies(
            results.get("memorisation", {}).get("firewall"),
            num_synthetic=_synthetic(sets),
            of_arms=results.get("images", {}),
        ),
        _trainings(results["arms"]),
    ]


def _synthetic(sets: Sequence[LabelledSet]) -> int:
    return sum(len(part) for part in sets if part.split == "synthetic")


def _counts(results: Mapping[str, Any], sets: Sequence[LabelledSet]) -> Check:
    data = results["data"]
    numbers = [
        f"{data[split]:,} {words}"
        for split, words in (("train", "train"), ("val", "validation"), ("test", "test"))
    ]
    words = (
        f"{', '.join(numbers)} and {_synthetic(sets):,} synthetic images of {len(data['classes'])} classes."
    )
    untested = [
        name
        for name, share in zip(data["classes"], results["arms"]["real"]["per_class"], strict=True)
        if share is None
    ]
    lacking = [
        (part.split, name)
        for part in sets
        for name, count in zip(part.class_names, part.counts, strict=True)
        if not count
    ]
    problems = [f"no test image of {listed(untested)}"] if untested else []
    problems += [
        f"no {split} image of {listed([name for own, name in lacking if own == split])}"
        for split in dict.fromkeys(own for own, _ in lacking)
        if split != "test"
    ]
    if problems:
        return Check(
            subject="Images", status="attention", words=f"{words} There is {', and '.join(problems)}."
        )
    return Check(subject="Images", status="ok", words=f"{words} Every class has images.")


def _left_out(skipped: Sequence[Sequence[str]]) -> Check:
    if not skipped:
        return Check(subject="Unreadable files", status="ok", words="Every file of the source was read.")
    which = listed([f"{file} ({reason})" for file, reason in skipped])
    return Check(
        subject="Unreadable files",
        status="attention",
        words=f"{len(skipped):,} left out: {which}. All are listed at the end of the page.",
    )


def _leaks(distance: int) -> Check:
    if distance < 0:
        return Check(
            subject="Leaks between splits",
            status="attention",
            words="No two of the train, validation and test sets share an image with the same pixels. Near "
            "duplicates were not searched for (data.near_duplicate_distance is -1).",
        )
    return Check(
        subject="Leaks between splits",
        status="ok",
        words="No two of the train, validation and test sets share an image, neither with the same pixels "
        f"nor as a near duplicate (perceptual hashes within {distance} of 64 bits, and similar pixels).",
    )


def _repeated(sets: Sequence[LabelledSet]) -> Check:
    """Count images that occur more than once in a set with the same pixels, however they were stored."""
    repeated = {
        part.split: len(part) - len({pixel_hash(part.image(index)) for index in range(len(part))})
        for part in sets
    }
    found = [f"{count:,} among the {split} images" for split, count in repeated.items() if count]
    if found:
        return Check(
            subject="Repeated images",
            status="attention",
            words=f"Repeated pictures: {', '.join(found)}. Each copy counts as an image.",
        )
    return Check(
        subject="Repeated images",
        status="ok",
        words=f"No picture occurs twice among the {' or '.join(repeated)} images.",
    )


def _missing(curation: Mapping[str, Any]) -> Check:
    if not curation:
        return Check(
            subject="Missing after curation", status="not checked", words="There is no record of curation."
        )
    if missing := curation.get("missing"):
        total, which = (
            sum(missing.values()),
            listed([f"{count:,} of {name}" for name, count in missing.items()]),
        )
        problem = f" {curation['problem']}" if curation.get("problem") else ""
        return Check(
            subject="Missing after curation",
            status="attention",
            words=f"Missing from the requested images: {total:,} ({which}).{problem}",
        )
    return Check(
        subject="Missing after curation",
        status="ok",
        words=f"All {curation['kept']:,} requested images passed.",
    )


def _copies(firewall: Mapping[str, Any] | None, *, num_synthetic: int, of_arms: Mapping[str, Any]) -> Check:
    subject = "Copies of train images"
    if not firewall or firewall["setting"] == "off":
        return Check(subject=subject, status="not checked", words="Not checked: see curate.firewall.")
    flagged, exact = firewall["flagged"], firewall["exact"]
    if firewall["setting"] != "flag":
        how = "were replaced" if firewall["setting"] == "redraw" else "were left out"
        return Check(
            subject=subject,
            status="ok",
            words=f"{firewall['removed']:,} drawn images were too near to a train image and {how}.",
        )
    allowed = firewall["false_alarms"]["allowed"]
    most = _most_by_chance(num_synthetic, allowed)
    words = (
        f"{flagged:,} of {num_synthetic:,} synthetic images are marked as copies and kept, {exact:,} of them "
        f"exact. Of as many new real images, about {allowed * num_synthetic:,.0f} would be marked, and "
        f"hardly more than {most:,.0f}."
    )
    copying = {
        arm: own
        for arm, own in of_arms.items()
        if (own.get("copies") or 0) > _most_by_chance(own["kept"], allowed)
    }
    if copying:
        counts = [f"{own['copies']:,} of the {own['kept']:,} images of {arm}" for arm, own in copying.items()]
        words += f" So are {listed(counts)}: these arms owe part of their accuracy to copies of real images."
    return Check(
        subject=subject, status="attention" if exact or flagged > most or copying else "ok", words=words
    )


def _most_by_chance(num: int, rate: float) -> float:
    """The most real images out of ``num`` that would be marked at this rate by chance (97.5% quantile)."""
    from scipy import stats  # slow to import; only a report needs it

    return float(stats.binom.ppf(0.975, num, rate))


def _trainings(arms: Mapping[str, Any]) -> Check:
    fewest = min(len(arm["accuracy"]["seeds"]) for arm in arms.values())
    if fewest < _FEWEST_SEEDS:
        return Check(
            subject="Trainings",
            status="attention",
            words=f"Some arm was trained fewer than {_FEWEST_SEEDS} times, so intervals over trainings "
            "are too narrow.",
        )
    return Check(
        subject="Trainings",
        status="ok",
        words=f"Every arm was trained at least {fewest} times, with different seeds.",
    )
