"""Some classes are rare: does it help to draw images of them, or to see the real ones more often?

``python examples/rare_classes.py IMAGES`` takes class folders. It prints the verdict, and for each class, the
rarest first, its train images and the share of its test images that each arm gets right.
"""

import sys
from pathlib import Path

import understudy


def main(
    images: str, out: Path = Path("runs/rare-classes"), **sections: dict[str, object]
) -> dict[str, object]:
    settings = understudy.build(
        understudy.defaults_for(images),
        {
            "data": {"source": images},
            "draw": {"per_class": 200},  # as many of each class, however few real images it has
            "compare": {"arms": ["real", "real+class-balanced", "mixed"], "verdict": "balanced_accuracy"},
        },
        sections,
    )
    results = understudy.run(settings, out)
    print(results["verdict"]["sentence"])
    classes, counts = results["data"]["classes"], results["data"]["per_class"]["train"]
    for label in sorted(range(len(classes)), key=lambda label: counts[label]):
        recalls = [f"{name} {arm['per_class'][label]:.2f}" for name, arm in results["arms"].items()]
        print(f"{classes[label]}: {counts[label]} train images, recall {', '.join(recalls)}")
    return results


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["digits"])
