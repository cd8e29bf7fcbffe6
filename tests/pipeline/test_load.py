"""The first stage: which images a run keeps, and that its test images stay sealed."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny import two_classes
from tiny_job import adapter_of, results_of, tiny_settings, tree, write_pets

from understudy.core.files import write_json
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings
from understudy.pipeline.run import STAGE_NAMES, STAGES, run

pytestmark = pytest.mark.usefixtures("plain_report")


@pytest.mark.slow
def test_test_images_are_sealed_and_stages_can_be_done_one_at_a_time(
    finished, pets, tiny_pipeline_folder, tmp_path
):
    """With other test images nothing changes but what is measured on them."""
    whole, out = finished[0], tmp_path / "run"
    settings = tiny_settings(pets, tiny_pipeline_folder)
    for number, stage in enumerate(STAGE_NAMES):
        run(settings, out, until=stage)
        expected = [each.name for each in STAGES[: number + 1] if each.is_wanted(settings)]
        assert sorted(path.stem for path in (out / "stages").iterdir()) == sorted(expected)
        if stage == "load":
            test = LabelledSet.load(out / "data" / "test.parquet")
            other = two_classes(len(test), seed=77).pixels(16)
            LabelledSet.from_images(
                other, 1 - test.labels, class_names=test.class_names, split="test", ids=test.ids
            ).save(out / "data" / "test.parquet")
    assert results_of(out)["adaptation"] == results_of(whole)["adaptation"]
    assert results_of(out)["curation"] == results_of(whole)["curation"]
    assert adapter_of(out) == adapter_of(whole)
    assert tree(out / "synthetic") == tree(whole / "synthetic")
    for arm in results_of(out)["arms"]:
        assert tree(out / "arms" / f"{arm}-classifier") == tree(whole / "arms" / f"{arm}-classifier")
        for seed in range(3):
            here, there = (
                dict(np.load(folder / "arms" / f"{arm}-seed{seed}.npz")) for folder in (out, whole)
            )
            assert here["val_accuracy"] == there["val_accuracy"]
            assert not np.array_equal(here["probabilities"], there["probabilities"])


def test_few_shot_runs_keep_that_many_images(pets, tiny_pipeline_folder, tmp_path):
    settings = tiny_settings(pets, tiny_pipeline_folder, data={"source": str(pets), "shots": 2})
    records = run(settings, tmp_path / "run", until="load")
    train, val, test = (
        LabelledSet.load(tmp_path / "run" / "data" / f"{split}.parquet") for split in ("train", "val", "test")
    )
    assert train.counts.tolist() == val.counts.tolist() == [2, 2]
    assert (records["load"]["train"], records["load"]["val"], records["load"]["test"]) == (4, 4, len(test))
    everything = load_splits(DataSettings(source=str(pets)), seed=0)
    assert test.ids == everything.test.ids, "the test split is that of the whole set"
    assert set(train.ids) < set(everything.train.ids)


def test_a_run_keeps_the_words_that_it_was_begun_with(tiny_pipeline_folder, tmp_path):
    """Versions before the cleaning of names stored the names themselves as words."""
    source = write_pets(tmp_path / "pets")
    (source / "cat").rename(source / "01_cat")
    settings = tiny_settings(source, tiny_pipeline_folder, adapt={"method": "none"})
    record = run(settings, tmp_path / "run", until="load")["load"]
    assert (record["classes"], record["prompt_names"]) == (["01_cat", "dog"], ["cat", "dog"])
    write_json(tmp_path / "run" / "stages" / "load.json", record | {"prompt_names": ["01_cat", "dog"]})
    run(settings, tmp_path / "run", until="draw")
    rows = [row for part in (tmp_path / "run").glob("synthetic/**/part-*.parquet") for row in read_rows(part)]
    assert {row["prompt"] for row in rows} == {"a photo of 01_cat", "a photo of dog"}


def read_rows(path):
    return [row for row in pq.read_table(path).to_pylist() if "prompt" in row]


def test_a_folder_of_odd_files(tiny_pipeline_folder, tmp_path):
    pets, kinds = two_classes(24), ("L", "RGBA", "P", "16-bit", "exif", "wide")
    for index, label in enumerate(pets.labels):
        stem = tmp_path / "odd" / pets.class_names[label] / str(index)
        stem.parent.mkdir(parents=True, exist_ok=True)
        save_as(kinds[index // 2 % 6], pets.image(index), stem)
    (tmp_path / "odd" / "cat" / "broken.png").write_bytes(pets.encoded(0)[:60])
    settings = tiny_settings(
        tmp_path / "odd",
        tiny_pipeline_folder,
        data={"skip_bad": True},
        compare={"arms": ["real", "synthetic"]},
    )
    results = run(settings, tmp_path / "run")
    assert results["data"]["train"] + results["data"]["val"] + results["data"]["test"] == 24
    assert [path for path, _ in results["data"]["skipped"]] == ["cat/broken.png"]
    assert results["verdict"]["sentence"]


def save_as(kind, image, stem):
    """One picture in one of the odd ways in which pictures come."""
    if kind == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(stem.with_suffix(".jpg"), quality=95, exif=exif)
    elif kind == "16-bit":
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(stem.with_suffix(".png"))
    elif kind == "wide":
        wide = Image.new("RGB", (40, 24), "white")
        wide.paste(image, (4, 4))
        wide.save(stem.with_suffix(".png"))
    else:
        image.convert(kind).save(stem.with_suffix(".png"))
