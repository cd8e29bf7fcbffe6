"""Images that another tool has drawn: what are they worth?

``python examples/ready_made.py IMAGES DRAWN`` takes class folders of real images, and class folders of drawn
ones with the same names. It prints the verdict, and how close the drawn images come to the real ones.
"""

import sys
from pathlib import Path

import understudy


def main(
    images: str, drawn: str, out: Path = Path("runs/ready-made"), **sections: dict[str, object]
) -> dict[str, object]:
    settings = understudy.build(
        understudy.defaults_for(images, generator="folder"),
        {
            "data": {"source": images},
            "generator": {"name": "folder", "images": [drawn]},  # several sets get equal shares
            "draw": {"per_class": 50},  # at most what the set holds
            "curate": {"max_refills": 0},  # rejected images are not replaced, since there may be no others
        },
        sections,
    )
    results = understudy.run(settings, out)
    print(results["verdict"]["sentence"])
    for name, measure in results["fidelity"]["measures"].items():
        print(f"{name}: {measure['value']['mean']:.3f}, other real images {measure['floor']['mean']:.3f}")
    return results


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/ready_made.py IMAGES DRAWN")
    main(*sys.argv[1:])
