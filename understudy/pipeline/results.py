"""``results.json``, gathered from the records of the stages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from understudy.evaluation.accuracy import verdict
from understudy.evaluation.choice import Choice
from understudy.evaluation.class_sizes import classes_without_synthetic, measure_of_verdict
from understudy.evaluation.controls import against_controls, in_words
from understudy.evaluation.published import PUBLISHED
from understudy.pipeline.folder import RunFolder
from understudy.training.arms import find_arm
from understudy.training.settings import CompareSettings

_OF_COMPARE = ("at_once", "convergence", "plateau", "transferability")
"""Sections of ``results.json`` that the record of the comparison has; older records lack some."""


def gather_results(folder: RunFolder, stages: Sequence[str]) -> dict[str, Any]:
    """The content of ``results.json`` for a run whose arms were compared.

    Args:
        folder: with the records of the stages.
        stages: names of all stages, in their order.

    Returns:
        As documented in ``docs/results_json.md``.

    Raises:
        InputError: for a record that is damaged.
    """
    records = {
        name: record for name in stages if name != "report" and (record := folder.record(name)) is not None
    }
    settings, loaded, curated, compared = (
        folder.settings,
        records["load"],
        records["curate"],
        records["compare"],
    )
    arms = compared["arms"]
    measured = {name: record[name] for name, record in records.items() if name in record}
    peaks = [record["peak_memory_gb"] for record in records.values()]
    return {
        "schema": 1,
        **({"in_study": True} if folder.is_in_study else {}),
        "data": {
            "source": settings.data.source,
            "shots": settings.data.shots,
            **{name: loaded[name] for name in ("classes", "train", "val", "test", "skipped")},
            # Records of 0.1.0 have none.
            "notes": loaded.get("notes", []),
            **{name: loaded[name] for name in ("left_out", "copies") if name in loaded},
            **({"groups": loaded["groups"]} if loaded.get("groups") else {}),
            **({"per_class": compared["per_class"]} if "per_class" in compared else {}),
        },
        "adaptation": {
            name: value
            for name, value in records["adapt"].items()
            if name not in ("seconds", "peak_memory_gb")
        },
        "curation": curated["curation"],
        "arms": arms,
        "verdict": _verdict(settings.compare, loaded, curated["curation"], compared),
        **({"tuning": records["tune"]["arms"]} if "tune" in records else {}),
        **_published(settings.compare.published),
        **{name: compared[name] for name in _OF_COMPARE if compared.get(name)},
        **({"images": compared["images"]} if compared.get("images") else {}),
        **measured,
        "fidelity": curated["fidelity"] | measured.get("fidelity", {}),
        "cost": {
            "seconds": {name: record["seconds"] for name, record in records.items()},
            "images_per_second": records["draw"]["images_per_second"],
            "peak_memory_gb": max((peak for peak in peaks if peak is not None), default=None),
        },
        "environment": [record["environment"] for record in records.values() if "environment" in record][-1],
    }


def arms_with_val(names: Iterable[str], settings: CompareSettings) -> dict[str, str]:
    """The arms that learn from validation images too, each by the name of the same arm without them.

    Args:
        names: of arms.
        settings: ``own_arms`` is used.

    Example:
        >>> arms_with_val(["real", "real+val", "mixed+val@matched"], CompareSettings())
        {'real': 'real+val', 'mixed@matched': 'mixed+val@matched'}
    """
    found = [find_arm(name, settings) for name in names]
    return {arm.without_val: arm.name for arm in found if arm.uses_val}


def _published(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    baselines = [asdict(entry) for entry in PUBLISHED[name]]
    return {"published": {"data_set": PUBLISHED.summary(name), "baselines": baselines}}


def _verdict(
    settings: CompareSettings, loaded: dict[str, Any], curation: dict[str, Any], compared: dict[str, Any]
) -> dict[str, Any]:
    arms, counts = compared["arms"], compared.get("per_class", {})  # older versions counted no classes
    candidates = [name for name in arms if find_arm(name, settings).can_be_chosen]
    measure = measure_of_verdict(settings.verdict, arms, counts.get("test", ()))
    choice = Choice(
        candidates=candidates,
        num_val=loaded["val"],
        refittable=_refittable(compared, candidates) if settings.does_refit else (),
        measure=measure,
    )
    answer = verdict(
        arms,
        choice,
        num_test=loaded["test"],
        num_groups=loaded.get("groups", {}).get("test"),
        with_val=arms_with_val(arms, settings),
        judged=compared.get("judged"),
    )
    if not curation["kept"]:
        answer["sentence"] = (
            f"None of the {curation['drawn']:,} drawn images passed curation. {answer['sentence']}"
        )
    elif counts and (lacking := classes_without_synthetic(loaded["classes"], counts["synthetic"])):
        answer["sentence"] += f" {lacking}"
    if controls := against_controls(arms, answer["best"], measure):
        answer |= {"sentence": f"{answer['sentence']} {in_words(controls)}", "controls": controls}
    return answer


def _refittable(compared: dict[str, Any], candidates: Sequence[str]) -> Sequence[str]:
    """Arms that could be trained again when the arms were compared; earlier versions had fewer, or none.

    The record named them ``may_refit`` for a time.

    Example:
        >>> _refittable({"refit": None, "may_refit": ["mine"]}, ["mixed"])
        ['mine']
        >>> _refittable({"refit": None, "refittable": []}, ["mixed"])
        []
    """
    if "refit" not in compared:
        return ()
    earlier = [name for name in candidates if name.split("@")[0] in ("mixed", "bridged")]
    names: list[str] = compared.get("refittable", compared.get("may_refit", earlier))
    return names
