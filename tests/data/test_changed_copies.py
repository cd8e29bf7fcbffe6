"""Changed copies of generated pictures are found, different pictures are not; what splits share."""

from pathlib import Path

import numpy as np
import pytest
from data_pictures import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from understudy.core.errors import InputError
from understudy.data.changed_copies import changed_copies
from understudy.data.copy_groups import CopyGroups
from understudy.data.leaks import perceptual
from understudy.data.load import find_source, load_splits
from understudy.data.pool import read_pool
from understudy.data.settings import DataSettings

BICUBIC = Image.Resampling.BICUBIC


def drawn(number: int, size: int = 64) -> Image.Image:
    """Shapes on a smooth ground; each number has another one."""
    rng = np.random.default_rng([3, number])
    ground = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((size, size), BICUBIC)
    draw = ImageDraw.Draw(ground)
    for _ in range(3):
        x, y, r = (int(value) for value in rng.integers(size // 8, size // 2, 3))
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        draw.ellipse([x, y, x + r, y + r], fill=colour)
    return ground


def cropped(image: Image.Image, part: float) -> Image.Image:
    margin = round(image.width * (1 - part) / 2)
    box = (margin, margin, image.width - margin, image.height - margin)
    return image.crop(box).resize(image.size, BICUBIC)


def noisy(image: Image.Image, strength: float) -> Image.Image:
    noise = np.random.default_rng(3).normal(0, strength, (*image.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


CHANGES = {
    "flip": st.just(ImageOps.mirror),
    "quarter": st.sampled_from([90, 180, 270]).map(lambda angle: lambda image: image.rotate(angle)),
    "turn": st.floats(-5, 5).map(lambda angle: lambda image: image.rotate(angle, resample=BICUBIC)),
    "crop": st.floats(0.88, 1).map(lambda part: lambda image: cropped(image, part)),
    "darker": st.floats(0.6, 1).map(lambda by: lambda image: ImageEnhance.Brightness(image).enhance(by)),
    "paler": st.floats(0.6, 1).map(lambda by: lambda image: ImageEnhance.Contrast(image).enhance(by)),
    "blur": st.floats(0.2, 1).map(lambda by: lambda image: image.filter(ImageFilter.GaussianBlur(by))),
    "noise": st.floats(1, 12).map(lambda by: lambda image: noisy(image, by)),
    "grey": st.just(lambda image: image.convert("L").convert("RGB")),
    "small": st.integers(24, 64).map(lambda size: lambda image: image.resize((size, size))),
}


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    return np.stack([perceptual(image)[2] for image in images])


@pytest.mark.parametrize("name", CHANGES)
def test_changed_copies_are_found(name: str) -> None:
    @settings(max_examples=4, deadline=None)
    @given(CHANGES[name], st.integers(0, 1000))
    def check(change, start: int) -> None:
        originals = [drawn(start + number) for number in range(12)]
        found = changed_copies(thumbnails([*originals, *map(change, originals[:10])]))
        right = {(number, 12 + number) for number in range(10)}
        assert len(right & set(map(tuple, found.tolist()))) >= 9
        assert set(map(tuple, found.tolist())) <= right

    check()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_different_pictures_are_none(start: int) -> None:
    assert not len(changed_copies(thumbnails([drawn(start + number) for number in range(60)])))
    assert not len(changed_copies(thumbnails([picture(start + number) for number in range(60)])))


@pytest.mark.slow
def test_digits_and_the_frames_of_a_camera_are_no_copies() -> None:
    chosen = DataSettings(source="digits")
    pool = read_pool(find_source("digits").open("digits", chosen), chosen)
    groups = CopyGroups.find(pool.images, pool.fingerprints, chosen)
    parts = {
        split: pool.images.select([index for index, name in enumerate(pool.declared) if name == split])
        for split in ("train", "val", "test")
    }
    assert groups.shared(parts) == []
    assert groups.sentences() == ()
    part = Image.new("RGB", (64, 64), (90, 90, 90))
    ImageDraw.Draw(part).ellipse([12, 12, 52, 52], fill=(190, 190, 190))
    frames = [np.asarray(part) + np.random.default_rng(k).normal(0, 4, (64, 64, 3)) for k in range(60)]
    assert not len(changed_copies(thumbnails([Image.fromarray(frame.astype(np.uint8)) for frame in frames])))


def test_few_and_flat_images() -> None:
    assert changed_copies(thumbnails([drawn(0)])).shape == (0, 2)
    assert changed_copies(
        thumbnails([Image.new("RGB", (8, 8), level) for level in ("red", "blue")])
    ).shape == (0, 2)


def augmented(root: Path, classes: dict[str, range]) -> Path:
    """An original, its mirror image and a darker turned copy, each a file, of each number."""
    for name, numbers in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            image = drawn(number)
            image.save(root / name / f"{number}_a.png")
            ImageOps.mirror(image).save(root / name / f"{number}_b.png")
            ImageEnhance.Brightness(image.rotate(90)).enhance(0.8).save(root / name / f"{number}_c.png")
    return root


def load(path: Path, **values):
    return load_splits(DataSettings(source=str(path), **values), seed=0)


def pictures(data) -> set[str]:
    return {Path(path).stem.split("_")[0] for path in data.provenance("source_path")}


def test_copies_stay_in_one_split(tmp_path: Path) -> None:
    source = augmented(tmp_path, {"cat": range(8), "dog": range(8, 16)})
    splits = load(source)
    assert not pictures(splits.train) & pictures(splits.test)
    assert not pictures(splits.val) & (pictures(splits.train) | pictures(splits.test))
    assert splits.copies["shared"] == []
    assert any(note.startswith("copies: 48 images show 16 pictures") for note in splits.notes)
    without = load(source, changed_copies=False)
    assert pictures(without.train) & pictures(without.test)
    assert "data.changed_copies is false" in without.copies["not_looked_for"]
    assert splits.copies["all_kinds"] and not without.copies["all_kinds"]
    assert not load(source, near_duplicate_distance=-1).copies["all_kinds"]
    assert "by a test of the package" not in splits.copies["looked_for"]


def test_a_copy_of_another_class_is_named_and_stays_with_it(tmp_path: Path) -> None:
    source = augmented(tmp_path, {"cat": range(8), "dog": range(8, 16)})
    (source / "cat" / "0_b.png").rename(source / "dog" / "0_b.png")
    splits = load(source)
    assert not pictures(splits.train) & pictures(splits.test)
    note = next(note for note in splits.notes if note.startswith("labels: 1 pictures"))
    assert "cat/0_a.png (cat)" in note and "dog/0_b.png (dog)" in note


def test_given_splits_that_share_pictures_are_counted(tmp_path: Path) -> None:
    augmented(tmp_path / "train", {"cat": range(4), "dog": range(8, 12)})
    test = augmented(tmp_path / "test", {"cat": range(4, 6), "dog": range(12, 14)})
    ImageOps.flip(drawn(1)).save(test / "cat" / "1_d.png")
    splits = load(tmp_path)
    shared = {(each["split"], each["in"]): each for each in splits.copies["shared"]}
    (example,) = shared["test", "train"]["examples"] if ("test", "train") in shared else [None]
    found = [each for each in splits.copies["shared"] if each["split"] == "test"]
    assert sum(each["images"] for each in found) >= 1 and found[0]["of"] == 13
    assert found[0]["examples"][0][0] == "test/cat/1_d.png"
    assert example is None or example[1].startswith("train/cat/1_")
    assert any(note.startswith("warning: 1 of 13 test images have a changed copy") for note in splits.notes)


def test_a_group_with_most_of_a_class_is_refused(tmp_path: Path) -> None:
    augmented(tmp_path, {"dog": range(8)})
    (tmp_path / "cat").mkdir()
    turned = [drawn(50).rotate(quarter * 90) for quarter in range(4)]
    images = [*turned, *map(ImageOps.mirror, turned)]
    for number, image in enumerate([*images, *(ImageEnhance.Contrast(each).enhance(0.7) for each in images)]):
        image.save(tmp_path / "cat" / f"{number}.png")
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert "16 of the 16 pictures of 'cat' look like copies of one another" in str(caught.value)
    assert "--set data.changed_copies=false" in str(caught.value)
    assert len(load(tmp_path, changed_copies=False).test)
