"""Ready-made images are drawn unchanged and in order; what needs a network is refused."""

import shutil
import tempfile
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import missing, plan_row, two_classes

from understudy.core.errors import InputError
from understudy.data.export import export
from understudy.data.labelled_set import LabelledSet, encode
from understudy.generators.generator import Generator, adaptable
from understudy.generators.load import check_generator, load_generator
from understudy.generators.settings import GeneratorSettings


def generator_of(*paths, **changes):
    return load_generator(GeneratorSettings(name="folder", images=paths, **changes), device="cpu")


def row(name, number, **changes):
    return plan_row(id=f"{name}-{number}", number=number, class_name=name, **changes)


def write(folder, *, size=(8, 8), levels=None, **images):
    """An image folder with so many images per class, each of one grey level, and all of them different."""
    levels = levels or count()
    for name, number in images.items():
        for index in range(number):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, (next(levels),) * 3).save(folder / name / f"{index}.png")
    return folder


def levels_of(pixels):
    return pixels[:, 0, 0, 0].tolist()


@pytest.fixture
def images(tmp_path):
    """Cats have the grey levels 0 to 2, dogs 3 and 4."""
    return write(tmp_path / "gan", cat=3, dog=2)


def test_it_fulfils_the_contract(images):
    generator = generator_of(images)
    assert missing(generator, Generator) == []
    assert generator.image_size == 8
    assert generator.strength_at(1.0, sampler="unipc", steps=20) == 1
    generator.check_prompts(["a cat " * 100], keep_last=True)
    generator.learn_classes(["a cat", "a dog"], seed=0)


@pytest.mark.parametrize("form", ["folder", "webdataset", "huggingface", "zip"])
def test_images_are_drawn_as_they_are(form, tmp_path):
    data, path = two_classes(), tmp_path / "images"
    export(data, path, form="folder" if form == "zip" else form)
    if form == "zip":
        path = Path(shutil.make_archive(str(path), "zip", path))
    generator = generator_of(path)
    drawn = generator.draw([row("dog", 1), row("cat", 0), row("cat", 3)], two_classes(4))
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, data.pixels(16)[[3, 0, 6]])
    assert np.array_equal(generator.draw([row("cat", 3)]), drawn[2:])


def test_the_order_of_classes_does_not_matter(images):
    generator = generator_of(images)
    assert generator.available(["cat", "dog"]).tolist() == [3, 2]
    assert generator.available(["dog", "cat"]).tolist() == [2, 3]
    assert generator.available(["cat", "dog"]).dtype == np.int64
    dogs_first = LabelledSet.from_images(
        [np.zeros((3, 8, 8), np.uint8)], [0], class_names=["dog", "cat"], split="train"
    )
    assert levels_of(generator.draw([row("dog", 1, label=0), row("cat", 2, label=1)], dogs_first)) == [4, 2]


@pytest.mark.parametrize("real", [["cat", "cow"], ["cat", "cow", "dog"], ["Cat", "Dog"]])
def test_other_classes_are_refused_with_both_lists(real, images):
    generator = generator_of(images)
    message = (
        rf"classes of the generated images in .*gan must be those of the real ones, got cat, dog instead of "
        rf"{', '.join(real)}: rename"
    )
    with pytest.raises(InputError, match=message):
        generator.available(real)
    train = LabelledSet.from_images([np.zeros((3, 8, 8), np.uint8)], [0], class_names=real, split="train")
    with pytest.raises(InputError, match=message):
        generator.draw([row(real[0], 0)], train)


def test_every_set_must_have_the_classes(images, tmp_path):
    other = write(tmp_path / "other", cat=1, cow=1)
    with pytest.raises(
        InputError, match=r"in .*other must be those of the real ones, got cat, cow instead of cat, dog"
    ):
        generator_of(images, other).available(["cat", "dog"])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3))
