"""Run folders in the states that `understudy watch` shows."""

import json
import os
import platform
import shutil
import time
from pathlib import Path

FIXTURE = Path(__file__).parent / "fixtures" / "run-0.1.0" / "run"
AFTER_ADAPT = (
    "draw",
    "curate",
    "fidelity",
    "memorisation",
    "tune",
    "compare",
    "shift",
    "membership",
    "report",
)


def whole(folder: Path) -> Path:
    """A finished run of an older version."""
    shutil.copytree(FIXTURE, folder)
    return folder


def half(folder: Path) -> Path:
    """A run that has adapted and drawn a part of its images; nothing works there."""
    whole(folder)
    for stage in AFTER_ADAPT:
        (folder / "stages" / f"{stage}.json").unlink()
    for name in ("arms", "membership", "synthetic/variants"):
        shutil.rmtree(folder / name)
    for name in ("results.json", "README.md", "synthetic/curated.parquet", "synthetic/decisions.parquet"):
        (folder / name).unlink()
    shutil.rmtree(folder / "synthetic" / "images" / "round-01")
    return folder


def hold(folder: Path, process: int | None = None) -> None:
    """Name this process, or another one, as the one that works in a folder."""
    number = os.getpid() if process is None else process
    (folder / ".lock").write_text(f"process {number} on {platform.node()}")


def note(folder: Path, *, text: str = "draw round-00", done: int = 30, message: str = "hello", **bar) -> None:
    """Write the progress file of a run: ten units in the last ten seconds."""
    now = time.time()
    entry = {
        "text": text,
        "unit": "images",
        "total": 100,
        "done": done,
        "began": now - 10,
        "first": done - 10,
    }
    content = {
        "written": now,
        "bars": [entry | {"measured": {}} | bar],
        "messages": [{"time": now, "text": message}],
    }
    (folder / "progress.json").write_text(json.dumps(content))


def running(folder: Path, **progress) -> Path:
    """A half-done run in which this process works."""
    half(folder)
    hold(folder)
    note(folder, **progress)
    return folder
