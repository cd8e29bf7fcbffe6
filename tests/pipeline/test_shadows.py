"""A whole membership audit of tiny arms: what it finds, keeps, skips and refuses."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny import two_classes
from tiny_job import Listener
from tiny_jobs import terms

from understudy.core.errors import InputError
from understudy.core.executors.job import Job
from understudy.core.files import read_arrays
from understudy.core.progress import Silent
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.settings import MembershipSettings
from understudy.pipeline import shadows as module
from understudy.pipeline.shadows import Shadows, check_audit
from understudy.training.settings import CompareSettings, Phase

pytestmark = pytest.mark.slow

COMPARE = CompareSettings(
    backbone="test_resnet", pretrained=False, resolution=32, steps=8, batch_size=8, bootstrap=100
)
QUICK = MembershipSettings(arms=("real",), shadows=6, false_positive_rates=(0.2,))


def with_sources(ids, column="source_id"):
    """A synthetic image of every real one that is named."""
    drawn = two_classes(len(ids), split="synthetic", seed=5)
    return LabelledSet.from_images(
        [drawn.image(index) for index in range(len(ids))],
        drawn.labels,
        class_names=("cat", "dog"),
        split="synthetic",
        provenance={"source_id": [""] * len(ids), "visual_id": [""] * len(ids), column: ids},
    )


def call(folder, settings=QUICK, compare=COMPARE, **changes):
    given = {
        "train": two_classes(24, split="train"),
        "val": two_classes(12, split="val", seed=1),
        "test": two_classes(12, split="test", seed=2),
        "settings": settings,
        "training_settings": lambda name: compare,
        "images_of": lambda name: two_classes(24, split="synthetic", seed=3),
        "seed": 0,
        "device": "cpu",
        "folder": folder,
        "observer": Silent(),
        "terms": terms(folder),
    }
    return Shadows(**given | changes).audit()


@dataclass
class Drawing(Job):
    """Draws without a generator."""

    path: Path
    seed: int
    device: str = "cpu"

    @property
    def name(self):
        return f"shadow pipeline {self.seed}"

    @property
    def is_done(self):
        return self.path.exists()

    def steps(self):
        two_classes(12, split="synthetic", seed=self.seed).save(self.path)
        yield 1


def noise(split, num, seed):
    """Images that can only be learned by heart."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (num, 3, 32, 32), dtype=np.uint8)
    return LabelledSet.from_images(pixels, np.arange(num) % 2, class_names=("cat", "dog"), split=split)


def test_what_is_learned_by_heart_is_found(tmp_path):
    """The instrument works: overfitted classifiers give away whom they learned from."""
    compare = COMPARE.model_copy(
        update={"steps": 60, "batch_size": 12, "augmentation": "none", "learning_rate": 3e-3}
    )
    found = call(
        tmp_path,
        compare=compare,
        settings=QUICK.model_copy(update={"shadows": 8}),
        train=noise("train", 24, 0),
        val=noise("val", 24, 1),
        test=noise("test", 24, 2),
    )
    assert found["arms"]["real"]["train_accuracy"] > 0.9
    assert found["arms"]["real"]["test_accuracy"]["mean"] < 0.75
    for attack in found["attacks"].values():
        assert attack["real"]["auc"]["low"] > 0.6
        assert attack["real"]["tpr"][0]["tpr"]["low"] > 0.2


def test_the_section_is_as_documented(tmp_path):
    listener = Listener()
    found = call(tmp_path, settings=QUICK.model_copy(update={"arms": ("real", "mixed")}), observer=listener)
    assert listener.bars == {"membership": {"done": 2 * 6 * COMPARE.steps, "total": 2 * 6 * COMPARE.steps}}
    assert (found["target"], found["shadows"], found["images"], found["skipped"]) == ("classifier", 6, 24, {})
    assert {name: sorted(arms) for name, arms in found["attacks"].items()} == {
        "lira": ["mixed", "real"],
        "rmia": ["mixed", "real"],
    }
    assert found["arms"]["real"]["epsilon"] is None
    assert any("membership.target=pipeline" in sentence for sentence in found["promise"])
    json.dumps(found)


def test_a_killed_audit_goes_on(tmp_path):
    whole = call(tmp_path / "whole")
    call(tmp_path / "killed")
    for number in (1, 4):
        (tmp_path / "killed" / f"real-shadow{number}.npz").unlink()
    listener = Listener()
    again = call(tmp_path / "killed", observer=listener)
    assert listener.bars == {"membership": {"done": 2 * COMPARE.steps, "total": 2 * COMPARE.steps}}
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}


@pytest.mark.parametrize("column", ["source_id", "exemplar_id"])
def test_shadows_see_the_synthetic_images_of_their_half(column, tmp_path, monkeypatch):
    seen = []

    def watch(name, trainings, **given):
        seen.extend(training.data for training in trainings)
        return fit(name, trainings, **given)

    fit = module.fit_ensemble
    monkeypatch.setattr(module, "fit_ensemble", watch)
    train = two_classes(24, split="train")
    call(
        tmp_path,
        settings=QUICK.model_copy(update={"arms": ("synthetic",)}),
        images_of=lambda name: with_sources([*train.ids, "", ""], column),
    )
    assert len(seen) == 6
    for data in seen:
        assert sorted(data.synthetic.provenance(column)) == sorted([*data.train.ids, "", ""])