def test_sets_take_turns_and_longer_ones_go_on_alone(sizes):
    levels = count()
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            write(Path(folder) / str(number), levels=levels, cat=a, dog=b)
            for number, (a, b) in enumerate(sizes)
        ]
        generator = generator_of(*paths)
        rest, start = {"cat": [], "dog": []}, 0
        for a, b in sizes:
            rest["cat"].append(list(range(start, start + a)))
            rest["dog"].append(list(range(start + a, start + a + b)))
            start += a + b
        for name, left in rest.items():
            expected = []
            while any(left):
                expected += [images.pop(0) for images in left if images]
            assert generator.available([name, *({"cat", "dog"} - {name})])[0] == len(expected)
            assert (
                levels_of(generator.draw([row(name, number) for number in range(len(expected))])) == expected
            )


def test_a_class_with_too_few_images_is_refused(images):
    message = (
        r"generator.images must hold 3 or more images of class 'dog', got 2: add images, or lower "
        r"draw.per_class"
    )
    with pytest.raises(InputError, match=message):
        generator_of(images).draw([row("dog", 0), row("dog", 2)])
    with pytest.raises(InputError, match="1 or more images of class 'cow', got 0"):
        generator_of(images).draw([row("cow", 0)])


def test_images_come_in_one_size(tmp_path):
    """That of the first image, or as set; others are resized and cropped like real ones."""
    generated = [
        np.random.default_rng(n).integers(0, 256, (3, *size), np.uint8)
        for n, size in enumerate([(10, 14), (24, 24), (7, 9)])
    ]
    for number, pixels in enumerate(generated):
        (tmp_path / ("cat", "dog")[number > 1]).mkdir(exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(
            tmp_path / ("cat", "dog")[number > 1] / f"{number}.png"
        )
    rows = [row("cat", 0), row("cat", 1), row("dog", 0)]
    expected = LabelledSet.from_images(generated, [0, 0, 1], class_names=["cat", "dog"], split="train")
    for changes, size in (({}, 10), ({"resolution": 12}, 12)):
        generator = generator_of(tmp_path, **changes)
        assert generator.image_size == size
        assert np.array_equal(generator.draw(rows), expected.pixels(size))


def test_the_fingerprint_is_that_of_the_pixels_in_their_order(images, tmp_path):
    first = generator_of(images).fingerprint
    shutil.copytree(images, tmp_path / "elsewhere")
    other_form = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", images))
    assert {generator_of(path).fingerprint for path in (images, tmp_path / "elsewhere", other_form)} == {
        first
    }
    assert first != generator_of(images, other_form).fingerprint
    (images / "cat" / "0.png").rename(images / "cat" / "9.png")
    swapped = generator_of(images).fingerprint
    assert swapped != first
    with Image.open(images / "dog" / "1.png") as image:
        image.putpixel((3, 3), (4, 4, 5))
        image.save(images / "dog" / "1.png")
    assert generator_of(images).fingerprint not in (first, swapped)


def test_of_a_set_with_splits_the_train_split_is_drawn(tmp_path):
    levels = count()
    for split, number in (("test", 1), ("train", 2), ("val", 3)):
        write(tmp_path / split, levels=levels, cat=number, dog=number)
    generator = generator_of(tmp_path)
    assert generator.available(["cat", "dog"]).tolist() == [2, 2]
    assert levels_of(generator.draw([row("cat", 0), row("dog", 1)])) == [2, 5]


def test_a_set_without_train_images_is_refused(tmp_path):
    data = two_classes(2)
    data.save(tmp_path / "test-0.parquet")
    data.select([]).save(tmp_path / "train-0.parquet")
    with pytest.raises(InputError, match="the train split must have images, because only it is used"):
        generator_of(tmp_path).available(["cat", "dog"])


def test_numbers_with_declared_names(tmp_path):
    data = two_classes(2)
    data.save(tmp_path / "gan.parquet")
    counts = [int(data.counts[data.class_names.index(name)]) for name in data.class_names]
    assert generator_of(tmp_path / "gan.parquet").available(data.class_names).tolist() == counts


def test_numbers_are_names(tmp_path):
    """Where a set has numbers instead of class names, they must be the names of the real classes too."""
    pixels = [encode(image) for image in two_classes(2).pixels(8)]
    pq.write_table(pa.table({"image": pixels, "label": [1, 0]}), tmp_path / "gan.parquet")
    generator = generator_of(tmp_path / "gan.parquet")
    assert generator.available(["1", "0"]).tolist() == [1, 1]
    with pytest.raises(InputError, match="got 0, 1 instead of cat, dog"):
        generator.available(["cat", "dog"])


def test_bad_files_are_listed_when_they_are_read(images):
    (images / "cat" / "1.png").write_bytes(b"no image")
    (images / "notes.txt").write_text("made by a GAN")
    generator = generator_of(images)
    with pytest.raises(
        InputError,
        match=r"generator.images .*gan: every file must be a readable image, but 2 are not:\n"
        r"  cat/1.png: not an image",
    ):
        generator.draw([row("dog", 0)])
    with pytest.raises(InputError, match="but 2 are not"):
        _ = generator.fingerprint


def test_what_is_wrong_with_a_set_says_which_set(images, tmp_path):
    Image.new("RGB", (8, 8), (0, 0, 0)).save(images / "dog" / "copy.png")
    with pytest.raises(
        InputError,
        match=r"generator.images .*gan: identical images must have the same class, but these do not:\n"
        r"  cat/0.png is 'cat'",
    ):
        generator_of(images).available(["cat", "dog"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"generator.images .*empty: .*must hold class folders with images"):
        _ = generator_of(tmp_path / "empty").image_size


def test_what_is_not_there_is_refused_at_once(images, tmp_path, monkeypatch):
    (tmp_path / "images.rar").touch()
    monkeypatch.chdir(tmp_path)  # where no folder is named digits: it must not mean the built-in real images
    for path, message in (
        (
            tmp_path / "nothing",
            "must be folders, or .zip, .parquet or .tar files, but nothing is at .*nothing",
        ),
        (tmp_path / "images.rar", "images.rar must be a folder, or a .zip, .parquet or .tar file"),
        (Path("digits"), "nothing is at digits"),
    ):
        with pytest.raises(InputError, match=message):
            check_generator(GeneratorSettings(name="folder", images=(images, path)))
    (tmp_path / "digits").mkdir()
    check_generator(GeneratorSettings(name="folder", images=(images, Path("digits"))))


@pytest.mark.parametrize(
    "changes",
    [{"precision": "bfloat16"}, {"image_encoder": "clip"}, {"compile": True}, {"patch": 4}],
    ids=str,
)
def test_settings_of_networks_are_refused(changes, images):
    with pytest.raises(
        InputError,
        match=f"generator.{next(iter(changes))} has no effect on the generator 'folder': leave it out",
    ):
        check_generator(GeneratorSettings(name="folder", images=(images,), **changes))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda g: adaptable(g), "do not have: set adapt.method=none and visual.kind=none"),
        (
            lambda g: g.draw([row("cat", 0)], None, torch.zeros(1, 4)),
            "do not have: leave it out",
        ),
        (
            lambda g: g.draw([row("cat", 0, strength=0.5)]),
            "cannot start from real images: leave draw.strength and draw.start_snr out",
        ),
        (lambda g: g.strength_at(0.07, sampler="unipc", steps=20), "cannot start from real images"),
    ],
)
def test_what_needs_a_network_is_refused(ask, message, images):
    with pytest.raises(InputError, match=message):
        ask(generator_of(images))


def test_no_setting_of_the_real_images_is_advised_for_ready_made_ones(tmp_path):
    for name in ("ant", "cow"):
        (tmp_path / "gan" / name).mkdir(parents=True)
        for index in range(3):
            levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * (60 + 2 * index + (name == "cow"))
            Image.fromarray(levels).save(tmp_path / "gan" / name / f"{index}.png")
    with pytest.raises(
        InputError, match=r"nearly black .*: change these files, because the settings"
    ) as caught:
        generator_of(tmp_path / "gan").available(("ant", "cow"))
    assert "--" not in str(caught.value)
