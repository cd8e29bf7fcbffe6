"""Data sets on the Hugging Face hub, through the optional ``datasets`` package."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

from understudy.core.errors import InputError
from understudy.data.settings import DataSettings
from understudy.data.sources.parquet import named
from understudy.data.sources.source import SOURCES, AbstractSource, Contents, Item
from understudy.data.sources.split_names import split_of


@final
class HubSource(AbstractSource):
    """A data set ``organisation/name`` with the features ``image`` (or ``img``) and ``label``."""

    def accepts(self, location: str) -> bool:
        """Text such as ``org/name`` that is not an existing path."""
        return re.fullmatch(r"\w[\w.-]*/[\w.-]+", location) is not None and not Path(location).exists()

    def open(self, location: str, settings: DataSettings) -> Contents:
        """Load all splits from the cache, downloading them if needed."""
        try:
            datasets: Any = importlib.import_module("datasets")
        except ImportError:
            raise InputError(
                f"no file or folder at {location!r}; reading it from the Hugging Face hub needs the datasets "
                "package: pip install datasets"
            ) from None
        try:
            loaded = datasets.load_dataset(location)
        except (OSError, ValueError) as error:
            raise InputError(
                f"data set {location!r} cannot be loaded from the Hugging Face hub: {error}"
            ) from None
        features = next(iter(loaded.values())).features
        column = next((name for name in ("image", "img") if name in features), None)
        if column is None or "label" not in features:
            raise InputError(f"{location} must have the features image and label, got {', '.join(features)}")
        names = getattr(features["label"], "names", None)
        undecoded = {
            name: part.cast_column(column, datasets.Image(decode=False)) for name, part in loaded.items()
        }
        return Contents(_read(undecoded, column, names and tuple(names)), names and tuple(names))


SOURCES.register("hub", summary="a data set on the Hugging Face hub, org/name (needs the datasets package)")(
    HubSource()
)


def _read(parts: dict[str, Any], column: str, names: tuple[str, ...] | None) -> Iterator[Item]:
    splits = {name: split_of(name) if len(parts) > 1 else None for name in parts}
    if len(parts) > 1 and "train" not in splits.values():
        raise InputError(f"the data set must have a train split, got {', '.join(parts)}")
    for name, part in parts.items():
        if len(parts) > 1 and splits[name] is None:
            raise InputError(f"splits must be train, validation and test, got {', '.join(parts)}")
        for row, record in enumerate(part):
            path = f"{name}#{row:08d}"
            data = record[column]["bytes"] or b""
            yield Item(
                path=path,
                label=named(path, record["label"], names),
                split=splits[name],
                data=data,
                problem="" if data else "no image bytes",
            )
