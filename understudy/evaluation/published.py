"""Published accuracies of ordinary fine-tuning, to check that the baseline of a run is tuned equally well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from understudy.core.registry import Registry


@final
@dataclass(frozen=True, kw_only=True)
class PublishedBaseline:
    """An accuracy from the literature.

    Attributes:
        source: the publication.
        backbone: the network, pretrained on ImageNet and fine-tuned as a whole on the real train images.
        accuracy: accuracy on the test images of the data set, a fraction.
    """

    source: str
    backbone: str
    accuracy: float


PUBLISHED: Registry[tuple[PublishedBaseline, ...]] = Registry("data set with published baselines")

_BRIDGED = "Li et al. 2024 (arXiv:2403.19866), table 2, vanilla"
_SALMAN = "Salman et al. 2020 (arXiv:2007.08489), public release, standard model, best of their settings"


def _add(name: str, *, summary: str, vanilla: float, salman: float | None = None) -> None:
    figures = [PublishedBaseline(source=_BRIDGED, backbone="resnet18", accuracy=vanilla)]
    if salman is not None:
        figures.append(PublishedBaseline(source=_SALMAN, backbone="resnet18", accuracy=salman))
    PUBLISHED.register(name, summary=summary)(tuple(figures))


_add(
    "fgvc-aircraft",
    summary="FGVC-Aircraft, 100 variants, trained on train and val",
    vanilla=0.797,
    salman=0.809,
)
_add("caltech-101", summary="Caltech-101, 30 images per class", vanilla=0.905, salman=0.921)
_add("stanford-cars", summary="Stanford Cars, 196 classes", vanilla=0.838, salman=0.882)
_add("cub-200-2011", summary="CUB-200-2011, birds", vanilla=0.776)
_add("dtd", summary="Describable Textures, trained on train and val", vanilla=0.716, salman=0.723)
_add(
    "oxford-flowers-102", summary="Oxford Flowers-102, trained on train and val", vanilla=0.951, salman=0.962
)
_add("food-101", summary="Food-101", vanilla=0.835)
_add("oxford-pets", summary="Oxford-IIIT Pets, 37 breeds", vanilla=0.913, salman=0.920)
_add("stanford-dogs", summary="Stanford Dogs, 120 breeds", vanilla=0.839)
_add("sun397", summary="SUN397, scenes, 50 images per class", vanilla=0.579, salman=0.596)
