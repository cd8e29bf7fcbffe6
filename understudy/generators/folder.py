"""Images that another tool made, such as a GAN, as a generator: what is measured and done with drawn images works on them too."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet, pixel_hash
from understudy.data.load import find_source
from understudy.data.pool import read_pool
from understudy.data.settings import DataSettings
from understudy.data.sources.source import Contents
from understudy.generators.generator import Conditioning, PlanRow
from understudy.generators.settings import GeneratorSettings

_USED = ("name", "images", "resolution")


@final
class FolderGenerator:
    """Ready-made images, taken one after the other; there is no network to adapt, and nothing can start from a real image.

    Image ``number`` of a class is the one at that place in it; several sets take turns, and those that have more go on alone. Of a set
    with splits, the train split is used. Nothing is read before it is needed, and images stay encoded.

    Args:
        settings: ``images`` and ``resolution`` are used.
        device: torch device; nothing is computed on it.

    Raises:
        InputError: if a set is not there or of no kind that can be read, or for settings without effect here.
    """

    def __init__(self, settings: GeneratorSettings, device: str | torch.device = "cpu") -> None:
        self._settings = settings
        self._device = torch.device(device)
        for name, field in GeneratorSettings.model_fields.items():
            if name not in _USED and getattr(settings, name) != field.default:
                raise InputError(f"generator.{name} has no effect on the generator 'folder': leave it out")
        for path in settings.images:
            if not path.exists():  # a word such as digits would be taken for the name of real images
                raise InputError(f"generator.images must be folders, or .zip, .parquet or .tar files, but nothing is at {path}")
            find_source(str(path.absolute()))

    @cached_property
    def image_size(self) -> int:
        """Width and height of drawn images: as set, or the shorter side of the first image; others are resized and cropped."""
        return self._settings.resolution or min(self._sets[0].images.image(0).size)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the pixels of all images in the order of drawing, shortened."""
        digest = hashlib.sha256()
        for name in sorted(self._order):
            digest.update(name.encode())
            for number, row in self._order[name]:
                digest.update(self._sets[number].pixel_hashes[row].encode())
        return digest.hexdigest()[:16]

    @property
    def device(self) -> torch.device:
        """As given."""
        return self._device

    def refuse_copies(self, held_out: Sequence[LabelledSet]) -> None:
        """Refuse ready-made sets that hold images which must not be learned from.

        Args:
            held_out: real validation and test images.

        Raises:
            InputError: for exact copies of any of them.
        """
        made = {digest for ready in self._sets for digest in ready.pixel_hashes}
        for data in held_out:
            copies = [name for index, name in enumerate(data.ids) if pixel_hash(data.image(index)) in made]
            if copies:
                raise InputError(
                    f"generated images must not be {data.split} images, but {len(copies)} of {len(data)} are exact copies "
                    f"({', '.join(copies[:3])}): remove them from generator.images"
                )

    def available(self, class_names: Sequence[str]) -> np.ndarray | None:
        """Images of each class in all sets, int64 (num_classes,).

        Raises:
            InputError: if a set has other classes, or cannot be read.
        """
        self._require_classes(class_names)
        return np.array([len(self._order[name]) for name in class_names], dtype=np.int64)

    def check_prompts(self, prompts: Sequence[str], *, keep_last: bool) -> None:
        """Every prompt is as good as any other: it has no effect."""

    def learn_classes(self, words: Sequence[str], *, seed: int) -> None:
        """Nothing to do: the images have their classes."""

    def strength_at(self, snr: float, *, sampler: str, steps: int) -> float:
        """1, pure noise, as what is drawn comes from no real image; the sampler and its steps have no effect.

        Raises:
            InputError: for any other ratio than 1, which stands for none.
        """
        if snr != 1:
            raise _no_start()
        return 1.0

    def draw(self, rows: Sequence[PlanRow], sources: LabelledSet | None = None, tokens: Tensor | None = None) -> np.ndarray:
        """The image that each row asks for by class and number.

        Args:
            rows: what to draw; prompts, seed, sampler, steps and guidance have no effect.
            sources: real train images, whose classes the images must have.
            tokens: must be None.

        Returns:
            uint8 of shape (N, 3, H, W).

        Raises:
            InputError: if a class has fewer images or the sets have other classes than the real images, if a set cannot be read, or for
                rows that start from a real image or are guided by one.
        """
        if tokens is not None:
            raise _no_encoder()
        if any(row.strength < 1 for row in rows):
            raise _no_start()
        if sources is not None:
            self._require_classes(sources.class_names)
        places = [self._place(row) for row in rows]
        return np.concatenate([self._sets[number].images.select([row]).pixels(self.image_size) for number, row in places])

    @property
    def denoiser(self) -> nn.Module:
        """Refused, like all that adaptation asks for."""
        raise _no_network()

    @property
    def snr(self) -> Tensor:
        """Refused."""
        raise _no_network()

    @property
    def prediction_type(self) -> Any:
        """Refused."""
        raise _no_network()

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Refused."""
        raise _no_network()

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Refused."""
        raise _no_network()

    def denoising_residual(self, x0: Tensor, eps: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Refused."""
        raise _no_network()

    def learn_tokens(self, names: Sequence[str], *, num_vectors: int, initial_word: str) -> list[nn.Parameter]:
        """Refused."""
        raise _no_network()

    def save_adapter(self, folder: Path, *, method: str) -> None:
        """Refused."""
        raise _no_network()

    def load_adapter(self, folder: Path, *, method: str, scale: float = 1.0) -> None:
        """Refused."""
        raise _no_network()

    @property
    def token_width(self) -> int:
        """Refused, like all that needs an encoder."""
        raise _no_encoder()

    @property
    def feature_width(self) -> int:
        """Refused."""
        raise _no_encoder()

    def encode_features(self, pixels: Tensor) -> Tensor:
        """Refused."""
        raise _no_encoder()

    def encode_prompts(self, prompts: Sequence[str], *, gradients: bool = False) -> Conditioning:
        """Refused."""
        raise _no_encoder()

    @cached_property
    def _sets(self) -> list[_ReadySet]:
        return [_read(path) for path in self._settings.images]

    @cached_property
    def _order(self) -> dict[str, list[tuple[int, int]]]:
        """By class name, number of the set and row in it of each image, in the order of drawing."""
        by_class: dict[str, list[list[tuple[int, int]]]] = {}
        for number, ready in enumerate(self._sets):
            names = ready.images.class_names
            rows: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
            for row, label in enumerate(ready.images.labels.tolist()):
                rows[names[label]].append((number, row))
            for name in names:
                by_class.setdefault(name, []).append(rows[name])
        return {name: [place for turn in zip_longest(*parts) for place in turn if place] for name, parts in by_class.items()}

    def _place(self, row: PlanRow) -> tuple[int, int]:
        order = self._order.get(row.class_name, [])
        if row.number >= len(order):
            raise InputError(
                f"generator.images must hold {row.number + 1} or more images of class {row.class_name!r}, got {len(order)}: add images, or "
                "ask for fewer with draw.per_class"
            )
        return order[row.number]

    def _require_classes(self, real: Sequence[str]) -> None:
        for ready in self._sets:
            if set(ready.images.class_names) != set(real):
                generated, wanted = (", ".join(sorted(names)) for names in (ready.images.class_names, real))
                raise InputError(
                    f"classes of the generated images in {ready.path} must be those of the real ones, got {generated} instead of {wanted}: "
                    "rename or complete them"
                )


@final
@dataclass(frozen=True, eq=False)
class _ReadySet:
    """One of the sets.

    Attributes:
        path: where it is.
        images: what can be drawn.
        pixel_hashes: of each of them.
    """

    path: Path
    images: LabelledSet
    pixel_hashes: tuple[str, ...]


def _read(path: Path) -> _ReadySet:
    """Read a set as real images are read; a number that stands for a class is its name."""
    location = str(path.absolute())
    settings = DataSettings(source=location, skip_bad=True)
    try:
        contents = find_source(location).open(location, settings)
        named = Contents((replace(item, label=str(item.label)) for item in contents.items), contents.class_names)
        pool = read_pool(named, settings)
    except InputError as error:
        raise InputError(f"generator.images {path}: {error}") from None
    if pool.skipped:
        listed = "\n".join(f"  {name}: {reason}" for name, reason in pool.skipped)
        raise InputError(f"generator.images {path}: every file must be a good image, got {len(pool.skipped)} bad:\n{listed}\nremove them")
    rows = [row for row, split in enumerate(pool.declared) if split in (None, "train")]
    if not rows:
        raise InputError(f"generator.images {path}: no images in the train split, which is the one that is used")
    hashes = tuple(pool.fingerprints.exact[row] for row in rows)
    return _ReadySet(path, pool.images.select(rows), hashes)


def _no_network() -> InputError:
    return InputError("ready-made images (generator 'folder') come without a network and cannot be adapted: set adapt.method=none")


def _no_encoder() -> InputError:
    return InputError(
        "ready-made images (generator 'folder') come without encoders of text and images: leave out what needs them, such as visual "
        "guidance, or name one where there is a setting for it, such as curate.clip"
    )


def _no_start() -> InputError:
    return InputError("ready-made images (generator 'folder') cannot be drawn from real ones: leave draw.strength and draw.start_snr out")
