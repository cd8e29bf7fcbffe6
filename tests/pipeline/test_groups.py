"""A whole run with several images of each patient: split, intervals and verdict go by patient."""

import numpy as np
import pytest
from tiny_job import tiny_settings, write_pets

from understudy.commands.validate import validate
from understudy.data.image_groups import groups_of
from understudy.data.labelled_set import LabelledSet
from understudy.functional.balanced_accuracy import balanced_accuracy_interval
from understudy.functional.intervals import accuracy_interval, paired_difference
from understudy.pipeline.run import run
from understudy.training.records import ArmFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]


@pytest.fixture(scope="module")
def settings(tmp_path_factory, tiny_pipeline_folder):
    """Ten cats and ten dogs, three images of each."""
    source = write_pets(tmp_path_factory.mktemp("groups") / "pets", per_class=30)
    for path in sorted(source.glob("*/*.png")):
        path.rename(path.with_name(f"{path.parent.name}{int(path.stem) // 3}-{path.name}"))
    return tiny_settings(
        source,
        tiny_pipeline_folder,
        data={"source": str(source), "group_pattern": r"/([a-z]+\d)-", "changed_copies": False},
        adapt={"method": "none"},
        curate={"score": "none"},
        fidelity={"measure": False},
        compare={"arms": ["real", "mixed"]},
    )


def test_intervals_and_verdict_count_patients(settings, tmp_path):
    assert [
        note for note in validate(settings).notes if note.startswith("groups: 12 of train, 4 of val, 4 of")
    ]
    results = run(settings, tmp_path / "run")
    assert results["data"]["groups"] == {"train": 12, "val": 4, "test": 4}
    assert "accuracy on 12 real test images of 4 groups (3 seeds)" in results["verdict"]["sentence"]
    sets = [
        LabelledSet.load(tmp_path / "run" / "data" / f"{split}.parquet") for split in ("train", "val", "test")
    ]
    names = [set(images.provenance("group")) for images in sets]
    assert len(set.union(*names)) == sum(map(len, names)) == 20
    groups, arms = groups_of(sets[2]), tmp_path / "run" / "arms"
    real, mixed = (ArmFolder(arms, name).result((0, 1, 2), sets[2]) for name in ("real", "mixed"))
    assert np.array_equal(real.groups, groups)
    found = results["arms"]["mixed"]
    assert ends(found["accuracy"]) == accuracy_interval(mixed.correct, groups)
    assert ends(found["minus_real"]) == paired_difference(mixed.correct, real.correct, groups)
    expected = balanced_accuracy_interval(mixed.correct, sets[2].labels, groups)
    assert ends(found["balanced_accuracy"]) == pytest.approx(expected)
    of_cats = sets[2].labels == 0
    recall = accuracy_interval(mixed.correct[:, of_cats], groups[of_cats])
    assert ends(found["per_class_intervals"][0]) == recall


def ends(interval):
    return interval["mean"], interval["low"], interval["high"]
