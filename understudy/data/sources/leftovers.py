"""Files in image folders that are no images of the set, such as those that other programs leave there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from understudy.core.listing import listed
from understudy.data.sources.shards import IMAGE_SUFFIXES
from understudy.data.sources.split_names import split_of

Path = tuple[str, ...]

ONLY_IN_CLOUD = "only in iCloud, this is a placeholder: download the file"
FURTHER_PAGES = "further pages or frames of images, of which only the first is read"

_PROGRAM_FOLDERS = {
    "@eadir",  # Synology
    "#recycle",
    "@recycle",  # QNAP
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__macosx",
    "__pycache__",
}
_PROGRAM_FILES = {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"}
_THUMBNAILS = {"thumb", "thumbs", "thumbnail", "thumbnails"}
_DESCRIPTION = re.compile(
    r"(read_?me|licen[cs]e|citation|copying|changelog|croissant|checksums?|md5sums?|sha256sums?|manifest)(\.\w+)*|"
    r"((_?annotations?|metadata|meta|data|dataset|dataset_(dict|infos?)|classes|class_(names|indices|to_idx)|"
    r"labels?|names|categories|state|(image_)?(train|training|val|valid|validation|test|testing|splits?)"
    r"(_(labels?|annotations?|images|split|list))?)(\.coco)?\.(csv|tsv|txt|jsonl?|ya?ml|xml|xlsx|names|data))",
    re.IGNORECASE,
)
"""Names of files that describe a data set, as those of other programs do; their content is not read."""
_SIDECARS = {".xmp", ".json", ".txt", ".xml", ".aae", ".yaml", ".yml", ".csv", ".caption"}
_MASK_FOLDER = re.compile(
    r"masks?|segmentations?(class|object)?|ground[ _-]?truth|annotations?|gt", re.IGNORECASE
)
_IMAGE_FOLDER = re.compile(r"(jpe?g|png)?[ _-]?(images?|imgs?|pictures|photos)", re.IGNORECASE)
_MASK_NAME = re.compile(r"(.+?)[ _-](?:masks?|seg|segmentation|gt)(?:_\d+)?", re.IGNORECASE)


class LeftOut(NamedTuple):
    """Files that are not used, for one reason.

    Attributes:
        reason: in words.
        number: of files.
        examples: the first three.
    """

    reason: str
    number: int
    examples: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Reason, number and examples in one line."""
        more = f" and {self.number - len(self.examples):,} more" if self.number > len(self.examples) else ""
        return f"{self.reason}: {self.number:,} ({', '.join(self.examples)}{more})"


