"""Write digits of which some are rare: ``python docs/unbalanced_digits.py FOLDER``, for ``docs/gallery.md``.

Class 0 keeps all its train images, about 60, and each further class has fewer, down to 3 of class 9. There is
a validation image for every three train images; test images stay as they are.
"""

import sys
from pathlib import Path

import numpy as np

from understudy.data.load import load_splits
from understudy.data.settings import DataSettings

MOST, FEWEST = 60, 3


def main(folder: Path) -> None:
    splits = load_splits(DataSettings(source="digits"), seed=0)
    train = np.geomspace(MOST, FEWEST, len(splits.train.class_names)).round().astype(int)
    for data, most in (
        (splits.train, train),
        (splits.val, train // 3),
        (splits.test, [len(splits.test)] * 10),
    ):
        for label, name in enumerate(data.class_names):
            to = folder / data.split / name
            to.mkdir(parents=True, exist_ok=True)
            for index in np.flatnonzero(data.labels == label)[: most[label]].tolist():
                data.image(index).save(to / f"{index:04d}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
