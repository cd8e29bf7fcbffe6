"""Stage fidelity: how close the curated images are to real ones, compared with other real images."""

from __future__ import annotations

from understudy.core.errors import InputError
from understudy.evaluation.fidelity import EncodedImages, measure_fidelity
from understudy.evaluation.plain_separability import plain_separability
from understudy.pipeline.context import Run

_NO_ENCODER = (
    "Fidelity was not measured: no encoder here knows photographs. pip install 'understudy[photo]', and "
    "repeat the command with --set fidelity.encoder=photo."
)


def fidelity(run: Run) -> None:
    """Measure distances between the features of curated, train and validation images."""
    settings = run.settings.fidelity
    with run.folder.stage("fidelity") as record:
        record |= {"settings": settings.model_dump(mode="json"), "fidelity": {}}
        plain = plain_separability(run.train, run.val, run.curated, seed=run.settings.seed)
        if plain is not None:
            record["fidelity"]["plain_statistics"] = plain
        encoder = run.encoder
        if encoder is None:
            record["fidelity"]["warnings"] = [_NO_ENCODER]
            run.observer.say(f"fidelity: {_NO_ENCODER}")
            return
        described = {"name": encoder.name, "fingerprint": encoder.fingerprint, "width": encoder.width}
        record["fidelity"]["encoder"] = described
        sets = [
            EncodedImages(features=run.features(data), labels=data.labels)
            for data in (run.train, run.val, run.curated)
        ]
        try:
            record["fidelity"] |= measure_fidelity(
                *sets,
                class_names=run.train.class_names,
                neighbours=settings.neighbours,
                num_resamples=settings.resamples,
                max_bytes=settings.memory_gb * 1e9,
                seed=run.settings.seed,
            )
        except InputError as error:  # too few images for this measure are enough to train the arms
            record["fidelity"]["warnings"] = [f"Fidelity was not measured: {error}."]
            run.observer.say(f"fidelity: not measured: {error}")
            return
    distance = record["fidelity"]["measures"]["frechet_distance"]
    value, floor = distance["value"]["mean"], distance["floor"]["mean"]
    run.observer.say(
        f"fidelity: Frechet distance {value:.3g}, between real images {floor:.3g} ({encoder.name} features)"
    )
