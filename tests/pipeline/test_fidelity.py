"""Fidelity and memorisation as stages."""

import pytest
from tiny_job import Listener, tiny_settings, write_pets

from understudy.pipeline.run import run

pytestmark = pytest.mark.usefixtures("plain_report")


def test_less_memory_does_not_measure_again(tmp_path, tiny_pipeline_folder):
    pets = write_pets(tmp_path / "pets")

    def job(memory_gb):
        fidelity = {"memory_gb": memory_gb, "resamples": 20}
        return tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}, fidelity=fidelity)

    run(job(0.25), tmp_path / "run", until="memorisation")
    listener = Listener()
    run(job(0.1), tmp_path / "run", until="memorisation", observer=listener)
    assert {line.split(": ")[1] for line in listener.lines} == {"finished earlier, kept"}
