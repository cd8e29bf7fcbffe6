"""Tune as a stage of a run."""

import pytest
from tiny_job import BUNDLED, Listener, tiny_settings

from understudy.pipeline.run import run


@pytest.mark.slow
def test_every_arm_is_tuned_alike(pets, tiny_pipeline_folder, tmp_path):
    own_arms = {"mine": [{"data": "synthetic", "steps": 3}, {"data": "real", "layers": "late-layer"}]}
    compare = BUNDLED | {"arms": ["real", "bridged++", "mine"], "own_arms": own_arms}
    tune = {"learning_rates": [1e-3, 4e-3], "num_seeds": 1}
    settings = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}, compare=compare, tune=tune)
    listener = Listener()
    arms = run(settings, tmp_path / "run", until="tune", observer=listener)["tune"]["arms"]
    assert list(arms) == ["real", "bridged++", "mine"]
    for name, arm in arms.items():
        assert [(trial["learning_rate"], trial["weight_decay"]) for trial in arm["trials"]] == [
            (1e-3, 0.05),
            (4e-3, 0.05),
        ]
        assert arm["chosen"] in arm["trials"]
        best = max(trial["val_accuracy"] for trial in arm["trials"])
        assert arm["chosen"]["val_accuracy"] == best, name
    assert listener.bars["tune"] == {"done": 6, "total": 6}
