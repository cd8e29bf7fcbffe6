"""Fidelity as a stage of a run."""

import json

import numpy as np
import pytest
from tiny_job import BUNDLED, SECTIONS, Listener, tiny_settings, write_pets

from understudy.evaluation.plain_separability import plain_separability
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]  # whole jobs


def test_less_memory_does_not_measure_again(tmp_path, tiny_pipeline_folder):
    pets = write_pets(tmp_path / "pets")

    def job(memory_gb):
        fidelity = {"memory_gb": memory_gb, "resamples": 20}
        return tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}, fidelity=fidelity)

    run(job(0.25), tmp_path / "run", until="memorisation")
    listener = Listener()
    run(job(0.1), tmp_path / "run", until="memorisation", observer=listener)
    assert {line.split(": ")[1] for line in listener.lines} == {"finished earlier, kept"}


def test_fidelity_is_measured_in_every_run(tmp_path, tiny_pipeline_folder):
    pets = write_pets(tmp_path / "pets", per_class=24)
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        adapt={"method": "none"},
        draw=SECTIONS["draw"] | {"per_class": 6},
        fidelity={"neighbours": 2, "resamples": 20},
    )
    records = run(settings, tmp_path / "run", until="fidelity")
    found = records["fidelity"]["fidelity"]
    assert found["encoder"]["name"] == "generator"
    kept = records["curate"]["curation"]["kept"]
    assert found["images"] == {"real": 28, "held_out": 10, "synthetic": kept}
    for measure in found["measures"].values():
        assert np.isfinite(
            [measure[role][end] for role in ("value", "floor") for end in ("mean", "low", "high")]
        ).all()
    this = Run(RunFolder.find(tmp_path / "run"), "cpu")
    again = plain_separability(this.train, this.val, this.curated, seed=settings.seed)
    assert found["plain_statistics"] == again
    assert (again["size"], again["grey"]) == (16, False)


def with_bundled_networks(pets):
    """A job in which generator and classifier know characters alone."""
    fidelity = {"neighbours": 2, "resamples": 20}
    return tiny_settings(pets, "mini", adapt={"method": "none"}, compare=BUNDLED, fidelity=fidelity)


@pytest.mark.parametrize("has_photo", [True, False])
def test_the_bundled_networks_never_judge_photographs(has_photo, pets, tmp_path, monkeypatch):
    """Without a network that knows photographs, nothing is measured, and the page says so."""
    if not has_photo:
        monkeypatch.setattr("understudy.training.photo_network.photo_weights", lambda: None)
    settings = with_bundled_networks(pets)
    listener = Listener()
    records = run(settings, tmp_path / "run", until="memorisation", observer=listener)
    found, spaces = records["fidelity"]["fidelity"], records["memorisation"]["memorisation"]["spaces"]
    if has_photo:
        assert found["encoder"]["name"] == "photo"
        assert set(spaces) == {"pixel", "feature"}
    else:
        assert list(found) == ["warnings"]
        assert found["warnings"][0].startswith(
            "Fidelity was not measured: no encoder here knows photographs."
        )
        assert set(spaces) == {"pixel"}
        assert any(found["warnings"][0] in line for line in listener.lines)
        monkeypatch.undo()  # now the package is installed, and the advice is followed
        named = settings.model_copy(update={"fidelity": settings.fidelity.changed(encoder="photo")})
        again = run(named, tmp_path / "run", until="memorisation")
        assert again["fidelity"]["fidelity"]["encoder"]["name"] == "photo"
        assert set(again["memorisation"]["memorisation"]["spaces"]) == {"pixel", "feature"}


def test_memorisation_goes_on_with_the_encoder_of_fidelity(pets, tmp_path):
    """An earlier version judged photographs by the bundled encoder, and was stopped before memorisation."""
    settings = with_bundled_networks(pets)
    out = tmp_path / "run"
    run(settings, out, until="fidelity")
    record = json.loads((out / "stages/fidelity.json").read_text())
    assert record["fidelity"]["encoder"]["name"] == "photo"
    record["fidelity"]["encoder"]["name"] = "mini"
    (out / "stages/fidelity.json").write_text(json.dumps(record))
    assert Run(RunFolder.find(out), "cpu", Listener()).encoder.name == "mini"
