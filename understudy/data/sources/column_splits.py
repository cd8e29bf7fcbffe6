"""Which columns of Arrow tables say the split of each row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from understudy.core.errors import InputError
from understudy.data.settings import DataSettings
from understudy.data.sources.columns import Columns
from understudy.data.sources.said_splits import SaidSplits, said_splits
from understudy.data.sources.split_candidates import Candidate, may_say_split
from understudy.data.sources.split_names import RealSplit

Batches = Callable[[Sequence[str]], Iterable[tuple[RealSplit | None, Any]]]
"""Reads some columns of a data set: the split that the file or part of each batch says, and the batch."""


def column_splits(
    columns: Sequence[Columns], batches: Batches, settings: DataSettings, *, named: bool
) -> tuple[SaidSplits, tuple[str, ...]]:
    """The columns that say splits, and what was taken for what, in sentences.

    Args:
        columns: of the files or parts of a data set.
        batches: reads some of their columns; each is read until a value says that it is not about splits.
        settings: ``split_names`` and ``split_column``.
        named: whether the names of files or parts say splits.

    Raises:
        InputError: if columns may be read in several ways, or contradict each other or the names.
    """
    if settings.split_names == "ignore":
        return SaidSplits(), ()
    first = columns[0]
    names = dict.fromkeys(name for each in columns for name in each.others)
    said = said_splits(
        [_candidate(name, first, batches) for name in names], settings, kind="column", named=named
    )
    return said, said.counted(_rows(said.names, first, batches) if said.names else ())


def _candidate(name: str, columns: Columns, batches: Batches) -> Candidate:
    candidate = Candidate(name)
    try:
        for _, batch in batches([name]):
            candidate.add(columns.values(batch, name))
            if not candidate.is_open:
                break
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if may_say_split(name):
            raise InputError(f"the column {name!r} may say splits, but cannot be read: {error}") from None
        candidate.all_say = False  # a column that nobody needs
    return candidate


def _rows(
    names: Sequence[str], columns: Columns, batches: Batches
) -> Iterator[tuple[RealSplit | None, Sequence[Any]]]:
    for split, batch in batches(names):
        for row in zip(*(columns.values(batch, name) for name in names), strict=True):
            yield split, row
