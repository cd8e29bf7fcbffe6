"""Made-up sections ``fidelity``, ``shift``, ``memorisation`` and ``membership``: plausible, and every form
that they can take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.settings import CORRUPTIONS

ARMS = ("real", "synthetic", "mixed", "bridged")


def interval(mean: float, half: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def make_fidelity(names: Sequence[str]) -> dict[str, Any]:
    values = {
        "frechet_distance": (2.31, 1.12),
        "kid": (0.0042, -0.0003),
        "mmd": (0.131, 0.052),
        "cmmd": (0.412, 0.055),
        "precision": (0.91, 0.93),
        "recall": (0.62, 0.88),
        "density": (1.08, 0.99),
        "coverage": (0.71, 0.94),
        "vendi_score": (9.4, 12.75),
    }
    lower = ("frechet_distance", "kid", "mmd", "cmmd")

    def measure(name: str, value: float, floor: float) -> dict[str, Any]:
        half = 0.04 * abs(value)
        per_class: dict[str, Any] = {
            own: {
                "value": interval(value * (1 + 0.03 * place), half),
                "floor": interval(floor, half),
                "images": 5,
            }
            for place, own in enumerate(names)
        }
        per_class[names[-1]] = None
        better = "lower" if name in lower else "higher"
        within = {"value": interval(0.9 * value, half), "floor": interval(0.9 * floor, half)}
        return {
            "value": interval(value, half),
            "floor": interval(floor, half),
            **({"within_classes": within} if name in ("kid", "mmd", "cmmd") else {}),
            "better": better,
            "per_class": per_class,
        }

    return {
        "encoder": {"name": "mini", "fingerprint": "0123456789abcdef", "width": 128},
        "images": {"real": 50, "held_out": 50, "synthetic": 100},
        "compared": 50,
        "neighbours": 5,
        "plain_statistics": {
            "value": interval(0.981, 0.016),
            "floor": interval(0.523, 0.081),
            "size": 32,
            "grey": False,
        },
        "measures": {name: measure(name, *pair) for name, pair in values.items()},
        "warnings": [
            (
                "50 images are fewer than the 128 features: the Fréchet distance is larger than it would be "
                "with more."
            )
        ],
    }


def make_shift(names: Sequence[str], arms: Sequence[str] = ARMS) -> dict[str, Any]:
    def accuracy(arm: str, loss: float) -> dict[str, float]:
        return interval(0.88 + 0.015 * list(arms).index(arm) - loss, 0.016)

    def point(arm: str, loss: float) -> dict[str, Any]:
        minus = 0.015 * list(arms).index(arm)
        return {
            "accuracy": accuracy(arm, loss),
            "minus_real": interval(minus, 0.012 * bool(minus)),
            "balanced_accuracy": balanced(arm, loss),
            "ece": interval(0.03 + loss / 4, 0.008),
            "brier": interval(0.11 + loss / 2, 0.012),
        }

    def balanced(arm: str, loss: float) -> dict[str, Any]:
        return interval(accuracy(arm, loss)["mean"] - 0.02, 0.02) | {"minus_real": interval(0.011, 0.012)}

    def test(images: int, classes: Sequence[str], loss: float) -> dict[str, Any]:
        measured = {arm: point(arm, loss) for arm in arms}
        counts = [images // len(classes)] * len(classes)
        return {"images": images, "classes": list(classes), "per_class": counts, "arms": measured}

    return {
        "settings": {"corruptions": list(CORRUPTIONS), "severities": [1, 2, 3, 4, 5]},
        "per_class": [60] * len(names),
        "clean": {
            arm: {"accuracy": accuracy(arm, 0.0), "balanced_accuracy": balanced(arm, 0.0)} for arm in arms
        },
        "calibration": {
            arm: {"ece": interval(0.031, 0.008), "brier": interval(0.112, 0.012)} for arm in arms
        },
        "corruptions": {
            name: {
                arm: [
                    {"severity": severity, **point(arm, 0.02 * (place + 1) * severity / 2)}
                    for severity in range(1, 6)
                ]
                for arm in arms
            }
            for place, name in enumerate(CORRUPTIONS)
        },
        "mean_corruption": {
            arm: {
                "accuracy": accuracy(arm, 0.12),
                "minus_real": interval(0.015 * place, 0.011 * bool(place)),
                "balanced_accuracy": balanced(arm, 0.12),
            }
            for place, arm in enumerate(arms)
        },
        "tests": {"other-pens": test(600, names, 0.09), "two-classes": test(120, names[:2], 0.01)},
    }


def make_memorisation(
    train: LabelledSet, synthetic: LabelledSet, *, setting: str = "flag", flagged: int = 1
) -> dict[str, Any]:
    """The closest pairs are those of the synthetic images' own columns."""

    def space(unit: str, scale: float, *, source: bool) -> dict[str, Any]:
        def summary(by: float) -> dict[str, float]:
            return {"median": 0.16 * scale * by, "p05": 0.08 * scale * by, "min": 0.02 * scale * by}

        return {
            "unit": unit,
            "synthetic_to_train": summary(0.95),
            "held_out_to_train": summary(1.0),
            "synthetic_to_source": summary(1.3) if source else None,
            "closer_than_held_out": interval(0.561, 0.031),
        }

    distances = (
        np.array(synthetic.provenance("nearest_distance"), dtype=float) if len(synthetic) else np.empty(0)
    )
    ids, nearest = synthetic.ids, synthetic.provenance("nearest_id")
    return {
        "firewall": {
            "setting": setting,
            "threshold": None if setting == "off" else 0.031,
            "false_alarms": {"allowed": 0.01, "held_out": 0.0, "images": 50},
            "flagged": flagged,
            "exact": 0,
            "removed": 0 if setting == "flag" else flagged,
        },
        "spaces": {
            "pixel": space("copy distance", 1.0, source=True),
            "feature": space("cosine distance", 2.0, source=False),
        },
        "closest": [
            {
                "id": ids[index],
                "nearest": nearest[index],
                "distance": float(distances[index]),
                "held_out_percentile": float(place),
                "flag": "copy" if place == 0 else "",
            }
            for place, index in enumerate(np.argsort(distances)[:20].tolist())
        ],
    }


