"""How much of the machine a run takes."""

from __future__ import annotations

from understudy.core.host_memory import ImageMemory, image_memory
from understudy.core.provenance import forget_peak_memory
from understudy.core.threads import use_threads
from understudy.settings import Settings


def use_machine(settings: Settings) -> None:
    """Take no more threads and memory than the settings allow."""
    forget_peak_memory()
    use_threads(settings.compute.threads)
    ImageMemory(settings.data.memory, image_memory().processes).use()  # a worker has its share
