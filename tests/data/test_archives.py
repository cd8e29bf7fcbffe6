"""Archives that are not read, and files in the place of others: messages say what they are and what to do."""

from __future__ import annotations

import gzip
import io
import re
import shlex
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from data_pictures import write_folder

from understudy.core.errors import InputError
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings
from understudy.data.sources.archives import is_archive

PAGE = b"\n<!DOCTYPE html><html><body>Sign in</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n"


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        load_splits(DataSettings(source=str(path)), seed=0)
    return str(refused.value)


def packed(folder: Path, mode: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        archive.add(folder, ".")
    return data.getvalue()


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pets", {"cat": 4, "dog": 4})


@pytest.mark.parametrize(
    ("name", "mode", "kind"),
    [
        ("my pets.tar.gz", "w:gz", "gzip"),
        ("pets.tgz", "w:gz", "gzip"),
        ("pets.TAR.BZ2", "w:bz2", "bzip2"),
        ("pets.txz", "w:xz", "xz"),
        ("pets.tar", "w:gz", "gzip"),
        ("pets.zip", "w:xz", "xz"),
        ("download", "w:gz", "gzip"),
    ],
)
def test_the_command_for_a_compressed_tar_works(
    name: str, mode: str, kind: str, pets: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(packed(pets, mode))
    message = refusal(path)
    assert f"but it is a tar file compressed with {kind}: unpack it into a new folder with " in message
    found = re.search(r"'(tar -xf .*) -C FOLDER', and give the folder$", message)
    assert found is not None
    (tmp_path / "unpacked").mkdir()
    subprocess.run([*shlex.split(found[1]), "-C", tmp_path / "unpacked"], check=True)
    assert len(load_splits(DataSettings(source=str(tmp_path / "unpacked")), seed=0).train) == 4


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "pets.tgz",
            gzip.compress(b"", mtime=0)[:12],
            "a tar file compressed with gzip: unpack it into a new",
        ),
        ("pets.tar.zst", b"\x28\xb5\x2f\xfd" + bytes(99), "a tar file compressed with zstd: unpack it"),
        (
            "pets.idx.gz",
            gzip.compress(b"images", mtime=0),
            "a file compressed with gzip: unpack it, and give what",
        ),
        ("pets.7z", b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7z archive: unpack it into a new folder with"),
        ("pets.zip", b"Rar!\x1a\x07\x01" + bytes(99), "a RAR archive: unpack it into a new folder with"),
        ("pets.zip", PAGE, "a web page, as servers send in place of a file that needs a login: download"),
        ("pets.tar", POINTER, "a pointer of Git LFS: fetch the file with 'git lfs pull'"),
        ("pets.parquet", b"", "an empty file: copy or download it again"),
        ("pets.bin", b"PAR1" + bytes(99), "a .parquet file by its content: rename it"),
        ("pets.cbz", b"PK\x03\x04" + bytes(99), "a .zip file by its content: rename it"),
    ],
)
def test_other_files_are_named_with_what_to_do(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert f", but it is {words}" in refusal(tmp_path / name)


def test_files_of_unknown_content(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "pets.csv").write_text("file,label\n")
    assert refusal(tmp_path / "pets.csv").endswith("into a Parquet file with the columns image and label")
    (tmp_path / "pets.zip").write_bytes(b"PK\x03\x04" + bytes(99))
    assert refusal(tmp_path / "pets.zip").endswith("copy or download it again")
    (tmp_path / "pets.data").write_bytes(packed(pets, "w"))
    assert "a .tar file by its content: rename it" in refusal(tmp_path / "pets.data")


def test_archives_in_a_folder_or_a_zip(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "down").mkdir()
    for name in ("test.zip", "train.tar.gz"):
        (tmp_path / "down" / name).write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "down.zip", "w") as archive:
        for name in ("down/test.zip", "down/train.tar.gz"):
            archive.writestr(name, b"")
    advice = r"none was found: unpack the archives in it \((down/)?test.zip, (down/)?train.tar.gz\), each"
    for source in (tmp_path / "down", tmp_path / "down.zip"):
        assert re.search(advice, refusal(source))
    (pets / "cat" / "0.png").rename(tmp_path / "down" / "0.png")
    for name in ("test.zip", "train.tar.gz"):
        (tmp_path / "down" / name).unlink()
    assert refusal(tmp_path / "down").endswith("into a folder of their own, as in CLASS/1.png")


def test_images_that_were_not_downloaded_are_named(pets: Path) -> None:
    (pets / "cat" / "page.jpg").write_bytes(PAGE)
    (pets / "cat" / "pointer.png").write_bytes(POINTER)
    message = refusal(pets)
    assert "cat/page.jpg: not an image: a web page" in message
    assert "cat/pointer.png: not an image: a pointer of Git LFS" in message


ARCHIVES = ["bird.7z", "my bird.tar.gz", "bird.ZIP", "bird.rar", "bird.7z.001", "bird.gz", "bird.z01"]


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_beside_class_folders_is_named_with_what_unpacks_it(name: str, pets: Path) -> None:
    (pets / name).write_bytes(b"7z\xbc\xaf\x27\x1c")
    line = f"{name}: an archive, so that images in it are missing: unpack it "
    assert line in refusal(pets)
    skipped = dict(load_splits(DataSettings(source=str(pets), skip_bad=True), seed=0).skipped)
    assert f"{name}: {skipped[name]}".startswith(line)
    assert skipped[name].endswith(", and remove it")


def test_the_commands_for_archives_work(pets: Path) -> None:
    name = "more pets.tar.gz"
    (pets / name).write_bytes(packed(write_folder(pets.parent / "bird", {".": 4}, start=50), "w:gz"))
    skipped = dict(load_splits(DataSettings(source=str(pets), skip_bad=True), seed=0).skipped)
    found = re.search(r"unpack it with '(.*)', and remove it", skipped[name])
    assert found is not None
    subprocess.run(["bash", "-c", found[1]], cwd=pets, check=True)
    (pets / name).unlink()
    assert load_splits(DataSettings(source=str(pets)), seed=0).train.class_names == (
        "cat",
        "dog",
        "more pets",
    )


@pytest.mark.parametrize(
    "name", ["cat.png", "zip", "a.zip.png", "a.tar.png", ".zip", "gz", "zipper", "a.7zip"]
)
def test_what_is_no_archive(name: str) -> None:
    assert not is_archive(name)
