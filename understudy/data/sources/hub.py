"""Data sets on the Hugging Face hub, through the optional ``datasets`` package."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

from huggingface_hub.errors import LocalEntryNotFoundError

from understudy.core.errors import InputError
from understudy.core.hub import hub_asked_once, why_not_given
from understudy.data.settings import DataSettings
from understudy.data.sources.column_splits import column_splits
from understudy.data.sources.columns import Columns, find_columns, read_rows
from understudy.data.sources.said_splits import SaidSplits
from understudy.data.sources.source import SOURCES, AbstractSource, Contents, Item
from understudy.data.sources.split_names import RealSplit, named_splits, part_notes

_NAME = re.compile(r"(\w[\w.-]*/[\w.-]+)(?::([\w.-]+))?")


@final
class HubSource(AbstractSource):
    """A data set ``organisation/name`` with columns of images and labels, or ``organisation/name:config``."""

    def accepts(self, location: str) -> bool:
        """Text such as ``org/name`` that is not an existing path."""
        return _NAME.fullmatch(location) is not None and not Path(location).exists()

    def open(self, location: str, settings: DataSettings) -> Contents:
        """Load all splits from the cache, downloading them if needed."""
        try:
            datasets: Any = importlib.import_module("datasets")
        except ImportError:
            raise InputError(
                f"no file or folder at {location!r}; reading it from the Hugging Face hub needs the datasets "
                "package: pip install datasets"
            ) from None
        name, _, config = location.partition(":")
        try:
            with hub_asked_once(name, kind="dataset"):
                loaded = datasets.load_dataset(name, config or None)
        except Exception as error:  # noqa: BLE001 - the package and its builders raise errors of many kinds
            raise InputError(
                f"data set {location!r} cannot be loaded from the Hugging Face hub: {_explained(error, name)}"
            ) from None
        columns = find_columns(next(iter(loaded.values())).features.arrow_schema, location, settings)
        splits = named_splits(list(loaded), location, settings)
        said, told = column_splits(
            [columns], partial(_batches, loaded, splits), settings, named=any(splits.values())
        )
        notes = part_notes(splits, "split", settings, are_divided=not said.names)
        total = sum(part.num_rows for part in loaded.values())
        return Contents(_read(loaded, columns, splits, said), columns.names, notes + told, total=total)


SOURCES.register(
    "hub",
    summary="a data set on the Hugging Face hub, org/name or org/name:config (needs the datasets package)",
)(HubSource())


def _explained(error: Exception, name: str) -> str:
    if isinstance(error, LocalEntryNotFoundError):
        return f"{why_not_given(error)}: {error}"
    if "config name" in str(error).lower():
        return f"{error}: choose one of its configurations as {name}:CONFIG"
    if "scripts" in str(error):
        return f"{error}: use a copy of the data set that is stored as files, Parquet or images"
    return str(error) if error.__cause__ is None else f"{error}: {error.__cause__}"


def _batches(
    parts: dict[str, Any], splits: dict[str, RealSplit | None], names: Sequence[str]
) -> Iterator[tuple[RealSplit | None, Any]]:
    """Some columns of all rows, and the split of the part."""
    for name, part in parts.items():
        for batch in part.select_columns(list(names)).with_format("arrow").iter(batch_size=1024):
            yield splits[name], batch


def _read(
    parts: dict[str, Any], columns: Columns, splits: dict[str, RealSplit | None], said: SaidSplits
) -> Iterator[Item]:
    for name, part in parts.items():
        row = 0
        for batch in part.with_format("arrow").iter(batch_size=1024):
            # Image folders are in the cache of the package, and the data set has their absolute paths.
            roots = [Path("/")]
            yield from read_rows(batch, columns, roots, said=said, of_part=splits[name], name=name, start=row)
            row += len(batch)
