"""Checks to read before any result: counts, unreadable files, leaks, repetitions, copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from understudy.core.listing import listed
from understudy.data.copy_groups import shared_sentences
from understudy.data.image_groups import groups_of_classes
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.class_sizes import FEWEST_TEST_IMAGES, too_few_test_images
from understudy.settings import Settings

FEWEST_SEEDS = 3
_NOT_JUDGED = "Not recorded: curate.score is not 'agreement', or an earlier version made this run."
Status = Literal["ok", "attention", "not checked"]
_Found = tuple[Status, str]
"""Status and words of a check."""


@final
@dataclass(frozen=True)
class Check:
    """One row of the first table on the page.

    Attributes:
        subject: what was checked.
        status: whether it passed.
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
        sets: train and synthetic images; validation and test images if available.

    Returns:
        A row per subject, always in the same order.
    """
    curation, memorisation = results.get("curation", {}), results.get("memorisation", {})
    found = {
        "Images": _counts(results, sets),
        "Test images per class": _test_images(results["data"], sets),
        "Unreadable files": _left_out(results["data"].get("skipped") or []),
        "Files not used": _not_used(results["data"].get("left_out")),
        "Leaks between splits": _leaks(
            results["data"].get("copies"), settings.data.near_duplicate_distance, shared_by_tests(results)
        ),
        "Repeated images": _repeated(sets),
        "Generator": _generator(results.get("fidelity", {}).get("domain")),
        "Missing after curation": _missing(curation),
        "Copies of train images": _copies(
            memorisation.get("firewall"), num_synthetic=_synthetic(sets), of_arms=results.get("images", {})
        ),
        "Trainings": _trainings(results["arms"]),
    }
    return [Check(subject, status, words) for subject, (status, words) in found.items()]


def _generator(domain: Mapping[str, Any] | None) -> _Found:
    """Whether the generator knows images like the real ones."""
    if domain is None:
        return "not checked", _NOT_JUDGED
    agreement = domain["agreement"]
    words = (
        f"A classifier of the real images recognises {agreement['mean']:.0%} [{agreement['low']:.0%}, "
        f"{agreement['high']:.0%}] of {domain['images']:,} drawn images, on average over classes; chance is "
        f"{domain['chance']:.0%}."
    )
    if domain["knows"] is None:
        return "not checked", f"{words} They are too few to tell."
    if domain["knows"]:
        return "ok", words
    return (
        "attention",
        f"{words} The generator does not know such images; this says nothing about the images.",
    )


def _synthetic(sets: Sequence[LabelledSet]) -> int:
    return sum(len(part) for part in sets if part.split == "synthetic")


def _counts(results: Mapping[str, Any], sets: Sequence[LabelledSet]) -> _Found:
    data = results["data"]
    splits = (("train", "train"), ("val", "validation"), ("test", "test"))
    numbers = ", ".join(f"{data[split]:,} {words}" for split, words in splits)
    words = f"{numbers} and {_synthetic(sets):,} synthetic images of {len(data['classes'])} classes."
    test = zip(data["classes"], results["arms"]["real"]["per_class"], strict=True)
    lacking = {"test": [name for name, share in test if share is None]}
    for part in sets:
        if part.split != "test":
            counted = zip(part.class_names, part.counts, strict=True)
            lacking[part.split] = [name for name, count in counted if not count]
    problems = [f"no {split} image of {listed(names)}" for split, names in lacking.items() if names]
    if problems:
        return "attention", f"{words} There is {', and '.join(problems)}."
    return "ok", f"{words} Every class has images."


def _test_images(data: Mapping[str, Any], sets: Sequence[LabelledSet]) -> _Found:
    counted = [part.counts.tolist() for part in sets if part.split == "test"]  # older runs counted no classes
    counts = data.get("per_class", {}).get("test") or (counted[0] if counted else None)
    if counts is None:
        return "not checked", "The test images of each class were not counted."
    if small := too_few_test_images(data["classes"], counts):
        return "attention", small
    groups = next((groups_of_classes(part) for part in sets if part.split == "test"), None)
    if groups and min(groups) < FEWEST_TEST_IMAGES:
        pairs = zip(data["classes"], groups, strict=True)
        few = listed([f"{name} ({count})" for name, count in pairs if count < FEWEST_TEST_IMAGES])
        told = f"Fewer than {FEWEST_TEST_IMAGES} groups have test images of {few}"
        return "attention", f"{told}, and intervals count groups: add groups."
    of_groups = f" in at least {min(groups):,} groups" if groups else ""
    return "ok", f"Every class has at least {min(counts):,}{of_groups}."


def _left_out(skipped: Sequence[Sequence[str]]) -> _Found:
    if not skipped:
        return "ok", "Every file of the source was read."
    named = [f"{file} ({reason})" for file, reason in skipped if file]
    which = f": {listed(named)}. All are listed at the end of the page" if named else ""
    return "attention", f"{len(skipped):,} left out{which}."


def _not_used(left_out: Sequence[Sequence[Any]] | None) -> _Found:
    if left_out is None:
        return "not checked", "This run was made before files that are not used were counted."
    if not left_out:
        return "ok", "The source holds nothing but images of the set."
    which = listed([f"{reason}: {number:,}" for reason, number, _ in left_out])
    return "attention", f"Not images of the set, and not used: {which}."


def shared_by_tests(results: Mapping[str, Any]) -> list[str]:
    """A sentence for each further test set with changed copies of images that the run learned from."""
    tests = (results.get("shift") or {}).get("tests", {})
    return [
        sentence
        for name, measured in tests.items()  # older runs did not look for such copies
        for sentence in shared_sentences(
            measured.get("copies", {}).get("shared", ()), test=f"images of the test set {name!r}"
        )
    ]


def _leaks(copies: Mapping[str, Any] | None, distance: int, of_tests: Sequence[str]) -> _Found:
    found = [*(shared_sentences(copies["shared"]) if copies else ()), *of_tests]
    warning = f"{'. '.join(found)}. Accuracy on these images is not that on new ones. " if found else ""
    if copies is None:
        kinds = "the same pixels" + (f", near copies within {distance} of 64 bits" if distance >= 0 else "")
        return "attention" if found else "not checked", (
            f"{warning}No two of the train, validation and test sets share an image. Looked for: {kinds}. "
            "This run was made before changed copies, such as flips and crops, were looked for."
        )
    scope = f"Looked for: {copies['looked_for']}. Not looked for: {copies['not_looked_for']}."
    if found:
        return "attention", f"{warning}{scope}"
    return "ok" if copies.get("all_kinds") else "attention", (
        f"No two of the train, validation and test sets share a picture, as far as it was looked for. {scope}"
    )


def _repeated(sets: Sequence[LabelledSet]) -> _Found:
    """Count images that occur more than once in a set with the same pixels, however they were stored."""
    repeated = {
        part.split: len(part) - len({part.pixel_hash(index) for index in range(len(part))}) for part in sets
    }
    found = [f"{count:,} among the {split} images" for split, count in repeated.items() if count]
    if found:
        return "attention", f"Repeated pictures: {', '.join(found)}. Each copy counts as an image."
    return "ok", f"No picture occurs twice within one of the sets {', '.join(repeated)}."


def _missing(curation: Mapping[str, Any]) -> _Found:
    if not curation:
        return "not checked", "There is no record of curation."
    if missing := curation.get("missing"):
        total = sum(missing.values())
        which = listed([f"{count:,} of {name}" for name, count in missing.items()])
        problem = f" {curation['problem']}" if curation.get("problem") else ""
        return "attention", f"Missing from the requested images: {total:,} ({which}).{problem}"
    return "ok", f"All {curation['kept']:,} requested images passed."


def _copies(firewall: Mapping[str, Any] | None, *, num_synthetic: int, of_arms: Mapping[str, Any]) -> _Found:
    if not firewall or firewall["setting"] == "off":
        return "not checked", "Not checked: see curate.firewall."
    flagged, exact = firewall["flagged"], firewall["exact"]
    if firewall["setting"] != "flag":
        how = "were replaced" if firewall["setting"] == "redraw" else "were left out"
        return "ok", f"{firewall['removed']:,} drawn images were too near to a train image and {how}."
    allowed = firewall["false_alarms"]["allowed"]
    most = most_by_chance(num_synthetic, allowed)
    words = (
        f"{flagged:,} of {num_synthetic:,} synthetic images are marked as copies and kept, {exact:,} of them "
        f"exact. Of as many new real images, about {allowed * num_synthetic:,.0f} would be marked, and "
        f"hardly more than {most:,.0f}."
    )
    copying = [
        f"{images['copies']:,} of the {images['kept']:,} images of {arm}"
        for arm, images in of_arms.items()
        if (images.get("copies") or 0) > most_by_chance(images["kept"], allowed)
    ]
    if copying:
        words += f" So are {listed(copying)}: these arms owe part of their accuracy to copies of real images."
    return "attention" if exact or flagged > most or copying else "ok", words


def most_by_chance(num: int, rate: float) -> float:
    """The most real images out of ``num`` that would be marked at this rate by chance (97.5% quantile)."""
    from scipy import stats  # slow to import; only a report needs it

    return float(stats.binom.ppf(0.975, num, rate))


def _trainings(arms: Mapping[str, Any]) -> _Found:
    fewest = min(len(arm["accuracy"]["seeds"]) for arm in arms.values())
    if fewest < FEWEST_SEEDS:
        return "attention", (
            f"Some arm was trained fewer than {FEWEST_SEEDS} times, so intervals over trainings are too "
            "narrow."
        )
    return "ok", f"Every arm was trained at least {fewest} times, with different seeds."
