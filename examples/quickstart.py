"""Adapt the generator to five real handwritten digits per class, draw a synthetic set, and measure its worth.

With the settings below, ``python examples/quickstart.py`` takes about a minute on two CPU cores.
"""

from pathlib import Path

import understudy


def main(out: Path = Path("runs/quickstart"), **sections: dict[str, object]) -> dict[str, object]:
    settings = understudy.build(
        {
            "data": {"source": "digits", "shots": 5},
            "adapt": {"steps": 150},
            "draw": {"per_class": 20},
            "compare": {"steps": 100, "arms": ["real", "synthetic", "bridged"]},
        },
        sections,
    )
    results = understudy.run(settings, out)
    for name, arm in results["arms"].items():
        accuracy = arm["accuracy"]
        print(f"{name:10s} {accuracy['mean']:.3f}  [{accuracy['low']:.3f}, {accuracy['high']:.3f}]")
    print(results["verdict"]["sentence"])
    return results


if __name__ == "__main__":
    main()
