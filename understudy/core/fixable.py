"""Errors of the system that users can fix: full or protected disks, wrong paths, too little memory."""

from __future__ import annotations

import errno

from understudy.core.errors import first_line
from understudy.core.micro_batch import is_out_of_memory

_ERRNOS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
)
"""Full or protected disks, and paths that cannot be written to."""


def problem_of(error: Exception) -> str | None:
    """What users can do something about, in a sentence; None for an error in the program.

    Example:
        >>> problem_of(MemoryError())
        'memory ran out (MemoryError): use smaller batches, images or networks, or another device'
        >>> problem_of(KeyError("x"))
    """
    # safetensors reports a full disk only in the text of the error.
    if getattr(error, "errno", None) in _ERRNOS or "No space left on device" in str(error):
        return str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error)):
        how = "use smaller batches, images or networks, or another device"
        return f"memory ran out ({first_line(error)}): {how}"
    return None
