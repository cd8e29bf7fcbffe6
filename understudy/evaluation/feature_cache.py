"""A cache of image features on disk, looked up by the pixels of the image.

Every image is encoded once, even if it belongs to several sets::

    DIR/features/ENCODER/IMAGE.safetensors    features (N, D), and the SHA-256 of size and pixels of each
    image (N, 32)

Files are only added, never changed. Each is named after its first image, which is in no other file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import safetensors
import safetensors.numpy

from understudy.core.errors import InputError
from understudy.core.files import write_atomically
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.encoders import Encoder

_CHUNK = 4096  # most images per file; a run that is killed loses at most so many
_MAX_NAME = 100


@final
@dataclass(frozen=True)
class FeatureCache:
    """A cache of features, with one folder per encoder.

    Attributes:
        folder: parent of ``features/``.
    """

    folder: Path

    def features(self, encoder: Encoder, data: LabelledSet) -> np.ndarray:
        """Return features of N images, float32 (N, D); images that are not cached are encoded and added.

        Raises:
            InputError: if a file was written by another version of the encoder, or cannot be read.
        """
        found = np.empty((len(data), encoder.width), dtype=np.float32)
        places: dict[str, list[int]] = {}
        for index in range(len(data)):
            places.setdefault(data.pixel_hash(index), []).append(index)
        for keys, rows in self._stored(encoder):
            for key, row in zip(keys, rows, strict=True):
                found[places.pop(key, [])] = row
        new = [*places]
        for start in range(0, len(new), _CHUNK):
            keys = new[start : start + _CHUNK]
            rows = encoder.features(data.select([places[key][0] for key in keys]))
            self._write(encoder, keys, rows)
            for key, row in zip(keys, rows, strict=True):
                found[places[key]] = row
        return found

    def path(self, encoder: Encoder) -> Path:
        """Folder with the features of one encoder."""
        return self.folder / "features" / re.sub(r"[^A-Za-z0-9._-]+", "-", encoder.name)[-_MAX_NAME:]

    def _stored(self, encoder: Encoder) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yield hashes and features, file by file."""
        for path in sorted(self.path(encoder).glob("[!.]*.safetensors")):
            try:
                with safetensors.safe_open(path, framework="numpy") as stored:
                    written = stored.metadata() or {}
                    rows, hashes = stored.get_tensor("features"), stored.get_tensor("hashes")
            except safetensors.SafetensorError as error:
                raise InputError(
                    f"{path} must hold features of images, but cannot be read ({error}): remove it"
                ) from error
            if (written.get("encoder"), written.get("fingerprint")) != (encoder.name, encoder.fingerprint):
                raise InputError(
                    f"{path} must hold features of {encoder.name} with fingerprint {encoder.fingerprint}, "
                    f"got {written.get('encoder')} with {written.get('fingerprint')}: remove its folder, "
                    "and the images are encoded again"
                )
            yield [row.tobytes().hex() for row in hashes], rows

    def _write(self, encoder: Encoder, keys: Sequence[str], rows: np.ndarray) -> None:
        hashes = np.frombuffer(bytes.fromhex("".join(keys)), dtype=np.uint8).reshape(len(keys), -1)
        content = safetensors.numpy.save(
            {"features": rows, "hashes": hashes},
            {"encoder": encoder.name, "fingerprint": encoder.fingerprint},
        )
        write_atomically(
            self.path(encoder) / f"{keys[0]}.safetensors", lambda path: path.write_bytes(content)
        )
