"""Words of the classes of ImageNet-1K by WordNet id, such as ``n01440764``, as ``timm.data`` has them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache


@cache
def words_by_id() -> Mapping[str, tuple[str, ...]]:
    """Words of each class by WordNet id, in the order of ImageNet-1K."""
    from timm.data import ImageNetInfo  # heavy; few sets need it

    info = ImageNetInfo("imagenet-1k")
    return {name: tuple(info.label_name_to_description(name).split(", ")) for name in info.label_names()}
