"""The stages that a run does only if asked: tune, scale, gap and shift. All but tune can be added later.

``python examples/more_questions.py IMAGES`` takes class folders, or ``digits``. It prints the learning rate
that suits each arm, how many real images the synthetic ones stand for, where the gap to real images comes
from, and the accuracy on corrupted test images.
"""

import sys
from pathlib import Path

import understudy


def main(
    images: str, out: Path = Path("runs/more-questions"), **sections: dict[str, object]
) -> dict[str, object]:
    first = {"data": {"source": images}, "tune": {"learning_rates": [1e-3, 3e-3]}}
    added = {
        "scale": {"times": [1, 2, 5]},
        "gap": {"measure": True},
        "shift": {"measure": True, "corruptions": ["noise", "blur"]},
    }
    defaults = understudy.defaults_for(images)
    understudy.run(understudy.build(defaults, first, sections), out)
    results = understudy.run(
        understudy.build(defaults, first, added, sections), out
    )  # keeps what is finished
    for name, arm in results["tuning"].items():
        print(f"{name}: learning rate {arm['chosen']['learning_rate']:g}")
    for worth in results["scale"]["arms"]["synthetic"]["worth_real_images"]:
        print(f"{worth['images']} synthetic images are worth {worth['mean'] or 'more than all'} real ones")
    print(results["gap"]["hypothesis"]["sentence"])
    for name, arm in results["shift"]["mean_corruption"].items():
        print(f"{name}: {arm['accuracy']['mean']:.3f} on corrupted images")
    return results


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["digits"])
