from __future__ import annotations

import io
import itertools
import os
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from data_pictures import picture, write_folder

from understudy.core.errors import InputError
from understudy.data.load import Splits, load_splits
from understudy.data.settings import DataSettings


def load(source: Path | str, seed: int = 0, **settings: Any) -> Splits:
    return load_splits(DataSettings(source=str(source), **settings), seed=seed)


def zipped(folder: Path, prefix: str = "") -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return target


def paths(splits: Splits) -> dict[str, list[str]]:
    return {part.split: part.provenance("source_path") for part in (splits.train, splits.val, splits.test)}


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its data does not fill."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )


def test_class_folders_are_split(tmp_path: Path) -> None:
    splits = load(write_folder(tmp_path / "pets", {"dog": 10, "cat": 20}))
    assert splits.train.class_names == splits.prompt_names == ("cat", "dog")
    assert [part.counts.tolist() for part in (splits.train, splits.val, splits.test)] == [
        [12, 6],
        [4, 2],
        [4, 2],
    ]
    assert [part.split for part in (splits.train, splits.val, splits.test)] == ["train", "val", "test"]
    everything = [path for each in paths(splits).values() for path in each]
    assert sorted(everything) == sorted(
        path.relative_to(tmp_path / "pets").as_posix() for path in (tmp_path / "pets").rglob("*.png")
    )
    assert (
        splits.train.encoded(0)
        == (tmp_path / "pets" / splits.train.provenance("source_path")[0]).read_bytes()
    )
    assert all(name.startswith("real-") and len(name) == 17 for name in splits.train.ids)
    assert splits.skipped == ()
    assert paths(load(tmp_path / "pets")) == paths(splits) != paths(load(tmp_path / "pets", seed=1))


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders_are_kept(tmp_path: Path, val: str) -> None:
    write_folder(tmp_path / "train", {"a": 3, "b/deep/er": 3})
    write_folder(tmp_path / val, {"a": 1, "b": 1}, start=10)
    write_folder(tmp_path / "test", {"a": 2, "b": 2}, start=20)
    splits = load(tmp_path)
    assert [part.counts.tolist() for part in (splits.train, splits.val, splits.test)] == [
        [3, 3],
        [1, 1],
        [2, 2],
    ]
    assert "train/b/deep/er/0.png" in paths(splits)["train"]
    assert all(path.startswith(f"{val}/") for path in paths(splits)["val"])


def test_val_is_taken_from_train(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"a": 10, "b": 10})
    write_folder(tmp_path / "test", {"a": 2, "b": 2}, start=20)
    splits = load(tmp_path, val_fraction=0.3)
    assert [part.counts.tolist() for part in (splits.train, splits.val, splits.test)] == [
        [7, 7],
        [3, 3],
        [2, 2],
    ]
    assert all(path.startswith("train/") for path in paths(splits)["val"])


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert load(write_folder(tmp_path, {"car": 3, "train": 3})).train.class_names == ("car", "train")


def test_shots_bound_train_and_val(tmp_path: Path) -> None:
    splits = load(write_folder(tmp_path, {"a": 20, "b": 20}), shots=2)
    assert [part.counts.tolist() for part in (splits.train, splits.val, splits.test)] == [
        [2, 2],
        [2, 2],
        [4, 4],
    ]
    with pytest.raises(InputError, match=r"for 13 shots"):
        load(tmp_path, shots=13)


def test_fewer_validation_images_than_shots_are_said(tmp_path: Path) -> None:
    found = load(write_folder(tmp_path / "divided", {"a": 20, "b": 30}), shots=5)
    assert [part.counts.tolist() for part in (found.train, found.val)] == [[5, 5], [4, 5]]
    (note,) = found.notes
    assert note.startswith(
        "val: 1 of 2 classes have fewer validation images than the 5 of data.shots (a 4), b"
    )
    assert note.endswith("the validation split holds no more: raise data.val_fraction, or add images")
    assert load(tmp_path / "divided", shots=5, val_fraction=0.3).notes == ()
    folders = {f"{split}/{name}": 6 for split in ("train", "test") for name in ("a", "b")}
    given = write_folder(tmp_path / "given", folders | {"val/a": 2, "val/b": 2}, start=100)
    assert "(a 2, b 2), because the validation split holds no more: add val" in load(given, shots=5).notes[-1]
    assert load(given, shots=2).notes == load(given).notes


