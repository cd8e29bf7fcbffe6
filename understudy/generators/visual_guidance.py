"""Visual guidance: features of real images condition the generator, in addition to the text.

The feature replaces the last text state, in adaptation as well as in drawing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast, final

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from understudy.core.errors import InputError
from understudy.core.files import REMOVE, readable, write_atomically
from understudy.core.listing import listed
from understudy.core.registry import Registry
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import Adaptable, PlanRow

_BATCH = 64

Encode = Callable[[Tensor], Tensor]
"""Maps pixels, float (B, 3, H, W) in [-1, 1], to features, float (B, F)."""


@final
class ClassFeatures:
    """Features of the real train images of one class.

    Attributes:
        features: float32 (n, F) with n at least 1.
    """

    def __init__(self, features: Tensor) -> None:
        self.features = features

    @cached_property
    def gaussian(self) -> tuple[Tensor, Tensor]:
        """Mean (F,) of the features and the symmetric root (F, F) of their covariance.

        The covariance is shrunk (Ledoit and Wolf 2004), because n may be smaller than F. Shrinkage leaves
        many equal eigenvalues with arbitrary eigenvectors; the symmetric root does not depend on them.
        """
        from sklearn.covariance import ledoit_wolf  # slow to import; only one kind of guidance needs it

        if len(self.features) == 1:  # a single image has no spread
            return self.features[0], torch.zeros(self.features.shape[1], self.features.shape[1])
        covariance, _ = ledoit_wolf(self.features.double().numpy())
        values, vectors = np.linalg.eigh(covariance)
        root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
        return self.features.mean(dim=0), torch.from_numpy(root).float()


VisualKind = Callable[[ClassFeatures, Tensor, int, torch.Generator], Tensor]
"""Computes the feature (F,) that guides, from the features of the class, the feature (F,) of the image, the
number of images to average, and a source of randomness."""

VISUALS: Registry[VisualKind] = Registry("kind of visual guidance")


@VISUALS.register("none", summary="text alone")
def _none(of_class: ClassFeatures, of_image: Tensor, images: int, rng: torch.Generator) -> Tensor:
    raise AssertionError("without visual guidance there is no feature to compute")


@VISUALS.register(
    "class-mean", summary="mean feature of random images of the class, new ones for each image (the paper)"
)
def _class_mean(of_class: ClassFeatures, of_image: Tensor, images: int, rng: torch.Generator) -> Tensor:
    chosen = torch.randperm(len(of_class.features), generator=rng)[:images]
    return of_class.features[chosen].mean(dim=0)


@VISUALS.register("per-image", summary="feature of the real image itself (the released code)")
def _per_image(of_class: ClassFeatures, of_image: Tensor, images: int, rng: torch.Generator) -> Tensor:
    return of_image


@VISUALS.register("sampled", summary="drawn from a Gaussian fitted to the features of the class")
def _sampled(of_class: ClassFeatures, of_image: Tensor, images: int, rng: torch.Generator) -> Tensor:
    mean, root = of_class.gaussian
    return mean + root @ torch.randn(len(mean), generator=rng)


@final
class VisualGuidance:
    """Computes the features that guide images, from the features of the real train images.

    Attributes:
        features: features of the train images, float32 (N, F).
    """

    def __init__(
        self,
        features: Tensor,
        train: LabelledSet,
        *,
        kind: str,
        images: int,
        projection: nn.Linear | None = None,
    ) -> None:
        self.features = features
        self._kind = VISUALS[kind]
        self._images = images
        self._position = train.place
        self._class_names = train.class_names
        labels = torch.from_numpy(train.labels)
        self._classes = {
            label: ClassFeatures(features[labels == label]) for label in labels.unique().tolist()
        }
        self._projection = projection

    def condition(self, labels: Sequence[int], of_images: Tensor, rngs: Sequence[torch.Generator]) -> Tensor:
        """Compute one feature for each image to condition.

        Args:
            labels: classes of the B images.
            of_images: features of the images themselves, float32 (B, F); only ``per-image`` uses them.
            rngs: source of randomness for each image.

        Returns:
            float32 (B, F).

        Raises:
            InputError: for a class without a real train image.
        """
        missing = [label for label in labels if label not in self._classes]
        if missing:
            name = self._class_names[missing[0]]
            raise InputError(
                f"visual guidance needs real images, and class {name!r} has none in the train split"
            )
        return torch.stack(
            [
                self._kind(self._classes[label], feature, self._images, rng)
                for label, feature, rng in zip(labels, of_images, rngs, strict=True)
            ]
        )

    @torch.no_grad()
    def tokens(self, rows: Sequence[PlanRow]) -> Tensor:
        """Compute what replaces the last text state of each row, float32 (B, D); row i alone decides token i.

        Raises:
            InputError: for an image that is not in the train set, or a class without train images.
        """
        missing = sorted({row.visual_id for row in rows if row.visual_id} - self._position.keys())
        if missing:
            raise InputError(
                f"the train set lacks the images {listed(missing)}: the plan was made for another set"
            )
        of_images = self.features[[self._position.get(row.visual_id, 0) for row in rows]]
        features = self.condition(
            [row.label for row in rows], of_images, [_row_rng(row.seed) for row in rows]
        )
        return features if self._projection is None else cast("Tensor", self._projection(features))


def features_of(
    generator: Adaptable, data: LabelledSet, *, cache: Path | None = None, encode: Encode | None = None
) -> Tensor:
    """Compute features of real images, without augmentation or normalisation.

    Args:
        generator: decides the size of the images; its image encoder is the default.
        data: N images.
        cache: file that keeps the features; it is read if it holds these images, and written otherwise.
            It is for the generator's encoder alone.
        encode: another encoder.

    Returns:
        float32 (N, F), on the CPU.

    Raises:
        InputError: if the generator has no image encoder, or the cache is damaged.
    """
    key = hashlib.sha256("\n".join([str(generator.image_size), *data.ids]).encode()).hexdigest()
    if cache is not None and cache.exists():
        with readable(cache, mend=REMOVE), safetensors.safe_open(cache, framework="pt") as stored:
            if (stored.metadata() or {}).get("images") == key:
                return cast("Tensor", stored.get_tensor("features"))
    encode = generator.encode_features if encode is None else encode
    size, parts = generator.image_size, []
    for start in range(0, len(data), _BATCH):
        pixels = data.select(range(start, min(start + _BATCH, len(data)))).pixels(size)
        with torch.no_grad():
            x = to_unit(torch.from_numpy(pixels).to(generator.device))
            parts.append(encode(x).cpu())
    features = torch.cat(parts) if parts else torch.empty(0, generator.feature_width)
    if cache is not None:
        stored_as, metadata = {"features": features}, {"images": key}
        write_atomically(cache, lambda path: safetensors.torch.save_file(stored_as, path, metadata=metadata))
    return features


def to_unit(pixels: Tensor) -> Tensor:
    """Convert uint8 pixels to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def check_widths(generator: Adaptable, *, projection: bool) -> None:
    """Check that image features are as wide as the text states, or that a projection maps between them.

    Raises:
        InputError: with both widths.
    """
    if not projection and generator.feature_width != generator.token_width:
        raise InputError(
            f"visual guidance replaces a text state of width {generator.token_width} by an image feature of "
            f"width {generator.feature_width}: learn a map between them with visual.projection=true, or "
            "choose another generator.image_encoder"
        )


def _row_rng(seed: int) -> torch.Generator:
    entropy = np.random.SeedSequence([seed, 0x71]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(entropy >> 1))
