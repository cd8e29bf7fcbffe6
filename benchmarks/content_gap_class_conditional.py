"""The benchmark ``content_gap`` with the generator ``class_conditional``, which is trained on the real images
alone.

``python -m benchmarks.content_gap_class_conditional`` takes about an hour and a half on two CPU cores;
finished parts are kept and reused.
"""

from __future__ import annotations

from functools import partial

from benchmarks.claims import command_line
from benchmarks.content_gap import main

if __name__ == "__main__":
    name = "content_gap_class_conditional"
    command_line(name, partial(main, generator="class_conditional", module=name), doc=__doc__ or "")