def test_hidden_files_are_ignored(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3, ".git": 1})
    for name in ("a/.DS_Store", "a/Thumbs.db", ".hidden", "metadata.csv"):
        (tmp_path / name).write_text("x")
    assert load(tmp_path).skipped == ()


def test_bad_files_are_listed_and_skipped(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 4, "b": 4})
    good = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "a" / "cut.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "b" / "notes.txt").write_text("not an image")
    (tmp_path / "b" / "empty.jpg").write_bytes(b"")
    (tmp_path / "b" / "drawing.eps").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    )
    (tmp_path / "stray.png").write_bytes(good)
    (tmp_path / "c").mkdir()
    os.symlink(tmp_path / "nowhere.png", tmp_path / "a" / "broken.png")
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    message = str(caught.value)
    assert "but 6 of 14 are not" in message
    assert "--skip-bad" in message
    reasons = dict(line.strip().split(": ", 1) for line in message.splitlines()[1:-2])
    assert message.splitlines()[-2] == "every folder must hold images, but these hold none: c/"
    assert reasons["a/cut.png"].startswith("damaged image")
    assert reasons["b/notes.txt"] == "not an image"
    assert reasons["b/empty.jpg"] == "an empty file"
    assert reasons["b/drawing.eps"] == "not read: EPS, which is not supported: convert it to PNG or JPEG"
    assert reasons["stray.png"] == "not in a class folder"
    assert reasons["a/broken.png"].startswith("cannot be read")
    splits = load(tmp_path, skip_bad=True)
    assert dict(splits.skipped) == reasons | {"c/": "no image in this folder"}
    assert len(splits.train) + len(splits.val) + len(splits.test) == 8


def test_nothing_but_bad_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_text("no")
    with pytest.raises(InputError, match=r"must hold images, but none"):
        load(tmp_path, skip_bad=True)


def test_missing_empty_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file or folder at '/nowhere/pets'"):
        load("/nowhere/pets")
    with pytest.raises(InputError, match=r"no file or folder at 'digts'.*digits.*did you mean 'digits'"):
        load("digts")
    with pytest.raises(InputError, match=r"'folder' is a kind of source"):
        load("folder")
    with pytest.raises(InputError, match=r"must hold class folders"):
        load(tmp_path)
    (tmp_path / "x.rar").write_text("x")
    with pytest.raises(InputError, match=r"must be a folder, or a \.zip"):
        load(tmp_path / "x.rar")
    picture(0).save(tmp_path / "flat.png")
    with pytest.raises(InputError, match=r"must hold class folders"):
        load(tmp_path)


def test_too_few_classes_or_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"at least two classes are needed, got one: 'cat'"):
        load(write_folder(tmp_path / "one", {"cat": 5}))
    with pytest.raises(InputError, match=r"at least 3 different images.*'dog' has 1"):
        load(write_folder(tmp_path / "single", {"cat": 5, "dog": 1}))


def test_fractions_must_leave_train_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sum below 1"):
        load(write_folder(tmp_path, {"a": 5, "b": 5}), val_fraction=0.5, test_fraction=0.5)


def test_splits_and_classes_side_by_side(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 3, "test/a": 3, "bird": 3})
    with pytest.raises(InputError, match=r"either splits or classes, got test, train next to bird"):
        load(tmp_path)


def test_no_train_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, {"val/a": 3, "val/b": 3, "test/a": 3, "test/b": 3})
    with pytest.raises(InputError, match=r"must have train images, got only val and test"):
        load(tmp_path)


def test_train_without_good_images(tmp_path: Path) -> None:
    write_folder(tmp_path, {"test/a": 3, "test/b": 3})
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "x.png").write_text("no")
    with pytest.raises(InputError, match=r"must have train images, got only test"):
        load(tmp_path, skip_bad=True)


