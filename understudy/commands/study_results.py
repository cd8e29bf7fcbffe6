"""``study.json`` and ``study.html``: the finished runs of a study, gathered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.commands.study_folder import StudyFolder, StudyRun, about
from understudy.commands.study_kinds import STUDIES, Point, label_of
from understudy.commands.study_ranking import ranked_content
from understudy.core.files import read_json, write_json
from understudy.core.progress import Observer
from understudy.core.provenance import environment
from understudy.evaluation.choice import Choice
from understudy.evaluation.repeats import study_sentence, summarise_points
from understudy.evaluation.verdict_over_runs import RealImages, verdict_over_runs
from understudy.pipeline.results import arms_with_val
from understudy.report.html import is_whole
from understudy.report.ranking_page import write_ranking_page
from understudy.report.study_page import write_study_page
from understudy.settings import to_yaml
from understudy.training.arms import find_arm, refittable_arms


def report(
    study: StudyFolder, failed: Mapping[Point, str], device: str, observer: Observer
) -> dict[str, Any]:
    """Gather the finished runs, and write ``study.json`` and ``study.html`` if they changed or were cut."""
    finished = [one for one in study.runs() if one.is_finished]
    if not finished:
        return {}
    ranks = STUDIES[study.kind].ranks
    content = ranked_content(study, finished, failed, device=device) if ranks else _content(study, finished)
    path, page = study.out / "study.json", study.out / "study.html"
    mend = "remove it, and the same command writes it again"
    stored = read_json(path, mend=mend) if path.exists() else {}
    made = stored.pop("environment", None)
    if stored == json.loads(json.dumps(content)):
        if is_whole(page):
            return {**content, "environment": made}
        observer.say(f"study: {page.name} was missing or cut short, and is made again")
    content["environment"] = environment(device)
    write_json(path, content)
    write = write_ranking_page if ranks else write_study_page
    write(page, study=content, settings_yaml=to_yaml(study.base))
    return content


def _content(study: StudyFolder, finished: Sequence[StudyRun]) -> dict[str, Any]:
    kind, rows = STUDIES[study.kind], [one.row(study.out) for one in finished]
    known = [{"point": point, "label": label_of(point)} for point in study.known_points]
    points = summarise_points(rows, known, test_images=not kind.varies)
    measure = "accuracy" if any(row["measure"] == "accuracy" for row in rows) else "balanced_accuracy"
    arms = dict.fromkeys(arm for point in points for arm in point["arms"])
    candidates = [arm for arm in arms if find_arm(arm, study.base.compare).can_be_chosen]
    verdict: dict[str, Any] = {}
    if kind.varies:
        sentence = study_sentence(
            points, unit=kind.unit, ordered=kind.is_ordered, candidates=candidates, measure=measure
        )
    else:
        compare, shared = study.base.compare, _shared([one.images("train") for one in finished])
        verdict = verdict_over_runs(
            [row["arms"] for row in rows],
            Choice(
                candidates=candidates,
                num_val=min(row["val"] for row in rows),
                refittable=refittable_arms(candidates, compare) if compare.does_refit else (),
                measure=measure,
            ),
            with_val=arms_with_val(arms, compare),
            images=_images_of(rows, shared),
        )
        sentence = verdict.pop("sentence")
        if _images_of(rows, shared) != "same" and shared:
            verdict["shared_train_images"] = shared
            sentence += f" Two runs have {shared:.0%} of their train images in common, on average."
    return {
        **about(study),
        "repeats_differ_in": "subset"
        if kind.varies and all(row["subset"] is not None for row in rows)
        else "seed",
        "measure": measure,
        "sentence": sentence,
        **({"verdict": verdict} if verdict else {}),
        "points": points,
        "runs": rows,
        "settings": study.base.model_dump(mode="json"),
    }


def _images_of(rows: Sequence[Mapping[str, Any]], shared: float) -> RealImages:
    """Which real images all runs have in common; ``shared`` is that of their train images, see below."""
    is_same = {name: len({row[name] for row in rows}) == 1 for name in ("train_images", "test_images")}
    if all(is_same.values()):
        return "same"
    if shared > 0.5:
        return "divisions"
    return "same for testing" if is_same["test_images"] else "other"


def _shared(images: Sequence[Sequence[str]]) -> float:
    """Mean share of the images of one run that another run has too; 0 for a single run."""
    shares = [
        len(set(one).intersection(other)) / len(one)
        for number, one in enumerate(images)
        for other in [*images[:number], *images[number + 1 :]]
    ]
    return sum(shares) / len(shares) if shares else 0.0
