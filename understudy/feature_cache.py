"""Features of images on disk, by what is in the images: whatever set an image is in, it is encoded once.

::

    DIR/features/ENCODER.safetensors    features (N, D), and the SHA-256 of size and pixels of each image (N, 32)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import safetensors
import safetensors.numpy

from understudy.data import LabelledSet
from understudy.data.labelled_set import pixel_hash
from understudy.encoders import Encoder
from understudy.errors import InputError
from understudy.runs import write_atomically

_CHUNK = 4096  # images encoded between two writes; what is lost when a run is killed
_MAX_NAME = 100


@final
@dataclass(frozen=True)
class FeatureCache:
    """A folder with one file per encoder.

    Attributes:
        folder: where ``features/`` is or will be.
    """

    folder: Path

    def features(self, encoder: Encoder, data: LabelledSet) -> np.ndarray:
        """Features of N images, float32 (N, D); those that are not in the file are made and added to it.

        Raises:
            InputError: if the file was written by another version of the encoder, or cannot be read.
        """
        keys = [pixel_hash(data.image(index)) for index in range(len(data))]
        known = self._read(encoder)
        first = {key: index for index, key in reversed([*enumerate(keys)]) if key not in known}
        new = sorted(first.values())
        for start in range(0, len(new), _CHUNK):
            part = new[start : start + _CHUNK]
            known |= zip([keys[index] for index in part], encoder.features(data.select(part)), strict=True)
            self._write(encoder, known)
        return np.stack([known[key] for key in keys]) if keys else np.empty((0, encoder.width), dtype=np.float32)

    def path(self, encoder: Encoder) -> Path:
        """The file of an encoder."""
        return self.folder / "features" / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', encoder.name)[-_MAX_NAME:]}.safetensors"

    def _read(self, encoder: Encoder) -> dict[str, np.ndarray]:
        """Features by hash."""
        path = self.path(encoder)
        if not path.exists():
            return {}
        try:
            with safetensors.safe_open(path, framework="numpy") as stored:
                written = stored.metadata() or {}
                features, hashes = stored.get_tensor("features"), stored.get_tensor("hashes")
        except safetensors.SafetensorError as error:
            raise InputError(f"{path} must hold features of images, but it cannot be read: {error}; move it away") from error
        if (written.get("encoder"), written.get("fingerprint")) != (encoder.name, encoder.fingerprint):
            raise InputError(
                f"{path} holds features of the encoder {written.get('encoder')} with fingerprint {written.get('fingerprint')}, which do "
                f"not compare with those of {encoder.name} with {encoder.fingerprint}: move the file away, and they are made anew"
            )
        return {row.tobytes().hex(): feature for row, feature in zip(hashes, features, strict=True)}

    def _write(self, encoder: Encoder, known: dict[str, np.ndarray]) -> None:
        tensors = {
            "features": np.stack([*known.values()]),
            "hashes": np.frombuffer(bytes.fromhex("".join(known)), dtype=np.uint8).reshape(len(known), -1),
        }
        metadata = {"encoder": encoder.name, "fingerprint": encoder.fingerprint}
        write_atomically(self.path(encoder), lambda path: path.write_bytes(safetensors.numpy.save(tensors, metadata)))