def test_other_test_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 3, "train/b": 3, "test/a": 3, "test/c": 3})
    found = r"but train lacks c \(as in test/c/0.png\) and test lacks b \(as in train/b/.*split_names=join"
    with pytest.raises(InputError, match=found):
        load(tmp_path)


def has_class(split: str, name: str, present: tuple[str, ...]) -> int:
    return 3 if name != "c" or split in present else 0


@pytest.mark.parametrize("with_folder", [False, True], ids=["missing", "empty"])
@pytest.mark.parametrize(
    "present",
    [each for size in (1, 2) for each in itertools.combinations(("train", "val", "test"), size)],
    ids="+".join,
)
def test_a_class_that_some_splits_lack(present: tuple[str, ...], with_folder: bool, tmp_path: Path) -> None:
    """The message names the splits and an image of the class, and what it says to do works."""
    counts = {
        f"{split}/{name}": has_class(split, name, present)
        for split in ("train", "val", "test")
        for name in ("a", "b", "c")
    }
    write_folder(tmp_path, {name: count for name, count in counts.items() if count or with_folder})
    if with_folder:
        with pytest.raises(InputError, match=r"these hold none: .*/c/\n.*leave them out with --skip"):
            load(tmp_path)
    with pytest.raises(InputError, match="every split must have the same classes") as refused:
        load(tmp_path, skip_bad=True)
    message = str(refused.value)
    for split in ("train", "val", "test"):
        assert (f"{split} lacks c (as in {min(present)}/c/0.png)" in message) == (split not in present)
    assert message.endswith("again, with --set data.split_names=join")
    joined = load(tmp_path, skip_bad=True, split_names="join")
    assert all((part.counts > 0).all() for part in (joined.train, joined.val, joined.test))
    assert sum(map(len, (joined.train, joined.val, joined.test))) == sum(counts.values())
    assert "splits: the images of all splits were put together and divided again" in joined.notes[1]


def test_validation_images_that_others_test_on(tmp_path: Path) -> None:
    """As in ImageNet, whose folders are train and val."""
    folders = {f"{split}/{name}": 10 for split in ("train", "val") for name in ("a", "b")}
    write_folder(tmp_path / "imagenet", folders)
    found = load(tmp_path / "imagenet")
    (note,) = [note for note in found.notes if note.startswith("splits: the source has validation")]
    assert "20% of its train images are now test images" in note
    assert [len(part) for part in (found.train, found.val, found.test)] == [16, 20, 4]
    tested = load(tmp_path / "imagenet", split_names="val-as-test")
    assert paths(tested)["test"] == paths(found)["val"]
    assert [len(part) for part in (tested.train, tested.val, tested.test)] == [16, 4, 20]
    assert not [note for note in tested.notes if "no test images" in note]


@pytest.mark.parametrize(
    ("others", "has"), [((), "has no validation images"), (("val", "test"), "has test images")]
)
def test_validation_images_that_cannot_be_test_images(
    others: tuple[str, ...], has: str, tmp_path: Path
) -> None:
    write_folder(tmp_path, {f"{split}/{name}": 6 for split in ("train", *others) for name in ("a", "b")})
    with pytest.raises(InputError, match=f"val-as-test is for a source .*, but .* {has}"):
        load(tmp_path, split_names="val-as-test")


def test_shared_images_can_be_left_out(tmp_path: Path) -> None:
    """Of train and of validation, so that results on the test images stay comparable."""
    write_folder(
        tmp_path, {f"{split}/{name}": 6 for split in ("train", "val", "test") for name in ("a", "b")}
    )
    for split, name, number in (("train", "a", 7), ("train", "b", 7), ("val", "a", 7)):
        shutil.copy(next((tmp_path / "test" / name).iterdir()), tmp_path / split / name / f"{number}.png")
    with pytest.raises(InputError, match="share images(.|\n)*data.shared_images=leave-out"):
        load(tmp_path)
    found = load(tmp_path, shared_images="leave-out")
    assert [part.counts.tolist() for part in (found.train, found.val, found.test)] == [[6, 6]] * 3
    assert not {"train/a/7.png", "train/b/7.png", "val/a/7.png"} & {*found.train.ids, *found.val.ids}
    assert "(data.shared_images): 2 of train, 1 of val" in " ".join(found.notes)
    assert load(tmp_path, shared_images="leave-out", shots=2).train.counts.tolist() == [2, 2]


