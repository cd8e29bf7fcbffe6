"""Files that may hold images but are not read: what they are by their first bytes, and what to do with them.

Compressed tar files are not read: an entry in the middle is reached only through everything before it, and
images are read in the order of their classes.
"""

from __future__ import annotations

import re
import shlex
import tarfile
from collections.abc import Sequence
from pathlib import Path

from understudy.core.listing import listed
from understudy.data.unread import why_not_the_file

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_UNPACKED = {
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "7z x {} -oFOLDER"),
    b"Rar!\x1a\x07": ("a RAR archive", "unrar x {} FOLDER/"),
}
_RENAMED = {b"PK\x03\x04": ".zip", b"PAR1": ".parquet"}
_TAR_NAME = re.compile(r"\.(tar\.\w+|tgz|tbz2?|txz|tzst)", re.IGNORECASE)
_NAME = re.compile(
    r"(?P<tar>\.(tar(\.(gz|bz2|xz|zst|lzma|lz4|z))?|tgz|tbz2?|txz|tzst))|(?P<zip>\.zip)|(?P<seven>\.7z(\.\d+)?)|(?P<rar>\.rar)|"
    r"\.(gz|bz2|xz|zst|lzma|lz4|z\d\d|r\d\d)",
    re.IGNORECASE,
)
_COMMANDS = {
    "tar": "mkdir {folder} && tar -xf {file} -C {folder}",
    "zip": "unzip {file} -d {folder}",
    "seven": "7z x {file} -o{folder}",
    "rar": "unrar x {file} {folder}/",
}


def why_unreadable(path: Path, error: Exception) -> str:
    """Why a file could not be read, and what to do, to follow "but" in a message."""
    found = what_instead(path)
    return f"it is {found}" if found else f"it cannot be read: {error}: copy or download it again"


def what_instead(path: Path) -> str:
    """What a file is that is not read as it is, and what to do, such as ``a 7z archive: unpack it ...``.

    Returns:
        Words to follow "it is"; empty if the first bytes say nothing.
    """
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError:
        return ""
    if found := why_not_the_file(start):
        return found
    for mark, kind in _COMPRESSED.items():
        if start.startswith(mark):
            if _is_tar(path) or _TAR_NAME.fullmatch("".join(path.suffixes[-2:])):
                return f"a tar file compressed with {kind}: {_unpack(path, 'tar -xf {} -C FOLDER')}"
            return f"a file compressed with {kind}: unpack it, and give what is in it"
    for mark, (kind, command) in _UNPACKED.items():
        if start.startswith(mark):
            return f"{kind}: {_unpack(path, command)}"
    suffix = next((suffix for mark, suffix in _RENAMED.items() if start.startswith(mark)), "")
    if not suffix and _is_tar(path):
        suffix = ".tar"
    if suffix and path.suffix.lower() not in (suffix, ".npz"):
        return f"a {suffix} file by its content: rename it so that its name ends with {suffix}"
    return ""


def is_archive(name: str) -> bool:
    """Whether the name of a file is that of an archive."""
    return _ending(name) is not None


def why_not_unpacked(name: str) -> str:
    """What to do with an archive among class folders, which may hold images of a class.

    Example:
        >>> why_not_unpacked("pets/bird.7z")
        "an archive, so that images in it are missing: unpack it with '7z x bird.7z -obird', and remove it"
    """
    base = Path(name).name
    found = _ending(base)
    assert found is not None
    command = next((_COMMANDS[kind] for kind, part in found.groupdict().items() if part), "")
    words = {"file": shlex.quote(base), "folder": shlex.quote(base[: found.start()] or base)}
    how = f" with '{command.format(**words)}'" if command else " into a folder"
    return f"an archive, so that images in it are missing: unpack it{how}, and remove it"


def _ending(name: str) -> re.Match[str] | None:
    """The part of the name of an archive that says so; None for other files."""
    return next((each for each in _NAME.finditer(name) if each.end() == len(name) and each.start()), None)


def archives_or_folders(names: Sequence[str]) -> str:
    """What to do with files that lie in no class folder: unpack the archives among them, or make folders.

    Example:
        >>> archives_or_folders(["1.txt", "train.zip"])
        'unpack the archives in it (train.zip), each into a folder'
    """
    found = [name for name in names if is_archive(name)]
    if found:
        return f"unpack the archives in it ({listed(found)}), each into a folder"
    return "put the images of each class into a folder of their own, as in CLASS/1.png"


def _unpack(path: Path, command: str) -> str:
    return f"unpack it into a new folder with '{command.format(shlex.quote(str(path)))}', and give the folder"


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except (OSError, EOFError):
        return False
