"""Plug in parts of your own: a score that decides which images are kept, and a strategy to train on them.

``python examples/own_parts.py IMAGES`` takes class folders, or ``digits``. It prints how many images the
score let through, and what ``mixed`` gains over the real images alone, without and with the strategy.
"""

import sys
from pathlib import Path

import numpy as np

import understudy
from understudy.curation.scores import SCORES, asks
from understudy.training.strategies import STRATEGIES, Strategy


@SCORES.register("margin", summary="by how much the judge prefers the intended class to any other")
@asks("real", threshold=0.1)
def margin(drawn, judge):
    probabilities = judge.predict(drawn)  # (N, classes)
    is_intended = np.arange(probabilities.shape[1]) == drawn.labels[:, None]
    others = np.where(is_intended, 0, probabilities).max(axis=1)
    return np.clip(probabilities[is_intended] - others, 0, 1)


def smoothed(phases):
    return tuple(phase if phase.data == "real" else phase.changed(label_smoothing=0.1) for phase in phases)


SMOOTHED = Strategy(
    summary="labels of synthetic images are not quite certain",
    addresses=("quality",),
    source="Szegedy et al. 2016 (arXiv:1512.00567)",
    change_phases=smoothed,
)
STRATEGIES.register("smoothed")(SMOOTHED)


def main(images: str, out: Path = Path("runs/own-parts"), **sections: dict[str, object]) -> dict[str, object]:
    settings = understudy.build(
        understudy.defaults_for(images),
        {
            "data": {"source": images},
            "curate": {"score": "margin"},
            "compare": {"arms": ["real", "mixed", "mixed@smoothed"]},
        },
        sections,
    )
    results = understudy.run(settings, out)
    print(f"{results['curation']['kept']} of {results['curation']['drawn']} drawn images are kept")
    for name in ("mixed", "mixed@smoothed"):
        print(f"{name:16s} {100 * results['arms'][name]['minus_real']['mean']:+.1f} points")
    return results


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["digits"])
