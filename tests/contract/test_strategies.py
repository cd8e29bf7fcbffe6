"""What every registered strategy must keep, in both settings; a new one is tested by being registered."""

import numpy as np
import pytest
import timm
from tiny import save_tiny_clip
from tiny_job import BUNDLED, Listener, tiny_settings, write_pets

from understudy.core.errors import InputError
from understudy.core.progress import follow
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.pipeline.strategies import arm_settings
from understudy.settings import with_section
from understudy.training.arms import find_arm
from understudy.training.fit import fit_steps
from understudy.training.settings import CompareSettings
from understudy.training.strategies import STRATEGIES

PLAIN = ("synthetic", "mixed")
"""Synthetic-to-Real and Data Augmentation."""
ARMS = [
    f"{plain}@{name}"
    for name in STRATEGIES
    for plain in PLAIN
    if (plain, name) not in {("synthetic", "two-stream"), ("synthetic", "protoaug")}
]


@pytest.fixture(scope="module")
def study(tmp_path_factory, tiny_pipeline_folder):
    folder = tmp_path_factory.mktemp("strategies")
    save_tiny_clip(folder / "clip")
    curate = {
        "score": "none",
        "threshold": None,
        "clip": str(folder / "clip"),
        "max_refills": 3,
        "validation_pass": 1.0,
    }
    settings = tiny_settings(
        write_pets(folder / "pets"),
        tiny_pipeline_folder,
        curate=curate,
        draw={"per_class": 3, "part_size": 64},
        # A judge that knows little: one that is sure takes nothing of what a tiny generator draws.
        compare=BUNDLED | {"learning_rate": 1e-6},
    )
    retrieved = write_pets(folder / "retrieved", seed=1)
    settings = with_section(settings, "generator", retrieved=(retrieved,))
    run(settings, folder / "run", until="curate")
    return Run(RunFolder.find(folder / "run"), "cpu", Listener())


@pytest.fixture(scope="module")
def plain(study):
    """Predictions of the arms without a strategy."""
    return {arm: predictions(study, arm) for arm in PLAIN}


def predictions(study, arm, folder=None):
    data = study.training_data(arm)
    classifier = follow(fit_steps(arm, data, settings=study.settings.compare, seed=0, device="cpu"))
    if folder is not None:
        classifier.save(folder)
    return classifier.predict(study.val)


@pytest.mark.parametrize("arm", ARMS)
def test_it_changes_the_arm_and_leaves_a_plain_classifier(arm, study, plain, tmp_path):
    images = study.sets.of_arm(arm)
    assert images.images.split == "synthetic"
    assert len(images.images)
    found = predictions(study, arm, tmp_path)
    if (
        STRATEGIES[arm.split("@")[1]].overrides is None
    ):  # of other images it may choose the same: all that were drawn may be good
        assert not np.array_equal(found, plain[arm.split("@")[0]]), "without effect"
    else:
        assert images.record["variant"] == arm.split("@")[1]
    np.testing.assert_allclose(found.sum(axis=1), 1)
    timm.create_model(f"local-dir:{tmp_path}", pretrained=True)  # strict: no parameter too many or too few


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_it_says_what_it_is_for(name):
    strategy = STRATEGIES[name]
    assert STRATEGIES.summary(name)
    assert strategy.source
    assert set(strategy.addresses) <= {"appearance", "content", "quality", "quantity"}
    assert (strategy.overrides is not None) or (strategy.change_phases is not None)


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_real_images_alone_have_no_use_for_it(name):
    with pytest.raises(InputError, match="choose another arm than 'real'"):
        find_arm(f"real@{name}", CompareSettings())


@pytest.mark.parametrize("name", [name for name in STRATEGIES if STRATEGIES[name].overrides is not None])
def test_it_leaves_alone_what_decides_the_run(name, study):
    """A strategy changes how images are drawn and chosen, not the data, the classifier or the generator; only
    controls draw without the run's generator.
    """
    found = arm_settings(f"synthetic@{name}", study.settings, shots=3)
    assert found.changing == (name,)
    assert found.settings != study.settings
    same = {"seed", "data", "captions", "tune", "compare", "scale", "gap"}
    if not STRATEGIES[name].is_control:
        same |= {"generator", "visual", "adapt"}
    assert all(getattr(found.settings, section) == getattr(study.settings, section) for section in same)
