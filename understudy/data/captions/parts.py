"""Texts that a model writes, in parts, so that an interrupted run resumes with the next part.

::

    FOLDER/part-00000.jsonl    a line per text: its name (id) and the text (caption)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from understudy.core.errors import InputError
from understudy.core.files import write_text


def in_parts(
    folder: Path,
    names: Sequence[str],
    write: Callable[[int, int], Sequence[str]],
    *,
    size: int,
    batch_size: int,
    of_what: str = "images",
) -> list[str]:
    """A text for every name, from the parts that are there or else from ``write``, whose parts are stored.

    Args:
        folder: of the parts.
        names: ids of N images, or what else tells the texts apart.
        write: given first and last + 1, the texts of a batch of names.
        size: texts of a part.
        batch_size: most texts that are written at once.
        of_what: what has the texts, in messages.

    Raises:
        InputError: if a part cannot be read, or has texts of other names.
    """
    texts = list[str]()
    for start in range(0, len(names), size):
        path, part = folder / f"part-{start // size:05d}.jsonl", names[start : start + size]
        if path.exists():
            texts += _read_part(path, part, of_what)
            continue
        stop = start + len(part)
        batches = (write(first, min(first + batch_size, stop)) for first in range(start, stop, batch_size))
        written = [text for batch in batches for text in batch]
        lines = [
            json.dumps({"id": name, "caption": text}) + "\n" for name, text in zip(part, written, strict=True)
        ]
        write_text(path, "".join(lines))
        texts += written
    return texts


def _read_part(path: Path, names: Sequence[str], of_what: str) -> list[str]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found = [(str(row["id"]), str(row["caption"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} must hold captions of an earlier attempt, but it cannot be read ({error}): remove it"
        ) from None
    if [name for name, _ in found] != list(names):
        raise InputError(
            f"{path} must hold the captions of these {len(names)} {of_what}, but has captions of other "
            f"{of_what}: remove it, or choose another --out"
        )
    return [text for _, text in found]
