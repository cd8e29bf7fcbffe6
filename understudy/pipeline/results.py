"""``results.json``, gathered from the records and files of the stages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from understudy.core.errors import InputError
from understudy.evaluation.accuracy import verdict
from understudy.evaluation.published import PUBLISHED
from understudy.pipeline.folder import RunFolder
from understudy.training.arms import find_arm
from understudy.training.settings import CompareSettings

_ALWAYS = ("load", "adapt", "draw", "curate", "memorisation", "compare")  # stages of every run


def gather_results(folder: RunFolder) -> dict[str, Any]:
    """What ``results.json`` says of a run whose arms were compared.

    Args:
        folder: with the records of the stages.

    Returns:
        As documented in ``docs/results_json.md``.

    Raises:
        InputError: if a record is damaged or not there.
    """
    stages = ("load", "adapt", "draw", "curate", "fidelity", "memorisation", "tune", "compare", "scale", "gap", "shift", "membership")
    records = {name: record for name in stages if (record := folder.record(name)) is not None}
    if missing := [name for name in _ALWAYS if name not in records]:
        raise InputError(f"{folder.path}/stages lacks the record of {', '.join(missing)}: go on with 'understudy run {folder.path}'")
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
        **{name: records[name][name] for name in ("scale", "gap", "shift", "membership") if name in records},
        **({"images": records["compare"]["images"]} if records["compare"].get("images") else {}),
        "fidelity": curation["fidelity"] | records.get("fidelity", {}).get("fidelity", {}),
        "memorisation": records["memorisation"]["memorisation"],
        "cost": {
            "seconds": {name: record["seconds"] for name, record in records.items()},
            "images_per_second": records["draw"]["images_per_second"],
            "peak_memory_gb": max(record["peak_memory_gb"] for record in records.values()),
        },
        "environment": [record["environment"] for record in records.values() if "environment" in record][-1],
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