def test_a_class_that_only_has_shared_images(tmp_path: Path) -> None:
    write_folder(tmp_path, {f"{split}/{name}": 6 for split in ("train", "test") for name in ("a", "b")})
    for path in (tmp_path / "train" / "a").iterdir():
        path.unlink()
    for path in (tmp_path / "test" / "a").iterdir():
        shutil.copy(path, tmp_path / "train" / "a")
    with pytest.raises(InputError, match="leaves no (train|val) images of a, because all have copies"):
        load(tmp_path, shared_images="leave-out")


def test_joined_splits_keep_copies_together(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 5, "train/b": 5, "test/a": 3, "test/b": 3})
    picture(0).save(tmp_path / "test" / "a" / "leak.png")
    with pytest.raises(InputError, match=r"1 pair of copies:\n.*\n.*; or divide all images again with --set"):
        load(tmp_path)
    for seed in range(5):
        of_leak = [
            split
            for split, names in paths(load(tmp_path, seed, split_names="join")).items()
            for name in names
            if name in ("train/a/0.png", "test/a/leak.png")
        ]
        assert len(set(of_leak)) == 1


def test_test_images_in_train(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 5, "train/b": 5, "test/a": 3, "test/b": 3})
    picture(0).save(tmp_path / "train" / "a" / "leak.png")
    picture(0).save(tmp_path / "test" / "a" / "leak.png")
    with pytest.raises(InputError, match=r"train/a/.*\.png .* and test/a/leak.png \(test\): the same pixels"):
        load(tmp_path)
    picture(0).save(tmp_path / "test" / "a" / "leak.png")
    (tmp_path / "train" / "a" / "leak.png").unlink()
    (tmp_path / "train" / "a" / "0.png").unlink()
    picture(0).save(tmp_path / "train" / "a" / "leak.jpg", quality=90)
    with pytest.raises(InputError, match=r"near copies"):
        load(tmp_path)
    assert len(load(tmp_path, near_duplicate_distance=-1).test) == 7


def test_copies_in_one_folder_share_a_split(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 10, "b": 10})
    for index in range(10):
        shutil.copy(tmp_path / "a" / f"{index}.png", tmp_path / "a" / f"{index}-copy.png")
        picture(10 + index).save(tmp_path / "b" / f"{index}-near.jpg", quality=90)
    splits = load(tmp_path, near_duplicate_distance=6)
    assert [part.counts.tolist() for part in (splits.train, splits.val, splits.test)] == [
        [12, 12],
        [4, 4],
        [4, 4],
    ]


def test_identical_images_of_two_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 4, "b": 4})
    shutil.copy(tmp_path / "a" / "1.png", tmp_path / "b" / "same.png")
    with pytest.raises(InputError, match=r"a/1.png is 'a', b/same.png is 'b'"):
        load(tmp_path)


def test_decompression_bomb(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "a" / "bomb.png").write_bytes(huge_png(12_000, 10_000))
    message = r"a/bomb.png: 12000 x 10000 pixels, more than the 100,000,000 of data.max_pixels"
    with pytest.raises(InputError, match=message):
        load(tmp_path)
    (tmp_path / "a" / "bomb.png").write_bytes(huge_png(100_000, 100_000))
    with pytest.raises(InputError, match=r"a/bomb.png: .*(pixels|decompression bomb)"):
        load(tmp_path)
    (tmp_path / "a" / "bomb.png").unlink()
    with pytest.raises(InputError, match=r"24 x 24 pixels, more than the 500 of data"):
        load(tmp_path, max_pixels=500)


