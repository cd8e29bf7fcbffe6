import hashlib

import numpy as np
import pytest
import torch
from tiny import Loaded, plan_of

from understudy.generators.visual_guidance import VISUALS, VisualGuidance, features_of
from understudy.sampling.draw import Drawer, PartDrawing, load_parts
from understudy.sampling.plan import write_parts


@pytest.fixture
def plans(train, tmp_path):
    return write_parts(plan_of(train, [4, 4], steps=2), tmp_path / "plan", part_size=3)


def steps_of(generator, plans, folder, train, batch_size=2, visual=None):
    """The number of images of each batch, while the parts without images are drawn."""
    drawer = Drawer(networks=Loaded(generator, visual), number=0, train=train, batch_size=batch_size)
    for plan in plans:
        job = PartDrawing(plan=plan, path=folder / plan.name, drawer=drawer, device="cpu")
        if not job.is_done:
            yield from job.steps()


def draw(*arguments, **options):
    return list(steps_of(*arguments, **options))


def hashes(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.parquet"))
    }


def test_images_carry_their_plan(tiny_generator, plans, train, tmp_path):
    steps = draw(tiny_generator, plans, tmp_path / "images", train)
    drawn = load_parts(tmp_path / "images", plans)
    assert sum(steps) == len(drawn) == 8
    assert drawn.split == "synthetic"
    assert drawn.class_names == ("cat", "dog")
    assert drawn.provenance("prompt")[-1] == "a photo of a dog"
    assert len(set(drawn.provenance("seed"))) == 8


def test_any_worker_in_any_order_gives_the_same_files(tiny_generator, plans, train, tmp_path):
    draw(tiny_generator, plans, tmp_path / "one", train)
    for worker in (plans[2:], plans[:1], plans[1:2]):
        draw(tiny_generator, worker, tmp_path / "many", train)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "many")


def test_finished_parts_are_left_untouched_and_an_interrupted_one_is_drawn_again(
    tiny_generator, plans, train, tmp_path
):
    draw(tiny_generator, plans, tmp_path / "whole", train)
    folder = tmp_path / "stopped"
    for number, _ in enumerate(steps_of(tiny_generator, plans, folder, train)):
        if number == 2:  # in the middle of the second part
            break
    done = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}
    assert list(done) == ["part-00000.parquet"]
    (folder / ".part-00001.parquet.tmp").write_bytes(b"half a file")
    steps = draw(tiny_generator, plans, folder, train)
    assert steps == [2, 1, 2]
    assert (folder / "part-00000.parquet").stat().st_mtime_ns == done["part-00000.parquet"]
    assert hashes(folder) == hashes(tmp_path / "whole")


@pytest.mark.parametrize("kind", [name for name in VISUALS if name != "none"])
def test_guided_images_do_not_depend_on_the_worker(kind, tiny_generator, train, tmp_path):
    """Exactly: parts and batches in them stay the same. In other batches they agree up to rounding."""
    rows = plan_of(train, [4, 4], steps=2, strength=0.5, visual=kind)
    plans = write_parts(rows, tmp_path / "plan", part_size=3)
    guidance = VisualGuidance(100 * features_of(tiny_generator, train), train, kind=kind, images=2)

    def drawn(name, *workers, batch_size=2, visual=guidance):
        for worker in workers:
            draw(tiny_generator, worker, tmp_path / name, train, batch_size=batch_size, visual=visual)
        return load_parts(tmp_path / name, plans)

    one = drawn("one", plans)
    drawn("many", plans[2:], plans[:1], plans[1:2])
    assert hashes(tmp_path / "one") == hashes(tmp_path / "many")
    assert set(one.provenance("visual")) == {kind}
    levels = one.pixels(16).astype(int)
    assert np.abs(levels - drawn("alone", plans, batch_size=1).pixels(16)).max() <= 1
    assert np.abs(levels - drawn("unguided", plans, visual=None).pixels(16)).max() > 1


def test_drawing_goes_on_with_fewer_images_when_memory_runs_out(tiny_generator, plans, train, tmp_path):
    """Each image is the one that a smaller batch would draw."""
    draw(tiny_generator, plans, tmp_path / "one", train, batch_size=1)
    draw_all, sizes = tiny_generator.draw, []

    class Small:
        def draw(self, rows, *arguments):
            sizes.append(len(rows))
            if len(rows) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return draw_all(rows, *arguments)

    with pytest.warns(UserWarning, match="drawing ran out of memory with [32] images at once"):
        draw(Small(), plans, tmp_path / "small", train, batch_size=3)
    assert sizes == [3, 2, *[1] * 8]
    assert hashes(tmp_path / "one") == hashes(tmp_path / "small")


def test_images_of_several_strengths_stay_in_the_order_of_the_plan(tiny_generator, train, tmp_path):
    """Those of one strength are drawn together, two batches and not eight."""
    rows = plan_of(train, [4, 4], steps=2, strength=(0.5, 1.0))
    plans = write_parts(rows, tmp_path / "plan", part_size=8)
    assert len({row.strength for row in rows[:2]}) == 2
    steps = draw(tiny_generator, plans, tmp_path / "images", train, batch_size=4)
    assert steps == [4, 4]
    drawn = load_parts(tmp_path / "images", plans)
    assert drawn.ids == [row.id for row in rows]
    for row, image in zip(rows, drawn.pixels(tiny_generator.image_size), strict=True):
        alone = tiny_generator.draw([row], train)[0]
        assert np.abs(image.astype(int) - alone.astype(int)).max() <= 1
