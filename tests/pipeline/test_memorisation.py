"""Memorisation as a stage: measured in every run, and again with another encoder."""

import pytest
from tiny_job import tiny_settings, write_pets

from understudy.pipeline.run import run

pytestmark = pytest.mark.usefixtures("plain_report")


@pytest.fixture(scope="module")
def measure(tiny_pipeline_folder, tmp_path_factory):
    """Run up to this stage, with an encoder, in one folder; returns the record of the stage."""
    pets = write_pets(tmp_path_factory.mktemp("source") / "pets", per_class=24)
    out = tmp_path_factory.mktemp("runs") / "pets"

    def until_memorisation(encoder):
        fidelity = {"neighbours": 2, "resamples": 20, "encoder": encoder}
        settings = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}, fidelity=fidelity)
        return run(settings, out, until="memorisation")["memorisation"]["memorisation"]

    return until_memorisation


def test_memorisation_follows_the_encoder(measure):
    found = measure("auto")
    assert set(found["spaces"]) == {"pixel", "feature"}
    assert found["firewall"]["setting"] == "flag"
    again = measure("mini")
    assert again["spaces"]["feature"] != found["spaces"]["feature"]
    assert again["spaces"]["pixel"] == found["spaces"]["pixel"]
