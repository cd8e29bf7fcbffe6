"""Fixed few-shot subsets: ``python -m benchmarks.fixed_subsets`` rewrites ``benchmarks/subsets/digits.json``.

The file is committed so that few-shot figures can be compared across versions and machines. Each subset lists
the first 16 train images of every class, in order: k shots are the first k images, so subsets are nested.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from understudy.core.files import write_text
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings

MOST, SUBSETS, SEED = 16, 5, 0
PATH = Path(__file__).parent / "subsets" / "digits.json"


def subsets() -> dict[str, dict[str, list[str]]]:
    """Ids of train images in order, by subset number and class."""
    return {str(number): _order(number) for number in range(SUBSETS)}


def _order(number: int) -> dict[str, list[str]]:
    order: dict[str, list[str]] = {}
    for shots in range(1, MOST + 1):
        train = load_splits(DataSettings(source="digits", shots=shots, subset=number), seed=SEED).train
        for label, name in enumerate(train.class_names):
            (new,) = set(_ids(train, label)) - set(order.setdefault(name, []))
            order[name].append(new)
    return order


def _ids(train: LabelledSet, label: int) -> list[str]:
    return [train.ids[index] for index in np.flatnonzero(train.labels == label)]


def as_text(content: dict[str, dict[str, list[str]]]) -> str:
    """JSON with one line per class."""
    subset_texts = []
    for number, classes in content.items():
        lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(ids)}" for name, ids in classes.items())
        subset_texts.append(f"  {json.dumps(number)}: {{\n{lines}\n  }}")
    return "{\n" + ",\n".join(subset_texts) + "\n}\n"


if __name__ == "__main__":
    write_text(PATH, as_text(subsets()))
