"""Images that no generator knows, such as grey medical ones: train a generator on them alone, and look first.

``python examples/unusual_images.py IMAGES`` takes class folders. It prints how many drawn images a classifier
of the real ones takes for their class, and the verdict. Nothing is learned from any other images: the
classifiers start from random weights too.
"""

import sys
from pathlib import Path

import understudy


def main(
    images: str, out: Path = Path("runs/unusual-images"), **sections: dict[str, object]
) -> dict[str, object]:
    settings = understudy.build(
        understudy.defaults_for(images, generator="class_conditional"),
        {
            "data": {"source": images},
            "generator": {"name": "class_conditional", "resolution": 64, "patch": 4},
            "adapt": {"augmentation": "affine"},  # does not mirror: left and right may differ
            "compare": {
                "backbone": "resnet10t",
                "pretrained": False,
                "resolution": 64,
                "augmentation": "affine",
            },
        },
        sections,
    )
    understudy.run(settings, out, until="curate")
    print(f"look at {out / 'synthetic' / 'samples.png'} before you go on")
    results = understudy.run(settings, out)
    share, chance = results["fidelity"]["agreement"]["mean"], 1 / len(results["data"]["classes"])
    print(f"drawn as intended: {share:.0%} (chance: {chance:.0%})")
    print(results["verdict"]["sentence"])
    return results


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["digits"])
