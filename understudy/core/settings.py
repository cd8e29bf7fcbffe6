"""How much of the machine a run may use."""

from __future__ import annotations

from understudy.core.config import Section, setting


class ComputeSettings(Section):
    """How much of the machine a run may use; results do not depend on it, except by rounding."""

    threads: int | None = setting(None, ge=1, decides="nothing")
    """Threads for drawing, adaptation and prediction; at most, and if not set, one per core that this process
    may use."""
    workers: int | None = setting(None, ge=1, decides="nothing")
    """Trainings of classifiers side by side on a CPU, each in a process with one thread; if not set, as many
    as there are threads, as far as memory allows."""
