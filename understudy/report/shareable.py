"""What a page may say to those who must not see the real images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any


def without_names(results: Mapping[str, Any]) -> dict[str, Any]:
    """Content of ``results.json`` without names of files, which can name people, and without paths.

    Names of classes, and all figures, stay. Reasons and warnings go, because they name files.
    """
    data = results["data"]
    found = dict(results) | {
        "data": data
        | {
            "source": PurePath(data["source"]).stem,
            "skipped": [["", ""] for _ in data.get("skipped") or []],
            "copies": _without_examples(data.get("copies")),
        }
    }
    if fidelity := dict(results.get("fidelity") or {}):
        fidelity |= {"warnings": []} if "warnings" in fidelity else {}
        if encoder := fidelity.get("encoder"):
            fidelity["encoder"] = encoder | {"name": PurePath(encoder["name"]).stem}
        found["fidelity"] = fidelity
    if results.get("shift"):
        tests = {
            name: measured | {"copies": _without_examples(measured.get("copies")) or {}}
            for name, measured in results["shift"].get("tests", {}).items()
        }
        found["shift"] = results["shift"] | {"tests": tests}
    return found


def _without_examples(copies: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if copies is None:
        return None
    return dict(copies) | {"shared": [each | {"examples": []} for each in copies.get("shared", ())]}