def test_an_arm_that_cannot_tell_is_skipped_and_said(tmp_path):
    listener = Listener()
    found = call(
        tmp_path, settings=QUICK.model_copy(update={"arms": ("real", "synthetic")}), observer=listener
    )
    assert list(found["arms"]) == ["real"]
    assert listener.bars == {"membership": {"done": 6 * COMPARE.steps, "total": 6 * COMPARE.steps}}
    assert "use membership.target=pipeline" in found["skipped"]["synthetic"]
    with pytest.raises(
        InputError, match="needs an arm that depends on the real images. The arm 'synthetic' trains only"
    ):
        call(tmp_path, settings=QUICK.model_copy(update={"arms": ("synthetic",)}))


def test_the_whole_pipeline(tmp_path):
    asked = []

    def pipeline(indices, seed, images):
        asked.append((len(indices), seed))
        return Drawing(path=images, seed=seed)

    listener = Listener()
    by_epoch = COMPARE.model_copy(
        update={"own_arms": {"once": (Phase(data="synthetic", epochs=1),)}, "equal_steps": False}
    )
    settings = QUICK.model_copy(update={"arms": ("synthetic", "mixed", "once"), "target": "pipeline"})
    found = call(
        tmp_path, settings=settings, compare=by_epoch, pipeline=pipeline, images_of=None, observer=listener
    )
    steps = 6 * (2 * COMPARE.steps + 2)  # 12 images are two batches
    assert listener.bars == {
        "shadow pipelines": {"done": 6, "total": 6},
        "membership": {"done": steps, "total": steps},
    }
    assert [size for size, _ in asked] == [12] * 6  # once for both arms
    assert len({seed for _, seed in asked}) == 6
    assert sorted(found["arms"]) == ["mixed", "once", "synthetic"]
    with pytest.raises(InputError, match="pass pipeline"):
        call(tmp_path / "other", settings=settings, compare=by_epoch)


def test_the_private_reference(tmp_path):
    pytest.importorskip("opacus")
    listener = Listener()
    found = call(tmp_path, settings=QUICK.model_copy(update={"private_epsilon": 8.0}), observer=listener)
    assert listener.bars == {"membership": {"done": 12 * COMPARE.steps, "total": 12 * COMPARE.steps}}
    assert sorted(found["attacks"]["lira"]) == ["private", "real"]
    assert 7 < found["arms"]["private"]["epsilon"] <= 8
    assert found["arms"]["private"]["delta"] == 0.01
    assert any("exp(epsilon)" in sentence for sentence in found["promise"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"false_positive_rates": (0.01,)}, "needs 84 shadow models with 24 real images, got 6"),
        ({"shadows": 7, "false_positive_rates": (0.5,)}, "must be even"),
        ({"arms": ("private",)}, r"use --epsilon \(membership.private_epsilon\) instead"),
        ({"arms": ("mixed@refresh",)}, "must not refresh their images, but 'mixed@refresh' does"),
        (
            {"arms": ("mixed@diverse",), "target": "pipeline"},
            "diverse needs other images: leave 'mixed@diverse' out",
        ),
    ],
    ids=["rate", "odd", "private", "refresh", "own-images"],
)
def test_bad_settings(changes, message):
    with pytest.raises(InputError, match=message):
        check_audit(QUICK.model_copy(update=changes), two_classes(24, split="train"), COMPARE)


def test_records_of_other_data_are_refused(tmp_path):
    call(tmp_path)
    with pytest.raises(InputError, match="it belongs to other images"):
        call(tmp_path, test=two_classes(15, split="test"))
    with pytest.raises(InputError, match="needs a val set"):
        call(tmp_path, val=two_classes(12, split="test"))
    with pytest.raises(InputError, match="needs a test set"):
        call(tmp_path, test=two_classes(12, split="val"))


def test_the_digits_have_enough_images_for_the_defaults():
    check_audit(MembershipSettings(), two_classes(1078, split="train"), CompareSettings())


def test_models_that_are_trained_one_by_one_may_run_side_by_side(tmp_path, at_once):
    compare = COMPARE.model_copy(update={"optimiser": "sgd"})
    settings = QUICK.model_copy(update={"arms": ("mixed",), "private_epsilon": 50.0})
    one, two = (
        call(folder, settings, compare, terms=terms(folder, workers=int(folder.name))) | {"seconds": None}
        for folder in (tmp_path / "1", tmp_path / "2")
    )
    assert one == two
    names = {path.name for path in (tmp_path / "1").iterdir()}
    assert len(names) == 12
    for name in names:
        ours, theirs = read_arrays(tmp_path / "1" / name), read_arrays(tmp_path / "2" / name)
        assert ours.keys() == theirs.keys()
        for key, values in ours.items():
            np.testing.assert_array_equal(values, theirs[key])
