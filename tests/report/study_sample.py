"""A made-up study: accuracies rise with the points and vary a little between repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from understudy.commands.study import STUDIES
from understudy.evaluation.choice import Choice
from understudy.evaluation.repeats import study_sentence, summarise_points
from understudy.evaluation.verdict_over_runs import verdict_over_runs
from understudy.report.study_page import write_study_page
from understudy.settings import build, to_yaml

_ENDS = ("mean", "low", "high")
ARMS = ("real", "synthetic", "mixed", "bridged")


def make_study(
    kind: str = "volume",
    *,
    points: list[Any] | None = None,
    repeats: int = 3,
    arms: tuple[str, ...] = ARMS,
    source: str = "digits",
    spread: float = 0.006,
    measure: str = "accuracy",
) -> dict[str, Any]:
    """Content of ``study.json``; ``real-long``, if present, trains for as many steps as ``bridged``."""
    known, values = STUDIES[kind], points or list(STUDIES[kind].points)
    rows = [
        _row(point, place, repeat, arms, spread)
        for place, point in enumerate(values)
        for repeat in range(repeats)
    ]
    labelled = [
        {"point": point, "label": f"{point:,}" if isinstance(point, int) else str(point)} for point in values
    ]
    summaries = summarise_points(rows, labelled, test_images=not known.varies)
    choice = Choice(candidates=arms[1:], num_val=200, measure=measure)
    verdict = verdict_over_runs([row["arms"] for row in rows], choice, with_val={}, images="other")
    sentence = study_sentence(
        summaries, unit=known.unit, ordered=known.is_ordered, candidates=arms[1:], measure=measure
    )
    return {
        "schema": 1,
        "kind": kind,
        "summary": STUDIES.summary(kind),
        "sets": list(known.sets),
        "unit": known.unit,
        "axis": known.axis,
        "source": source,
        "repeats_differ_in": "seed",
        "measure": measure,
        "sentence": sentence if known.varies else verdict["sentence"],
        **({} if known.varies else {"verdict": verdict}),
        "points": summaries,
        "runs": rows,
        "settings": build({"data": {"source": source}}).model_dump(mode="json"),
        "environment": environment(
            f"understudy study {kind} digits --preset quick --points=50,100 --repeats 2"
        ),
    }


def write(study: dict[str, Any], path: Path) -> str:
    """The page's text."""
    write_study_page(path, study=study, settings_yaml=to_yaml(build(study["settings"])))
    return path.read_text(encoding="utf-8")


def _row(point: Any, place: int, repeat: int, arms: tuple[str, ...], spread: float) -> dict[str, Any]:
    rng = np.random.default_rng([place, repeat])
    real = 0.871 + spread * np.random.default_rng([7, repeat]).normal()
    gains = {
        "real": 0.0,
        "synthetic": -0.06 + 0.022 * place,
        "mixed": 0.01 + 0.008 * place,
        "bridged": 0.02 + 0.009 * place,
    }
    gained = {name: gains.get(name, 0.01 * place) + (name != "real") * spread * rng.normal() for name in arms}
    return {
        "point": point,
        "repeat": repeat,
        "folder": f"runs/{point}-repeat{repeat}",
        "seed": repeat,
        "subset": None,
        "train": 600,
        "val": 200,
        "test": 997,
        "synthetic": 500 * (place + 1),
        "arms": {
            name: {
                "accuracy": {"mean": real + gain, "low": real + gain - 0.02, "high": real + gain + 0.015},
                "steps": 600 if name in ("bridged", "real-long") and "real-long" in arms else 300,
                **(
                    {"minus_real_long": _interval(gain - gained["real-long"])}
                    if name == "bridged" and "real-long" in arms
                    else {}
                ),
                "minus_real": {
                    "mean": gain,
                    "low": gain - 0.012 * (name != "real"),
                    "high": gain + 0.011 * (name != "real"),
                },
                "val_accuracy": 0.86 + gain,
                "val_balanced_accuracy": 0.7 + gain / 2,
                "balanced_accuracy": {
                    **_interval(real - 0.1 + gain / 2),
                    "minus_real": _interval(gain / 2) if name != "real" else dict.fromkeys(_ENDS, 0.0),
                    **(
                        {"minus_real_long": _interval((gain - gained["real-long"]) / 2)}
                        if name == "bridged" and "real-long" in arms
                        else {}
                    ),
                },
                "macro_f1": _interval(real - 0.12 + gain / 2),
            }
            for name, gain in gained.items()
        },
        "seconds": 200.5 + 31 * place,
    }


def _interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.012, "high": mean + 0.011}


def environment(command: str) -> dict[str, Any]:
    """A made-up environment of the last run."""
    return {
        "python": "3.12.1",
        "platform": "Linux",
        "cpus": 2,
        "threads": 1,
        "device": "cpu",
        "commit": "",
        "versions": {"torch": "2.11"},
        "command": command,
    }
