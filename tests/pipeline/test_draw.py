"""Drawing as a stage: what its images follow from."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny import save_tiny_image_encoder
from tiny_job import Listener, tiny_settings, tree, write_pets

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.settings import build

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]  # whole jobs


@pytest.mark.parametrize(
    ("strength", "arm"), [(1.0, "synthetic"), (0.5, "synthetic"), ([1.0, 0.5], "curriculum")]
)
def test_without_adaptation(strength, arm, pets, tiny_pipeline_folder, tmp_path):
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        adapt={"method": "none"},
        draw={"strength": strength},
        compare={"arms": ["real", arm]},
    )
    results = run(settings, tmp_path / "run")
    assert results["adaptation"] == {"method": "none"}
    assert not (tmp_path / "run" / "adapter").exists()
    sources = set(
        LabelledSet.load(tmp_path / "run" / "synthetic" / "curated.parquet").provenance("source_id")
    )
    train = set(LabelledSet.load(tmp_path / "run" / "data" / "train.parquet").ids)
    assert ("" in sources) == (strength != 0.5)
    assert sources - {""} <= train
    assert bool(sources - {""}) == (strength != 1)
    assert arm in results["arms"]


def test_class_names_are_used_in_prompts(pets, tiny_pipeline_folder, tmp_path):
    (tmp_path / "names.txt").write_text("dog: a good boy\ncat: the boss\n")
    data = {"source": str(pets), "class_names": str(tmp_path / "names.txt")}
    run(
        tiny_settings(pets, tiny_pipeline_folder, data=data, adapt={"method": "none"}),
        tmp_path / "run",
        until="draw",
    )
    plan = pq.read_table(tmp_path / "run" / "synthetic" / "plan" / "round-00").to_pylist()
    assert {(row["class_name"], row["prompt"]) for row in plan} == {
        ("cat", "a photo of the boss"),
        ("dog", "a photo of a good boy"),
    }


def test_the_seed_decides(pets, tiny_pipeline_folder, tmp_path):
    trees = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        settings = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}).model_copy(
            update={"seed": seed}
        )
        run(settings, tmp_path / name, until="draw")
        trees.append(tree(tmp_path / name / "synthetic"))
    assert trees[0] == trees[1] != trees[2]


def test_a_guided_run_draws_the_same_with_an_adapter_made_before(pets, tiny_pipeline_folder, tmp_path):
    """The learnt projection goes with the adapter, and the noise level becomes the strength of every row."""
    save_tiny_image_encoder(tmp_path / "encoder", width=24)
    base = tiny_settings(
        pets,
        tiny_pipeline_folder,
        visual={"kind": "per-image", "projection": True},
        adapt={"method": "lora", "distribution": "class-mean"},
        draw={"start_snr": 0.07, "steps": 10, "pairing": "random"},
    )
    made = build(base.model_dump(), {"generator": {"image_encoder": str(tmp_path / "encoder")}})
    run(made, tmp_path / "made", until="draw")
    listener, out = Listener(), tmp_path / "used"
    used = build(made.model_dump(), {"adapt": {"adapter": str(tmp_path / "made" / "adapter")}})
    records = run(used, out, until="draw", observer=listener)
    assert f"adapt: skipped, because the adapter in {tmp_path / 'made' / 'adapter'} is used" in listener.lines
    assert tree(out / "synthetic") == tree(tmp_path / "made" / "synthetic")
    assert records["adapt"]["fingerprint"] == RunFolder.find(tmp_path / "made").record("adapt")["fingerprint"]
    rows = pq.read_table(out / "synthetic" / "plan" / "round-00").to_pylist()
    assert {row["strength"] for row in rows} == {0.7}
    assert {row["visual"] for row in rows} == {"per-image"}
    assert {row["visual_id"] for row in rows} <= set(LabelledSet.load(out / "data" / "train.parquet").ids)

    (tmp_path / "made" / "adapter" / "report.json").unlink()
    with pytest.raises(
        InputError, match="an adapter of understudy without its file report.json: copy the whole folder"
    ):
        run(used, tmp_path / "unfinished", until="draw")


def test_a_start_that_is_pure_noise_is_refused(pets, tiny_pipeline_folder, tmp_path):
    with pytest.raises(InputError, match="got 1e-09, which is pure noise for this generator"):
        run(
            tiny_settings(pets, tiny_pipeline_folder, draw={"start_snr": 1e-9}),
            tmp_path / "run",
            until="draw",
        )


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


def test_samples_show_drawn_images_and_then_kept_ones(pets, tiny_pipeline_folder, tmp_path):
    settings, out = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}), tmp_path / "run"
    listener = Listener()
    run(settings, out, until="draw", observer=listener)
    samples = out / "synthetic" / "samples.png"
    assert any(line.endswith(f"; some of them below real ones: {samples}") for line in listener.lines)
    with Image.open(samples) as sheet:
        assert sheet.width == 2 * 64, "a column for each class"
    samples.unlink()
    run(settings, out, until="curate")
    assert samples.exists()
