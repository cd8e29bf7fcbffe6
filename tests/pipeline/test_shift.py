"""Shift as a stage of a run."""

import pytest
from tiny_job import Listener, tiny_settings, write_pets

from understudy.pipeline.run import run

pytestmark = pytest.mark.usefixtures("plain_report")


def test_clean_accuracy_is_that_of_the_comparison(tiny_pipeline_folder, tmp_path):
    pets, others = (
        write_pets(tmp_path / name, per_class=count, seed=seed)
        for name, count, seed in (("pets", 24, 0), ("others", 5, 9))
    )
    shift = {
        "measure": True,
        "corruptions": ["noise"],
        "severities": [1, 3],
        "tests": {"others": str(others)},
    }
    settings = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}, shift=shift)
    listener = Listener()
    results = run(settings, tmp_path / "run", observer=listener)
    assert listener.bars["shift"] == {"done": 3, "total": 3}
    assert results["shift"]["tests"]["others"]["images"] == 10
    assert set(results["shift"]["clean"]) == set(results["arms"])
    for arm, figures in results["arms"].items():
        assert results["shift"]["clean"][arm]["accuracy"]["mean"] == pytest.approx(
            figures["accuracy"]["mean"]
        )
