"""A run stage by stage, as in a notebook: look at the images before anything is trained on them.

With the settings below, ``python examples/stages.py`` takes about a minute on two CPU cores. In a notebook,
write each line of ``main`` in a cell: what a stage made shows itself there, with images.
"""

from pathlib import Path

import understudy


def main(out: Path = Path("runs/stages"), **sections: dict[str, object]) -> understudy.StagedRun:
    settings = {
        "data": {"shots": 5},
        "adapt": {"steps": 150},
        "draw": {"per_class": 20},
        "compare": {"steps": 100, "arms": ["real", "synthetic", "bridged"]},
    }
    this = understudy.StagedRun("digits", out, **settings | sections)
    print(this.draw())  # adapts the generator too; nothing that is finished is done again
    print(this.compare())
    print(this.report())
    return this


if __name__ == "__main__":
    main()
