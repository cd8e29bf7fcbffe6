"""Images that must stay private: are synthetic images copies, and does a classifier betray its train images?

``python examples/private_images.py IMAGES`` takes class folders. It prints how many copies were replaced and
how many are left, and how well an attacker tells train images from others: 0.5 is chance. Before you share
anything, read in docs/limits.md what this cannot show.
"""

import sys
from pathlib import Path

import understudy


def main(
    images: str, out: Path = Path("runs/private-images"), **sections: dict[str, object]
) -> dict[str, object]:
    settings = understudy.build(
        understudy.defaults_for(images),
        {
            "data": {"source": images},
            "curate": {"firewall": "redraw"},  # a copy of a train image is replaced by another image
            "membership": {
                "measure": True,
                "arms": ["real", "synthetic"],
                "target": "pipeline",
                "shadows": 16,
            },
        },
        sections,
    )
    results = understudy.run(settings, out)
    copies = results["memorisation"]["firewall"]
    print(f"copies: {copies['removed']} replaced, {copies['flagged']} left")
    for name, attack in results["membership"]["attacks"]["lira"].items():
        area = attack["auc"]
        print(f"attack on {name}: {area['mean']:.2f}  [{area['low']:.2f}, {area['high']:.2f}]")
    return results


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["digits"])