def test_huge_files_are_not_read(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 4, "b": 4})
    with (tmp_path / "a" / "big.png").open("wb") as handle:
        handle.truncate(300_000_000)  # sparse
    with pytest.raises(InputError, match=r"a/big.png: 300,000,000 bytes"):
        load(tmp_path)


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere", {"b": 4}, start=50)
    write_folder(tmp_path / "set", {"a": 4})
    os.symlink(tmp_path / "elsewhere" / "b", tmp_path / "set" / "b")
    os.symlink(tmp_path / "set", tmp_path / "set" / "a" / "loop")
    splits = load(tmp_path / "set")
    assert splits.train.class_names == ("a", "b")


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # file modes do not bind root
    with pytest.raises(InputError, match=r"b must be readable: Permission denied"):
        load(tmp_path)


@pytest.mark.parametrize("prefix", ["", "top/"])
def test_zip_is_read_like_the_folder(tmp_path: Path, prefix: str) -> None:
    folder = write_folder(tmp_path / "pets", {"a": 5, "b": 5})
    (folder / ".DS_Store").write_text("x")
    if prefix:
        write_folder(folder, {"__MACOSX/top/a": 1}, start=90)
    from_zip, from_folder = load(zipped(folder, prefix)), load(folder)
    assert from_zip.train.class_names == from_folder.train.class_names == ("a", "b")
    both = [
        {each.encoded(index) for each in (s.train, s.val, s.test) for index in range(len(each))}
        for s in (from_zip, from_folder)
    ]
    assert both[0] == both[1]
    if not prefix:
        assert from_zip.train.columns.equals(from_folder.train.columns)


