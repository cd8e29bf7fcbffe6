"""Stage memorisation: compare how close synthetic and held-out real images come to train images."""

from __future__ import annotations

from typing import Any

from understudy.evaluation.memorisation import measure_memorisation
from understudy.pipeline.context import Run


def memorisation(run: Run) -> None:
    """Look for copies of train images among the curated ones."""
    settings = run.settings
    with run.folder.stage("memorisation") as record:
        record["settings"] = settings.fidelity.model_dump(mode="json")
        record["memorisation"] = measure_memorisation(
            run.curated,
            run.sets.copies,
            features=run.features if settings.fidelity.measure and run.encoder is not None else None,
            firewall=settings.curate.firewall,
            removed=run.recorded("curate")["curation"]["rejected"].get("copy", 0),
            seed=settings.seed,
            num_resamples=settings.compare.bootstrap,
        )
    flagged = record["memorisation"]["firewall"]["flagged"]
    run.observer.say(
        f"memorisation: {flagged} of {len(run.curated)} images are marked as copies of train images"
    )


def is_current(run: Run, record: dict[str, Any]) -> bool:
    """Whether distances were measured with the present encoder, which is that of fidelity."""
    return run.settings.fidelity.gives_results_of(record.get("settings", {}))
