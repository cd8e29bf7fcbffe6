"""After a run: take the images and the best classifier elsewhere, and train with the images yourself.

``python examples/after_a_run.py RUN EXPORTED`` takes the folder of a finished run, and a new folder for the
images. It prints the accuracy, on the test images of the run, of its best classifier and of one trained here.
"""

import json
import sys
from pathlib import Path

import understudy


def main(run: str, exported: str, **sections: dict[str, object]) -> None:
    folder = Path(run)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    train, synthetic, test = (
        understudy.LabelledSet.load(folder / f"{name}.parquet")
        for name in ("data/train", "synthetic/curated", "data/test")
    )
    understudy.export(synthetic, Path(exported), form="folder")  # class/00000000.png
    best = results["verdict"]["best"]
    classifier = understudy.TrainedClassifier.load(folder / "arms" / f"{best}-classifier")
    settings = understudy.build({"data": {"source": run}}, sections).compare
    mine = understudy.fit_arm(
        "mixed", train=train, synthetic=synthetic, settings=settings, seed=7, device="cpu"
    )
    for name, one in ((best, classifier), ("mixed, trained here", mine)):
        print(f"{name}: {(one.predict(test).argmax(axis=1) == test.labels).mean():.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/after_a_run.py RUN EXPORTED")
    main(*sys.argv[1:])
