"""What of a run will not fit on this disk or into this memory, before it starts."""

from __future__ import annotations

import shutil
import tempfile

from understudy.commands.cost import Estimate, shown_megabytes
from understudy.core.host_memory import image_memory


def what_does_not_fit(
    estimate: Estimate, *, decoded_mb: float, processes: int = 1, repeats: int = 1
) -> list[str]:
    """Sentences about what does not fit; empty if all does.

    Args:
        estimate: of one run.
        decoded_mb: what the images that a classifier learns from take when they are decoded, in megabytes.
        processes: that train side by side, and share the memory.
        repeats: number of whole runs.
    """
    told, need = [], repeats * (estimate.disk_mb + estimate.real_mb)
    free = shutil.disk_usage(".").free / 1e6
    if need > free:
        told.append(
            f"warning: the run writes about {shown_megabytes(need)}, but {shown_megabytes(free)} are free on "
            "the disk of this folder: give --out on a larger one, or lower draw.times"
        )
    room = image_memory().num_bytes / 1e6 / processes
    if decoded_mb > room:
        filled, most = shown_megabytes(decoded_mb), shown_megabytes(room)
        told.append(
            f"memory: decoded images take {filled}, more than the {most} that they may fill (data.memory): "
            "they will lie in a file where TMPDIR says, and the result is the same"
        )
        spilled, left = processes * decoded_mb, shutil.disk_usage(tempfile.gettempdir()).free / 1e6
        if spilled > left:
            told.append(
                f"warning: these files take {shown_megabytes(spilled)} for {processes} processes, but "
                f"{shown_megabytes(left)} are free in {tempfile.gettempdir()}: set TMPDIR to a larger disk"
            )
    return told