def test_zip_with_splits_below_one_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", {"train/a": 4, "train/b": 4, "test/a": 2, "test/b": 2})
    assert load(zipped(tmp_path / "set", "top/")).test.counts.tolist() == [2, 2]


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "a/../../b.png", "a\\..\\b.png", "C:/a.png"])
def test_zip_with_unsafe_paths(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(InputError, match=r"relative paths without '\.\.', got"):
        load(tmp_path / "x.zip", skip_bad=True)


def test_zip_with_link(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match=r"'a/link.png' is a link or device"):
        load(tmp_path / "x.zip")


def test_damaged_zips(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("no zip")
    with pytest.raises(InputError, match=r"must be a zip file"):
        load(tmp_path / "x.zip")
    file = zipped(write_folder(tmp_path / "pets", {"a": 4, "b": 4}))
    first = (tmp_path / "pets" / "a" / "0.png").read_bytes()
    file.write_bytes(file.read_bytes().replace(first, first[:60] + b"\0\0\0\0" + first[64:]))
    with pytest.raises(InputError, match=r"a/0.png: cannot be unpacked: Bad CRC"):
        load(file)
    with pytest.warns(UserWarning, match=r"Duplicate"), zipfile.ZipFile(file, "a") as archive:
        archive.writestr("a/0.png", first)
    with pytest.raises(InputError, match=r"'a/0.png' occurs twice"):
        load(file)


def test_zip_bomb(tmp_path: Path) -> None:
    file = zipped(write_folder(tmp_path / "pets", {"a": 4, "b": 4}))
    data = bytearray(file.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the last entry of the central directory
    data[at + 24 : at + 28] = struct.pack("<I", 3_000_000_000)
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"b/3.png: 3,000,000,000 bytes, more than 200,000,000"):
        load(file)


def test_odd_images_in_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    picture(50, (40, 20)).convert("L").save(tmp_path / "a" / "grey.png")
    picture(51, (20, 40)).convert("RGBA").save(tmp_path / "a" / "alpha.png")
    picture(52).convert("P").save(tmp_path / "a" / "palette.gif")
    picture(53).convert("CMYK").save(tmp_path / "b" / "cmyk.jpg")
    exif = io.BytesIO()
    picture(54, (30, 20)).save(
        exif, format="JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    )
    (tmp_path / "b" / "turned.jpg").write_bytes(exif.getvalue())
    splits = load(tmp_path)
    assert sum(len(part) for part in (splits.train, splits.val, splits.test)) == 11
    assert splits.train.pixels(16).shape == (len(splits.train), 3, 16, 16)


def test_a_single_train_image_is_read_in_every_layout(tmp_path: Path) -> None:
    number = itertools.count()
    for layout, splits in {"all": ("train", "val", "test"), "two": ("train", "test"), "one": ("",)}.items():
        for split in splits:
            images = {"all": 1, "two": 2 if split == "train" else 1, "one": 3}[layout]
            write_folder(tmp_path / layout / split, {"a": images, "b": images}, start=10 * next(number))
        splits_read = load(tmp_path / layout)
        assert splits_read.train.counts.tolist() == [1, 1]
        assert splits_read.notes[-1].startswith("train: 2 of 2 classes have a single train image (a, b), so")
        assert "single train image" not in "".join(load(tmp_path / layout, shots=1).notes)


def test_addresses_are_refused_with_what_to_do() -> None:
    for address in ("https://example.org/pets.zip", "s3://bucket/pets", "hf://datasets/org/name"):
        with pytest.raises(InputError, match=rf"must be on this machine, got the address {address}: "):
            load(address)


def test_a_split_of_which_every_file_is_skipped_is_said(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 6, "train/b": 6, "val/a": 3, "val/b": 3})
    (tmp_path / "test").mkdir()
    picture(99).save(tmp_path / "test" / "flat.png")
    found = load(tmp_path, skip_bad=True)
    said = (
        "warning: none of the test images of the source can be used, so test images are split off from train"
    )
    assert said in found.notes
    shutil.copytree(tmp_path / "val", tmp_path / "test", dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "val")
    assert said not in load(tmp_path, skip_bad=True).notes


def test_a_zip_with_a_password_is_to_be_unpacked(tmp_path: Path) -> None:
    target = zipped(write_folder(tmp_path / "pets", {"cat": 3, "dog": 3}))
    data = bytearray(target.read_bytes())
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = data.find(mark)
        while at >= 0:
            data[at + place] |= 1
            at = data.find(mark, at + 1)
    target.write_bytes(data)
    with pytest.raises(
        InputError, match=r"cannot be unpacked: a password protects it, so unpack the zip and"
    ):
        load(target)


def test_folders_below_all_classes_may_be_the_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"animals/cat": 3, "animals/dog": 3, "vehicles/car": 3})
    assert load(tmp_path).notes[0] == (
        "folders: the classes are animals, vehicles, and all images lie in folders below them: car (3), "
        "cat (3), dog (3). If these folders are the classes, move them up, in place of those above them"
    )


def test_uneven_divisions_are_explained(tmp_path: Path) -> None:
    """The shares hold for all classes together, so that classes of 8 images are divided 4/2/2 and 6/1/1."""
    write_folder(tmp_path / "a", {"cat": 8, "dog": 8})
    (note,) = load(tmp_path / "a").notes
    assert note == (
        "splits: the shares of train/val/test, 60/20/20%, hold for all classes together; in 2 of 2 classes "
        "they differ (images: dog 6/1/1, cat 4/2/2)"
    )
    write_folder(tmp_path / "b", {"cat": 10, "dog": 10, "cow": 10})
    assert load(tmp_path / "b").notes == ()
    for number in range(4):
        shutil.copy(tmp_path / "b/cat/0.png", tmp_path / f"b/cat/copy{number}.png")
    (note,) = load(tmp_path / "b").notes
    assert "cat " in note and note.endswith("; copies of a picture stay in one split")
    given = write_folder(tmp_path / "c", {f"{s}/{c}": 8 for s in ("train", "test") for c in ("cat", "dog")})
    assert load(given).notes == ("splits: train: train/, test: test/ (from the folder names)",)
    for number in range(6):
        shutil.copy(given / "train/cat/0.png", given / f"train/cat/copy{number}.png")
    assert load(given).notes[-1].startswith("splits: the shares of train/val, 80/20%, hold for all classes")
