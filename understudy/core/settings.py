"""How much of the machine a run may use."""

from __future__ import annotations

from understudy.core.config import Section, setting


class ComputeSettings(Section):
    """How much of the machine a run may use; results do not depend on it, except by rounding."""

    threads: int | None = setting(None, ge=1, decides="nothing")
    """Threads of torch. If not set, one for each core that this process may use. Trainings that run side by
    side have fewer threads each."""
