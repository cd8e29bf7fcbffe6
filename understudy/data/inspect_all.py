"""Inspect the items of a source in their order: in this process, and if they are many in one per core."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import ExitStack
from itertools import chain, islice
from typing import Any

from understudy.core.executors.worker_processes import begin_worker
from understudy.core.threads import num_threads
from understudy.data.groups import in_groups
from understudy.data.inspection import Inspected, inspect, inspect_each_once
from understudy.data.known_images import KnownImages
from understudy.data.sources.source import Item

FEW = 2000
"""Images that are inspected in this process in any case: starting others would take as long."""
_AT_ONCE = (256, 4_000_000)  # images that a process gets at once, and their bytes, at most
_WAITING = 3  # such parts per process

Found = tuple[Item, Inspected | str]
_Part = tuple[list[Item], list["Inspected | None"], "Future[list[Inspected | str]] | None"]


def inspect_all(items: Iterable[Item], max_pixels: int, *, remembers: bool = True) -> Iterator[Found]:
    """What :func:`understudy.data.inspection.inspect` finds out about each item, or its problem.

    Beyond the first 2,000 images, what is known from an earlier command is not looked at again, and there are
    as many processes as torch has threads.
    """
    items = iter(items)
    for item in islice(items, FEW):
        yield item, item.problem or inspect(item.data, max_pixels)
    for item in items:  # there are more
        yield from _inspect_many(chain([item], items), max_pixels, remembers)


def _inspect_many(items: Iterator[Item], max_pixels: int, remembers: bool) -> Iterator[Found]:
    known, count = KnownImages.open() if remembers else KnownImages(None), num_threads()
    waiting: deque[_Part] = deque()
    with ExitStack() as stack:
        stack.callback(known.close)
        pool = _pool(count, stack) if count > 1 else None
        for part in in_groups(items, lambda item: len(item.data), most=_AT_ONCE):
            before = known.find([item.data for item in part])
            found = [_unless_too_large(each, max_pixels) for each in before]
            waiting.append((part, found, _begun(pool, _unknown(part, found), max_pixels)))
            if len(waiting) >= _WAITING * count:
                yield from _finished(waiting.popleft(), max_pixels, known)
        while waiting:
            yield from _finished(waiting.popleft(), max_pixels, known)


def _pool(count: int, stack: ExitStack) -> Any:
    from loky import ProcessPoolExecutor  # slow to import, and needed for large sets alone

    pool = ProcessPoolExecutor(count, initializer=_begin, initargs=(os.getpid(),))
    stack.callback(pool.shutdown, kill_workers=True)
    return pool


def _unless_too_large(found: Inspected | None, max_pixels: int) -> Inspected | None:
    return found if found is not None and found.pixels <= max_pixels else None


def _unknown(items: Sequence[Item], found: Sequence[Inspected | None]) -> list[bytes]:
    return [item.data for item, each in zip(items, found, strict=True) if each is None and not item.problem]


def _begun(pool: Any, images: list[bytes], max_pixels: int) -> Future[list[Inspected | str]] | None:
    """The work of a process; None if there is no work, or no process left."""
    try:
        return pool.submit(_inspect, images, max_pixels) if pool is not None and images else None
    except BrokenExecutor:
        return None


def _finished(part: _Part, max_pixels: int, known: KnownImages) -> Iterator[Found]:
    """What was known about the items of a part and what was found out, which is remembered."""
    items, found, future = part
    new = _unknown(items, found)
    try:
        results = iter(_inspect(new, max_pixels) if future is None else future.result())
    except BrokenExecutor:  # a process was killed, perhaps for memory
        results = iter(_inspect(new, max_pixels))
    fresh: dict[bytes, Inspected] = {}
    for item, each in zip(items, found, strict=True):
        result: Inspected | str = each or item.problem or next(results)
        if each is None and isinstance(result, Inspected):
            fresh[item.data] = result
        yield item, result
    known.add(fresh)


def _begin(parent: int) -> None:
    """Make a process a worker, which keeps no more memory than it needs."""
    begin_worker(parent)
    inspect_each_once()


def _inspect(images: list[bytes], max_pixels: int) -> list[Inspected | str]:
    return [inspect(data, max_pixels) for data in images]
