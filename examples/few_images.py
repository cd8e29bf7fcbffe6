"""Few images per class: five whole runs and a verdict over all of them, since one run may just be lucky.

``python examples/few_images.py IMAGES`` takes class folders, or ``digits``. It prints the verdict, and what
each arm gains over training on the real images alone: points of accuracy, with a 95% interval over the runs.
"""

import sys
from pathlib import Path

import understudy


def main(
    images: str, out: Path = Path("runs/few-images"), *, repeats: int = 5, **sections: dict[str, object]
) -> dict[str, object]:
    settings = understudy.build(
        understudy.defaults_for(images),
        {
            "data": {"source": images},
            "adapt": {"steps": 200},  # a generator that is fitted for long repeats its few images
            "curate": {"firewall": "redraw"},  # and if it does, they are drawn again
        },
        sections,
    )
    study = understudy.run_study("repeats", settings, out, repeats=repeats)
    print(study["sentence"])
    for name, arm in study["points"][0]["arms"].items():
        if name != "real":
            mean, low, high = (100 * arm["minus_real"][end] for end in ("mean", "low", "high"))
            print(f"{name:12s} {mean:+5.1f}  [{low:+.1f}, {high:+.1f}]")
    return study


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["digits"])
