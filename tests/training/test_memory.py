"""Trainings whose images lie in files are those with images in memory, bit for bit."""

import numpy as np
import pytest
import torch
from tiny import two_classes

from understudy.core.host_memory import ImageMemory
from understudy.data.decoded_images import decoded
from understudy.training.arms import find_arm
from understudy.training.data import TrainingData
from understudy.training.fit import fit_steps
from understudy.training.settings import CompareSettings


@pytest.mark.parametrize("arm", ["real", "mixed", "bridged"])
def test_a_training_does_not_depend_on_where_images_are(arm):
    settings = CompareSettings(steps=4, batch_size=8, augmentation="flip-crop")

    def weights(gigabytes):
        ImageMemory(gigabytes).use()
        data = TrainingData(train=two_classes(8), synthetic=two_classes(8, split="synthetic", seed=1))
        steps = fit_steps(find_arm(arm, settings), data, settings=settings, seed=0, device="cpu")
        for step in steps:
            last = step.classifier
        assert bool(decoded(data.train, last.backbone.input_size).in_memory) == (gigabytes > 1e-8)
        return last.backbone.model.state_dict(), last.predict(data.train)

    try:
        (in_memory, first), (in_files, second) = weights(1.0), weights(1e-9)
    finally:
        ImageMemory().use()
    assert all(torch.equal(in_memory[name], in_files[name]) for name in in_memory)
    assert np.array_equal(first, second)
