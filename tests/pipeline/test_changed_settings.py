"""Settings that no result follows from may change when a run is resumed; others may not."""

import io

import numpy as np
import pytest
from PIL import Image
from tiny_job import Listener, tiny_settings, write_pets

from understudy.commands.study_folder import StudyFolder
from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run


def drawn(folder):
    data = LabelledSet.load(folder / "synthetic" / "curated.parquet")
    return [np.asarray(Image.open(io.BytesIO(data.encoded(index))), dtype=int) for index in range(len(data))]


def test_a_smaller_batch_draws_the_same_images(tmp_path, tiny_pipeline_folder):
    pets = write_pets(tmp_path / "pets")

    def job(batch_size, steps=2):
        draw = {"per_class": 4, "steps": steps, "part_size": 8, "batch_size": batch_size}
        return tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}, draw=draw)

    run(job(4), tmp_path / "whole", until="curate")
    run(job(4), tmp_path / "resumed", until="load")
    with pytest.raises(InputError, match="draw.steps: 2 in the folder, 3 now"):
        run(job(2, steps=3), tmp_path / "resumed", until="curate")
    run(job(2), tmp_path / "resumed", until="curate")
    assert RunFolder.find(tmp_path / "resumed").settings.draw.batch_size == 2
    pairs = list(zip(drawn(tmp_path / "whole"), drawn(tmp_path / "resumed"), strict=True))
    assert len(pairs) == 8
    assert max(np.abs(one - other).max() for one, other in pairs) <= 1  # up to rounding


def test_less_memory_does_not_measure_again(tmp_path, tiny_pipeline_folder):
    pets = write_pets(tmp_path / "pets")

    def job(memory_gb):
        fidelity = {"memory_gb": memory_gb, "resamples": 20}
        return tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}, fidelity=fidelity)

    run(job(0.25), tmp_path / "run", until="memorisation")
    listener = Listener()
    run(job(0.1), tmp_path / "run", until="memorisation", observer=listener)
    assert {line.split(": ")[1] for line in listener.lines} == {"finished earlier, kept"}


def test_a_study_goes_on_with_a_smaller_batch(tmp_path):
    def study(**draw):
        return StudyFolder("volume", tiny_settings("pets", "mini", draw=draw), (), tmp_path)

    study(batch_size=4).note(2)
    study(batch_size=2).check([])
    with pytest.raises(InputError, match="draw.steps: 2 in the folder, 3 now"):
        study(steps=3).check([])


def test_without_tuning_the_settings_of_an_arm_need_no_images(tmp_path, tiny_pipeline_folder):
    pets = write_pets(tmp_path / "pets")
    settings = tiny_settings(pets, tiny_pipeline_folder)
    run = Run(RunFolder(tmp_path / "run", settings), "cpu", Listener())
    assert run.training_settings("mixed@refresh") == settings.compare
