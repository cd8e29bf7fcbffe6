"""Phases with losses within regions."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_sets import RECIPE, fit, squares

from understudy.core.errors import InputError
from understudy.training.arms import Arm, find_arm
from understudy.training.backbones import build_backbone
from understudy.training.batches import Images
from understudy.training.regions import regions_of
from understudy.training.settings import CompareSettings, Phase

SETS = {"train": squares("train"), "synthetic": squares("synthetic", seed=1)}
PHASE = Phase(data="mixed", real_share=0.5, discrepancy=1.0, robustness=1.0)


def test_regions_are_cells_of_the_features():
    data = squares("train", num=30)
    images = Images(torch.from_numpy(data.pixels(32)), torch.from_numpy(data.labels), len(data))
    backbone = build_backbone(RECIPE, 3, rng_seed=0)
    regions = regions_of(backbone, images, PHASE, batch_size=8, seed=0)
    assert set(regions.tolist()) == set(range(6))
    again = regions_of(backbone, images, PHASE, batch_size=30, seed=0)
    assert torch.equal(regions, again)
    assert regions_of(backbone, images, Phase(data="mixed"), batch_size=8, seed=0) is None


def logits_of(phase):
    classifier = fit(Arm(name="x", phases=(phase,), summary=""), settings=SETTINGS, **SETS)
    return np.log(classifier.predict(SETS["synthetic"]))


SETTINGS = RECIPE.model_copy(update={"steps": 30, "learning_rate": 3e-3})


def test_large_weights_make_outputs_alike_within_regions():
    plain, held = (logits_of(PHASE.changed(robustness=weight, discrepancy=weight)) for weight in (0.0, 30.0))
    assert held.std(axis=0).mean() < 0.7 * plain.std(axis=0).mean()


def test_weights_of_the_authors():
    phase = find_arm("mixed@protoaug", CompareSettings()).phases[0]
    assert (phase.synthetic_weight, phase.discrepancy, phase.robustness) == (0.25, 0.025, 0.25)
    assert phase.real_share == 0.2
    with pytest.raises(InputError, match="'protoaug' needs real and synthetic images in one phase"):
        find_arm("bridged@protoaug", CompareSettings())


@pytest.mark.parametrize("name", ["discrepancy", "robustness"])
def test_they_need_mixed_data(name):
    with pytest.raises(ValidationError, match=f"{name} needs mixed data, got data 'synthetic'"):
        Phase.model_validate({"data": "synthetic", name: 1.0})
