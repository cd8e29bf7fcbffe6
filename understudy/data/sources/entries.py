r"""Names of files as they are stored, and as they are compared and shown.

Names are bytes to the system. Bytes that are not UTF-8 are kept as Python keeps them (surrogates), so that
the file can be opened, and are shown as ``\xe9``. Names are compared in composed form (NFC), because macOS
stores an é as two characters and Linux as one.
"""

from __future__ import annotations

import codecs
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import final

from understudy.core.errors import InputError

_CODE_PAGES = ("cp1252", "cp437", "shift_jis", "gbk")


@final
@dataclass(frozen=True)
class Entry:
    """A file of a source, or an empty folder.

    Attributes:
        name: path below the location as it is stored, with forward slashes; bytes that are not UTF-8 as
            surrogates. An empty folder ends with a slash.
        encoding: of names that are not UTF-8, if the user gives one.
    """

    name: str
    encoding: str | None = None

    @cached_property
    def shown(self) -> str:
        """The path as text that can be printed and stored."""
        if self.encoding is not None and is_undecoded(self.name):
            return stored_bytes(self.name).decode(self.encoding, "backslashreplace")
        return printable(self.name)

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """Folders and file name as they are compared."""
        return tuple(unicodedata.normalize("NFC", part) for part in self._decoded.split("/"))

    @property
    def _decoded(self) -> str:
        if self.encoding is None or not is_undecoded(self.name):
            return self.name
        try:
            return stored_bytes(self.name).decode(self.encoding)
        except UnicodeDecodeError:
            raise InputError(
                f"data.name_encoding must be the encoding of file names, but {self.encoding} does not fit "
                f"'{printable(self.name)}': give another one"
            ) from None


def is_undecoded(name: str) -> bool:
    """Whether a name has bytes that are not UTF-8."""
    return any("\udc80" <= character <= "\udcff" for character in name)


def stored_bytes(name: str) -> bytes:
    """The bytes of a name."""
    return name.encode("utf-8", "surrogateescape")


def printable(name: str) -> str:
    r"""A name as text; bytes that are not UTF-8 become ``\xe9``."""
    return stored_bytes(name).decode("ascii", "backslashreplace") if is_undecoded(name) else name


def check_readable(name: str, location: str) -> None:
    """Check that the name of a class is text.

    Raises:
        InputError: with what the name reads in common encodings, and how to choose one.
    """
    if not is_undecoded(name):
        return
    readings = []
    for encoding in _CODE_PAGES:
        try:
            readings.append(f"{stored_bytes(name).decode(encoding)!r} in {encoding}")
        except UnicodeDecodeError:
            continue
    read = f": it reads {', '.join(readings)}" if readings else ""
    raise InputError(
        f"{location}: names of classes must be UTF-8, but '{printable(name)}' is not{read}. ",
        "Give its encoding with --set data.name_encoding=ENCODING, or rename it",
    )


def check_encoding(encoding: str | None) -> None:
    """Check that Python knows an encoding.

    Raises:
        InputError: naming some that it knows.
    """
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        raise InputError(
            f"data.name_encoding must be an encoding that Python knows, such as {', '.join(_CODE_PAGES)}, "
            f"got {encoding!r}"
        ) from None
