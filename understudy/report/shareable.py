"""What a page may say to those who must not see the real images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.report.licences import source_name


def without_names(results: Mapping[str, Any]) -> dict[str, Any]:
    """Content of ``results.json`` without names of files, which can name people, and without paths.

    Names of classes, and all figures, stay.
    """
    data = results["data"]
    found = dict(results) | {
        "data": data
        | {
            "source": source_name(data["source"]),
            "skipped": [["", reason] for _, reason in data.get("skipped") or []],
            "copies": _without_examples(data.get("copies")),
        }
    }
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
