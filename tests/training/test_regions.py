"""Phases with losses within regions."""

from functools import partial

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


SETTINGS = RECIPE.model_copy(update={"steps": 30, "learning_rate": 3e-3})


def spread_within(regions, logits):
    """Share of the variance of logits that lies within regions; the rest is that between their means."""
    means = np.stack([logits[regions == region].mean(axis=0) for region in regions])
    return float(((logits - means) ** 2).sum() / ((logits - logits.mean(axis=0)) ** 2).sum())


def test_outputs_are_alike_within_regions_and_not_elsewhere(monkeypatch):
    """Against the same losses over random regions of the same sizes."""
    cells, spread = [], {}

    def regions(*arguments, is_random, **settings):
        cells.append(regions_of(*arguments, **settings))
        order = torch.randperm(len(cells[-1]), generator=torch.Generator().manual_seed(0))
        return cells[-1][order] if is_random else cells[-1]

    arm = Arm(name="x", phases=(PHASE.changed(robustness=3.0, discrepancy=3.0),), summary="")
    for is_random in (False, True):
        monkeypatch.setattr("understudy.training.loop.regions_of", partial(regions, is_random=is_random))
        classifier = fit(arm, settings=SETTINGS, seed=2, **SETS)
        of_synthetic = cells[-1][len(SETS["train"]) :].numpy()
        spread[is_random] = spread_within(of_synthetic, np.log(classifier.predict(SETS["synthetic"])))
    assert torch.equal(*cells)
    assert spread[False] < 0.4 * spread[True]


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


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
@pytest.mark.parametrize("name", ["discrepancy", "robustness"])
def test_they_need_images_that_are_not_mixed(name, mixing):
    """A mixed image lies in the regions of two images."""
    with pytest.raises(ValidationError, match=f"{name} compares images of one region, but {mixing} mixes"):
        Phase.model_validate({"data": "mixed", name: 0.1, mixing: 0.2})
