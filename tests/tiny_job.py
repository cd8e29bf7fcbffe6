"""A whole job that takes seconds: a folder of noisy pets, and settings as small as they can be."""

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny import two_classes

from understudy.core.files import write_text
from understudy.report import ranking_page, study_page
from understudy.report.html import write_report
from understudy.settings import build

SECTIONS = {
    "adapt": {
        "steps": 4,
        "batch_size": 4,
        "validate_every": 2,
        "checkpoint_every": 2,
        "validation_pairs": 16,
        "augmentation": "affine",
    },
    "draw": {"per_class": 3, "steps": 2, "part_size": 2, "batch_size": 2, "precision": "float32"},
    "curate": {"threshold": 0.0, "max_refills": 1},
    "compare": {
        "backbone": "test_resnet",
        "pretrained": False,
        "resolution": 16,
        "steps": 4,
        "batch_size": 8,
        "augmentation": "none",
        "num_seeds": 3,
        "curve_points": 0,
        "bootstrap": 100,
    },
}
STUDY_FIGURES = {
    "understudy.report.study_page.point_curves": study_page.point_curves,
    "understudy.report.ranking_page._accuracies": ranking_page._accuracies,
}
"""What draws the figures of a study's page."""
BUNDLED = {"backbone": "mini", "pretrained": True, "resolution": None}
"""For ``compare``: the classifier that comes with the package, which knows letters already."""
OPTIONS = [
    word
    for section, keys in SECTIONS.items()
    for key, value in keys.items()
    for word in ("--set", f"{section}.{key}={value}")
]
"""The same for the command line."""


def write_pets(root, per_class=12, *, size=16, seed=0):
    """``cat/0.png`` and so on."""
    data = two_classes(2 * per_class, size=size, seed=seed)
    for index, label in enumerate(data.labels):
        path = Path(root) / data.class_names[label] / f"{index // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encoded(index))
    return Path(root)


def tiny_settings(source, generator, **sections):
    return build(SECTIONS, {"data": {"source": str(source)}, "generator": {"name": str(generator)}}, sections)


def write_plain_report(path, *_, **__):
    """The sections that a page would have, by what is in ``results.json``."""
    results = json.loads((path.parent / "results.json").read_text())
    write_text(path, "".join(f'<section id="{name}"></section>' for name in results) + "</html>")


@contextmanager
def real_page():
    """Runs write their real page, also in modules whose runs write a plain one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("understudy.pipeline.report.write_report", write_report)
        yield


def tree(folder):
    """SHA-256 of every file below a folder, and its folders, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(Path(folder).rglob("*"))
    }


def times(folder):
    """Modification time of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


class Listener:
    """Remembers what a run says, and how far its bars went."""

    def __init__(self):
        self.lines, self.bars = [], {}

    def say(self, text):
        self.lines.append(text)

    @contextmanager
    def bar(self, text, *, total, unit):
        self.bars[text] = {"done": 0, "total": total}

        def advance(amount):
            self.bars[text]["done"] += amount

        yield advance


def results_of(folder):
    """``results.json`` of a run."""
    return json.loads((folder / "results.json").read_text())


def adapter_of(folder):
    """Files of a run's adapter, without what only a resumed adaptation needs."""
    return {path: digest for path, digest in tree(folder / "adapter").items() if path != "checkpoint.pt"}
