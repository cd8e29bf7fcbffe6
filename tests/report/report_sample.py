"""A small realistic run to report on: digits as real images, shifted and noisy digits as synthetic ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from measured_sample import make_fidelity, make_membership, make_memorisation, make_shift
from PIL import Image
from sklearn.datasets import load_digits

from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.gap import summarise_gap
from understudy.report.html import write_report
from understudy.report.report_data import Form, ReportData
from understudy.settings import Settings, build
from understudy.training.records import ArmResult

SECTIONS = (
    "adaptation",
    "curation",
    "fidelity",
    "memorisation",
    "shift",
    "membership",
    "cost",
    "environment",
)


@dataclass(frozen=True, kw_only=True)
class Sample:
    results: dict[str, Any]
    settings: Settings
    train: LabelledSet
    synthetic: LabelledSet
    confusions: dict[str, np.ndarray]
    test: LabelledSet | None = None
    predictions: dict[str, np.ndarray] = field(default_factory=dict)

    def write(self, path: Path, *, form: Form = "whole", shareable: LabelledSet | None = None) -> str:
        data = ReportData(
            results=self.results,
            settings=self.settings,
            train=self.train,
            synthetic=self.synthetic,
            confusions=self.confusions,
            arm_summaries={"real": "real images alone", "bridged": "first synthetic images, then real ones"},
            test=self.test,
            predictions=self.predictions,
            shareable=shareable,
        )
        write_report(path, data, form=form)
        return path.read_text(encoding="utf-8")


def make_sample(
    *,
    num_classes: int = 10,
    class_names: list[str] | None = None,
    helps: bool = True,
    per_class: int = 5,
    measured: bool = False,
) -> Sample:
    """A run; ``measured`` adds fidelity measures, shift and membership, whose many figures take time."""
    rng = np.random.default_rng([7, num_classes])
    names = class_names or [str(label) for label in range(num_classes)]
    train, synthetic = _sets(rng, names, per_class)
    test = train.with_split("test").select(np.arange(len(train))[::-1])
    predictions = {arm: rng.integers(0, num_classes, size=(3, len(test))) for arm in ("real", "bridged")}
    accuracy = {"real": 0.871, "synthetic": 0.906, "mixed": 0.922, "bridged": 0.931}
    if not helps:
        accuracy = {"real": 0.871, "synthetic": 0.412, "mixed": 0.862, "bridged": 0.874}
    confusions = {arm: _confusion(rng, value, num_classes) for arm, value in accuracy.items()}
    results = _results(rng, names, accuracy, confusions, helps=helps, train=train, synthetic=synthetic)
    if measured:
        results["fidelity"] |= make_fidelity(names)
        results |= {"shift": make_shift(names, list(accuracy)), "membership": make_membership(list(accuracy))}
    return Sample(
        results=results,
        settings=build({"data": {"source": "digits", "shots": per_class}}),
        train=train,
        synthetic=synthetic,
        confusions=confusions,
        test=test,
        predictions=predictions,
    )


def make_whole() -> Sample:
    """A run with every section there is."""
    sample = make_sample(num_classes=3, measured=True)
    more = {"scale": make_scale(), "gap": make_gap(sample.results["data"]["classes"])}
    return replace(sample, results=sample.results | more)


def unbalanced(results: dict[str, Any], *, measure: str = "balanced_accuracy") -> dict[str, Any]:
    """The same results of a test set with a large class and a very small one, after the first counts."""
    counts = results["data"]["per_class"]
    test = [130, 4, *counts["test"][2:]]
    return results | {
        "data": results["data"] | {"per_class": counts | {"test": test}},
        "verdict": results["verdict"] | {"measure": measure},
    }


def before_class_means(results: dict[str, Any]) -> dict[str, Any]:
    """The same results without what runs of older versions lack: means over classes, and counts."""
    new = ("balanced_accuracy", "macro_f1", "precision_per_class", "val_balanced_accuracy")

    def without(part: dict[str, Any], *names: str) -> dict[str, Any]:
        return {name: value for name, value in part.items() if name not in names}

    return results | {
        "data": without(results["data"], "per_class"),
        "arms": {name: without(arm, *new) for name, arm in results["arms"].items()},
        "verdict": without(results["verdict"], "measure"),
    }


def smooth_images(count: int, split: str, names: tuple[str, ...], size: int = 32) -> LabelledSet:
    """Smooth random images: as hard to compress as photographs are."""
    rng = np.random.default_rng([count, size])
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    images = [Image.fromarray(own).resize((size, size), Image.Resampling.BICUBIC) for own in coarse]
    provenance = {
        "nearest_id": [f"train-{index:08d}" for index in rng.integers(0, 400, count)],
        "nearest_distance": rng.random(count),
        "score": rng.random(count),
    }
    return LabelledSet.from_images(
        images,
        np.arange(count) % len(names),
        class_names=names,
        split=split,
        provenance=provenance if split == "synthetic" else None,
    )


def make_scale() -> dict[str, Any]:
    """A section ``scale``: two arms, one of which overtakes real at 4 times; worth below, within and beyond
    the real sets.
    """

    def point(mean: float, **size: float) -> dict[str, Any]:
        return size | {
            "mean": mean,
            "low": mean - 0.017,
            "high": mean + 0.016,
            "seeds": [mean - 0.004, mean, mean + 0.004],
        }

    times, images = [1.0, 2.0, 4.0, 10.0], [600, 1200, 2400, 6000]
    accuracy = {"synthetic": [0.742, 0.781, 0.803, 0.832], "mixed": [0.869, 0.884, 0.901, 0.9117]}
    worth = {
        "synthetic": [(75, 75, 80.25), (98.5, 75, 140.25), (150.75, 110.5, 260.125), (270.0, 160.5, 480.25)],
        "mixed": [(590.5, 410.25, None), (None, 470.125, None), (None, None, None), (None, None, None)],
    }
    arms = {}
    for arm, means in accuracy.items():
        sizes = [{"times": time, "images": number} for time, number in zip(times, images, strict=True)]
        arms[arm] = {
            "curve": [point(mean, **size) for mean, size in zip(means, sizes, strict=True)],
            "log_fit": {
                "intercept": {"mean": means[0] + 0.002, "low": means[0] - 0.013, "high": means[0] + 0.018},
                "per_doubling": {
                    "mean": 0.0251 if arm == "synthetic" else 0.0131,
                    "low": 0.0062,
                    "high": 0.0319,
                },
            },
            "worth_real_images": [
                size | dict(zip(("mean", "low", "high"), ends, strict=True))
                for size, ends in zip(sizes, worth[arm], strict=True)
            ],
            "overtakes_real_at": {
                "times": None if arm == "synthetic" else 4.0,
                "rule": "first size whose interval lies above 0",
            },
            "marginal": [
                {
                    "from": before,
                    "to": after,
                    "per_doubling": {"mean": gain, "low": gain - 0.012, "high": gain + 0.011},
                }
                for before, after, gain in zip(times, times[1:], (0.031, 0.018, 0.004), strict=False)
            ],
            "next_doubling": {
                "times": 20.0,
                "images": 12000,
                "gain": {"mean": -0.004, "low": -0.011, "high": 0.003},
            }
            if arm == "mixed"
            else None,
            "minus_real": [
                {"times": time, "mean": mean - 0.871, "low": mean - 0.894, "high": mean - 0.853}
                for time, mean in zip(times, means, strict=True)
            ],
        }
    real = [
        point(mean, images=number) for number, mean in {75: 0.752, 150: 0.803, 300: 0.841, 600: 0.871}.items()
    ]
    return {"times": times, "images": images, "real": {"curve": real}, "arms": arms, "stopped": None}


def make_gap(
    names: list[str] | None = None,
    *,
    rates: dict[str, float] | None = None,
    redrawn: dict[float, float] | None = None,
) -> dict[str, Any]:
    """A section ``gap`` of 997 test images and three seeds, with the side measures and the advice that a run
    adds.
    """
    names = names or [str(label) for label in range(10)]
    labels, hardness = np.arange(997) % len(names), np.random.default_rng(1).permutation(997) / 997
    rates = rates or {
        "real": 0.962,
        "plain": 0.781,
        "filtered": 0.802,
        "fresh": 0.824,
        "filtered+fresh": 0.845,
        "diverse": 0.79,
        "matched": 0.786,
    }

    def arm(name: str, rate: float) -> ArmResult:
        spread = np.random.default_rng(round(1e6 * rate)).normal(0, 0.004, size=(3, 1))
        predicted = np.where(hardness < rate + spread, labels, (labels + 1) % len(names))
        return ArmResult(
            arm=name,
            seeds=(0, 1, 2),
            probabilities=np.eye(len(names))[predicted],
            labels=labels,
            val_accuracy=(rate,) * 3,
            val_loss=(0.1,) * 3,
            seconds=1.0,
            steps=10,
            histories=({},) * 3,
        )

    redrawn = {0.05: 0.941, 0.2: 0.935, 0.4: 0.915, 0.6: 0.871, 0.8: 0.802} if redrawn is None else redrawn
    recognised = {
        at: {"mean": 1 - 0.09 * at, "low": 0.99 - 0.1 * at, "high": 1 - 0.08 * at} for at in redrawn
    }
    gap = summarise_gap(
        {role: arm(role, rate) for role, rate in rates.items()},
        {strength: arm(f"redrawn {strength}", rate) for strength, rate in redrawn.items()},
        class_names=names,
        real_again=[arm("again", rates["real"] - 0.008)],
        gan_test=recognised,
    )
    return gap | {"side_measures": _side_measures(), "advice": _advice()}


def _side_measures() -> dict[str, Any]:
    def of(coverage: float, told: float) -> dict[str, Any]:
        accuracy = {"mean": told, "low": told - 0.02, "high": min(1.0, told + 0.02)}
        scores = {
            "density": 1.12,
            "coverage": coverage,
            "diversity": coverage + 0.1,
            "vendi": 9.4,
            "vendi_real": 12.75,
        }
        return scores | {"separability": {"accuracy": accuracy, "auc": accuracy}}

    gan_test = {"mean": 0.971, "low": 0.958, "high": 0.984}
    unknown = dict.fromkeys(("density", "coverage", "diversity", "vendi", "vendi_real"))
    return {
        "plain": {"gan_test": gan_test, "raw": of(0.5, 0.99), "task": of(0.64, 0.71)},
        "redrawn 0.05": {
            "gan_test": None,
            "raw": of(0.9, 0.81),
            "task": unknown | {"separability": of(0.9, 0.55)["separability"]},
        },
        "synthetic@matched": {"gan_test": gan_test, "raw": of(0.5, 0.98), "task": of(0.82, 0.6)},
    }


def _advice() -> list[dict[str, Any]]:
    def gain(mean: float) -> dict[str, float]:
        return {"mean": mean, "low": mean - 0.012, "high": mean + 0.011}

    rows = [
        (
            "agreement-filter",
            "draw anew what a classifier of the real images does not take for its class",
            ["quality"],
            {},
        ),
        (
            "refresh",
            "after every pass over the synthetic images, train on freshly drawn ones",
            ["quantity"],
            {"synthetic": 0.043},
        ),
        (
            "several-generators",
            "three generators, adapted with different seeds, draw a third each",
            ["content"],
            {},
        ),
        (
            "diverse",
            "start from noise that is a tenth wider, and leave guidance out",
            ["content"],
            {"synthetic": 0.009, "mixed": -0.002},
        ),
        (
            "two-stream",
            "half of every batch each; both losses count alike",
            ["content", "quantity"],
            {"mixed": 0.012},
        ),
    ]
    return [
        {
            "name": name,
            "summary": summary,
            "addresses": terms,
            "gains": {setting: gain(mean) for setting, mean in gains.items()},
        }
        for name, summary, terms, gains in rows
    ]


def _sets(rng: np.random.Generator, names: list[str], per_class: int) -> tuple[LabelledSet, LabelledSet]:
    digits = load_digits()
    real, drawn, labels, drawn_labels, sources = [], [], [], [], []
    for label in range(len(names)):
        for number, index in enumerate(np.flatnonzero(digits.target == label % 10)[: 2 * per_class]):
            levels = Image.fromarray((255 - digits.images[index] * 15.9).astype(np.uint8))
            image = np.asarray(levels.resize((32, 32), Image.Resampling.BICUBIC).convert("RGB"))
            if number < per_class:
                real.append(np.ascontiguousarray(image.transpose(2, 0, 1)))
                labels.append(label)
            noisy = np.roll(image, rng.integers(-2, 3, size=2), axis=(0, 1)) + rng.normal(
                0, 9, size=(32, 32, 1)
            )
            drawn.append(np.clip(noisy, 0, 255).astype(np.uint8).transpose(2, 0, 1))
            drawn_labels.append(label)
            sources.append(f"train-{label * per_class + number % per_class:08d}")
    distances = np.round(rng.gamma(8, 0.02, size=len(drawn)), 4)
    provenance = {
        "nearest_id": sources,
        "nearest_distance": distances.tolist(),
        "score": np.round(rng.uniform(0.5, 1, size=len(drawn)), 3).tolist(),
        "flag": ["copy" if distance == distances.min() else None for distance in distances],
        "source_id": sources[::-1],
    }
    train = LabelledSet.from_images(real, labels, class_names=names, split="train")
    return train, LabelledSet.from_images(
        drawn, drawn_labels, class_names=names, split="synthetic", provenance=provenance
    )


def _confusion(rng: np.random.Generator, accuracy: float, num_classes: int) -> np.ndarray:
    """Three seeds, 40 test images per class, mistakes spread unevenly."""
    if num_classes == 1:
        return np.array([[120]])
    rows = []
    for label in range(num_classes):
        wrong = rng.dirichlet(np.full(num_classes - 1, 0.25)) * (1 - accuracy)
        rows.append(rng.multinomial(120, np.insert(wrong, label, 1 - wrong.sum())))
    return np.array(rows)


def _arm(
    name: str, mean: float, real: float, confusion: np.ndarray, *, rng: np.random.Generator, seconds: float
) -> dict[str, Any]:
    def measured(mean: float) -> dict[str, Any]:
        return {
            "mean": mean,
            "low": mean - 0.0171,
            "high": mean + 0.0163,
            "seeds": (mean + rng.normal(0, 0.004, 3)).tolist(),
        }

    def minus_real(difference: float) -> dict[str, float]:
        ends = {"low": difference - 0.0152, "high": difference + 0.0149}
        return {"mean": difference, **(ends if name != "real" else {"low": 0.0, "high": 0.0})}

    return {
        "accuracy": measured(mean),
        "val_accuracy": mean - 0.006,
        "val_balanced_accuracy": mean - 0.008,
        "per_class": (np.diag(confusion) / confusion.sum(axis=1)).tolist(),
        "per_class_intervals": [
            {"mean": share, "low": 0.9 * share, "high": share + 0.1 * (1 - share)}
            | {"minus_real": minus_real(mean - real)}
            for share in (np.diag(confusion) / confusion.sum(axis=1)).tolist()
        ],
        "precision_per_class": (np.diag(confusion) / np.maximum(1, confusion.sum(axis=0))).tolist(),
        "minus_real": minus_real(mean - real),
        "balanced_accuracy": measured(mean - 0.011) | {"minus_real": minus_real(mean - real + 0.002)},
        "macro_f1": measured(mean - 0.013),
        "seconds": seconds,
    }


def _results(
    rng: np.random.Generator,
    names: list[str],
    accuracy: dict[str, float],
    confusions: dict[str, np.ndarray],
    *,
    helps: bool,
    train: LabelledSet,
    synthetic: LabelledSet,
) -> dict[str, Any]:
    sentence = (
        "bridged beats training on the real images alone by 6.0 points [4.5, 7.5]: 93.1% against 87.1% "
        "accuracy on 997 real test images (3 seeds)."
        if helps
        else "This test shows no difference between bridged and the real images alone, +0.3 points [-1.2, "
        "+1.8]: 87.4% against 87.1% accuracy on 997 real test images (3 seeds)."
    )
    agreement = rng.uniform(0.8, 1, size=len(names)).tolist()
    return {
        "schema": 1,
        "data": {
            "source": "digits",
            "classes": names,
            "train": len(train),
            "val": 50,
            "test": 997,
            "shots": 5,
            "skipped": [],
            "per_class": {
                "train": train.counts.tolist(),
                "val": [50 // len(names)] * len(names),
                "test": [40] * len(names),
                "synthetic": synthetic.counts.tolist(),
            },
            "notes": [],
            "left_out": [],
            "copies": {
                "looked_for": "the same pixels, flips",
                "not_looked_for": "corners",
                "all_kinds": True,
                "shared": [],
            },
        },
        "adaptation": {
            "method": "full",
            "steps": 600,
            "best_step": 400,
            "val_loss_before": 0.3412,
            "val_loss_after": 0.1213,
            "curve": [
                [0, 0.3412],
                [100, 0.1861],
                [200, 0.1402],
                [300, 0.1256],
                [400, 0.1213],
                [500, 0.1229],
                [600, 0.1247],
            ],
        },
        "curation": {
            "drawn": len(synthetic) + 23,
            "kept": len(synthetic),
            "rejected": {"score below threshold": 19, "nearly constant": 4},
            "rounds": 2,
            "missing": {names[-1]: 1},
        },
        "arms": {
            name: _arm(name, mean, accuracy["real"], confusions[name], rng=rng, seconds=21.5 + 3 * index)
            for index, (name, mean) in enumerate(accuracy.items())
        },
        "verdict": {
            "best": "bridged",
            "chosen_on": "val",
            "measure": "accuracy",
            "helps": helps,
            "sentence": sentence,
        },
        "fidelity": {
            "agreement": {"mean": float(np.mean(agreement)), "per_class": agreement},
            "domain": {
                "images": 90,
                "agreement": {"mean": 0.9, "low": 0.82, "high": 0.95},
                "chance": 0.2,
                "knows": True,
            },
        },
        "memorisation": make_memorisation(train, synthetic),
        "cost": {
            "seconds": {"load": 1.12, "adapt": 81.3, "draw": 27.4, "curate": 9.8, "compare": 104.2},
            "images_per_second": 36.2,
            "peak_memory_gb": 1.9,
        },
        "environment": {
            "python": "3.11.2",
            "platform": "Linux-6.1-x86_64",
            "cpus": 2,
            "threads": 2,
            "device": "cpu",
            "versions": {"understudy": "0.1.0", "torch": "2.11.0", "numpy": "2.1.0"},
            "commit": "0123abc",
            "command": "understudy run digits --shots 5 --preset quick --out runs/digits",
        },
    }
