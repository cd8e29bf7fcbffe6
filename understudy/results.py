"""``results.json``, gathered from the records and files of the stages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from understudy.curation import DISTANCE_UNIT, nearest_real
from understudy.data import LabelledSet
from understudy.evaluation import PUBLISHED, verdict
from understudy.runs import RunFolder
from understudy.settings import CompareSettings
from understudy.training import find_arm


def gather_results(folder: RunFolder, *, val: LabelledSet, train: LabelledSet, curated: LabelledSet) -> dict[str, Any]:
    """What ``results.json`` says of a run whose arms were compared.

    Args:
        folder: with the records of the stages.
        val: held-out real images, whose distance to the train images gives that of synthetic images a scale.
        train: real train images.
        curated: synthetic images.

    Returns:
        As documented in ``docs/results_json.md``.
    """
    stages = ("load", "adapt", "draw", "curate", "tune", "compare", "scale", "gap")
    records = {name: record for name in stages if (record := folder.record(name)) is not None}
    loaded, curation = records["load"], records["curate"]
    arms = records["compare"]["arms"]
    return {
        "schema": 1,
        "data": {
            "source": folder.settings.data.source,
            "shots": folder.settings.data.shots,
            **{name: loaded[name] for name in ("classes", "train", "val", "test", "skipped")},
        },
        "adaptation": {name: value for name, value in records["adapt"].items() if name not in ("seconds", "peak_memory_gb")},
        "curation": curation["curation"],
        "arms": arms,
        "verdict": _verdict(folder.settings.compare, arms, curation["curation"], num_test=loaded["test"]),
        **({"tuning": records["tune"]["arms"]} if "tune" in records else {}),
        **_published(folder.settings.compare.published),
        **{name: records["compare"][name] for name in ("convergence", "transferability") if records["compare"].get(name)},
        **{name: records[name][name] for name in ("scale", "gap") if name in records},
        **({"images": records["compare"]["images"]} if records["compare"].get("images") else {}),
        "fidelity": curation["fidelity"],
        "memorisation": _memorisation(val, train, curated),
        "cost": {
            "seconds": {name: record["seconds"] for name, record in records.items()},
            "images_per_second": records["draw"]["images_per_second"],
            "peak_memory_gb": max(record["peak_memory_gb"] for record in records.values()),
        },
        "environment": records.get("gap", records.get("scale", records["compare"]))["environment"],
    }


def _published(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    return {"published": {"data_set": PUBLISHED.summary(name), "baselines": [asdict(entry) for entry in PUBLISHED[name]]}}


def _verdict(settings: CompareSettings, arms: dict[str, Any], curation: dict[str, Any], *, num_test: int) -> dict[str, Any]:
    answer = verdict(arms, uses_synthetic=[name for name in arms if find_arm(name, settings).uses_synthetic], num_test=num_test)
    if not curation["kept"]:
        answer["sentence"] = f"None of the {curation['drawn']:,} drawn images passed curation. {answer['sentence']}"
    return answer


def _memorisation(val: LabelledSet, train: LabelledSet, curated: LabelledSet) -> dict[str, Any]:
    """How close synthetic images come to train images, next to how close held-out real images come."""
    flags = curated.provenance("flag")
    distances = {
        "synthetic_to_train": np.array(curated.provenance("nearest_distance"), dtype=np.float64),
        "held_out_to_train": nearest_real(val, train)[1],
    }
    summary = {
        name: {"median": float(np.median(values)), "p05": float(np.percentile(values, 5))}
        for name, values in distances.items()
        if len(values)
    }
    return {"exact_copies": flags.count("exact copy"), "near_copies": flags.count("near copy"), **summary, "unit": DISTANCE_UNIT}