def make_membership(arms: Sequence[str] = ARMS) -> dict[str, Any]:
    fprs = np.logspace(-3, 0, 200)

    def attack(power: float) -> dict[str, Any]:
        return {
            "auc": interval(1 / (1 + power), 0.02),
            "tpr": [{"fpr": fpr, "tpr": interval(fpr**power, 0.3 * fpr**power)} for fpr in (0.001, 0.01)],
            "roc": {"fpr": [0.0, *fprs.tolist()], "tpr": [0.0, *(fprs**power).tolist()]},
        }

    powers = [0.55, *np.linspace(0.8, 1.0, len(arms) - 1).tolist()]
    return {
        "target": "classifier",
        "shadows": 64,
        "images": 600,
        "attacks": {
            name: {arm: attack(power**extent) for arm, power in zip(arms, powers, strict=True)}
            for name, extent in (("lira", 1.0), ("rmia", 0.8))
        },
        "arms": {
            arm: {
                "train_accuracy": 0.99,
                "test_accuracy": interval(0.87, 0.02),
                "epsilon": 8.0 if arm == "real-private" else None,
                "delta": 1e-3,
            }
            for arm in arms
        },
        "skipped": {
            "always-fresh": "The arm 'always-fresh' sees synthetic images alone: use "
            "membership.target=pipeline."
        },
        "seconds": 71.4,
        "promise": [
            "A low rate is no proof: another attack may find more.",
            "The rates are averages over images; single ones may be worse off.",
        ],
    }
