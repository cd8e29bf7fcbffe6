"""Check that a ``results.json`` has the documented structure: ``python -m benchmarks.check_results FILE``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

_SECTIONS = (
    "schema",
    "data",
    "adaptation",
    "curation",
    "arms",
    "verdict",
    "fidelity",
    "memorisation",
    "cost",
    "environment",
)


def main(path: Path) -> None:
    """Raise AssertionError at the first deviation from the documented structure."""
    results = json.loads(path.read_text())
    missing = [section for section in _SECTIONS if section not in results]
    assert not missing, f"missing sections: {missing}"
    assert results["schema"] == 1
    assert "real" in results["arms"]
    for name, arm in results["arms"].items():
        accuracy = arm["accuracy"]
        assert 0 <= accuracy["low"] <= accuracy["mean"] <= accuracy["high"] <= 1, name
        assert len(accuracy["seeds"]) >= 3, name
        assert len(arm["per_class"]) == len(results["data"]["classes"]), name
        assert arm["minus_real"]["low"] <= arm["minus_real"]["mean"] <= arm["minus_real"]["high"], name
    assert results["verdict"]["sentence"]
    assert (path.parent / "report.html").stat().st_size > 10_000
    print(f"{path}: as documented; {results['verdict']['sentence']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
