"""The data type passed between stages: images with labels, class names, a split and provenance."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, final, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from understudy.core.errors import InputError
from understudy.core.files import CONTINUE, readable
from understudy.data.decoding import decode
from understudy.data.parquet_images import ParquetImages, files_of, num_files, write_set
from understudy.data.recent import Recent
from understudy.data.stored_images import StoredImages

T = TypeVar("T")
Split = Literal["train", "val", "test", "synthetic"]
# The images of a run are decoded once if all of them fit in here, and otherwise once for each use of them.
_DECODED = Recent[Image.Image](room=2**28, size=lambda image: 4 * image.width * image.height)
_HASHES = Recent[str](room=2**21, size=lambda pixels: 1)


@final
@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Images with labels, class names, a split and one row of provenance per image.

    Images stay encoded, and where they are stored, until they are read.

    Attributes:
        columns: one row per image, with the columns ``id`` (unique string), ``label`` (int64) and any number
            of provenance columns.
        files: the images, encoded, in the same order.
        class_names: names by label.
        split: what the images may be used for; ``test`` is sealed, see :meth:`check_split`.
    """

    columns: pa.Table
    files: StoredImages
    class_names: tuple[str, ...]
    split: Split

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise ValueError(f"split must be one of {get_args(Split)}, got {self.split!r}")
        labels = self.labels
        if len(labels) and (labels.min() < 0 or labels.max() >= len(self.class_names)):
            raise InputError(
                f"labels must be in [0, {len(self.class_names)}), got {labels.min()} to {labels.max()}"
            )

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    @property
    def ids(self) -> list[str]:
        """Unique name of each image."""
        return list(self.columns.column("id").to_pylist())

    @property
    def labels(self) -> np.ndarray:
        """Label of each image, int64 of shape (N,)."""
        return self._labels.copy()

    @cached_property
    def _labels(self) -> np.ndarray:
        return np.array(self.columns.column("label").to_numpy(), dtype=np.int64)

    @cached_property
    def place(self) -> Mapping[str, int]:
        """The index of each image by its id."""
        return {name: index for index, name in enumerate(self.ids)}

    @property
    def num_classes(self) -> int:
        """Number of class names, some of which may have no image here."""
        return len(self.class_names)

    @property
    def counts(self) -> np.ndarray:
        """Images per class, int64 of shape (num_classes,)."""
        return np.bincount(self.labels, minlength=self.num_classes)

    def provenance(self, column: str) -> list[Any]:
        """One provenance column, with one value per image.

        Raises:
            KeyError: if there is no such column.
        """
        return list(self.columns.column(column).to_pylist())

    def has(self, column: str) -> bool:
        """Whether there is such a provenance column."""
        return column in self.columns.column_names

    def with_column(self, name: str, values: pa.Array) -> Self:
        """The same images with another provenance column, which replaces one of this name."""
        kept = self.columns.drop_columns([name]) if self.has(name) else self.columns
        return replace(self, columns=kept.append_column(name, values))

    def image(self, index: int) -> Image.Image:
        """Image ``index``, decoded: upright, 8-bit RGB.

        Raises:
            InputError: if it cannot be decoded.
        """
        return self._decoded(index, decode_once)

    def pixel_hash(self, index: int) -> str:
        """:func:`pixel_hash` of image ``index``, which is decoded only if its hash is not remembered.

        Raises:
            InputError: if it cannot be decoded.
        """
        return self._decoded(index, hash_once)

    def _decoded(self, index: int, function: Callable[[bytes], T]) -> T:
        try:
            return function(self.encoded(index))
        except MemoryError:
            raise
        except Exception as error:  # decoders raise errors of any kind
            name = self.columns.column("id")[index].as_py()
            raise InputError(
                f"the image {name!r} of the {self.split} images is damaged ({error}): to make the file with "
                f"these images again, remove the file and the record of its stage (in stages/), {CONTINUE}"
            ) from error

    def encoded(self, index: int) -> bytes:
        """Image ``index`` as stored."""
        return self.files[index]

    def pixels(self, size: int) -> np.ndarray:
        """All images at one size: short side resized (antialiased bilinear), centre cropped.

        Args:
            size: width and height in pixels.

        Returns:
            uint8 of shape (N, 3, size, size).
        """
        pixels = np.empty((len(self), 3, size, size), dtype=np.uint8)
        for index in range(len(self)):
            fitted = ImageOps.fit(self.image(index), (size, size), Image.Resampling.BILINEAR)
            pixels[index] = np.asarray(fitted).transpose(2, 0, 1)
        return pixels

    def uncut(self, index: int, size: int) -> np.ndarray:
        """Image ``index`` with the shorter side resized (antialiased bilinear), and nothing cut off.

        Args:
            index: number of the image.
            size: length of the shorter side in pixels.

        Returns:
            uint8 of shape (3, H, W) with min(H, W) equal to ``size``.
        """
        image = self.image(index)
        width, height = (max(size, round(side * size / min(image.size))) for side in image.size)
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).transpose(2, 0, 1)

    def check_split(self, *allowed: Split, purpose: str) -> None:
        """Check that the split is allowed for a purpose, which keeps test data sealed.

        Raises:
            InputError: naming the split of this set and the allowed ones.
        """
        if self.split not in allowed:
            raise InputError(
                f"{purpose} needs a {' or '.join(allowed)} set, got a {self.split} set of {len(self)} images"
            )

    def check_classes(self, class_names: tuple[str, ...]) -> None:
        """Check that a classifier of these classes can predict the labels of the images.

        Raises:
            InputError: for other class names, or another order.
        """
        if self.class_names != class_names:
            raise InputError(
                f"images to classify must have the classes {class_names}, got {self.class_names}"
            )

    def select(self, indices: Sequence[int] | np.ndarray) -> Self:
        """The images at ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(self, columns=self.columns.take(pa.array(chosen)), files=self.files.select(chosen))

    def with_split(self, split: Split) -> Self:
        """The same images with another split; for sources, not for stages."""
        return replace(self, split=split)

    @classmethod
    def from_images(
        cls,
        images: Iterable[Image.Image | np.ndarray | bytes],
        labels: Sequence[int] | np.ndarray,
        *,
        class_names: Sequence[str],
        split: Split,
        ids: Sequence[str] | None = None,
        provenance: Mapping[str, Sequence[Any]] | None = None,
    ) -> Self:
        """Build a set from images and labels.

        Args:
            images: Pillow images or uint8 arrays (3, H, W), stored as PNG, or encoded bytes, stored as they
                are.
            labels: int of shape (N,).
            class_names: names by label.
            split: split of the set.
            ids: unique names; numbered from ``split-00000000`` if not given.
            provenance: further columns, with one value per image.
        """
        files = StoredImages.of(image if isinstance(image, bytes) else encode(image) for image in images)
        return cls.from_files(
            files, labels, class_names=class_names, split=split, ids=ids, provenance=provenance
        )

    @classmethod
    def from_files(
        cls,
        files: StoredImages,
        labels: Sequence[int] | np.ndarray,
        *,
        class_names: Sequence[str],
        split: Split,
        ids: Sequence[str] | None = None,
        provenance: Mapping[str, Sequence[Any]] | None = None,
    ) -> Self:
        """Build a set from images that are encoded and stored already; see :meth:`from_images`."""
        names = list(ids) if ids is not None else [f"{split}-{index:08d}" for index in range(len(files))]
        if not len(files) == len(labels) == len(names) == len(set(names)):
            raise ValueError(
                f"need one label and one unique id per image, got {len(files)} images, "
                f"{len(labels)} labels and {len(set(names))} ids"
            )
        columns = {
            "id": pa.array(names, pa.string()),
            "label": pa.array(np.asarray(labels, dtype=np.int64), pa.int64()),
            **{name: pa.array(list(values)) for name, values in (provenance or {}).items()},
        }
        return cls(pa.table(columns), files, tuple(class_names), split)

    @classmethod
    def concatenate(cls, sets: Sequence[Self]) -> Self:
        """Join sets with the same class names and split; provenance missing from a set becomes null.

        Raises:
            InputError: if class names or splits differ, or an id occurs twice.
        """
        first = sets[0]
        for other in sets[1:]:
            if (other.class_names, other.split) != (first.class_names, first.split):
                raise InputError(
                    "sets to join must have the same class names and split, got "
                    f"{first.class_names} {first.split} and {other.class_names} {other.split}"
                )
        columns = pa.concat_tables([part.columns for part in sets], promote_options="permissive")
        if len(set(columns.column("id").to_pylist())) != columns.num_rows:
            raise InputError("sets to join must not share image ids")
        files = StoredImages.joined([part.files for part in sets])
        return cls(columns, files, first.class_names, first.split)

    def save(self, path: Path, *, in_one_file: bool = False) -> None:
        """Write a Parquet file in the Hugging Face image layout, or a folder of files of about 256 MB.

        See :func:`understudy.data.parquet_images.write_set`.

        Args:
            path: of the file or folder.
            in_one_file: write no folder, however large the file gets.
        """
        features: dict[str, Any] = {
            "id": {"dtype": "string", "_type": "Value"},
            "image": {"_type": "Image"},
            "label": {"names": list(self.class_names), "_type": "ClassLabel"},
        }
        for field in self.columns.schema:
            features.setdefault(field.name, {"dtype": _feature_type(field.type), "_type": "Value"})
        metadata = {
            "huggingface": json.dumps({"info": {"features": features}}),
            "understudy": json.dumps({"split": self.split}),
        }
        count = 1 if in_one_file else num_files(self.files)
        write_set(path, self.columns, self.files, metadata, count=count)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Open what :meth:`save` wrote; images are read from the files when they are used.

        Raises:
            InputError: if the file is missing or damaged, or was not written by :meth:`save`.
        """
        files, columns = files_of(path), []
        for file in files:
            with readable(file), pq.ParquetFile(file) as parquet:
                schema = parquet.schema_arrow
                metadata = schema.metadata or {}
                if b"understudy" not in metadata:
                    raise InputError(
                        f"{file} was not written by understudy: pass other Parquet files as DATA"
                    )
                names = json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
                split = json.loads(metadata[b"understudy"])["split"]
                light = [name for name in schema.names if name != "image"]
                columns.append(parquet.read(columns=light).replace_schema_metadata(None))
        images = StoredImages([ParquetImages(file) for file in files])
        return cls(pa.concat_tables(columns), images, tuple(names), split)