def count_left_out(entries: Iterable[tuple[str, str]]) -> tuple[LeftOut, ...]:
    """Count (path, reason) by reason, in the order of the reasons."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in entries:
        by_reason.setdefault(reason, []).append(path)
    return tuple(LeftOut(reason, len(paths), tuple(paths[:3])) for reason, paths in sorted(by_reason.items()))


def why_left_out(path: Path) -> str | None:
    """Why a file is no image of the set, from its path alone; None if it may be one."""
    for part in path:
        name = part.lower()
        if name in _PROGRAM_FOLDERS:
            return f"in folders {part}, which programs make"
        if name.partition(":")[0] in _PROGRAM_FILES or name.startswith("._") or name == ".ds_store":
            return "files of the system, such as Thumbs.db and .DS_Store"
        if ":zone.identifier" in name:
            return "files of the system, such as Thumbs.db and .DS_Store"
    for part in path[:-1]:
        if part.startswith("."):
            return f"in the hidden folder {part}"
    if path[-1].startswith(".") and not is_placeholder(path):
        return "hidden, because the name begins with a dot"
    return None


def is_description(path: Path) -> bool:
    """Whether a file describes the data set."""
    return _DESCRIPTION.fullmatch(path[-1]) is not None


def lists_of_splits(names: Sequence[str]) -> tuple[str, ...]:
    """A warning if descriptions may list the images of each split, and nothing else says splits."""
    found = [name for name in names if split_of(name.rpartition("/")[2]) or "split" in name.lower()]
    if not found:
        return ()
    told = f"{listed(found, most=3)} may say which images are for training and testing"
    what = "such files are not read, and all images are divided"
    return (f"warning: {told}, but {what}: put the images below train and test, as in test/CLASS/1.png",)


def is_placeholder(path: Path) -> bool:
    """Whether a file stands for an image that is only in iCloud: ``.name.png.icloud``."""
    return path[-1].startswith(".") and path[-1].endswith(".icloud")


def why_below_class(inner: Path) -> str | None:
    """Why a file below a class folder is no image of it: thumbnails."""
    thumbnails = next((part for part in inner[:-1] if part.lower() in _THUMBNAILS), None)
    return f"in folders {thumbnails} below a class" if thumbnails else None


def beside_images(paths: Sequence[Path], inner: Sequence[Path]) -> dict[int, str]:
    """Files that belong to an image with the same name: descriptions beside it, and masks.

    Args:
        paths: of N files.
        inner: the part of each path below its class; empty if it has none.

    Returns:
        The reason for each such file, by its position.
    """
    images = {path for path in paths if _suffix(path[-1]) in IMAGE_SUFFIXES}
    stems = {(*path[:-1], path[-1].rpartition(".")[0]) for path in images}
    found: dict[int, str] = {}
    for index, path in enumerate(paths):
        name, suffix = path[-1].rpartition(".")[0], _suffix(path[-1])
        if suffix in _SIDECARS and ((*path[:-1], name) in stems or (*path[:-1], name) in images):
            found[index] = "files that describe an image beside them (.json, .txt, .xmp, ...)"
        mask = _MASK_NAME.fullmatch(name)
        if suffix in IMAGE_SUFFIXES and mask and (*path[:-1], mask[1]) in stems:
            found[index] = "masks of images beside them"
    return found | _in_mask_folders(paths, inner)


def _in_mask_folders(paths: Sequence[Path], inner: Sequence[Path]) -> dict[int, str]:
    """Files in folders such as masks below a class, if most have the name of another image of the class."""
    stems: dict[Path, set[str]] = {}
    folders: dict[Path, list[int]] = {}
    for index, (path, below) in enumerate(zip(paths, inner, strict=True)):
        above = path[: len(path) - len(below)]
        at = next((place for place, part in enumerate(below[:-1]) if _MASK_FOLDER.fullmatch(part)), None)
        if at is None:
            stems.setdefault(above, set()).add(path[-1].rpartition(".")[0])
        else:
            folders.setdefault((*above, *below[: at + 1]), []).append(index)
    found: dict[int, str] = {}
    for folder, inside in folders.items():
        outer = (folder[:end] for end in range(len(folder) - 1, 0, -1))
        known: set[str] = next((stems[each] for each in outer if each in stems), set())
        names = [paths[index][-1].rpartition(".")[0] for index in inside]
        same = sum(name in known or _base_of_mask(name) in known for name in names)
        if 2 * same >= len(names):
            found |= dict.fromkeys(inside, f"masks of other images, in folders {folder[-1]} below a class")
    return found


def _base_of_mask(name: str) -> str:
    mask = _MASK_NAME.fullmatch(name)
    return mask[1] if mask else name


def mask_trees(paths: Sequence[Path]) -> dict[int, str]:
    """Files in folders such as ``masks`` that stand beside a folder such as ``images`` and nothing else.

    Returns:
        The reason for each such file, by its position.
    """
    children: dict[Path, set[str]] = {}
    for path in paths:
        for place in range(len(path) - 1):
            children.setdefault(path[:place], set()).add(path[place])
    pairs = {
        parent
        for parent, names in children.items()
        if any(is_image_folder(name) for name in names)
        and any(_MASK_FOLDER.fullmatch(name) for name in names)
        and all(is_image_folder(name) or _MASK_FOLDER.fullmatch(name) for name in names)
    }
    return {
        index: f"masks of other images, in folders {path[place]} beside folders of images"
        for index, path in enumerate(paths)
        for place in range(len(path) - 1)
        if path[:place] in pairs and _MASK_FOLDER.fullmatch(path[place])
    }


def is_image_folder(name: str) -> bool:
    """Whether a folder is called images or the like, which is no class."""
    return _IMAGE_FOLDER.fullmatch(name) is not None


def below_classes(inner: Sequence[Path], classes: Collection[str]) -> tuple[str, ...]:
    """A sentence if images lie in folders below their class, because they may be another kind of image.

    Args:
        inner: the part of the path of each image below its class; empty if it has none.
        classes: names of the classes.
    """
    folders: dict[str, int] = {}
    for below in inner:
        if len(below) > 1:
            folders[below[0]] = folders.get(below[0], 0) + 1
    if not folders:
        return ()
    most = sorted(folders, key=lambda name: (-folders[name], name))
    names = listed([f"{name} ({folders[name]:,})" for name in most])
    total = sum(1 for below in inner if below)
    if sum(folders.values()) < total:
        told = (
            f"{sum(folders.values()):,} of {total:,} files lie in folders below their class and belong to it"
        )
        return (f"folders: {told}: {names}",)
    told = f"the classes are {listed(sorted(classes))}, and all images lie in folders below them: {names}"
    return (f"folders: {told}. If these folders are the classes, move them up, in place of those above them",)


def is_part_of_class(name: str) -> bool:
    """Whether a folder below a class is expected there: images, masks, thumbnails."""
    return is_image_folder(name) or name.lower() in _THUMBNAILS or _MASK_FOLDER.fullmatch(name) is not None


def joined_folders(labels: Mapping[str, set[str]]) -> tuple[str, ...]:
    """A sentence if folders with differently stored names are one class.

    Args:
        labels: by class, the names of its folders as they are stored.
    """
    twins = sorted(label for label, names in labels.items() if len(names) > 1)
    if not twins:
        return ()
    found = listed([repr(label) for label in twins])
    return (f"classes: the folders of {found} differ only in how accents are stored, and are one class each",)


def _suffix(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""
