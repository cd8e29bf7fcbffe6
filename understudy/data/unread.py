"""Why Pillow cannot read a file: the formats that people bring, by their first bytes."""

from __future__ import annotations

import io
import re

from PIL import TiffImagePlugin

_CONVERT = "convert it to PNG or JPEG"
# Place of the mark, the mark, and the name of the format.
_FOREIGN = (
    (4, rb"ftyp(hei|hev|mif1|msf1)", "HEIC"),
    (128, rb"DICM", "DICOM"),
    (0, rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
    (0, rb"%PDF", "PDF"),
    (0, rb"\x93NUMPY", "a NumPy array"),
    (0, rb"\x89HDF", "HDF5"),
    (0, rb"v/1\x01", "OpenEXR"),
    (344, rb"n[+i]1\0", "NIfTI"),
    (0, rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg\b", "SVG"),
)  # fmt: skip
_READ = (
    (0, rb"\xff\xd8\xff", "JPEG"),
    (0, rb"\x89PNG", "PNG"),
    (0, rb"GIF8", "GIF"),
    (0, rb"RIFF....WEBP", "WebP"),
    (4, rb"ftypavi", "AVIF"),
    (0, rb"BM", "BMP"),
    (0, rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ", "JPEG 2000"),
)
_PACKED = (
    (0, rb"\x1f\x8b", "a file compressed with gzip"),
    (0, rb"BZh", "a file compressed with bzip2"),
    (0, rb"\xfd7zXZ\0", "a file compressed with xz"),
    (0, rb"\x28\xb5\x2f\xfd", "a file compressed with zstd"),
    (0, rb"PK\x03\x04", "a zip file"),
    (0, rb"7z\xbc\xaf", "a 7z archive"),
    (0, rb"Rar!", "a RAR archive"),
    (257, rb"ustar", "a tar file"),
)
_NOT_THE_FILE = (
    (0, rb"version https://git-lfs", "a pointer of Git LFS: fetch the file with 'git lfs pull'"),
    (
        0,
        rb"(?i:(\xef\xbb\xbf)?\s*<(!doctype html|html)\b)",
        "a web page, as servers send in place of a file that needs a login: download the file again",
    ),
)


def why_not_the_file(data: bytes) -> str:
    """Say what stands in place of a file that was not downloaded, and what to do; empty for other files."""
    return _named(data, _NOT_THE_FILE) if data else "an empty file: copy or download it again"


def why_not_read(data: bytes) -> str:
    """Say what a file is that Pillow does not identify, and what to do."""
    if not data:
        return "an empty file"
    if found := why_not_the_file(data):
        return f"not an image: {found}"
    if _named(data, _READ):
        return f"damaged image: a {_named(data, _READ)} file that cannot be opened"
    if kind := _named(data, _PACKED):
        return f"not read: {kind}: unpack it"
    if _named(data, _FOREIGN):
        return f"not read: {_named(data, _FOREIGN)}: {_CONVERT}"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return f"not read: a kind of TIFF that Pillow cannot read ({_tiff(data)}): {_CONVERT}"
    return "not an image"


def _named(data: bytes, marks: tuple[tuple[int, bytes, str], ...]) -> str:
    return next((name for at, mark, name in marks if re.match(mark, data[at : at + 1000], re.DOTALL)), "")


def _tiff(data: bytes) -> str:
    """Bands, bits and compression of a TIFF file."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        found = tags.get(277, 1), max(tags.get(258, (1,))), tags.get(259, 1)
    except Exception:  # noqa: BLE001 - Pillow raises errors of any kind for damaged directories
        return "a damaged directory"
    compression = TiffImagePlugin.COMPRESSION_INFO.get(found[2], f"number {found[2]}")
    return f"bands: {found[0]}, bits: {found[1]}, compression: {compression}"