def decode_once(data: bytes) -> Image.Image:
    """Decode bytes as :func:`decode` does; the latest decoded images are remembered, 256 MiB of them.

    Args:
        data: an image file.

    Returns:
        A copy, which may be changed.
    """
    return _DECODED.get(data, lambda: decode(data)).copy()


def hash_once(data: bytes, image: Image.Image | None = None) -> str:
    """:func:`pixel_hash` of an image file; the hashes of the latest two million images are remembered.

    Args:
        data: an image file.
        image: the same image, if it is decoded already.
    """
    return _HASHES.get(data, lambda: pixel_hash(decode_once(data) if image is None else image))


def remember_nothing() -> None:
    """Remember neither decoded images nor hashes in this process, beyond the latest of each."""
    _DECODED.shrink(0)
    _HASHES.shrink(0)


def encode(image: Image.Image | np.ndarray) -> bytes:
    """Lossless PNG bytes of a Pillow image or a uint8 array (3, H, W)."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(
                f"image must be uint8 of shape (3, H, W), got {image.dtype} of shape {image.shape}"
            )
        image = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 of size and pixels; the same picture has the same hash in every lossless format."""
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()


def _feature_type(kind: pa.DataType) -> str:
    return {"double": "float64", "float": "float32", "null": "null"}.get(str(kind), str(kind))
